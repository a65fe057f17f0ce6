"""The roll of the nodes that work for a run, and what is to be said when none does any more."""

from __future__ import annotations

from collections.abc import Iterable

from batchmill.parallel_run.events import InitFailed, NodeGaveUp, NodeLost


class NodeRoll:
    """Who is there. A run whose last node gave up ends; one whose last node was lost waits for others.

    Attributes:
        ever_ready: a worker process has finished init().
    """

    def __init__(self, nodes: Iterable[str], run_id: str) -> None:
        self._there = set(nodes)
        self._gone: set[str] = set()
        self._run_id = run_id
        self._lost: NodeLost | None = None
        self._failures = 0
        self.ever_ready = False

    def joined(self, node: str) -> None:
        self._there.add(node)
        self._gone.discard(node)

    def init_failed(self, event: InitFailed) -> None:
        self._failures += 1

    def gave_up(self, event: NodeGaveUp, nodes: Iterable[str]) -> str | None:
        """Why the run fails, when that was the last of the nodes; some of them may be on their way, in place of those that were lost."""
        self._there.discard(event.node)
        self._gone.add(event.node)
        if not self._gone.issuperset(nodes) or self._there:
            return None
        error = f"{event.error.error_class}: {event.error.message}"
        if not self._failures:
            return f"{event.node} gave up: {error}"
        what = "no worker process stays alive" if self.ever_ready else "init() of the entry script failed"
        return f"{what} {self._failures} times, the last time with {error}"

    def lost(self, event: NodeLost) -> None:
        self._there.discard(event.node)
        self._gone.add(event.node)
        self._lost = event

    def no_progress(self, limit: float) -> str:
        """Why the run fails when nothing has happened for ``limit`` seconds."""
        if self._there or self._lost is None:
            return f"No mini-batch ended within {limit:g} seconds (progress_update_timeout)."
        return (
            f"No node is left, and none joined within {limit:g} seconds (progress_update_timeout). {self._lost.node} was lost last "
            f"({self._lost.reason}). Give the cluster nodes again, then: batchmill resume {self._run_id}"
        )
