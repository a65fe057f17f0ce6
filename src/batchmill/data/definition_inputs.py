"""From a definition to inputs: its sources opened in order, its file operations on the stream of their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

from batchmill.data.definition import FILE, Definition
from batchmill.data.file_operations import FileOperations
from batchmill.data.listing import Input, open_input
from batchmill.data.walk import shown
from batchmill.errors import InputError
from batchmill.storage.chunk import Chunk
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import any_object

AT_ONCE = 16
"""Asking a store whether a text is a file or a folder is a request: those of many sources are made together."""
BATCH = 256
Source = tuple[int, Input]
"""A source with its number in the definition."""


def open_definition(
    definition: Definition, *, include_hidden: bool = False, scratch: str | None = None, retry_timeout: float = 20.0, merge: bool = True
) -> list[Input]:
    """The inputs of a dataset whose sources are physical (a path, glob or URL); together they are one input of a run.

    Their chunks must be listed in order, each once: operations go across them. Single files in a row that lie in one folder share
    an input, unless ``merge`` is off; then each source is an input. An input may turn out empty; `require_files` says so of all.
    Operations of tables are left to who reads the rows.

    Raises:
        InputError: a source does not exist.
    """
    sources = list(enumerate(_opened(definition, include_hidden, scratch, retry_timeout)))
    operations = FileOperations(definition) if definition.kind == FILE and definition.operations else None
    return [_input(group, operations) for group in (_merged(sources) if merge else ([source] for source in sources))]


def require_files(definition: Definition, text: str, count: int) -> None:
    """Refuse a dataset that turned out empty; ``text`` is what the user called it.

    Raises:
        InputError: ``count`` is 0.
    """
    if count:
        return
    if definition.operations:
        raise InputError(f"{text} holds no files.", cure="Its filter, skip, take, sample or split leaves none.")
    raise InputError(f"{text} holds no files.", cure="Check the paths of the dataset; names that begin with a dot are passed over.")


def require_sources(definition: Definition, *, retry_timeout: float = 20.0) -> None:
    """Look whether every source is there and holds a file, and at no more than that (Azure ML: ``validate`` of the factories).

    Raises:
        InputError: one is missing, empty or cannot be read.
    """

    def check(source: str) -> None:
        one = open_input(source, retry_timeout=retry_timeout)
        if definition.is_file and one.file is None:
            raise _no_file(source)
        location = parse_location(source)
        if one.file is None and location.remote and location.kind != "http":
            one.require_items(any_object(location, retry_timeout=retry_timeout))
        else:
            one.require_items(next((len(chunk) for chunk in one.chunks()), 0))

    with ThreadPoolExecutor(AT_ONCE if len(definition.sources) > 1 else 1) as threads:
        for _ in threads.map(check, definition.sources):
            pass


def _no_file(source: str) -> InputError:
    return InputError(f"The source {shown(source)} is not one file.", cure="Make the dataset without is_file.")


def _opened(definition: Definition, include_hidden: bool, scratch: str | None, retry_timeout: float) -> Iterator[Input]:
    def opened(source: str) -> Input:
        one = open_input(source, include_hidden=include_hidden, scratch=scratch, retry_timeout=retry_timeout)
        if definition.is_file and one.file is None:
            raise _no_file(source)
        return one

    if len(definition.sources) == 1 or not any(parse_location(source).remote for source in definition.sources):
        yield from map(opened, definition.sources)
        return
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(opened, definition.sources)


def _merged(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """Neighbours that are single files of one folder as one input: a list of ten thousand files is no list of inputs."""
    group: list[Source] = []
    names: set[str] = set()
    for number, one in sources:
        joins = one.file is not None and one.file not in names and (not group or _place(group[0][1]) == _place(one))
        if group and not joins:
            yield group
            group, names = [], set()
        if one.file is None:
            yield [(number, one)]
        else:
            group.append((number, one))
            names.add(one.file)
    if group:
        yield group


def _place(one: Input) -> tuple[str, str]:
    return one.location, one.base


def _input(group: list[Source], operations: FileOperations | None) -> Input:
    _, first = group[0]

    def chunks() -> Iterator[Chunk]:
        numbered = _listed(group)
        return (chunk for _, chunk in numbered) if operations is None else operations.apply(numbered, first.base)

    return replace(first, chunks=chunks, file=first.file if len(group) == 1 else None)


def _listed(group: list[Source]) -> Iterator[tuple[int, Chunk]]:
    """The chunks of some sources with the number of each; lazily: what is never asked for is never begun."""
    if len(group) == 1 or group[0][1].location == "local":
        for number, one in group:
            for chunk in one.chunks():
                yield number, chunk
        return
    waiting = iter(group)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while some := list(islice(waiting, BATCH)):
            yield from threads.map(lambda source: (source[0], next(source[1].chunks())), some)
