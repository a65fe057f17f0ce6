"""What SQLAlchemy and the drivers say, in one line and with a cure; the one border where their errors are translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchmill.errors import RegistryError

if TYPE_CHECKING:
    from sqlalchemy import URL

HOME = "Set BATCHMILL_HOME to a folder that can be written."
SERVER = "Look at BATCHMILL_DATABASE_URL and at the server."
# What a driver's message holds -> what is wrong, and the cure. The first that fits is told.
CAUSES = (
    ("file is not a database", "is damaged", "Put a copy of it back, or move it away to begin anew; it was not changed."),
    ("malformed", "is damaged", "Put a copy of it back, or move it away to begin anew; it was not changed."),
    ("unable to open database file", "cannot be opened", HOME),
    ("readonly database", "cannot be written", HOME),
    ("is locked", "was locked by another process for too long", "End that process, or try again."),
    ("database or disk is full", "cannot be written: no space is left on its disk", "Make space and try again; nothing was changed."),
    ("disk i/o error", "cannot be read or written", "Look at the disk it lies on."),
    ("password authentication failed", "refuses the user name or password", "Look at BATCHMILL_DATABASE_URL."),
    ("no password supplied", "wants a password", "Give it in BATCHMILL_DATABASE_URL, or in PGPASSWORD."),
    ("lock timeout", "was locked by another process for too long", "End that process, or try again."),
    (
        "permission denied",
        "does not let this user do that",
        "Give the user of BATCHMILL_DATABASE_URL the right to create and change tables.",
    ),
    ("does not exist", "cannot be used", SERVER),
    ("connection", "cannot be reached", SERVER),
    ("server closed", "cannot be reached", SERVER),
    ("could not", "cannot be reached", SERVER),
    ("resolve", "cannot be reached", SERVER),
)


@contextmanager
def translated(url: URL, label: str) -> Iterator[None]:
    """Errors of SQLAlchemy in the block become a `RegistryError` that names the database without its password."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise _in_plain_words(error, url, label) from None
    except OSError as error:
        if url.drivername.startswith("sqlite"):
            raise RegistryError(f"The registry ({label}) cannot be used: {error.strerror}.", cure=HOME) from None
        raise


def _in_plain_words(error: Exception, url: URL, label: str) -> RegistryError:
    said = _scrubbed(str(getattr(error, "orig", None) or error), url)
    for sign, what, cure in CAUSES:
        if sign in said.lower():
            return RegistryError(f"The registry ({label}) {what}: {said}.", cure=cure)
    return RegistryError(f"The registry ({label}) refused: {said}.")


def _scrubbed(text: str, url: URL) -> str:
    """The first lines of a driver's message as one, without passwords."""
    secrets = [url.password, *(value for key, value in url.query.items() if "password" in key or "key" in key)]
    for secret in secrets:
        for spelling in [secret] if isinstance(secret, str) else secret or ():
            text = text.replace(spelling, "***") if spelling else text
    return " ".join(text.split())[:400].rstrip(".")
