"""Actors of Ray: `NodeActor` keeps one node of a run on a machine of the cluster, `RayFleet` is the engine's hold on all of them.

An actor answers every call with the same words when it is called again, so that an answer which got lost is asked for once more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from batchmill.errors import BatchmillError
from batchmill.nodes.node_host import NodeHost
from batchmill.nodes.node_order import Message, NodeOrder
from batchmill.nodes.placement import Bundle
from batchmill.parallel_run.events import ErrorFacts, Event
from batchmill.workspace.ray_cluster import ClusterNode, cluster_nodes, import_ray

GROUPS = {"give": 1, "take": 1}
"""Calls of one group run one after the other, in order; those of the other do not wait for them."""
REASON_LENGTH = 300


# --- on the machines ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """What `NodeActor.take` returns; ``ended``: nothing will follow."""

    events: Sequence[Event]
    ended: bool


class NodeActor:
    """One node of a run, in a process that Ray started."""

    def __init__(self, name: str, order: NodeOrder) -> None:
        forget_variables_of_ray()
        if order.config.gpu_ids is None:
            order = replace(order, config=replace(order.config, gpu_ids=assigned_gpus()))
        self._host = NodeHost(name, order)
        self._host.start()
        self._last = (-1, Batch((), False))
        self._heard = 0

    def machine(self) -> str:
        """The id of the cluster's node that this is on."""
        return str(import_ray().get_runtime_context().get_node_id())

    def take(self, number: int, timeout: float) -> Batch:
        """Batch ``number`` of the events of the node, or the same again as long as the next has not been asked for."""
        if number != self._last[0]:
            events = self._host.take(timeout)
            self._last = (number, Batch(events, self._host.ended))
        return self._last[1]

    def give(self, number: int, messages: Sequence[Message]) -> None:
        """Messages from ``number`` on; those it has heard before are passed over."""
        new = messages[self._heard - number :] if number < self._heard else messages
        self._heard = max(self._heard, number + len(messages))
        self._host.give(new)

    def close(self) -> None:
        """Nothing of the node is left when this returns."""
        self._host.close()


def assigned_gpus() -> tuple[str, ...]:
    """The GPUs that Ray reserved for this actor."""
    return tuple(str(index) for index in import_ray().get_gpu_ids())


def forget_variables_of_ray() -> None:
    """Drop what Ray adds to the environment of its workers (threads of OpenMP, the debugger ...): scripts see that of the machine."""
    try:
        raw = Path(f"/proc/{os.environ.get('RAY_RAYLET_PID', '0')}/environ").read_bytes()
    except OSError:
        return
    of_machine = {entry.partition(b"=")[0].decode(errors="replace") for entry in raw.split(b"\0")}
    for name in [name for name in os.environ if name not in of_machine and not name.startswith("RAY_")]:
        del os.environ[name]


