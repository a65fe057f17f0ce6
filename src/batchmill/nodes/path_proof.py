"""Proof that another machine sees the same folder or file as this one, not another of the same name.

A folder gets a hidden token file, whose text only we know. Where none can be written (input that is read-only), and for a file, the proof
is what it looks like: size, time of change, and of a folder the names of its first entries with their sizes and times.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from batchmill.data.walk import PROOF

ENTRIES = 64
PREFIX = PROOF.decode()
"""Token files are hidden, and a walk through the folder passes over them."""


@dataclass(frozen=True, slots=True)
class PathProof:
    """``token``: name and text of the token file; None where the ``look`` of the path has to do."""

    path: str
    token: tuple[str, str] | None = None
    look: str = ""


def make_proofs(paths: Iterable[str | os.PathLike[str]]) -> tuple[PathProof, ...]:
    """A proof for each path that exists here, in their order; `remove_proofs` takes back what was written for it."""
    unique = dict.fromkeys(os.path.abspath(path) for path in paths)
    return tuple(_proof(path) for path in unique)


def check_proofs(proofs: Iterable[PathProof]) -> list[str]:
    """The paths that are not here, or are something else here."""
    return [proof.path for proof in proofs if not _holds(proof)]


def remove_proofs(proofs: Iterable[PathProof]) -> None:
    """Remove the token files; whoever checks afterwards sees none of these folders any more."""
    for proof in proofs:
        if proof.token is not None:
            with suppress(OSError):  # it is hidden, and disturbs nobody
                Path(proof.path, proof.token[0]).unlink()


def _proof(path: str) -> PathProof:
    if os.path.isdir(path):
        name, text = PREFIX + secrets.token_hex(8), secrets.token_hex(16)
        try:
            descriptor = os.open(os.path.join(path, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError:
            return PathProof(path, look=_look(path))
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # the disk is full
            Path(path, name).unlink(missing_ok=True)
            return PathProof(path, look=_look(path))
        return PathProof(path, token=(name, text))
    return PathProof(path, look=_look(path))


def _holds(proof: PathProof) -> bool:
    if proof.token is None:
        return bool(proof.look) and _look(proof.path) == proof.look
    name, text = proof.token
    try:
        os.listdir(proof.path)  # a client of a network file system then asks anew what the folder holds
        return Path(proof.path, name).read_text(encoding="ascii") == text
    except (OSError, ValueError):
        return False


def _look(path: str) -> str:
    """A hash of what can be seen of a path without reading it; empty where it is not there."""
    try:
        state = os.stat(path)
        parts = [f"{state.st_mode & 0o170000:o}"]
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if not name.startswith(PREFIX))
            parts += [str(len(names)), *(_line(path, name) for name in names[:ENTRIES])]
        else:
            parts += [str(state.st_size), str(state.st_mtime_ns)]
    except OSError:
        return ""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _line(folder: str, name: str) -> str:
    state = os.lstat(os.path.join(folder, name))
    if os.path.isdir(os.path.join(folder, name)):
        return name + "/"
    return f"{name} {state.st_size} {state.st_mtime_ns}"
