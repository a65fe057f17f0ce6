"""The files that a model consists of: found below what a user names, and known by size and SHA-256 from then on."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.workspace.exceptions import WebserviceException

HASHERS = 4
NO_CHILD = "child_paths names '{}', which is nothing below {}. Name files of that folder, relative to it."


class ModelPathMissing(WebserviceException, FileNotFoundError):
    """What is to be registered is not there; the releases of Azure ML raise the one class or the other."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a registered model. ``name`` is relative, with slashes; ``executable`` whether it may be run."""

    name: str
    size: int
    sha256: str
    executable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For the definition of the model."""
        values: dict[str, Any] = {"path": self.name, "size": self.size, "sha256": self.sha256}
        return values | {"executable": True} if self.executable else values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelFile:
        return cls(values["path"], values["size"], values["sha256"], bool(values.get("executable")))


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is to be registered: its name within the model, where it lies, and what is known of it so far."""

    name: str
    path: str
    size: int
    executable: bool


def find_files(
    path: str | os.PathLike[str], child_paths: Sequence[str | os.PathLike[str]] | None = None, folder_name: str | None = None
) -> list[FoundFile]:
    """The files of a model, by name: those of a folder are named with the folder's own name in front.

    Links are followed: what they lead to becomes part of the model.

    Args:
        path: a file or a folder, anywhere.
        child_paths: the files and folders below ``path`` that alone are taken.
        folder_name: what a folder is called within the model, instead of by its own name.

    Raises:
        ModelPathMissing: there is nothing at ``path``.
        WebserviceException: there is no file in it, a link leads nowhere, or something is no file.
    """
    given = os.fspath(path)
    root = os.path.abspath(given)
    if not os.path.exists(root):
        raise ModelPathMissing(f'Error, provided model path "{given}" cannot be found. Path does not exist.')
    name = os.path.basename(root)
    if not os.path.isdir(root):
        if child_paths:
            raise WebserviceException(f"child_paths needs a folder, and '{given}' is a file.")
        return [_found(name, root)]
    name = name if folder_name is None else folder_name
    tops = [root] if not child_paths else [_child(root, given, os.fspath(child)) for child in child_paths]
    paths = {file for top in tops for file in _walk(top, ())}
    if not paths:
        raise WebserviceException(f"Folder '{given}' holds no file, so there is nothing to register.")
    return sorted((_found(os.path.join(name, os.path.relpath(file, root)), file) for file in paths), key=lambda one: one.name)


def _child(root: str, given: str, child: str) -> str:
    """The path of a child, which may be written relative to the folder or with the folder in front."""
    for candidate in (os.path.join(root, child), os.path.abspath(child)):
        if os.path.lexists(candidate) and os.path.commonpath([root, os.path.normpath(candidate)]) == root:
            return os.path.normpath(candidate)
    raise WebserviceException(NO_CHILD.format(child, given))


def _walk(path: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """All files at or below a path; ``above`` are the folders that led here, so that a link back to one is seen."""
    if not os.path.isdir(path):
        yield path
        return
    status = os.stat(path)
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise WebserviceException(f"Link {path} leads back to a folder that it lies in. Remove it, then register the model again.")
    try:
        entries = sorted(os.listdir(path))
    except OSError as error:
        raise WebserviceException(f"Folder {path} cannot be read: {error.strerror}.") from None
    for entry in entries:
        yield from _walk(os.path.join(path, entry), (*above, here))


def _found(name: str, path: str) -> FoundFile:
    try:
        status = os.stat(path)
    except OSError:
        raise WebserviceException(f"Link {path} leads nowhere. Remove it, then register the model again.") from None
    if not stat.S_ISREG(status.st_mode):
        raise WebserviceException(f"{path} is a pipe, socket or device, and no file: it cannot be part of a model.")
    return FoundFile(_text(name), path, status.st_size, bool(status.st_mode & stat.S_IXUSR))


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise WebserviceException(f"The name of file {name!r} is no UTF-8 text. Rename it, then register the model again.") from None
    return name.replace(os.sep, "/")


def measure(folder: str, names: Iterable[str], *, durable: bool = False) -> list[ModelFile]:
    """Read files below a folder through, several at a time, in the order of their names; with ``durable`` they are synced, too.

    Raises:
        OSError: one cannot be read.
    """
    from concurrent.futures import ThreadPoolExecutor

    def one(name: str) -> ModelFile:
        import hashlib

        with open(os.path.join(folder, name), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if durable:
                os.fsync(file.fileno())
            return ModelFile(name, os.fstat(file.fileno()).st_size, digest)

    with ThreadPoolExecutor(HASHERS, "batchmill-hash") as pool:
        return list(pool.map(one, sorted(names)))


def content_of(definition: dict[str, Any]) -> list[ModelFile]:
    """The files that the definition of a model names."""
    return [ModelFile.from_dict(values) for values in definition["files"]]
