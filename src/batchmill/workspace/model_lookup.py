"""Which model is meant: by name, version, id, tags, properties, or by a text ``NAME:VERSION``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import ModelNotFoundException, WebserviceException

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.workspace import Workspace

KIND = "model"


def resolve_model(ws: Workspace, name: str, version: int | str | None = None) -> Asset:
    """One version of a model, the newest by default; ``version`` may be a text, as in ``NAME:VERSION``.

    Raises:
        WebserviceException: the version is no whole number.
        ModelNotFoundException: there is no such model, or no such version.
    """
    number = None if version is None else whole_number(version)
    asset = ws.registry.get(KIND, name, number)
    if asset is None:
        raise ModelNotFoundException(f"Model/Version {name}/{number} not found in workspace. {_hint(ws, name)}")
    return asset


def model_of_id(ws: Workspace, id: str, name: str, version: int) -> Asset:
    """The model with an asset id; ``name`` and ``version`` are what it was registered as.

    Raises:
        ModelNotFoundException: it has been removed.
    """
    asset = ws.registry.by_id(KIND, id)
    if asset is None:
        raise ModelNotFoundException(
            f"Model/Version {name}/{version} not found in workspace. The run was begun with it, and it has been removed since."
        )
    return asset


def labelled_model(ws: Workspace, text: str) -> Asset:
    """The model that a text ``NAME`` or ``NAME:VERSION`` names.

    Raises:
        WebserviceException: as `resolve_model`.
    """
    name, colon, version = text.partition(":")
    return resolve_model(ws, name, version if colon else None)


def whole_number(version: Any) -> int:
    """A version, as a number.

    Raises:
        WebserviceException: it is none.
    """
    if isinstance(version, str) and version.isdecimal():
        return int(version)
    if isinstance(version, int):
        return version
    raise WebserviceException("version should be an int")


def _hint(ws: Workspace, name: str) -> str:
    registered = ws.registry.names(KIND)
    if name in registered:
        versions = [str(asset.version) for asset in ws.registry.list(KIND, name=name, all_versions=True, limit=10)]
        return f"Workspace {ws.name} has these versions of it: {', '.join(versions)}."
    near = difflib.get_close_matches(name, registered, n=1)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Workspace {ws.name} has no model of that name. Register it: batchmill model create {name} PATH"


Filter = Mapping[str, Any] | Iterable[str | Iterable[str]] | str | None
"""Tags or properties as Azure ML takes them: a key, or a list of keys and of pairs of key and value; a mapping works as well."""


def labels_of(wanted: Filter) -> dict[str, Any]:
    """A filter as the registry takes it: key -> value, None where any value will do.

    >>> labels_of(["area", ["kind", "digits"]])
    {'area': None, 'kind': 'digits'}
    """
    if wanted is None:
        return {}
    if isinstance(wanted, Mapping):
        return {str(key): None if value is None else str(value) for key, value in wanted.items()}
    labels: dict[str, Any] = {}
    for one in [wanted] if isinstance(wanted, str) else wanted:
        pair = [one] if isinstance(one, str) else list(one)
        if len(pair) not in (1, 2):
            raise WebserviceException(f"A filter is a key or a pair of key and value, and {one!r} is neither.")
        labels[str(pair[0])] = str(pair[1]) if len(pair) == 2 else None
    return labels
