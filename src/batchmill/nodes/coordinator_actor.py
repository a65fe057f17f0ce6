"""The actor in which the coordinator of a cluster run lives: it begins by itself, also when Ray starts it again, and leaves at the end.

It needs nobody who calls it. The work runs in the main thread of its process, where requests to cancel reach it as signals.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import batchmill
from batchmill.errors import BatchmillError, LedgerFencedError, UsageError
from batchmill.nodes.cluster_coordinator import ClusterCoordinator
from batchmill.nodes.coordinator_beat import CoordinatorBeat, told
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.path_proof import check_proofs, remove_proofs
from batchmill.nodes.scratch import Scratch
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.records import RunStatus
from batchmill.storage.files import atomic_write
from batchmill.workspace.ray_cluster import NAMESPACE, import_ray

PIECE = 64 << 10
LINGER = 5.0
"""Seconds for which the actor of an ended run still answers a follower that asks how it went."""


def actor_name(run_id: str) -> str:
    """The name of the coordinator's actor in the namespace of Batchmill."""
    return f"batchmill-{run_id}"


def in_pieces(order: CoordinatorOrder) -> list[bytes]:
    """The arguments for the actor. Ray keeps large ones in the memory of the process that gave them, and none of small ones is lost when
    that has left and the actor is started again."""
    data = pickle.dumps(order)
    return [data[start : start + PIECE] for start in range(0, len(data), PIECE)]


class CoordinatorActor:
    """Calls that Ray serves one after the other. The order comes in pieces, see `in_pieces`."""

    def __init__(self, *pieces: bytes) -> None:
        self._order: CoordinatorOrder = pickle.loads(b"".join(pieces))
        self._outcome: dict[str, Any] | None = None
        import_ray().get_runtime_context().current_actor.carry_out.remote()

    def carry_out(self) -> Mapping[str, Any]:
        """Do the work, whoever calls first; returns how it ended: ``status``, or the error that stopped it."""
        if self._outcome is None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it
            try:
                self._outcome = {"status": str(_carry_out(self._order))}
            except BatchmillError as error:
                self._outcome = told(error)
            except Exception as error:
                traceback.print_exc()
                self._outcome = told(BatchmillError(f"The coordinator ended with {type(error).__name__}: {error}"))
            threading.Thread(target=_leave, args=(self._order.run_id,), name="batchmill-leave", daemon=True).start()
        return self._outcome


def _leave(run_id: str) -> None:
    """End this process for good: Ray would start an actor again that just ended."""
    time.sleep(LINGER)
    ray = import_ray()
    with suppress(Exception):
        ray.kill(ray.get_actor(actor_name(run_id), NAMESPACE), no_restart=True)


def _carry_out(order: CoordinatorOrder) -> RunStatus:
    _check(order)
    scratch = Scratch(order.run_id, order.epoch, f"coordinator-{os.getpid()}")
    try:
        return _Incarnation(order, scratch).carry_out()
    finally:
        scratch.close()


def _check(order: CoordinatorOrder) -> None:
    """Refuse what would be found out too late."""
    if order.version != batchmill.__version__:
        raise UsageError(
            f"The cluster has Batchmill {batchmill.__version__}, and the run was begun with Batchmill {order.version}.",
            cure=f'Install the same on all nodes: pip install "batchmill[ray]=={order.version}"; nothing was started.',
        )
    unseen = check_proofs(order.proofs)
    if not unseen:
        return
    if order.home in unseen:
        raise UsageError(
            f"The workspace of the run lies in {order.home}, which the cluster does not see.",
            cure="Keep workspaces in PostgreSQL (BATCHMILL_DATABASE_URL), or the batchmill home in a folder that every node sees; nothing "
            "was started.",
        )
    where = "--output" if order.output in unseen else "--input"
    raise UsageError(
        f"{unseen[0]} is not seen by the nodes of the cluster, or is another folder there.",
        cure=f"Give {where} a URL of an object store, or a folder that every node sees at the same path; nothing was started.",
    )


class _Incarnation:
    """One go at the run in this process."""

    def __init__(self, order: CoordinatorOrder, scratch: Scratch) -> None:
        self._order = order
        home = scratch.own / "home"
        os.environ["BATCHMILL_HOME"] = order.home or str(home)
        order.credentials.take(scratch.own / "credentials")
        self._folder = RunFolder(home / "runs" / order.run_id)
        for path in (self._folder.path, self._folder.parts, self._folder.slots, self._folder.logs):
            path.mkdir(parents=True, exist_ok=True)
        started_in = str(order.description["folder"])
        description = {**order.description, "folder": started_in if os.path.isdir(started_in) else str(home)}
        atomic_write(self._folder.settings, json.dumps(description))
        self._store = RunStore(order.output, order.run_id, float(description["settings"]["retry_timeout"]))
        self._beat = CoordinatorBeat(self._store, self._folder.cancel_request)

    def carry_out(self) -> RunStatus:
        over = self._over()
        if over is not None:
            return over
        self._beat.start()
        try:
            coordinator = ClusterCoordinator(self._folder, self._order, self._store, self._beat)
            coordinator.prepare()
            return coordinator.carry_out().status
        except LedgerFencedError:
            raise  # another one goes on
        except BatchmillError as error:
            self._beat.refused(error)
            raise
        finally:
            self._beat.stop()
            remove_proofs(self._order.proofs)

    def _over(self) -> RunStatus | None:
        """How the run has ended in an earlier incarnation of this actor, which died before it could leave."""
        ledger = SegmentedLedger(self._folder.ledger, self._store.files)
        try:
            ended = ledger.status.ended and ledger.status is not RunStatus.INTERRUPTED
            return ledger.status if ended and ledger.epoch > self._order.epoch else None
        finally:
            ledger.close()
