"""Making a container of Azure Blob, which obstore cannot: one request, signed by Shared Key or by a SAS token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from batchmill.errors import StoreError
from batchmill.storage.connections import Connection

VERSION = "2021-08-06"
CODE = re.compile(rb"<Code>(\w+)</Code>")
CREATED, EXISTS = 201, 409


def create_container(connection: Connection, timeout: float = 20.0) -> bool:
    """Make the container of a connection; False when it is there already.

    Raises:
        StoreError: the store is unreachable or refuses, or the connection has neither key nor SAS token.
    """
    target = f"{connection.endpoint.rstrip('/')}/{quote(connection.bucket)}?restype=container"
    key, token = connection.credentials.get("access_key"), connection.credentials.get("sas_token")
    headers = {"x-ms-version": VERSION, "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"), "Content-Length": "0"}
    if key:
        account = str(connection.config.get("account_name", ""))
        headers["Authorization"] = f"SharedKey {account}:{_signature(account, key, target, headers, connection)}"
    elif token:
        target = f"{target}&{token.lstrip('?')}"
    else:
        raise StoreError(
            f"Cannot create container '{connection.bucket}' of {connection.title}: that needs a key or a SAS token.",
            cure="Give one, or create the container elsewhere.",
        )
    status, code = _put(connection, target, headers, timeout)
    if status == CREATED:
        return True
    if status == EXISTS and code == "ContainerAlreadyExists":
        return False
    raise _refused(connection, f"the store answered {status} {code}".rstrip(), "Check the name and its credentials.")


def _signature(account: str, key: str, target: str, headers: dict[str, str], connection: Connection) -> str:
    """Shared Key: method, eleven empty headers, the x-ms headers, and the resource with its parameters."""
    said = f"x-ms-date:{headers['x-ms-date']}\nx-ms-version:{VERSION}"
    text = "PUT" + "\n" * 12 + f"{said}\n/{account}{urlsplit(target).path}\nrestype:container"
    try:
        secret = base64.b64decode(key, validate=True)
    except ValueError:
        raise _refused(connection, "its account key is no base64 text", "Copy the key again.") from None
    return base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()


def _put(connection: Connection, target: str, headers: dict[str, str], timeout: float) -> tuple[int, str]:
    request = urllib.request.Request(target, method="PUT", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            code = CODE.search(error.read(4096))
        return error.code, code[1].decode() if code else ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        cause = connection.concealed(f"{connection.endpoint} does not answer ({reason})")
        raise _refused(connection, cause, "Check the network and the endpoint.") from None


def _refused(connection: Connection, cause: str, cure: str) -> StoreError:
    return StoreError(f"Cannot create container '{connection.bucket}' of {connection.title}: {cause}.", cure=cure)
