"""URLs that a document opens itself, read from where the mirror map leads: what `urllib.request` opens while a document is executed."""

from __future__ import annotations

import email.message
import io
import mimetypes
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.error import HTTPError
from urllib.response import addinfourl


@contextmanager
def mirrored_urls() -> Iterator[None]:
    """Within it, every `urllib.request` of this process (``urlopen``, ``urlretrieve``, openers of one's own; also those of pandas) reads
    URLs of the mirror map from there: that of ``BATCHMILL_MIRRORS``, and that of the workspace of the current folder. Others stay."""
    opening = urllib.request.OpenerDirector.open
    inside = threading.local()  # looking into the map must not lead to the map

    def looked_up(self: urllib.request.OpenerDirector, fullurl: Any, *arguments: Any, **keywords: Any) -> Any:
        url = fullurl.full_url if isinstance(fullurl, urllib.request.Request) else fullurl
        sends = (arguments[0] if arguments else keywords.get("data")) is not None or getattr(fullurl, "data", None) is not None
        if sends or getattr(inside, "busy", False) or not isinstance(url, str):
            return opening(self, fullurl, *arguments, **keywords)
        inside.busy = True
        try:
            target = _target(url)
            if target is not None and not target.startswith(("http://", "https://")):
                return _answer(url, target)
        finally:
            inside.busy = False
        return opening(self, fullurl if target is None else target, *arguments, **keywords)

    urllib.request.OpenerDirector.open = looked_up  # type: ignore[method-assign]
    try:
        yield
    finally:
        urllib.request.OpenerDirector.open = opening  # type: ignore[method-assign]


def _target(url: str) -> str | None:
    """Where a URL is read from instead: a path, or the URL of an object; None where no mirror covers it."""
    from batchmill.workspace.current import find_workspace
    from batchmill.workspace.mirror_map import mirrored_url
    from batchmill.workspace.sources import physical

    if not url.lower().startswith(("http://", "https://")):
        return None
    plain = url.partition("#")[0].partition("?")[0]
    found = mirrored_url(plain, None)
    if found is not None and not found.startswith("datastore://"):
        return found
    workspace = find_workspace()
    found = mirrored_url(plain, workspace)
    return None if found is None else physical(plain, workspace)


def _answer(url: str, target: str) -> addinfourl:
    """The response with what lies at ``target``.

    Raises:
        HTTPError: 404, nothing lies there.
        StoreError: the store cannot be reached.
    """
    from batchmill.storage.location import parse_location

    location = parse_location(target)
    try:
        if location.remote:
            content = _object(location)
            size = content.getbuffer().nbytes
            return _response(url, content, size)
        if not os.path.isfile(location.path):
            raise FileNotFoundError
        return _response(url, open(location.path, "rb"), os.path.getsize(location.path))
    except FileNotFoundError:
        headers = email.message.Message()
        raise HTTPError(url, 404, f"Not Found: the mirror map leads it to {target}, where no file is", headers, io.BytesIO()) from None


def _object(location: Any) -> io.BytesIO:
    from batchmill.storage.object_store import store_for
    from batchmill.storage.store_errors import store_error

    try:
        return io.BytesIO(store_for(location).get(location.prefix).bytes())
    except FileNotFoundError:  # obstore's, which is one of Python's
        raise
    except Exception as error:
        raise store_error(error, location, "read") from None


def _response(url: str, content: IO[bytes], size: int) -> addinfourl:
    headers = email.message.Message()
    headers["Content-Length"] = str(size)
    headers["Content-Type"] = mimetypes.guess_type(url)[0] or "application/octet-stream"
    return addinfourl(content, headers, url, 200)
