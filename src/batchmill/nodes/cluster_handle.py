"""The hold that a submitting process has on the coordinator's actor: starts it, asks how it ended, ends it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.nodes.coordinator_actor import CoordinatorActor, actor_name, in_pieces
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.workspace.ray_cluster import NAMESPACE, ClusterError, connect, disconnect, import_ray, translated

NAME_PATIENCE = 30.0
"""Seconds until Ray has forgotten an actor that was ended."""


class CoordinatorHandle:
    """One actor; this process is connected to its cluster."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._call = actor.carry_out.remote()

    @classmethod
    def start(cls, order: CoordinatorOrder) -> CoordinatorHandle:
        """Start the coordinator; one of an earlier time that is still known under its name is ended first.

        Raises:
            ClusterError: Ray refuses.
        """
        ray, name = import_ray(), actor_name(order.run_id)
        options: dict[str, Any] = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0, "max_restarts": -1}
        deadline = time.monotonic() + NAME_PATIENCE
        with translated("given the coordinator of a run"):
            actor_class = ray.remote(CoordinatorActor)
            while True:
                with suppress(ValueError):
                    ray.kill(ray.get_actor(name, NAMESPACE), no_restart=True)
                try:
                    return cls(actor_class.options(**options).remote(*in_pieces(order)))
                except ValueError:
                    if time.monotonic() > deadline:
                        raise
                time.sleep(0.1)

    def outcome(self, timeout: float) -> Mapping[str, Any] | None:
        """How the coordinator has ended; None while it works, or is being started again.

        Raises:
            ClusterError: it cannot be started.
        """
        ray = import_ray()
        with translated("asked for the coordinator of a run"):
            ready, _ = ray.wait([self._call], timeout=timeout)
            if not ready:
                return None
            try:
                found: Mapping[str, Any] = ray.get(self._call)
            except ray.exceptions.ActorUnavailableError:
                self._call = self._actor.carry_out.remote()
                return None
            except ray.exceptions.ActorDiedError as error:
                raise ClusterError(f"The coordinator cannot be started on the cluster: {_cause(error)}") from None
            return found

    def end(self) -> None:
        """End it, for good."""
        with suppress(Exception):
            import_ray().kill(self._actor, no_restart=True)

    @staticmethod
    def gone(address: str, run_id: str) -> bool:
        """Whether no cluster answers at the address any more, or the one that does knows of no such coordinator."""
        try:
            connect(address)
        except BatchmillError:
            return True
        try:
            import_ray().get_actor(actor_name(run_id), NAMESPACE)
        except Exception:
            return True
        finally:
            with suppress(BatchmillError):
                disconnect()
        return False


def _cause(error: Exception) -> str:
    """The last line says what happened; those before where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[0] if lines else type(error).__name__)
