"""The files of a file dataset as scripts see them: a relative path for each, and where it really lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.data.definition import Definition
    from batchmill.data.listing import Input


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One file: ``path`` as it is seen in a mount (relative), ``name`` below the base of source ``input``, and what was listed."""

    path: str
    name: str
    input: int
    size: int
    mtime_ns: int
    etag: str | None


class DatasetFiles:
    """The files of a dataset whose sources are named in ``definition`` and lie where ``physical`` says; lists when it is asked to.

    Azure ML: paths are relative to the part of a source before its first wildcard; a file of a web server keeps its whole URL,
    percent-encoded: ``http%3A/%2FHOST%3APORT/...``.

    Raises:
        InputError: a source does not exist.
    """

    def __init__(self, definition: Definition, physical: Definition) -> None:
        from batchmill.data.definition_inputs import open_definition

        self.places: list[Input] = open_definition(physical, merge=False)
        self._prefixes = [_prefix(source, one) for source, one in zip(definition.sources, self.places, strict=True)]

    @property
    def single(self) -> str | None:
        """The name of the one file that the dataset is, where its only source is a file."""
        return self.places[0].file if len(self.places) == 1 else None

    def __iter__(self) -> Iterator[DatasetFile]:
        """All files in the order of the dataset; once."""
        for number, (one, prefix) in enumerate(zip(self.places, self._prefixes, strict=True)):
            for chunk in one.chunks():
                for n, last in enumerate(chunk.names):
                    name = (chunk.prefix + last).decode("utf-8", "surrogateescape")
                    etag = chunk.etags[n] if chunk.etags is not None else None
                    yield DatasetFile(prefix + name, name, number, chunk.sizes[n], chunk.mtimes[n], etag or None)

    def listed(self) -> list[DatasetFile]:
        """All files, known to fit into one folder.

        Raises:
            UserErrorException: two of them would have one path.
        """
        files = list(self)
        seen: dict[str, DatasetFile] = {}
        folders: dict[str, DatasetFile] = {}
        for file in files:
            other = seen.setdefault(file.path, file)
            if other is file:
                other = folders.get(file.path, file)
            for folder in _folders(file.path):
                other = seen.get(folder, other) if other is file else other
                folders.setdefault(folder, file)
            if other is not file:
                first, second = (f"{self.places[one.input].base}/{one.name}" for one in (other, file))
                raise UserErrorException(
                    f"Two files of the dataset cannot lie in one folder, both as '/{file.path}': {first} and {second}. "
                    "Make a dataset of each source, or one of a folder above both."
                )
        return files


def _folders(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)


def _prefix(source: str, one: Input) -> str:
    scheme, colon, rest = source.partition("://")
    if not colon or scheme.lower() not in ("http", "https"):
        return ""
    host, *folders = rest.rstrip("/").split("/")
    wild = next((n for n, part in enumerate(folders) if set(part) & set("*?[")), None)
    if wild is not None:
        folders = folders[:wild]
    elif one.file is not None:
        folders = folders[:-1]
    return "/".join([quote(f"{scheme}:", safe=""), quote(f"/{host}", safe=""), *folders, ""])
