from __future__ import annotations

import pytest
from obstore import exceptions

from batchmill.errors import ItemChangedError, ReadError
from batchmill.storage.location import parse_location
from batchmill.storage.store_errors import item_error, refusal, store_error

LOCATION = parse_location("az://photos/2026")
RAW = "Error performing GET https://acc.blob.example/photos?sv=1&sig=SECRET in 3s - "


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (FileNotFoundError("Object at location x not found: " + RAW), "missing"),
        (FileNotFoundError(RAW + "status code: 404 Not Found: <Code>NoSuchBucket</Code>"), "container"),
        (exceptions.GenericError(RAW + "status code: 404 Not Found: <Code>ContainerNotFound</Code>"), "container"),
        (exceptions.AlreadyExistsError(RAW), "exists"),
        (exceptions.PreconditionError(RAW), "changed"),
        (exceptions.PermissionDeniedError(RAW + "status code: 403 Forbidden: <Code>AuthorizationFailure</Code>"), "denied"),
        (exceptions.UnauthenticatedError(RAW), "denied"),
        (exceptions.GenericError(RAW + "HTTP error: error sending request"), "unreachable"),
        (exceptions.GenericError(RAW + "status code: 503 Service Unavailable: "), "unreachable"),
        (exceptions.GenericError("Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error"), "credentials"),
        (exceptions.GenericError("Generic MicrosoftAzure error: Account must be specified"), "credentials"),
        (exceptions.GenericError("Received redirect without LOCATION, this normally indicates"), "setup"),
        (exceptions.InvalidPathError('Path "a//b" contained empty path segment'), "name"),
        (exceptions.NotSupportedError("?sig=SECRET"), "other"),
        (exceptions.JoinError("x\ny"), "other"),
    ],
)
def test_each_refusal_has_a_word_and_one_line_without_secrets(error: Exception, word: str) -> None:
    assert refusal(error, LOCATION).word == word
    for translated in (store_error(error, LOCATION, "list"), item_error(error, LOCATION, "a.png")):
        assert "\n" not in str(translated)
        assert "SECRET" not in str(translated)
        assert "az://photos/2026" in str(translated)


def test_every_exception_of_obstore_is_translated() -> None:
    known = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(known) > 10
    for kind in known:
        assert refusal(kind("x"), LOCATION).cause


def test_an_item_that_vanished_or_changed_is_named_so() -> None:
    gone = item_error(FileNotFoundError("not found"), LOCATION, "a.png")
    changed = item_error(exceptions.PreconditionError("x"), LOCATION, "a.png")
    denied = item_error(exceptions.PermissionDeniedError("x"), LOCATION, "a.png")
    assert isinstance(gone, ItemChangedError)
    assert "vanished" in str(gone)
    assert isinstance(changed, ItemChangedError)
    assert "changed" in str(changed)
    assert type(denied) is ReadError
