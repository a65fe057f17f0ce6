"""Object stores through obstore: a client for a location, and listing. Credentials and endpoints come from the location's connection,
for plain ``s3://``, ``az://`` and ``gs://`` URLs from the environment, and are never printed."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from batchmill.errors import StoreError
from batchmill.storage.blob_url import parse_blob_url
from batchmill.storage.chunk import Chunk
from batchmill.storage.connections import Connection, connection_of, known_connection
from batchmill.storage.location import Location, glob_expression, parse_location
from batchmill.storage.store_errors import refusal, store_error

if TYPE_CHECKING:
    from obstore.store import ObjectStore

RETRY_TIMEOUT = 20.0
UPLOAD_STALL = 60.0
PAGE = 1000
PREFIXES = ("AWS_", "AZURE_", "GOOGLE_")
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[bytes, int, int, str]


def store_for(location: Location, retry_timeout: float = RETRY_TIMEOUT, *, upload: bool = False) -> ObjectStore:
    """A client for the bucket of ``location``; stores are shared between calls and threads.

    Keys are those of the location: relative to the root of its connection, where it has one. Requests end within ``retry_timeout``
    seconds. With ``upload`` a request may take up to a minute, as a slow line needs to send a part.

    Raises:
        StoreError: the store's settings do not make sense, or credentials are missing.
    """
    environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(PREFIXES)))
    connection = connection_for(location)
    try:
        if connection is not None:
            return _connected(_Held(connection), retry_timeout, upload, environment)
        return _store(location.kind, location.bucket, retry_timeout, upload, environment)
    except StoreError:
        raise
    except Exception as error:
        raise store_error(error, location, "open") from None


def connection_for(location: Location) -> Connection | None:
    """The connection of a location; None for one that is reached by the environment. A container that is only known by its URL is
    taken as public.

    Raises:
        StoreError: its datastore is not connected.
    """
    if not location.connection:
        return None
    known = known_connection(location.connection)
    url = parse_blob_url(f"{location.origin}/") if known is None else None
    if known is not None or url is None:
        return known or connection_of(location.connection)
    return Connection("az", "", url.container, {"account_name": url.account, "endpoint": url.endpoint}, title=f"account '{url.account}'")


class _Held:
    """A connection as the key of a cache: equal when it is the same, by all it holds."""

    __slots__ = ("connection", "facts")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        pairs = (tuple(sorted((name, str(value)) for name, value in part.items())) for part in (connection.config, connection.credentials))
        self.facts = (connection.kind, connection.root, connection.bucket, connection.from_environment, *pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.facts == other.facts

    def __hash__(self) -> int:
        return hash(self.facts)


def _limits(retry_timeout: float, upload: bool, endpoint: str) -> tuple[Any, Any]:
    """Client options and retry rules: a last try may begin when `retry_timeout` of the retries is over, after one more pause; the three
    shares add up to the bound."""
    retry = {
        "max_retries": 1000,
        "retry_timeout": timedelta(seconds=0.6 * retry_timeout),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=min(2.0, 0.1 * retry_timeout)),
            "base": 2,
        },
    }
    stall = UPLOAD_STALL if upload else 0.3 * retry_timeout
    client: dict[str, Any] = {"connect_timeout": timedelta(seconds=0.3 * retry_timeout), "read_timeout": timedelta(seconds=stall)}
    if endpoint.lower().startswith("http://"):
        client["allow_http"] = True
    return client, retry


@lru_cache(maxsize=32)
def _store(kind: str, bucket: str, retry_timeout: float, upload: bool, environment: tuple[tuple[str, str], ...]) -> ObjectStore:
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    values = dict(environment)
    config: Any = connection_string(values.get("AZURE_STORAGE_CONNECTION_STRING", "")) if kind == "az" else {}
    endpoint = config.get("endpoint") or next((values[name] for name in ENDPOINTS.get(kind, ()) if values.get(name)), bucket)
    client, retry = _limits(retry_timeout, upload, str(endpoint))
    if kind == "s3":
        return S3Store(bucket, client_options=client, retry_config=retry)
    if kind == "az":
        return AzureStore(bucket, config=config, client_options=client, retry_config=retry)
    if kind == "gs":
        return GCSStore(bucket, client_options=client, retry_config=retry)
    if kind == "http":
        return HTTPStore(bucket, client_options=client, retry_config=retry)
    raise StoreError(f"'{bucket}' is a local path, not an object store.")


@lru_cache(maxsize=32)
def _connected(held: _Held, retry_timeout: float, upload: bool, environment: tuple[tuple[str, str], ...]) -> ObjectStore:
    """A client that owes nothing to the environment, unless its connection says so: obstore reads the variables, so each that matters
    is overruled."""
    from obstore.store import AzureStore, GCSStore, S3Store

    connection, values = held.connection, dict(environment)
    config: Any = {**connection.config}
    endpoint = connection.endpoint
    if connection.from_environment:
        endpoint = endpoint or next((values[name] for name in ENDPOINTS.get(connection.kind, ()) if values.get(name)), "")
    client, retry = _limits(retry_timeout, upload, endpoint)
    options: Any = {"prefix": connection.root or None, "client_options": client, "retry_config": retry}
    if not connection.from_environment:
        config["skip_signature"] = connection.anonymous
        if provider := _provider(connection):
            options["credential_provider"] = provider
    if connection.kind == "s3":
        if endpoint and values.get("AWS_ENDPOINT_URL_S3"):
            config["aws_endpoint_url_s3"] = endpoint
        return S3Store(connection.bucket, config=config, **options)
    if connection.kind == "az":
        config |= {"use_emulator": False, **_secrets(connection, "client_secret")}
        return AzureStore(connection.bucket, config=config, **options)
    if connection.kind == "gs":
        config |= _secrets(connection, "service_account_key")
        return GCSStore(connection.bucket, config=config, **options)
    raise StoreError(f"{connection.title} is no object store.")


def _secrets(connection: Connection, name: str) -> dict[str, str]:
    """A secret that obstore takes as a setting."""
    return {name: connection.credentials[name]} if name in connection.credentials else {}


def _provider(connection: Connection) -> Callable[[], Any] | None:
    """What obstore asks for credentials, before it would look into the environment."""
    given = connection.credentials
    names = {"az": ("access_key", "sas_token"), "s3": ("access_key_id", "secret_access_key", "token")}.get(connection.kind, ())
    answer: dict[str, Any] = {name: given[name] for name in names if given.get(name)}
    return (lambda: {**answer, "expires_at": None}) if answer else None


def connection_string(text: str) -> dict[str, str]:
    """Settings from an Azure connection string (``AccountName=...;AccountKey=...``); obstore itself does not read it."""
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    names = {"AccountName": "account_name", "AccountKey": "account_key", "SharedAccessSignature": "sas_key", "BlobEndpoint": "endpoint"}
    return {ours: parts[theirs] for theirs, ours in names.items() if parts.get(theirs)}


def place_of(location: Location) -> tuple[tuple[str, str, str], str]:
    """What two locations share when they lie in one bucket, whatever names they are called by: kind, address and bucket; and the whole
    prefix in that bucket."""
    connection = connection_for(location)
    if connection is None:
        given = [os.environ.get(name, "") for name in ENDPOINTS.get(location.kind, ())]
        address = next((value for value in given if value), "")
        if location.kind == "az" and not address:
            address = f"https://{os.environ.get('AZURE_STORAGE_ACCOUNT_NAME', '')}.blob.core.windows.net"
        return (location.kind, _address(address), location.bucket), location.prefix
    prefix = "/".join(part for part in (connection.root, location.prefix) if part)
    return (location.kind, _address(connection.endpoint), connection.bucket), prefix


def _address(endpoint: str) -> str:
    """Names of buckets are unique in all regions of Amazon."""
    text = endpoint.rstrip("/").lower()
    return "" if text.endswith(".amazonaws.com") else text


def locate(text: str | Location, retry_timeout: float = RETRY_TIMEOUT) -> Location:
    """Parse a URL and find out whether it names one object (``name`` is then set) or a folder of objects.

    A folder may still be empty, and its bucket missing: listing tells.

    Raises:
        StoreError: unknown scheme, unreachable or refusing store.
    """
    location = parse_location(text) if isinstance(text, str) else text
    if not location.remote or location.pattern is not None or location.name is not None or not location.prefix:
        return location
    folder, name = location.parent()
    if isinstance(text, str) and text.endswith("/"):
        return location
    if _size_of(location, location.prefix, retry_timeout) is None:
        return location
    return replace(folder, name=name)


def _size_of(location: Location, key: str, retry_timeout: float) -> int | None:
    """The size of an object, or None where there is none."""
    try:
        return int(store_for(location, retry_timeout).head(key)["size"])
    except Exception as error:
        if refusal(error, location).word == "missing":
            return None
        raise store_error(error, location, "read") from None


def list_objects(
    location: Location, *, include_hidden: bool = False, retry_timeout: float = RETRY_TIMEOUT, progress: Callable[[int], None] | None = None
) -> Iterator[Chunk]:
    """The objects of a location in UTF-8 byte order of their keys, a page at a time.

    Folder markers (zero bytes, key with a slash at its end) are left out, and names with a segment that begins with a dot unless
    ``include_hidden``. ``progress`` is called with the number of objects listed so far.

    Raises:
        StoreError: the store is unreachable, unknown or refuses, or holds a key that cannot be used.
    """
    if location.name is not None:
        yield _single(location, retry_timeout)
        return
    if location.kind == "http":
        raise StoreError(f"Cannot list {location}: a plain web server has no listing.", cure="Name its files in a list: --input @list.txt.")
    yield from _chunks(in_byte_order(_rows(location, include_hidden, retry_timeout, progress), location), location)


def any_object(location: Location, *, retry_timeout: float = RETRY_TIMEOUT) -> bool:
    """Whether a folder or pattern holds anything that `list_objects` would list; asks for no more than it takes to find out.

    Raises:
        StoreError: the store is unreachable, unknown or refuses.
    """
    return next(_rows(location, False, retry_timeout, None), None) is not None


def _single(location: Location, retry_timeout: float) -> Chunk:
    name = location.name or ""
    try:
        meta = store_for(location, retry_timeout).head(location.key(name))
    except Exception as error:
        raise store_error(error, location, "read") from None
    return Chunk(
        b"", [name.encode()], array("Q", [meta["size"]]), array("q", [_nanoseconds(meta["last_modified"])]), [_etag(meta["e_tag"])]
    )


def _rows(location: Location, include_hidden: bool, retry_timeout: float, progress: Callable[[int], None] | None) -> Iterator[Row]:
    """Relative name, size, mtime in ns, etag of each object wanted, in the store's order."""
    store = store_for(location, retry_timeout)
    skip = len(location.prefix) + 1 if location.prefix else 0
    matches = glob_expression(location.pattern).fullmatch if location.pattern is not None else None
    listed = 0
    for page in _pages(store, location):
        for meta in page:
            name = meta["path"][skip:]
            if matches is not None and not matches(name):
                continue
            if not include_hidden and (name[:1] == "." or "/." in name):
                continue
            # obstore drops the slash at a marker's end: only an object of exactly this key can be read under it.
            if not meta["size"] and _size_of(location, meta["path"], retry_timeout) is None:
                continue
            listed += 1
            yield name.encode(), meta["size"], _nanoseconds(meta["last_modified"]), _etag(meta["e_tag"])
        if progress is not None:
            progress(listed)


