"""The local engine: N nodes on this machine, driven by one selector loop in the coordinator's process."""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from batchmill.nodes.guardian import Guardian
from batchmill.nodes.node import Node
from batchmill.nodes.part_sync import PartSync
from batchmill.nodes.reserve import Reserve
from batchmill.parallel_run.events import Asked, Event, NodeConfig, Task
from batchmill.worker.slots import Slots

TICK = 0.05
HEAR_EVERY = 0.02


class LocalEngine:
    """Runs ``node_count`` nodes as `Node` objects in this process; their workers are processes of their own.

    ``reserve``: processes started ahead for the first node. ``granted``: nodes to begin with, where others are still busy (`grow`).
    ``most``: nodes that it may ever have; those of the run when others have none of them. ``first_node``: the number of its first node.
    ``parts``: makes the part sync of a node, by its name; part files stay where they are without it.
    """

    speculates = False

    def __init__(
        self,
        config: NodeConfig,
        reserve: Reserve | None = None,
        granted: int | None = None,
        *,
        most: int | None = None,
        first_node: int = 0,
        parts: Callable[[str], PartSync] | None = None,
    ) -> None:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited from whoever started us; the kernel would hide how workers end
        self._config = config
        self._most = config.node_count if most is None else most
        self._first_node = first_node
        self._parts = parts
        self._selector = selectors.DefaultSelector()
        folder = config.run_folder / "slots"
        folder.mkdir(exist_ok=True)
        path = folder / f"epoch{config.epoch}"
        self._slots = Slots(str(path), self._most * config.workers, create=True)
        for slot in range(self._slots.count):
            self._slots.clear(slot)
        self._guardian = Guardian(str(path))
        self._nodes: dict[str, Node] = {}
        self._add(self._most if granted is None else min(granted, self._most), reserve)
        self._ticked = 0.0
        self._woken = False
        self._closed = False

    def _add(self, count: int, reserve: Reserve | None = None) -> list[str]:
        workers, first = self._config.workers, len(self._nodes)
        numbers = range(first, min(first + count, self._most))
        names = [f"node{self._first_node + number}" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            own = None if number else reserve
            parts = None if self._parts is None else self._parts(name)
            self._nodes[name] = Node(name, self._config, self._slots, number * workers, self._selector, own, parts)
        return names

    @property
    def nodes(self) -> Sequence[str]:
        return list(self._nodes)

    def grow(self, count: int) -> Sequence[str]:
        names = self._add(count)
        for name in names:
            self._nodes[name].start()
        return names

    @property
    def processes(self) -> list[tuple[str, int]]:
        """The worker processes that live now: ``node0/process001`` and pid."""
        return [(f"{name}/{worker.name}", worker.pid) for name, node in self._nodes.items() for worker in node.workers.values()]

    def start(self) -> None:
        for node in self._nodes.values():
            node.start()

    def give(self, node: str, tasks: Iterable[Task]) -> None:
        self._nodes[node].give(tasks)
        self._ticked = 0.0

    def revoke(self, node: str, token: int) -> None:
        self._nodes[node].revoke(token)
        self._ticked = 0.0

    def drain(self, node: str) -> None:
        """The node ends what it has begun, gives the rest back and asks for nothing more."""
        self._nodes[node].drain()
        self._ticked = 0.0

    def step(self, timeout: float) -> list[Event]:
        deadline = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            due = min(node.due(now) for node in self._nodes.values())
            for key, _ in self._selector.select(max(0.0, min(due, deadline - now, self._ticked + TICK - now))):
                key.data()
            now = time.monotonic()
            events: list[Event] = []
            for node in self._nodes.values():
                node.tick(now)
                events += node.take_events(now)
            self._ticked = now
            woken, self._woken = self._woken, False
            if events or woken or now >= deadline or not any(node.workers for node in self._nodes.values()):
                return events

    def wake_on(self, descriptor: int, heard: Callable[[], None]) -> None:
        """Have `step` return early, after calling ``heard``, whenever the descriptor is readable."""

        def wake() -> None:
            heard()
            self._woken = True

        self._selector.register(descriptor, selectors.EVENT_READ, wake)

    def answer(self, asked: Asked, answer: dict[str, Any]) -> None:
        self._nodes[asked.node].answer(asked, answer)

    def finish(self, hear: Callable[[list[Event]], None]) -> None:
        for node in self._nodes.values():
            node.finish()
        while any(node.busy for node in self._nodes.values()):
            hear(self.step(HEAR_EVERY))
        for node in self._nodes.values():
            node.close()
        self._close()

    def abort(self) -> None:
        for node in self._nodes.values():
            node.abort()
        self._close()

    def _close(self) -> None:
        if self._closed:
            return  # what comes after the last worker may fail, and then everything is aborted
        self._closed = True
        self._guardian.close()
        self._selector.close()
        self._slots.close()
        path = self._config.run_folder / "slots" / f"epoch{self._config.epoch}"
        if path.exists():
            os.unlink(path)
