"""Keeps the nodes of compute targets on a Ray cluster: asks its autoscaler for what is wanted, and for less when idle times are over.

The autoscaler knows one request for the whole cluster, and each call replaces the one before. So one process of the cluster asks for the
sum over all compute targets, those of other workspaces too (`batchmill.workspace.ray_autoscaler`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from batchmill.workspace.kept_nodes import KeptNodes, Picture, bundles_for

Bundles = list[dict[str, float]]


class NodeKeeping:
    """What is told comes in from any thread; `look` is called every second or so.

    ``ask`` hands a request to the autoscaler, ``whole_nodes`` tells the cores of the Ray nodes there are. ``save`` and ``load`` keep what
    is known where it outlives this process. All of them may fail while the head of the cluster is away: the next look does it again.
    """

    def __init__(
        self,
        *,
        ask: Callable[[Bundles], None],
        whole_nodes: Callable[[], list[float]],
        load: Callable[[], bytes | None],
        save: Callable[[bytes], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ask, self._whole_nodes, self._save, self._clock = ask, whole_nodes, save, clock
        self._lock = threading.Lock()
        content = load()
        self._pools = KeptNodes() if content is None else _loaded(content)
        self._known = content is not None
        self._saved = True
        self._asked: Bundles | None = None

    def told(self, key: str, picture: Picture) -> None:
        """Somebody has looked at the pool of a compute target."""
        with self._lock:
            self._pools.told(key, picture, self._clock())
            self._known, self._saved = True, False
        self.look()

    def forget(self, key: str) -> None:
        """A compute target has been removed."""
        with self._lock:
            self._pools.forget(key)
            self._known, self._saved = True, False
        self.look()

    def pictures(self) -> dict[str, Picture]:
        """The pools of all compute targets as they are now."""
        with self._lock:
            now = self._clock()
            self._pools.wanted(now)
            return self._pools.pictures(now)

    def look(self) -> None:
        """Ask for something else where something else is wanted. Before anything is known nothing is asked for: what an earlier process
        asked for stands."""
        with self._lock:
            if not self._known:
                return
            now = self._clock()
            wanted = self._pools.wanted(now)
            whole = self._whole_nodes() if any(not one.bundle for one in wanted) else []
            bundles = bundles_for(wanted, whole)
            if bundles != self._asked:
                self._ask(bundles)
                self._asked, self._saved = bundles, False
            if not self._saved:
                self._save(json.dumps({"at": now, "pools": self._pools.pictures(now)}).encode())
                self._saved = True


def _loaded(content: bytes) -> KeptNodes:
    told: Mapping[str, Any] = json.loads(content)
    return KeptNodes(told["pools"], told["at"])