# --- news of the actors -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The actor of a node lives, on this machine."""

    node: str
    machine: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The actor of a node cannot work there, and could not if it were tried again."""

    node: str
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a take."""

    node: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class Given:
    """The node has what it was given."""

    node: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A call (``take`` or ``give``) may or may not have got through; the actor may live."""

    node: str
    call: str


@dataclass(frozen=True, slots=True)
class Dead:
    """The actor is gone."""

    node: str
    reason: str


Arrival = Started | Refused | Taken | Given | Unanswered | Dead


class Fleet(Protocol):
    """The actors of a run; no call waits, except `wait`."""

    def machines(self) -> Sequence[ClusterNode]:
        """The machines of the cluster, as of a moment ago; empty while nobody knows."""

    def launch(self, node: str, machine: str | None) -> None:
        """Start an actor there; None: wherever there is room, as soon as there is some (an autoscaler is asked for it)."""

    def take(self, node: str, number: int, timeout: float) -> None: ...

    def give(self, node: str, number: int, messages: Sequence[Message]) -> None: ...

    def wait(self, timeout: float) -> Sequence[Arrival]:
        """What arrived; waits up to ``timeout`` seconds for the first."""

    def kill(self, node: str) -> None:
        """The actor ends with everything it has started, if it can be reached; nothing of it arrives any more."""

    def close(self) -> None: ...


class RayFleet:
    """The actors of a run on the cluster that this process belongs to; they end with it. ``look_every``: seconds between two looks at
    the machines."""

    def __init__(self, order: NodeOrder, bundle: Bundle, look_every: float = 1.0) -> None:
        self._ray = import_ray()
        self._options = _options(bundle)
        self._order = self._ray.put(order)  # one copy travels to each machine, however many nodes it gets
        self._class = self._ray.remote(concurrency_groups=GROUPS)(NodeActor)
        self._actors: dict[str, Any] = {}
        self._calls: dict[Any, tuple[str, str]] = {}
        self._look_every = look_every
        self._machines: Sequence[ClusterNode] = cluster_nodes()
        self._closed = threading.Event()
        self._looker = threading.Thread(target=self._look, name="batchmill-machines", daemon=True)
        self._looker.start()

    def machines(self) -> Sequence[ClusterNode]:
        return self._machines

    def _look(self) -> None:
        """In a thread of its own: the head may take its time, or be away for a while."""
        while not self._closed.wait(self._look_every):
            with suppress(BatchmillError):
                self._machines = cluster_nodes()

    def launch(self, node: str, machine: str | None) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = "SPREAD" if machine is None else NodeAffinitySchedulingStrategy(machine, soft=False)
        actor = self._class.options(scheduling_strategy=strategy, max_restarts=0, max_task_retries=0, **self._options)
        self._actors[node] = actor.remote(node, self._order)
        self._call(node, "machine")

    def take(self, node: str, number: int, timeout: float) -> None:
        self._call(node, "take", number, timeout)

    def give(self, node: str, number: int, messages: Sequence[Message]) -> None:
        self._call(node, "give", number, list(messages))

    def _call(self, node: str, call: str, *arguments: object) -> None:
        method = getattr(self._actors[node], call)
        if call in GROUPS:
            method = method.options(concurrency_group=call)
        self._calls[method.remote(*arguments)] = node, call

    def wait(self, timeout: float) -> Sequence[Arrival]:
        if not self._calls:
            time.sleep(timeout)
            return []
        waiting = list(self._calls)
        ready, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout)
        if ready and len(waiting) > 1:
            ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return list(self._arrivals(ready))

    def _arrivals(self, ready: Sequence[Any]) -> Iterator[Arrival]:
        errors = self._ray.exceptions
        for reference in ready:
            node, call = self._calls.pop(reference)
            try:
                yield _arrival(node, call, self._ray.get(reference))
            except Exception as error:
                yield trouble(node, call, error, errors)

    def kill(self, node: str) -> None:
        actor = self._actors.pop(node, None)
        self._calls = {reference: whose for reference, whose in self._calls.items() if whose[0] != node}
        if actor is not None:
            with suppress(self._ray.exceptions.RayError, RuntimeError):
                self._ray.kill(actor)

    def close(self) -> None:
        for node in list(self._actors):
            self.kill(node)
        self._closed.set()


def _options(bundle: Bundle) -> dict[str, Any]:
    """What Ray is to reserve for an actor; without CPUs in the bundle none are."""
    rest: Mapping[str, float] = {name: amount for name, amount in bundle.items() if name not in ("CPU", "GPU", "memory")}
    return {
        "num_cpus": bundle.get("CPU", 0),
        "num_gpus": bundle.get("GPU", 0),
        "memory": bundle.get("memory") or None,
        "resources": dict(rest) or None,
    }


def _arrival(node: str, call: str, answer: Any) -> Arrival:
    if call == "machine":
        return Started(node, answer)
    return Taken(node, answer) if call == "take" else Given(node)


def trouble(node: str, call: str, error: Exception, errors: Any) -> Arrival:
    """What an error of a call means; ``errors`` is ``ray.exceptions``."""
    if isinstance(error, errors.ActorUnavailableError):
        return Unanswered(node, call)
    if isinstance(
        error, errors.ObjectLostError
    ):  # a large answer stays on its machine until it is fetched: Dead follows, or it is given again
        return Unanswered(node, call)
    if isinstance(error, errors.ActorUnschedulableError):
        return Dead(node, "its machine was gone before it could be started there")
    if isinstance(error, errors.RayActorError):
        return _refusal(node, error) or Dead(node, _reason(error))
    return Refused(node, ErrorFacts(type(error).__name__, _reason(error)))


def _refusal(node: str, error: Exception) -> Refused | None:
    """Why it could not even be made there: no Batchmill, or one that cannot read the order."""
    text = str(error)
    if "No module named 'batchmill" in text or "failed to import" in text:
        missing = "Batchmill is not installed on a machine of the cluster, or is another version there."
        return Refused(node, ErrorFacts("UsageError", f'{missing} Install the same on all of them: pip install "batchmill[ray]"'))
    if "creation task" in text:
        return Refused(node, ErrorFacts(type(error).__name__, _reason(error)))
    return None


def _reason(error: Exception) -> str:
    """The last line of what Ray says; those before it describe the actor, not what happened to it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:REASON_LENGTH]
