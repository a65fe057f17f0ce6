"""A recipe: all that decides what a built environment holds. Equal recipes have equal keys, and share one build."""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.workspace.conda_dependencies import conda_name
from batchmill.workspace.pip_requirements import PipRequirements, read_requirements
from batchmill.workspace.python_versions import is_default, this_python
from batchmill.workspace.url_credentials import hide_credentials

if TYPE_CHECKING:
    from batchmill.workspace.environment import Environment

BUILDER_VERSION = 1
"""Rises when the same recipe would be built differently: builds of older builders are not used any more."""

TABLES = ("pandas", "pyarrow")
INSTALLER = "pip"
"""A conda package that is understood without conda: what installs the others."""

LEFT_OUT = {".git", "__pycache__", "build", "dist", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
KEY_LENGTH = 24


@dataclass(frozen=True)
class Recipe:
    """What is to be built; ``name`` is the environment's, for messages."""

    name: str
    python: str | None
    conda: tuple[str, ...]
    channels: tuple[str, ...]
    pip: PipRequirements
    tables: bool = False

    @property
    def who(self) -> str:
        return f"Environment '{self.name}'"

    @property
    def empty(self) -> bool:
        """Does it name no package beyond the defaults, and no Python of its own?"""
        return self.pip.empty and not self.conda and is_default(self.python)

    @cached_property
    def key(self) -> str:
        """A hash of everything that decides what is built, this platform among it; credentials are no part of it."""
        pip = self.pip
        shown = {
            "packages": [*pip.packages, *pip.brought],
            "editable": pip.editable,
            "constraints": pip.constraints,
            "options": [f"{name} {value}" for name, value in pip.options],
        }
        parts: dict[str, Any] = {
            "builder": BUILDER_VERSION,
            "platform": sysconfig.get_platform(),
            "python": self.python or list(this_python().minor),
            "conda": sorted(self.conda),
            "channels": [hide_credentials(channel) for channel in self.channels] if self.conda else (),
            "pip": {name: sorted(hide_credentials(line) for line in lines) for name, lines in shown.items()},
            "local": {str(path): content_digest(path, editable=str(path) in pip.editable) for path in pip.local_paths()},
            "tables": self.tables,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]

    def with_tables(self) -> Recipe:
        """The same with what workers need to read tables."""
        return replace(self, tables=not all(self.pip.names(package) for package in TABLES))

    def summary(self) -> str:
        """``six, idna==3.4 and 3 more``, as it may be shown."""
        lines = [hide_credentials(line) for line in (*self.conda, *self.pip.packages, *self.pip.brought, *self.pip.editable)]
        if not lines:
            return "no packages"
        return ", ".join(lines[:4]) + (f" and {len(lines) - 4} more" if len(lines) > 4 else "")


def recipe_of(environment: Environment, folder: Path | None = None) -> Recipe:
    """The recipe of an environment; its relative paths are meant from ``folder``, default the current one.

    Raises:
        UserErrorException: a file it names is missing, or something in it is not understood.
    """
    from batchmill.workspace.environment import conda_file

    python, base = environment.python, folder or Path.cwd()
    packages = conda_file(base / python.conda_dependencies_file) if python.conda_dependencies_file else python.dependencies()
    conda = tuple(package for package in packages.conda_packages if conda_name(package) != INSTALLER)
    pip = read_requirements([*packages.pip_options, *packages.pip_packages], base)
    return Recipe(environment.name, packages.get_python_version(), conda, tuple(packages.conda_channels), pip)


def content_digest(path: Path, *, editable: bool = False) -> str | None:
    """A hash of a file, or of the files of a folder (of an editable one only of those that say what it needs); None if it is not there."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.is_dir():
        return None
    whole = hashlib.sha256()
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.endswith(".egg-info"))
        if editable:
            folders.clear()
        for name in sorted(names):
            if editable and name not in ("pyproject.toml", "setup.py", "setup.cfg"):
                continue
            file = Path(folder, name)
            if file.is_file() and not name.endswith(".pyc"):
                whole.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
                whole.update(file.read_bytes())
    return whole.hexdigest()
