"""One registered thing, and the dict-like views of all things of a kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, KeysView, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from batchmill.workspace.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asset:
    """What the registry keeps of one version of a datastore, dataset, model, environment or compute target.

    ``version`` counts from 1 and stays 1 for kinds without versions; ``name`` is None where something was saved but not registered;
    ``digest`` is the SHA-256 of the definition; moments are UTC.
    """

    kind: str
    id: str
    name: str | None
    version: int
    definition: dict[str, Any]
    digest: str
    created: datetime
    modified: datetime
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: everything but the definition, whose form is its kind's."""
        return {
            "kind": self.kind,
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "tags": self.tags,
            "properties": self.properties,
            "created": self.created.isoformat(),
            "modified": self.modified.isoformat(),
        }


def digest_of(definition: Mapping[str, Any]) -> str:
    """SHA-256 of the definition as canonical JSON: the same for the same content, whatever the order of its keys."""
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AssetMapping(Mapping[str, T]):
    """``ws.datasets`` and its like: names in order, each object made when it is asked for, always what the registry holds now."""

    def __init__(self, registry: Registry, kind: str, make: Callable[[Asset], T]) -> None:
        self._registry, self._kind, self._make = registry, kind, make

    def __getitem__(self, name: str) -> T:
        asset = self._registry.get(self._kind, name)
        if asset is None:
            raise KeyError(name)
        return self._make(asset)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._registry.get(self._kind, name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.names(self._kind))

    def __len__(self) -> int:
        return len(self._registry.names(self._kind))

    def keys(self) -> KeysView[str]:
        return dict.fromkeys(self).keys()

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: <{self._kind}>" for name in self) + "}"
