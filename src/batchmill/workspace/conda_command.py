"""conda packages, through micromamba, mamba or conda where one of them is found: ``create --prefix``, which they all know."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import IO

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.environment_recipe import Recipe
from batchmill.workspace.uv_command import call

TOOLS = ("micromamba", "mamba", "conda")


def conda_tool(recipe: Recipe) -> str:
    """The first of the tools that is on PATH.

    Raises:
        EnvironmentBuildError: none is; names the packages that need it.
    """
    found = next((path for path in map(shutil.which, TOOLS) if path), None)
    if found is None:
        packages = ", ".join(recipe.conda)
        raise EnvironmentBuildError(
            f"{recipe.who} names conda packages ({packages}), and none of {', '.join(TOOLS)} is on PATH.",
            cure="Install micromamba; or name what there is on a package index as pip packages; or let user_managed_dependencies with "
            "interpreter_path name a Python that has them; or take this interpreter as it is with --environments current.",
        )
    return found


def create_conda_environment(recipe: Recipe, tool: str, prefix: Path, log: IO[str]) -> Path:
    """Make an environment with Python and the conda packages of the recipe; returns its interpreter."""
    python = f"python{_rule(recipe.python)}"
    channels = [word for channel in recipe.channels for word in ("--channel", channel)]
    words = [tool, "create", "--yes", "--prefix", str(prefix), *channels, python, *recipe.conda]
    call(words, prefix.parent, log, {"CONDA_ALWAYS_YES": "true", "MAMBA_NO_BANNER": "1"})
    return prefix / "bin" / "python"


def _rule(version: str | None) -> str:
    if version is None:
        return ""
    return f"={version}" if version[0].isdigit() else version


def conda_packages_in(prefix: Path) -> list[list[str]]:
    """What was installed: name, version and build of each package, from the records that conda leaves."""
    found = []
    for record in sorted((prefix / "conda-meta").glob("*.json")):
        values = json.loads(record.read_text(encoding="utf-8"))
        found.append([str(values.get("name")), str(values.get("version")), str(values.get("build", ""))])
    return found


def conda_cause(output: str) -> str:
    """One line of what the tool said: what it could not find, else its last error.

    >>> conda_cause("PackagesNotFoundError: not available from current channels:\\n\\n  - nosuch=1\\n\\nCurrent channels:\\n")
    'PackagesNotFoundError: not available from current channels: nosuch=1'
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if re.search(r"error|not available|nothing provides|could not", line, re.IGNORECASE):
            items = [item.lstrip("-└├─ ") for item in lines[number + 1 : number + 6] if item.startswith(("-", "└", "├"))]
            return f"{line.rstrip(':')}: {', '.join(items)}" if items else line
    return lines[-1] if lines else "it said nothing"
