"""The mirror map: public URLs and containers of Azure that are read from elsewhere, so that they resolve on a closed network. Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit

from batchmill.errors import SettingError
from batchmill.storage.blob_url import HOST, parse_blob_url
from batchmill.storage.location import SCHEME

VARIABLE = "BATCHMILL_MIRRORS"
BLOB = "blob"
PLACE = re.compile(r"^[a-z0-9]{3,24}(?:/.*)?$", re.DOTALL)
TARGETS = ("s3", "s3a", "az", "azure", "gs", "gcs", "file", "http", "https", "datastore")


class Mirrors:
    """Where things are read from instead.

    The keys of ``mapping`` are prefixes: ``ACCOUNT``, ``ACCOUNT/CONTAINER`` or ``ACCOUNT/CONTAINER/FOLDER`` of Azure storage, or URLs
    (the spellings of one container, ``https``, ``wasbs``, ``abfss``, are one; so are http and https). The values are absolute local
    folders or URLs of stores (s3, az, gs, http, ``datastore://NAME/FOLDER``). A prefix covers whole segments of a path, and the longest
    one wins. ``source`` names the map in errors.

    >>> Mirrors({"pipelinedata/sampledata": "/mirror"}).target("https://pipelinedata.blob.core.windows.net/sampledata/a/b.csv")
    '/mirror/a/b.csv'
    """

    def __init__(self, mapping: Mapping[str, str], source: str = "The mirror map") -> None:
        self.mapping = dict(mapping)
        self._targets: dict[tuple[str, ...], str] = {}
        for prefix, target in mapping.items():
            self._targets[_checked(prefix, source)] = _place(prefix, target, source)

    @classmethod
    def parse(cls, text: str, source: str = VARIABLE) -> Mirrors:
        """A map from its JSON object; empty text is an empty map.

        Raises:
            SettingError: it is none.
        """
        try:
            mapping = json.loads(text) if text.strip() else {}
        except ValueError:
            mapping = None
        if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
            raise SettingError(
                f"{source} is not a JSON object of texts.", cure='Write {"URL or ACCOUNT/CONTAINER": "FOLDER or URL"}, for example.'
            )
        return cls(mapping, source)

    def __bool__(self) -> bool:
        return bool(self._targets)

    def target(self, text: str) -> str | None:
        """What is read instead of the URL ``text``; None where no prefix covers it. Globs and a slash at its end stay."""
        segments = _segments(text)
        if segments is None:
            return None
        return self._find(segments, text.endswith("/"))

    def container(self, account: str, container: str) -> str | None:
        """The folder or URL that stands for a container (or a file share) of an Azure storage account."""
        return self._find((BLOB, account.lower(), container), False)

    def _find(self, segments: tuple[str, ...], slash: bool) -> str | None:
        for length in range(len(segments), 0, -1):
            place = self._targets.get(segments[:length])
            if place is not None:
                rest = segments[length:]
                if ".." in rest:
                    return None  # a mirror stands for what lies below it, and for nothing else
                text = "/".join([place.rstrip("/"), *(map(quote, rest) if place.startswith("http") else rest)]) if rest else place
                return f"{text}/" if slash and not text.endswith("/") else text
        return None


def _segments(text: str) -> tuple[str, ...] | None:
    """What a prefix is compared by: the kind of place, the place, and the decoded segments of the path."""
    match = SCHEME.match(text)
    if match is None:
        return (BLOB, *_split(text)) if PLACE.match(text) else None
    scheme = match[1].lower()
    if (url := parse_blob_url(text)) is not None:
        return (BLOB, url.account, url.container, *_split(url.path))
    if scheme in ("http", "https"):
        parts = urlsplit(text)
        host = (parts.netloc or "").lower()
        account = HOST.match(host)
        path = _split(unquote(parts.path))
        if account is not None and not path:
            return BLOB, account["account"].lower()
        return ("http", host, *path)
    bucket, *path = [part for part in text[match.end() :].split("/") if part] or [""]
    return (scheme, bucket, *path)


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _checked(prefix: str, source: str) -> tuple[str, ...]:
    segments = _segments(prefix)
    if segments is None or not segments[-1]:
        raise SettingError(
            f"{source} has the prefix '{prefix}', which is neither a URL nor ACCOUNT/CONTAINER.",
            cure="Write for example 'https://example.org/data' or 'pipelinedata/sampledata'.",
        )
    return segments


def _place(prefix: str, target: str, source: str) -> str:
    match = SCHEME.match(target)
    if match is None and os.path.isabs(os.path.expanduser(target)):
        return os.path.expanduser(target)
    if match is None or match[1].lower() not in TARGETS:
        raise SettingError(
            f"{source} maps '{prefix}' to '{target}', which is neither an absolute folder nor the URL of a store.",
            cure="Write a path that begins with / or ~, or an s3://, az:// or gs:// URL.",
        )
    return target
