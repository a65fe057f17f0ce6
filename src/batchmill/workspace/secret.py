"""Secrets: sealed where they are kept, and never printed by accident."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.errors import SecretError
from batchmill.storage.home import home

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

VARIABLE = "BATCHMILL_SECRET_KEY"
REFERENCE = "env:"
SEALED = "sealed:"
SHORTEST_PHRASE = 16
CURE = f"Set {VARIABLE}, or put the file secret.key of the batchmill home back, as it was; else register what holds the secret again."


class Secret:
    """A secret text, or the name of the environment variable that holds it (``env:NAME``, read at use); prints as ``***``.

    >>> Secret("hunter2")
    ***
    >>> Secret("hunter2").reveal()
    'hunter2'
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def reference(self) -> str | None:
        """The name of the environment variable, where the secret is one's."""
        return self._text[len(REFERENCE) :] if self._text.startswith(REFERENCE) else None

    def reveal(self) -> str:
        """The secret itself.

        Raises:
            SecretError: the variable it refers to is not set, or the key it was sealed with is not at hand.
        """
        if self._text.startswith(SEALED):
            return unseal(self._text)
        if self.reference is None:
            return self._text
        value = os.environ.get(self.reference)
        if value is None:
            raise SecretError(
                f"A secret of the workspace is kept in the environment variable {self.reference}, which is not set.",
                cure=f"Set it: export {self.reference}=...",
            )
        return value

    def stored(self) -> str:
        """What may be written down: sealed, or the reference."""
        return self._text if self.reference is not None or self._text.startswith(SEALED) else seal(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    __hash__ = None  # type: ignore[assignment] # a table of secrets is nothing anyone should have

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled; keep stored() of it")


def seal(text: str) -> str:
    """Encrypt a text for keeping: ``sealed:...`` (Fernet), with the key of this home or of ``BATCHMILL_SECRET_KEY``.

    Raises:
        SecretError: there is no usable key, or none can be made.
    """
    return SEALED + _fernet().encrypt(text.encode()).decode()


def unseal(text: str) -> str:
    """The text that was sealed.

    Raises:
        SecretError: it was sealed with another key, or is damaged.
    """
    from cryptography.fernet import InvalidToken

    try:
        return _fernet().decrypt(text.removeprefix(SEALED).encode()).decode()
    except (InvalidToken, UnicodeError):
        raise SecretError("A secret of the workspace cannot be read: it was sealed with another key.", cure=CURE) from None


def _fernet() -> Fernet:
    phrase = os.environ.get(VARIABLE)
    return _fernet_of_phrase(phrase) if phrase else _fernet_of_file(home() / "secret.key")


@lru_cache(maxsize=4)
def _fernet_of_phrase(phrase: str) -> Fernet:
    """A Fernet key as it is; any other text becomes one by scrypt."""
    import base64
    import hashlib

    from cryptography.fernet import Fernet

    with suppress(ValueError):
        return Fernet(phrase)
    if len(phrase) < SHORTEST_PHRASE:
        raise SecretError(
            f"{VARIABLE} is neither a Fernet key nor a text of at least {SHORTEST_PHRASE} characters.",
            cure='Make a key: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"',
        )
    # The salt is the same everywhere: whoever has the phrase must come to the same key on every machine.
    key = hashlib.scrypt(phrase.encode(), salt=b"batchmill workspace secrets", n=2**14, r=8, p=1, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key))


def _fernet_of_file(path: Path) -> Fernet:
    from cryptography.fernet import Fernet

    try:
        if not path.exists():
            make_private_file(path, Fernet.generate_key())
        if path.stat().st_mode & 0o077:
            raise SecretError(f"The key of the secrets {path} can be read by other users.", cure=f"Take that right away: chmod 600 {path}")
        return Fernet(path.read_bytes().strip())
    except OSError as error:
        raise SecretError(f"The key of the secrets {path} cannot be used: {error.strerror}.", cure=f"Or set {VARIABLE}.") from None
    except ValueError:
        raise SecretError(f"The key of the secrets {path} is damaged.", cure=CURE) from None


def make_private_file(path: Path, content: bytes) -> None:
    """A file that only its owner may read, complete before it has its name; of several processes that make it at once, the first counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(own, path)
    finally:
        os.unlink(own)
