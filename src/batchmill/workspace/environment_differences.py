"""What an environment asks for and the current interpreter has otherwise: ``tensorflow==1.13.1 wanted, 2.21.0 present``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.pip_requirements import local_path
from batchmill.workspace.python_versions import is_default, wanted_versions
from batchmill.workspace.url_credentials import hide_credentials

if TYPE_CHECKING:
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.environment_recipe import Recipe

CONDA = re.compile(r"^(?:[^\s:]+::)?([A-Za-z0-9_.-]+)\s*(.*)$")


def differences(environment: Environment, recipe: Recipe) -> list[str]:
    """Every wish of the environment that this interpreter does not fulfil, one line each; those that cannot be checked too."""
    found = [*_python(recipe), *_image(environment)]
    for package in recipe.conda:
        found += _conda(package)
    for line in (*recipe.pip.packages, *recipe.pip.brought):
        found += _pip(line)
    found += [f"{path} (editable) wanted, not looked for" for path in recipe.pip.editable]
    return found


def _python(recipe: Recipe) -> Iterator[str]:
    if is_default(recipe.python):
        return
    present = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = sys.version_info[:2] in wanted_versions(recipe.python, recipe.who)
    except EnvironmentBuildError:  # one that nothing here runs on
        fits = False
    if not fits:
        yield f"python {recipe.python} wanted, {present} present"


def _image(environment: Environment) -> Iterator[str]:
    if environment.docker.own_image is not None:
        yield f"{environment.docker.own_image} wanted, not used"


def _pip(line: str) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    shown = hide_credentials(line.split(" --hash")[0])
    try:
        requirement = Requirement(line.split(" --hash")[0])
    except InvalidRequirement:
        known = local_path(line) is not None or "://" in line
        yield f"{shown} wanted, {'not looked for' if known else 'which is no requirement'}"
        return
    if requirement.marker is not None and not requirement.marker.evaluate():
        return
    present = _present(requirement.name)
    if present is None:
        yield f"{shown} wanted, not installed"
    elif not requirement.specifier.contains(present, prereleases=True):
        yield f"{shown} wanted, {present} present"


def _conda(package: str) -> Iterator[str]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    found = CONDA.match(package)
    if found is None:
        yield f"{package} (conda) wanted, not looked for"
        return
    name, rule = found[1], found[2].strip().strip("[]")
    present = _present(name)
    if present is None:
        yield f"{package} (conda) wanted, not installed"
        return
    exact = re.match(r"^(={0,2})\s*(\d[^=\s]*)", rule)
    if exact:  # numpy=1.26 takes any 1.26.x, numpy==1.26 does not
        rule = f"=={exact[2]}" if exact[1] == "==" else f"=={exact[2].rstrip('.*')}.*"
    try:
        fits = SpecifierSet(rule).contains(present, prereleases=True)
    except InvalidSpecifier:
        yield f"{package} (conda) wanted, {present} present"
        return
    if not fits:
        yield f"{package} (conda) wanted, {present} present"


def _present(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
