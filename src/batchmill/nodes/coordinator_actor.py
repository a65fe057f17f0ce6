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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import batchmill
from batchmill.errors import BatchmillError, LedgerFencedError, UsageError
from batchmill.nodes.cluster_coordinator import ClusterCoordinator
from batchmill.nodes.coordinator_beat import CoordinatorBeat, told
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.earlier_shipment import EARLIER
from batchmill.nodes.path_proof import check_proofs, remove_proofs
from batchmill.nodes.scratch import Scratch
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.records import RunStatus
from batchmill.storage.files import atomic_write
from batchmill.workspace.ray_cluster import import_ray, is_replaced

PIECE = 64 << 10
CALL_AGAIN, SOON = 5.0, 0.1
"""Seconds for which a call of the actor by itself may be on its way, and until the next when that was refused."""
LINGER = 5.0
"""Seconds for which the actor of an ended run still answers a follower that asks how it went."""
DEATHS = 10
"""So many coordinators may die one after the other without any progress of the run; another one would, too."""


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
        self._actor = import_ray().get_runtime_context().current_actor
        self._begun = threading.Event()
        threading.Thread(target=_begin, args=(self._actor, self._begun), name="batchmill-begin", daemon=True).start()

    def carry_out(self) -> Mapping[str, Any]:
        """Do the work, whoever calls first; returns how it ended: ``status``, or the error that stopped it."""
        self._begun.set()
        if self._outcome is None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray blocks it
            try:
                status = _carry_out(self._order)
                if status is RunStatus.INTERRUPTED:
                    os._exit(1)  # its machine is being stopped: Ray starts it again on another
                self._outcome = {"status": str(status)}
            except BatchmillError as error:
                self._outcome = told(error)
            except BaseException as error:  # whatever it was: nobody else would end this actor
                traceback.print_exc()
                self._outcome = told(_unexpected(error))
            threading.Thread(target=_leave, args=(self._actor,), name="batchmill-leave", daemon=True).start()
        return self._outcome


def _begin(actor: Any, begun: threading.Event) -> None:
    """Call the actor that this process is, until it has heard: Ray refuses calls to one that it is just starting again."""
    ray = import_ray()
    while not begun.is_set():
        with suppress(Exception):
            ray.wait([actor.carry_out.remote()], timeout=CALL_AGAIN)
        begun.wait(SOON)


def _leave(actor: Any) -> None:
    """End this process for good: Ray would start an actor again that just ended. Not by its name, which may be a newer one's by now, and
    not the one that Ray has started in place of this process; as long as it takes, for the head may be away."""
    while True:
        time.sleep(LINGER)
        with suppress(Exception):
            if is_replaced():
                os._exit(0)
            import_ray().kill(actor, no_restart=True)


def _unexpected(error: BaseException) -> BatchmillError:
    return BatchmillError(f"The coordinator ended with {type(error).__name__}: {error}")


def _carry_out(order: CoordinatorOrder) -> RunStatus:
    scratch = Scratch(order.run_id, order.epoch, f"coordinator-{os.getpid()}")
    try:
        return _Incarnation(order, scratch).carry_out()
    finally:
        scratch.close()


def _check_version(order: CoordinatorOrder) -> None:
    if order.version != batchmill.__version__:
        raise UsageError(
            f"The cluster has Batchmill {batchmill.__version__}, and the run was begun with Batchmill {order.version}.",
            cure=f'Install the same on all nodes: pip install "batchmill[ray]=={order.version}"; nothing was started.',
        )


def _check_seen(order: CoordinatorOrder, unseen: Sequence[str]) -> None:
    """Refuse what would be found out too late; ``unseen`` are the paths of the order that are not here."""
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
        unseen = check_proofs(self._order.proofs)
        goes_on = False
        try:
            _check_version(self._order)
            if self._order.output in unseen:
                _check_seen(self._order, unseen)
            self._beat.start()  # the index of a long ledger takes minutes
            status = self._over()
            if status is None:
                _check_seen(self._order, unseen)
                status = self._work()
            goes_on = status is RunStatus.INTERRUPTED
            return status
        except LedgerFencedError:
            goes_on = True
            raise
        except Exception as error:
            self._beat.refused(error if isinstance(error, BatchmillError) else _unexpected(error))
            raise
        finally:
            self._beat.stop(over=not goes_on and self._order.output not in unseen)
            if not goes_on:  # else the proofs are still looked for
                remove_proofs(self._order.proofs)

    def _work(self) -> RunStatus:
        coordinator = ClusterCoordinator(self._folder, self._order, self._store, self._beat)
        coordinator.prepare()
        return coordinator.carry_out().status

    def _over(self) -> RunStatus | None:
        """How the run has ended in an earlier incarnation of this actor, which died before it could leave, or ends now, after too many."""
        ledger = SegmentedLedger(self._folder.ledger, self._store.files)
        try:
            ended = ledger.status.ended and ledger.status is not RunStatus.INTERRUPTED
            deaths = int(ledger.meta("deaths") or 0)
            if not ended and deaths >= DEATHS:
                ledger.claim()
                cause = f"The coordinator died {deaths} times one after the other without any progress."
                cure = f"The logs of Ray may say why (memory?). Then: batchmill resume {self._order.run_id}"
                ledger.end(RunStatus.FAILED, f"{cause} {cure}", ledger.counts())
            elif not ended or ledger.epoch <= self._order.epoch:
                return None
            self._clean_up(ledger)
            return ledger.status
        finally:
            ledger.close()

    def _clean_up(self, ledger: Ledger) -> None:
        """What the one that died had left to do."""
        if ledger.status is RunStatus.COMPLETED:
            with suppress(BatchmillError):
                self._store.remove_spent()
                self._store.files.clear(EARLIER)
        self._beat.ended(ledger.status, ledger.counts(), None)
