"""``python -m batchmill``: the same as the ``batchmill`` command."""

from __future__ import annotations

import sys

from batchmill.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
