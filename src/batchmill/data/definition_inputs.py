"""From a definition to inputs: its sources opened in order, its file operations on the stream of their files."""

from __future__ import annotations

from collections.abc import Iterator
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

AT_ONCE = 16
"""Asking a store whether a text is a file or a folder is a request: those of many sources are made together."""
BATCH = 256


def open_definition(
    definition: Definition, *, include_hidden: bool = False, scratch: str | None = None, retry_timeout: float = 20.0
) -> list[Input]:
    """The inputs of a dataset whose sources are physical (a path, glob or URL); together they are one input of a run.

    Their chunks must be listed in order, each once: operations go across them. Single files in a row that lie in one folder share
    an input. An input may turn out empty; `require_files` says so of all. Operations of tables are left to who reads the rows.

    Raises:
        InputError: a source does not exist.
    """
    inputs = _merged(_opened(definition, include_hidden, scratch, retry_timeout))
    if definition.kind != FILE or not definition.operations:
        return inputs
    operations = FileOperations(definition)
    return [_operated(one, number, operations) for number, one in enumerate(inputs)]


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


def _opened(definition: Definition, include_hidden: bool, scratch: str | None, retry_timeout: float) -> Iterator[Input]:
    def opened(source: str) -> Input:
        one = open_input(source, include_hidden=include_hidden, scratch=scratch, retry_timeout=retry_timeout)
        if definition.is_file and one.file is None:
            raise InputError(f"The source {shown(source)} is not one file.", cure="Make the dataset without is_file.")
        return one

    if len(definition.sources) == 1 or not any(parse_location(source).remote for source in definition.sources):
        yield from map(opened, definition.sources)
        return
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(opened, definition.sources)


def _merged(inputs: Iterator[Input]) -> list[Input]:
    """Neighbours that are single files of one folder as one input: a list of ten thousand files is no list of inputs."""
    merged: list[Input] = []
    parts: dict[str, Input] = {}
    for one in inputs:
        before = next(iter(parts.values()), one)
        if one.file is None or one.file in parts or (before.base, before.location) != (one.base, one.location):
            merged.extend(_together(parts))
            parts = {}
        if one.file is None:
            merged.append(one)
        else:
            parts[one.file] = one
    return [*merged, *_together(parts)]


def _together(parts: dict[str, Input]) -> list[Input]:
    files = list(parts.values())
    if len(files) < 2:
        return files

    def chunks() -> Iterator[Chunk]:
        if files[0].location == "local":
            for one in files:
                yield from one.chunks()
            return
        waiting = iter(files)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(islice(waiting, BATCH)):
                yield from threads.map(_only_chunk, some)

    return [Input(files[0].text, files[0].base, files[0].location, chunks)]


def _only_chunk(one: Input) -> Chunk:
    return next(one.chunks())


def _operated(one: Input, number: int, operations: FileOperations) -> Input:
    return replace(one, chunks=lambda: operations.apply(_listed(one), number, one.base))


def _listed(one: Input) -> Iterator[Chunk]:
    """Lazily: what is never asked for is never begun."""
    yield from one.chunks()
