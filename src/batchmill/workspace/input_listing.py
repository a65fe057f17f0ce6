"""What a place holds at a moment: relative paths with sizes and etags or times; kept in the workspace, so that changes can be named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.data.listing import Input
    from batchmill.workspace.workspace import Workspace

FOLDER = "listings"
QUERY, UNKNOWN = "query", "unknown"
"""In place of the hash of a listing: the answer of a query may be another each time; what is there could not be found out."""
MOST_KEPT = 100_000
"""Of more files only the hash is known later, not which of them changed."""
Files = dict[str, list[Any]]


def listing_of_place(ws: Workspace, place: str) -> Files:
    """The files at ``datastore://NAME/PATH``, hidden ones too; none where nothing is there."""
    from batchmill.data.listing import open_input
    from batchmill.errors import InputError
    from batchmill.workspace.file_factory import literal
    from batchmill.workspace.sources import physical

    head, _, path = place.removeprefix("datastore://").partition("/")
    try:
        return dict(_files([open_input(physical(f"datastore://{head}/{literal(path)}", ws), include_hidden=True)], based=False))
    except InputError:
        return {}


def listing_of_dataset(ws: Workspace, definition: Definition) -> Files | None:
    """The files of a dataset; None for the answer of a query, of which nothing can be known without asking."""
    from batchmill.data.definition_inputs import open_definition
    from batchmill.errors import InputError
    from batchmill.workspace.sources import physical_definition

    if definition.format == "sql":
        return None
    try:
        return dict(_files(open_definition(physical_definition(definition, ws)), based=True))
    except InputError:
        return {}


def hash_of_dataset(ws: Workspace, definition: Mapping[str, Any]) -> str:
    """The hash of what a dataset holds now, whose listing is kept; or `QUERY`.

    ``definition``: as in the registry. Raises what `listing_of_dataset` does.
    """
    from batchmill.data.definition import Definition

    files = listing_of_dataset(ws, Definition.from_dict(dict(definition))) if definition else {}
    return QUERY if files is None else keep_listing(ws, files)


def hash_when_asked(ws: Workspace, definition: Mapping[str, Any]) -> str:
    """What a dataset holds when a script asks for it by name: as `hash_of_dataset`, or `UNKNOWN`. Never raises: the script goes on."""
    from batchmill.errors import BatchmillError

    try:
        return hash_of_dataset(ws, definition)
    except BatchmillError:
        return UNKNOWN


def changes_since_asked(ws: Workspace, name: str, before: str | None, definition: Mapping[str, Any]) -> str | None:
    """How a dataset that a script asked for by name differs from what it held then, in words; None where it holds the same.

    ``before``: what `hash_when_asked` said.
    """
    now = hash_when_asked(ws, definition)
    if now == QUERY:
        return f"dataset {name} is a query, whose answer may be another each time"
    if UNKNOWN in (now, before) or before is None:
        return f"what dataset {name} held could not be found out"
    if now == before:
        return None
    old, new = kept_listing(ws, before), kept_listing(ws, now)
    return f"dataset {name}: {listing_changes(old, new) if old is not None and new is not None else 'its files changed'}"


def _files(inputs: Iterable[Input], *, based: bool) -> Iterator[tuple[str, list[Any]]]:
    for one in inputs:
        base = f"{one.base.rstrip('/')}/" if based else ""
        for chunk in one.chunks():
            etags = chunk.etags or [""] * len(chunk)
            for name, size, mtime, etag in zip(chunk.names, chunk.sizes, chunk.mtimes, etags, strict=True):
                yield base + os.fsdecode(chunk.prefix + name), [size, etag or mtime]


def keep_listing(ws: Workspace, files: Mapping[str, list[Any]]) -> str:
    """Keep a listing; returns its hash, by which `kept_listing` finds it."""
    from batchmill.storage.files import atomic_write

    text = json.dumps(sorted(files.items()))
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = Path(ws.folder, FOLDER, f"{digest}.json")
    if len(files) <= MOST_KEPT and not path.exists():
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, text)
    return digest


def kept_listing(ws: Workspace, digest: str) -> Files | None:
    """A listing that was kept; None where it was too long or is gone."""
    try:
        return dict(json.loads(Path(ws.folder, FOLDER, f"{digest}.json").read_text()))
    except (OSError, ValueError):
        return None


def listing_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """``3 files changed, 1 new, 2 gone``."""
    changed = sum(1 for name in old.keys() & new.keys() if old[name] != new[name])
    numbers = [(changed, "changed"), (len(new.keys() - old.keys()), "new"), (len(old.keys() - new.keys()), "gone")]
    told = [(number, word) for number, word in numbers if number]
    if not told:
        return "its files changed"
    (first, word), *others = told
    return ", ".join([f"{first:,} {'file' if first == 1 else 'files'} {word}", *(f"{number:,} {how}" for number, how in others)])
