"""Making the rows of finished mini-batches durable before anybody is told of them.

On one machine that means to sync the part files where they lie. On a cluster the rows leave the node (`segment_sync`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from batchmill.errors import BatchmillError
from batchmill.parallel_run.events import Done
from batchmill.storage.files import fsync_folder

EVERY = 0.1
SOON = 0.005
"""Seconds between two groups of outcomes, and when something waits for them."""


class PartsLostError(BatchmillError):
    """Finished mini-batches cannot be made durable: their node is of no use any more."""


class PartSync(Protocol):
    """Takes outcomes whose bytes lie in a part file, and hands them out again when the bytes are durable.

    Nothing here waits for a network. ``hurry``: somebody has nothing to do until the outcomes are told. ``behind``: so much is not
    durable yet that the node shall begin nothing more. ``wake``: a descriptor that is readable when `sync` has news, -1 for none.
    """

    wake: int

    @property
    def waiting(self) -> bool:
        """Whether outcomes have been added that were not handed out."""

    @property
    def behind(self) -> bool: ...

    def add(self, part: Path, done: Done) -> None:
        """A worker has appended the bytes of an outcome to its part file."""

    def ended(self, part: Path) -> None:
        """The worker process of this part file is gone."""

    def due(self, now: float, *, hurry: bool) -> float:
        """Seconds until `sync` has something to do."""

    def sync(self, now: float, *, hurry: bool) -> list[Done]:
        """Outcomes that are durable now.

        Raises:
            OSError: a part file is not what its worker said.
            PartsLostError: what waits will never be durable (`lost`).
        """

    def lost(self) -> list[Done]:
        """Give up everything that waits."""

    def heard(self) -> None:
        """The wake descriptor was readable."""

    def close(self) -> None: ...


class LocalSync:
    """Group sync of part files that stay where they are: one sync a file, then the folder for files that are new."""

    wake = -1
    behind = False

    def __init__(self) -> None:
        self._pending: list[tuple[Path, Done]] = []
        self._descriptors: dict[Path, int] = {}
        self._ended: set[Path] = set()
        self._synced_at = 0.0

    @property
    def waiting(self) -> bool:
        return bool(self._pending)

    def add(self, part: Path, done: Done) -> None:
        self._pending.append((part, done))

    def ended(self, part: Path) -> None:
        self._ended.add(part)

    def due(self, now: float, *, hurry: bool) -> float:
        return self._synced_at + (SOON if hurry else EVERY) - now if self._pending else EVERY

    def sync(self, now: float, *, hurry: bool) -> list[Done]:
        pending, self._pending = self._pending, []
        ends: dict[Path, int] = {}
        for part, done in pending:
            if done.length:
                ends[part] = done.offset + done.length
        new = [part for part in ends if part not in self._descriptors]
        for part, end in ends.items():
            self._sync(part, end)
        for folder in {part.parent for part in new}:
            fsync_folder(folder)
        self._synced_at = now
        self._close(self._ended)
        return [done for _, done in pending]

    def _sync(self, part: Path, end: int) -> None:
        descriptor = self._descriptors.get(part)
        if descriptor is None:
            descriptor = self._descriptors[part] = os.open(part, os.O_RDONLY)
        if os.fstat(descriptor).st_size < end:
            raise OSError(f"part file {part.name} is shorter than its worker reported")
        os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)

    def lost(self) -> list[Done]:
        pending, self._pending = self._pending, []
        return [done for _, done in pending]

    def heard(self) -> None:
        """Nobody wakes it."""

    def close(self) -> None:
        self._close(set(self._descriptors))

    def _close(self, parts: set[Path]) -> None:
        for part in parts:
            descriptor = self._descriptors.pop(part, None)
            if descriptor is not None:
                os.close(descriptor)
        self._ended.clear()
