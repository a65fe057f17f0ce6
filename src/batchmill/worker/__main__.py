"""Start of a worker process: ``PYTHON .../batchmill/worker/__main__.py READ_FD WRITE_FD [tables]``.

The interpreter may be one that has no Batchmill installed, so the package is loaded from the folder this file lies in, and nothing
else of that folder's neighbourhood gets on ``sys.path``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


def _load_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    package = os.path.dirname(here)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.util.spec_from_file_location("batchmill", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise ImportError(f"Batchmill's package folder {package} cannot be read.")
    module = importlib.util.module_from_spec(spec)
    sys.modules["batchmill"] = module
    spec.loader.exec_module(module)


def _load_ahead() -> None:
    """What reads tables takes longest to load, and there is time while the plan is made; what is missing is missed by the reader."""
    for name in ("pyarrow.csv", "pandas"):
        try:
            importlib.import_module(name)
        except Exception:
            return


def main() -> None:
    """Body of the process."""
    _load_package()
    from batchmill.worker.loop import work

    if sys.argv[3:] == ["tables"]:
        _load_ahead()
    work(int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
