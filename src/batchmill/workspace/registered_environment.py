"""Environments in the registry: their definitions, with passwords and credentials sealed, and how one is found by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import SecretError
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.secret import SEALED, Secret, unseal
from batchmill.workspace.url_credentials import credentials_in, hide_credentials

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.workspace import Workspace

KIND = "environment"
LATEST = "latest"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


def register_environment(workspace: Workspace, environment: Environment) -> Asset:
    """Add a version, unless the newest one is the same.

    Raises:
        UserErrorException: it has a name that no environment may have, or cannot be meant as it is.
    """
    if NAME.fullmatch(environment.name) is None:
        raise UserErrorException(
            f"An environment cannot be called {environment.name!r}: a name has 1 to 255 letters, digits, '-', '_' and '.'."
        )
    environment.docker.check()
    newest = workspace.registry.get(KIND, environment.name)
    definition = sealed_definition(environment, newest.definition if newest else {})
    return workspace.registry.add(KIND, environment.name, definition, same="existing")


def find_environment(workspace: Workspace, name: str, version: str | int | None = None, label: str | None = None) -> Asset:
    """The registered environment of that name; version None or ``latest``: the newest.

    Raises:
        UserErrorException: there is none.
    """
    wanted = label if label is not None else version
    newest = wanted is None or str(wanted).lower() == LATEST
    number = None if newest else int(str(wanted)) if str(wanted).isdecimal() and label is None else -1
    asset = workspace.registry.get(KIND, name, number) if number != -1 else None
    if asset is not None:
        return asset
    if workspace.registry.get(KIND, name) is not None:
        said = f"label '{label}'" if label is not None else f"version {wanted}"
        raise UserErrorException(f"Environment '{name}' has no {said} in workspace {workspace.name}.")
    near = difflib.get_close_matches(name, workspace.registry.names(KIND), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else " batchmill environment list shows them."
    raise UserErrorException(f"There is no environment '{name}' in workspace {workspace.name}.{hint}")


def environment_of_id(workspace: Workspace, id: str, name: str, version: int) -> Asset:
    """The environment with an asset id; ``name`` and ``version`` are what it was registered as.

    Raises:
        UserErrorException: it has been removed.
    """
    asset = workspace.registry.by_id(KIND, id)
    if asset is None:
        raise UserErrorException(
            f"Version {version} of environment '{name}', with which the run was begun, has been removed from workspace {workspace.name}. "
            "Begin the run anew with another one."
        )
    return asset


def split_name(text: str) -> tuple[str, str | None]:
    """``NAME`` or ``NAME:VERSION`` -> (name, version)."""
    name, _, version = text.partition(":")
    return name, version or None


def sealed_definition(environment: Environment, previous: dict[str, Any]) -> dict[str, Any]:
    """What the registry keeps; a secret that the previous definition holds too keeps its seal, so that the same stays the same."""
    values = environment.to_dict(secrets=True)
    for key in ("name", "version", "assetId"):
        del values[key]
    python = values["python"]
    if environment.python.conda_dependencies_file:
        from batchmill.workspace.environment import conda_file

        python |= {"condaDependencies": conda_file(environment.python.conda_dependencies_file).as_dict(), "condaDependenciesFile": None}
    seal = _Sealer(previous)
    registry = values["docker"]["baseImageRegistry"]
    registry["password"] = seal.text(registry["password"])
    if (python["condaDependencies"] or {}).get("channels"):
        python["condaDependencies"]["channels"] = [seal.line(channel) for channel in python["condaDependencies"]["channels"]]
    for item in (python["condaDependencies"] or {}).get("dependencies") or []:
        if isinstance(item, dict):
            item["pip"] = [seal.line(line) for line in _complete(item.get("pip") or [])]
    return values


def opened(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition with its secrets in the open, for a run.

    Raises:
        SecretError: a secret was sealed with another key.
    """
    import copy

    values = copy.deepcopy(definition)
    registry = values["docker"]["baseImageRegistry"]
    if registry.get("password"):
        registry["password"] = Secret(registry["password"]).reveal()
    for lines in _lines(values):
        lines[:] = [line if isinstance(line, str) else unseal(line["sealed"]) for line in lines]
    return values


def shown_environment(asset: Asset) -> Environment:
    """A registered environment without its secrets, as it may be shown; no key is needed to read it."""
    import copy

    from batchmill.workspace.environment import Environment

    values = copy.deepcopy(asset.definition)
    values["docker"]["baseImageRegistry"]["password"] = None
    for lines in _lines(values):
        lines[:] = [line if isinstance(line, str) else line["shown"] for line in lines]
    return Environment.from_dict(values | {"name": asset.name, "version": asset.version})


def _lines(definition: dict[str, Any]) -> Iterator[list[Any]]:
    """The lists of a definition that may hold sealed lines: channels, and the pip section."""
    packages = definition.get("python", {}).get("condaDependencies") or {}
    if packages.get("channels"):
        yield packages["channels"]
    for item in packages.get("dependencies") or []:
        if isinstance(item, dict):
            yield item["pip"]


def _complete(lines: list[str]) -> list[str]:
    """Files that ``-r`` names are read now: a registered environment is complete in itself."""
    from batchmill.workspace.pip_requirements import flattened

    return flattened(lines, Path.cwd())


class _Sealer:
    """Seals texts, but gives a text that the previous definition holds the seal it has there."""

    def __init__(self, previous: dict[str, Any]) -> None:
        self._known: dict[str, str] = {}
        password = previous.get("docker", {}).get("baseImageRegistry", {}).get("password")
        sealed = [password] if isinstance(password, str) and password.startswith(SEALED) else []
        for lines in _lines(previous):
            sealed += [line["sealed"] for line in lines if isinstance(line, dict)]
        for text in sealed:
            with suppress(SecretError):  # sealed with a key that is gone: what comes now is something new
                self._known[unseal(text)] = text

    def text(self, text: str | None) -> str | None:
        return None if text is None else self._known.get(text) or Secret(text).stored()

    def line(self, line: str) -> str | dict[str, str]:
        """A line of the pip section: as it is, or sealed with what of it may be shown."""
        if not credentials_in(line):
            return line
        return {"sealed": str(self.text(line)), "shown": hide_credentials(line)}
