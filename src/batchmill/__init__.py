"""Batchmill: self-hosted batch inference with one fate for every item.

>>> import batchmill
>>> run = batchmill.run("score.py", inputs="images/", mini_batch_size=10)   # doctest: +SKIP
>>> run.wait().status                                                        # doctest: +SKIP
<RunStatus.COMPLETED: 'Completed'>

Public names load on first use (PEP 562), so ``import batchmill`` costs next to nothing. This module is also read by worker
processes: standard library only, Python 3.9.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # what a type checker takes for true; typing itself would be most of the time that this import takes
if TYPE_CHECKING:
    from typing import Any

    from batchmill.errors import BatchmillError as BatchmillError
    from batchmill.parallel_run.run import Run as Run
    from batchmill.parallel_run.run import run as run
    from batchmill.worker.entry_script import EntryScript as EntryScript

__version__ = "0.1.0"
__all__ = ["BatchmillError", "EntryScript", "Run", "__version__", "run"]

_HOMES = {
    "BatchmillError": "batchmill.errors",
    "EntryScript": "batchmill.worker.entry_script",
    "Run": "batchmill.parallel_run.run",
    "run": "batchmill.parallel_run.run",
    "testing": "batchmill.testing",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'batchmill' has no attribute {name!r}")
    module = importlib.import_module(home)
    value = module if home == f"batchmill.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
