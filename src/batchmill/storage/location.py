"""Where data lies: one text of a user, taken apart. Knows no network; `object_store` speaks to what is found here."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from batchmill.errors import StoreError
from batchmill.storage.blob_url import BLOB_SCHEMES, BlobUrl, parse_blob_url
from batchmill.storage.connections import connection_of, whole_key

KINDS = {"s3": "s3", "s3a": "s3", "az": "az", "azure": "az", "gs": "gs", "gcs": "gs", "http": "http", "https": "http"}
KNOWN = "s3://, az://, gs://, wasbs://, abfss://, http://, https://, datastore:// and file://"
DATASTORE = "datastore"
SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Location:
    """A place that holds items.

    ``kind`` is "local", "s3", "az", "gs" or "http". A local location has only ``path``, as the user wrote it (globs included).
    Elsewhere ``bucket`` is the bucket or container (for HTTP: scheme, host and port), ``prefix`` the folder inside it without
    slashes at its ends, ``pattern`` the rest of the text when it has glob characters, and ``name`` the one object meant, which only
    `object_store.locate` knows. Items are named relative to ``bucket`` and ``prefix``, whose URL is ``base``. A place that is reached
    by a connection has its key in ``connection``, and in ``origin`` the text that its URLs begin with.

    >>> found = parse_location("s3://photos/2026/*.png")
    >>> found.kind, found.bucket, found.prefix, found.pattern
    ('s3', 'photos', '2026', '*.png')
    """

    kind: str
    path: str = ""
    bucket: str = ""
    prefix: str = ""
    pattern: str | None = None
    name: str | None = None
    connection: str = ""
    origin: str = ""

    @property
    def remote(self) -> bool:
        """True for everything but local paths."""
        return self.kind != "local"

    @property
    def base(self) -> str:
        """The folder that item names are relative to: a path, or a URL without a slash at its end."""
        if not self.remote:
            return self.path
        root = self.origin or (self.bucket if self.kind == "http" else f"{self.kind}://{self.bucket}")
        # Only where it would be decoded again when the URL is read.
        prefix = self.prefix.replace("%", "%25") if self.origin.startswith("http") else self.prefix
        return f"{root}/{prefix}" if prefix else root

    def __str__(self) -> str:
        rest = self.pattern or self.name
        return f"{self.base}/{rest}" if rest else self.base

    def key(self, name: str) -> str:
        """The whole key of the item called ``name``."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def top(self) -> Location:
        """The whole bucket, container, server or datastore that this location is in."""
        return replace(self, prefix="", pattern=None, name=None)

    def parent(self) -> tuple[Location, str]:
        """The folder around this location, and the last part of its prefix."""
        folder, _, name = self.prefix.rpartition("/")
        return replace(self, prefix=folder, pattern=None, name=None), name


def parse_location(text: str | os.PathLike[str]) -> Location:
    """Take a path or URL apart.

    Raises:
        StoreError: the scheme is unknown, the URL lacks its bucket, or its datastore is not connected.
    """
    text = os.fspath(text)
    match = SCHEME.match(text)
    if match is None:
        return Location("local", path=text)
    scheme = match[1].lower()
    if scheme == "file":
        return Location("local", path=_file_path(text))
    if scheme == DATASTORE:
        return _datastore(text, text[match.end() :])
    kind = KINDS.get(scheme)
    if (kind == "http" or scheme in BLOB_SCHEMES) and (blob := parse_blob_url(text)) is not None:
        return _blob(blob)
    if scheme in BLOB_SCHEMES:
        raise StoreError(
            f"'{text.partition('?')[0]}' does not name a container of Azure storage.",
            cure=f"Write {scheme}://CONTAINER@ACCOUNT.{'blob' if scheme.startswith('w') else 'dfs'}.core.windows.net/FOLDER.",
        )
    if kind is None:
        raise StoreError(f"'{without_query(text)}' has the unknown scheme '{match[1]}'.", cure=f"Known are {KNOWN} and plain paths.")
    if kind == "http":
        return _http(text)
    bucket, _, key = text[match.end() :].partition("/")
    if not bucket or MAGIC.search(bucket):
        what = "container" if kind == "az" else "bucket"
        raise StoreError(f"'{text}' does not name a {what}.", cure=f"Write {kind}://{what.upper()}/FOLDER.")
    return _with_pattern(Location(kind, bucket=bucket), key)


