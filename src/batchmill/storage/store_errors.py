"""The border to obstore: each of its exceptions becomes one of ours, in one line, without a secret in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchmill.errors import BatchmillError, ItemChangedError, ReadError, StoreError
from batchmill.storage.connections import SIGNED, known_connection
from batchmill.storage.location import DATASTORE, Location, without_query

STATUS = re.compile(r"status code: (\d{3})")
CODE = re.compile(r"<Code>(\w+)</Code>")
ADDRESS = re.compile(r"https?://[^/\s?]+")
ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "az": "AZURE_STORAGE_ENDPOINT and AZURE_STORAGE_ACCOUNT_NAME", "gs": "GOOGLE_BASE_URL"}
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "http": "the address",
}
NO_CREDENTIALS = (
    "latest/api/token",
    "latest/meta-data",
    "metadata/identity",
    "computeMetadata",
    "Account must be specified",
    "MissingAccessKeyId",
)
NO_CONTAINER = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "AccountNotFound", "InvalidBucketName", "InvalidResourceName"}
KEY_WORDS = {"AuthorizationFailure", "AuthenticationFailed", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidAuthenticationInfo"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a store did not do what it was asked: a word for programs, and the cause and cure for people."""

    word: str
    cause: str
    cure: str | None = None


def refusal(error: BaseException, location: Location) -> Refusal:
    """Tell what an exception of obstore means. ``word`` is one of missing, container, exists, changed, denied, credentials,
    unreachable, name, setup, beyond (its end) or other."""
    text = str(error).partition("\n\nDebug source")[0]
    status, code = STATUS.search(text), CODE.search(text)
    number, name, kind = int(status[1]) if status else 0, code[1] if code else "", type(error).__name__
    if any(mark in text for mark in NO_CREDENTIALS):
        cure = f"Give {_title(location)} credentials." if location.connection else f"Set {CREDENTIALS[location.kind]}."
        return Refusal("credentials", "no credentials were found", cure)
    if name in NO_CONTAINER:
        what = "container" if location.kind == "az" else "bucket"
        return Refusal("container", f"there is no {what} '{location.bucket}'", f"Check the name, {_endpoint(location)}.")
    if kind == "AlreadyExistsError":
        return Refusal("exists", "it exists already")
    if kind == "PreconditionError" or number == 412:
        return Refusal("changed", "it has changed")
    if isinstance(error, FileNotFoundError) or number == 404:
        return Refusal("missing", "there is no such object", "Check the name.")
    if number == 416 or "Wanted range starting at" in text:
        return Refusal("beyond", "it ends before that")
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or number in (401, 403) or name in KEY_WORDS:
        return Refusal("denied", f"access is denied ({name or number})" if name or number else "access is denied", _credentials(location))
    if kind == "InvalidPathError" or (isinstance(error, ValueError) and "parse path" in text):
        return Refusal("name", f"an object's name cannot be used: {_short(text, location)}", "Rename it, or name a deeper folder.")
    return _other(error, location, text, number, name)


def _other(error: BaseException, location: Location, text: str, number: int, code: str) -> Refusal:
    address = ADDRESS.search(text)
    where = address[0] if address else _address(location)
    if "Received redirect" in text or number in (301, 307):
        return Refusal("setup", "the bucket lies in another region", "Set AWS_REGION.")
    if number:
        return Refusal("unreachable" if number >= 500 else "other", f"{where} answered {number} {code}".rstrip())
    if "HTTP error" in text or "error sending request" in text or "timed out" in text:
        return Refusal(
            "unreachable", f"{where} does not answer", f"Check the network, {_endpoint(location)}, or give it more time (--retry-timeout)."
        )
    return Refusal("other", f"{type(error).__name__}: {_short(text, location)}", _credentials(location))


def _address(location: Location) -> str:
    connection = known_connection(location.connection)
    return (connection.endpoint if connection is not None else "") or location.bucket


def _title(location: Location) -> str:
    connection = known_connection(location.connection)
    return connection.title if connection is not None else f"account '{location.connection.partition('/')[0]}'"


def _credentials(location: Location) -> str:
    """The cure where a store does not accept who asks."""
    if not location.connection:
        return f"Check {CREDENTIALS[location.kind]}."
    connection = known_connection(location.connection)
    if connection is not None and connection.from_environment:
        return f"Check {CREDENTIALS[location.kind]}, which {connection.title} uses."
    if connection is not None and not connection.anonymous:
        return f"Check the credentials of {connection.title}: batchmill datastore update."
    if location.origin.startswith(f"{DATASTORE}://"):
        return f"It is not public: give {_title(location)} a key or a token."
    return "It is not public: register it as a datastore with a key or a SAS token."


def _endpoint(location: Location) -> str:
    if location.connection:
        return f"and the endpoint of {_title(location)}"
    variable = ENDPOINTS.get(location.kind)
    return f"and {variable} where it is set" if variable else "and the address"


def _short(text: str, location: Location) -> str:
    """One short line without a secret: stores quote signed URLs, and clients what they could not parse."""
    connection = known_connection(location.connection)
    line = connection.concealed(text) if connection is not None else SIGNED.sub(r"\1\2***", text)
    line = without_query(" ".join(line.split()))
    return line if len(line) <= 160 else line[:157] + "..."


def store_error(error: BaseException, location: Location, action: str) -> StoreError:
    """For what is asked before anything starts: ``Cannot list s3://b/x: there is no bucket 'b'. Check ...``"""
    why = refusal(error, location)
    return StoreError(f"Cannot {action} {location}: {why.cause}.", cure=why.cure, word=why.word)


def item_error(error: BaseException, location: Location, name: str) -> BatchmillError:
    """For one item while the run goes on."""
    why = refusal(error, location)
    url = f"{location.base}/{name}"
    if why.word == "missing":
        return ItemChangedError(f"Cannot read {url}: it vanished after the plan was made.")
    if why.word == "changed":
        return changed_error(url)
    return ReadError(f"Cannot read {url}: {why.cause}.", cure=why.cure, word=why.word)


def changed_error(url: str) -> ItemChangedError:
    """An object is no longer the one that was planned."""
    return ItemChangedError(f"Cannot read {url}: it changed after the plan was made.")
