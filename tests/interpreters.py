"""The bare Python interpreters of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> str | None:
    """A bare interpreter of this machine."""
    for root in (Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions", Path("/usr")):
        for candidate in sorted(root.glob(f"{version}.*/bin/python")):
            return str(candidate)
    return shutil.which(f"python{version}")