def _datastore(text: str, rest: str) -> Location:
    """``WORKSPACE:NAME/path``: below the root of the connection; a local one is a plain path."""
    key, _, path = rest.partition("/")
    if not key:
        raise StoreError(f"'{text}' does not name a datastore.", cure="Write datastore://NAME/FOLDER.")
    if ".." in path.split("/"):
        raise StoreError(f"'{text}' leads out of its datastore.", cure="Write the path without '..'.")
    key = whole_key(key)
    connection = connection_of(key)
    if connection.kind == "local":
        return Location("local", path=os.path.join(connection.root, path) if path else connection.root)
    place = Location(connection.kind, bucket=connection.bucket, connection=key, origin=f"{DATASTORE}://{key}")
    return _with_pattern(place, path)


def _blob(url: BlobUrl) -> Location:
    return _with_pattern(Location("az", bucket=url.container, connection=url.key, origin=url.origin), url.path)


def _http(text: str) -> Location:
    parts = urlsplit(text)
    if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise StoreError(
            f"'{without_query(text)}' is not a plain web address.", cure="Write http(s)://HOST/FOLDER, without user, query or fragment."
        )
    return Location("http", bucket=f"{parts.scheme.lower()}://{parts.netloc}", prefix=parts.path.strip("/"))


def _file_path(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(f"'{text}' names a file of another machine ('{parts.netloc}').", cure="Write file:///PATH, with three slashes.")
    return unquote(parts.path)


def _with_pattern(location: Location, key: str) -> Location:
    if MAGIC.search(key) is None:
        return replace(location, prefix=key.strip("/"))
    parts = key.strip("/").split("/")
    first = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    return replace(location, prefix="/".join(parts[:first]), pattern="/".join(parts[first:]))


def without_query(text: str) -> str:
    """``text`` without user, password and query of any URL in it: these may hold a secret."""
    return re.sub(r"\?\S*", "", re.sub(r"://[^/\s@]*@", "://", text))


@lru_cache(maxsize=64)
def glob_expression(pattern: str) -> re.Pattern[str]:
    """A compiled expression for a glob over relative names: ``*``, ``?`` and ``[...]`` stay inside a segment, ``**`` does not.

    >>> bool(glob_expression("**/*.png").fullmatch("a/b/c.png")), bool(glob_expression("*.png").fullmatch("a/c.png"))
    (True, False)
    """
    segments = pattern.split("/")
    expression = ""
    for i, segment in enumerate(segments):
        last = i == len(segments) - 1
        if segment == "**":
            expression += ".*" if last else "(?:[^/]+/)*"
        else:
            expression += _segment_expression(segment) + ("" if last else "/")
    return re.compile(expression, re.DOTALL)


def _segment_expression(segment: str) -> str:
    out, i = "", 0
    while i < len(segment):
        char, i = segment[i], i + 1
        if char == "*":
            out += "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := _closing(segment, i)) > 0:
            # Python's own rule for what a bracket holds, without the frame "(?s:" and ")\Z" that it puts around.
            out, i = out + "(?!/)" + fnmatch.translate(segment[i - 1 : end + 1])[4:-3], end + 1
        else:
            out += re.escape(char)
    return out


def _closing(segment: str, start: int) -> int:
    """Where the bracket that opened before ``start`` closes (-1: never); a first character, also after ``!``, may be ``]`` itself."""
    first = start + (segment[start : start + 1] == "!")
    return segment.find("]", first + (segment[first : first + 1] == "]"))