def _pages(store: ObjectStore, location: Location) -> Iterator[Any]:
    try:
        yield from store.list(location.prefix or None, chunk_size=PAGE)
    except Exception as error:
        raise store_error(error, location, "list") from None


def _nanoseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def _etag(text: str | None) -> str:
    """As HTTP writes it and reads are answered with; Azure's listing leaves the quotes off. Empty where the store has none."""
    return f'"{text}"' if text and not text.endswith('"') else text or ""


def _ordered_by_store(location: Location) -> bool:
    """S3 and Google list in UTF-8 order; Azure orders otherwise beyond the basic plane and in hierarchical accounts, and S3 directory
    buckets promise no order."""
    return location.kind in ("s3", "gs") and not location.bucket.endswith("--x-s3")


def in_byte_order(rows: Iterator[Row], location: Location) -> Iterator[Row]:
    """Rows as the store of a location lists them, in the UTF-8 order of their names."""
    return rows if _ordered_by_store(location) else _sorted(rows)


def _sorted(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows by name; SQLite keeps a private database in memory and moves it to a temporary file of its own when it grows."""
    database = sqlite3.connect("")
    try:
        database.execute("CREATE TABLE listing (name BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, etag TEXT) WITHOUT ROWID")
        database.executemany("INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?)", rows)
        yield from database.execute("SELECT name, size, mtime, etag FROM listing ORDER BY name")
    finally:
        database.close()


def _chunks(rows: Iterable[Row], location: Location) -> Iterator[Chunk]:
    chunk, last = _empty(), b""
    for name, size, mtime, etag in rows:
        if name <= last:
            raise StoreError(
                f"Cannot list {location}: the store lists its objects out of order.", cure="Name them in a list: --input @list.txt."
            )
        last = name
        chunk.names.append(name)
        chunk.sizes.append(size)
        chunk.mtimes.append(mtime)
        assert chunk.etags is not None
        chunk.etags.append(etag)
        if len(chunk) == PAGE:
            yield chunk
            chunk = _empty()
    if len(chunk):
        yield chunk


def _empty() -> Chunk:
    return Chunk(b"", [], array("Q"), array("q"), [])
