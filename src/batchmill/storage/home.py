"""The batchmill home: where runs, workspaces and caches lie when nothing else is said."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The batchmill home: ``BATCHMILL_HOME``, default ``~/.batchmill``; read at each use."""
    return Path(os.environ.get("BATCHMILL_HOME") or Path.home() / ".batchmill").absolute()
