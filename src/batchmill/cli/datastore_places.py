"""What the options of ``batchmill datastore create`` mean: a place, and what belongs to its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.workspace.abstract_datastore import AbstractDatastore
    from batchmill.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True)
class PlaceKind:
    """How one of the place options becomes a call of ``Datastore.register_*``: the names that the parts of its text have there, the
    slash between them, and which other options it takes."""

    register: str
    parts: tuple[str, ...]
    takes: tuple[str, ...]
    whole: bool = True
    """Whether all parts must be there."""


KINDS = {
    "local": PlaceKind("register_local_folder", ("path",), ("create_if_not_exists",)),
    "azure_blob": PlaceKind(
        "register_azure_blob_container",
        ("account_name", "container_name"),
        ("endpoint", "create_if_not_exists", "account_key", "sas_token"),
    ),
    "azure_data_lake": PlaceKind(
        "register_azure_data_lake_gen2", ("account_name", "filesystem"), ("endpoint", "tenant_id", "client_id", "client_secret")
    ),
    "s3": PlaceKind(
        "register_s3_bucket",
        ("bucket", "prefix"),
        ("endpoint", "region", "anonymous", "access_key_id", "secret_access_key", "session_token"),
        whole=False,
    ),
    "gcs": PlaceKind("register_gcs_bucket", ("bucket", "prefix"), ("endpoint", "anonymous", "service_account_key"), whole=False),
    "sql": PlaceKind("register_sql_database", ("url",), ("password",)),
}
OPTIONS = {"create_if_not_exists": "--make"}


def register_place(
    workspace: Workspace,
    name: str,
    places: Mapping[str, str | None],
    facts: Mapping[str, Any],
    secrets: Callable[[], Mapping[str, str]],
    options: Mapping[str, bool],
) -> AbstractDatastore:
    """Register the one place that was given; ``secrets`` are read when the rest is known to fit.

    Raises:
        UsageError: no place was given, or several, or an option that does not belong to it.
    """
    from batchmill.errors import UsageError
    from batchmill.workspace.datastore import Datastore

    given = {kind: text for kind, text in places.items() if text is not None}
    if len(given) != 1:
        every = ", ".join(map(_option, KINDS))
        what = f"Options {' and '.join(map(_option, given))} were given together." if given else "No place was given."
        raise UsageError(what, cure=f"Give one of {every}.")
    ((word, text),) = given.items()
    kind = KINDS[word]
    arguments = _parts(word, kind, text)
    _check(word, kind, facts)
    found = secrets()
    _check(word, kind, found)
    register: Callable[..., AbstractDatastore] = getattr(Datastore, kind.register)
    return register(workspace, name, **arguments, **facts, **found, **options)


def _parts(word: str, kind: PlaceKind, text: str) -> dict[str, str]:
    from batchmill.errors import UsageError

    values = text.split("/", 1) if len(kind.parts) == 2 else [text]
    if (kind.whole and len(values) < len(kind.parts)) or not all(values[: 2 if kind.whole else 1]):
        form = {"azure_blob": "ACCOUNT/CONTAINER", "azure_data_lake": "ACCOUNT/FILESYSTEM"}.get(word, "BUCKET/FOLDER")
        raise UsageError(f"Option {_option(word)} has the value '{text}'.", cure=f"Write {_option(word)} {form}.")
    return dict(zip(kind.parts, values, strict=False))


def _check(word: str, kind: PlaceKind, given: Mapping[str, Any]) -> None:
    from batchmill.errors import UsageError

    foreign = [name for name in given if name not in kind.takes]
    if foreign:
        known = ", ".join(_option(name) for name in kind.takes)
        raise UsageError(f"Option {_option(foreign[0])} does not belong to {_option(word)}.", cure=f"It takes {known}.")


def _option(name: str) -> str:
    return OPTIONS.get(name) or f"--{name.replace('_', '-')}"
