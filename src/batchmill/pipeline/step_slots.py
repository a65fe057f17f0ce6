"""Who of the steps of a run may work now: at most as many at once as this machine has cores, or as a compute target has nodes for us."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from batchmill.errors import RegistryError
from batchmill.workspace.pool_lease import POLL

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace

Stopped = Callable[[], bool]
Announce = Callable[[str], None]


class StepSlots:
    """The places for the script steps of one run.

    ``changed`` is notified when a place becomes free, and by whoever makes ``stopped`` true. Steps of one kind of place get theirs in the
    order in which they asked.
    """

    def __init__(self, workspace: Workspace, run_id: str, cores: int, changed: threading.Condition) -> None:
        self._workspace, self._run_id, self._changed = workspace, run_id, changed
        self._free = cores
        self._queues: dict[str | None, deque[object]] = {}

    @contextmanager
    def here(self, stopped: Stopped) -> Iterator[bool]:
        """A place on this machine for the block; False where ``stopped`` was sooner."""
        with self._turn(None, stopped, lambda: self._free > 0) as mine:
            if mine:
                self._free -= 1
        if not mine:
            yield False
            return
        try:
            yield True
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    @contextmanager
    def on(self, compute: str, nodes: int, stopped: Stopped, announce: Announce) -> Iterator[bool]:
        """Nodes of a compute target for the block; False where ``stopped`` was sooner.

        One step of the run at a time waits in the queue of the target, so that others get their turn, and few ask the database.

        Raises:
            ComputeTargetException: there is no such target.
            UserErrorException: it never has so many nodes.
        """
        from batchmill.workspace.pool_lease import acquire

        lease = None
        with self._turn(compute, stopped, lambda: True, keep=True) as mine:
            if mine:
                lease = acquire(
                    self._workspace, compute, self._run_id, nodes, stopped=stopped, announce=announce, pause=lambda: self._pause()
                )
        if lease is None:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(RegistryError):  # its nodes are free when this process ends
                lease.release()
            with self._changed:
                self._changed.notify_all()

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait(POLL)

    @contextmanager
    def _turn(self, queue: str | None, stopped: Stopped, ready: Callable[[], bool], *, keep: bool = False) -> Iterator[bool]:
        """Wait until nobody is before us and ``ready``; with ``keep`` nobody comes after us before the block ends."""
        me = object()
        with self._changed:
            waiting = self._queues.setdefault(queue, deque())
            waiting.append(me)
            try:
                self._changed.wait_for(lambda: stopped() or (waiting[0] is me and ready()))
                mine = not stopped()
                if not keep:
                    yield mine
            except BaseException:
                waiting.remove(me)
                raise
            if not keep:
                self._leave(waiting, me)
                return
        try:
            yield mine
        finally:
            with self._changed:
                self._leave(waiting, me)

    def _leave(self, waiting: deque[object], me: object) -> None:
        waiting.remove(me)
        self._changed.notify_all()
