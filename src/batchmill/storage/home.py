"""The batchmill home: where runs, workspaces and caches lie when nothing else is said."""

from __future__ import annotations

import os
from pathlib import Path

OWN = (
    "runs",
    "workspaces",
    "environments",
    "cache",
    "previews",
    "reuse",
    "secret.key",
    "service.token",
    "workspace.sqlite",
    "workspace.sqlite-wal",
    "workspace.sqlite-shm",
    "workspace.sqlite.lock",
)
"""What lies in a home."""


def home() -> Path:
    """The batchmill home: ``BATCHMILL_HOME``, default ``~/.batchmill``; read at each use."""
    return Path(os.environ.get("BATCHMILL_HOME") or Path.home() / ".batchmill").absolute()


def home_places() -> list[Path]:
    """The home, and each thing in it: for whoever copies a folder that may hold them, or that they may hold.

    Copying them would carry the key of the secrets away, and closing a copied database takes the locks that this process has on it.
    """
    return [home(), *(home() / name for name in OWN)]
