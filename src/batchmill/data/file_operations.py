"""The operations of a file dataset on the stream of its files: take, skip, sample, split and filter, a chunk at a time.

Chance is a function of the seed, the place of the operation among the others, the source and the name of a file below it: the same
listing gives the same sample on every machine, a file that is added moves no other, and the parts of a split are disjoint and complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from batchmill.data.definition import Definition
from batchmill.data.expression import Expression
from batchmill.data.partition_format import PartitionFormat, Value
from batchmill.storage.chunk import Chunk

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Step = Callable[[Chunk, int, str], Chunk]
"""Takes a chunk, the number of its source and the base of its names; gives what is kept of it."""


class FileOperations:
    """The operations of one definition. The sources go through it one behind the other, each once, in their order.

    Raises:
        PartitionFormatError: the partition format is not well formed.
        InputError: a filter cannot be read.
    """

    def __init__(self, definition: Definition) -> None:
        form = PartitionFormat(definition.partition_format) if definition.partition_format is not None else None
        self._counters: list[_Counter] = []
        self._steps = [self._step(number, operation, form) for number, operation in enumerate(definition.operations)]

    def exhausted(self) -> bool:
        """True once nothing more can come: there is no need to list what is left."""
        return any(counter.stops and counter.left == 0 for counter in self._counters)

    def apply(self, chunks: Iterable[tuple[int, Chunk]], base: str) -> Iterator[Chunk]:
        """What is kept of chunks that come with the number of their source and lie below ``base``; empty ones are left out."""
        if self.exhausted():
            return
        for source, chunk in chunks:
            for step in self._steps:
                if not len(chunk):
                    break
                chunk = step(chunk, source, base)
            if len(chunk):
                yield chunk
            if self.exhausted():
                return

    def _step(self, number: int, operation: Any, form: PartitionFormat | None) -> Step:
        name = operation["op"]
        if name in ("take", "skip"):
            counter = _Counter(operation["count"], stops=name == "take")
            self._counters.append(counter)
            return counter.step
        if name == "sample":
            return _chance(0.0, operation["probability"], operation["seed"], number)
        if name == "split":
            return _chance(operation["from"], operation["to"], operation["seed"], number)
        return _filter(Expression.from_tree(operation["expression"]), form)


class _Counter:
    """Takes (``stops``) or skips the first files of the whole stream."""

    def __init__(self, count: int, *, stops: bool) -> None:
        self.left = count
        self.stops = stops

    def step(self, chunk: Chunk, _source: int, _base: str) -> Chunk:
        here = min(self.left, len(chunk))
        self.left -= here
        if here == (len(chunk) if self.stops else 0):
            return chunk
        return chunk.select(range(here) if self.stops else range(here, len(chunk)))


def _chance(low: float, high: float, seed: int, number: int) -> Step:
    def step(chunk: Chunk, source: int, _base: str) -> Chunk:
        begin = hashlib.blake2b(b"%d\0%d\0%d\0" % (seed, number, source) + chunk.prefix, digest_size=8)
        kept = []
        for n, name in enumerate(chunk.names):
            one = begin.copy()
            one.update(name)
            if low <= (int.from_bytes(one.digest(), "big") >> 11) / 2**53 < high:
                kept.append(n)
        return chunk if len(kept) == len(chunk) else chunk.select(kept)

    return step


def _filter(expression: Expression, form: PartitionFormat | None) -> Step:
    wanted = set(expression.columns())
    columns = [(place, name) for place, name in enumerate(form.columns) if name in wanted] if form is not None else []

    def row(path: str) -> dict[str, Value]:
        if form is None or not columns:
            return {}
        values = form.values(path)
        return {name: values[place] for place, name in columns}

    def step(chunk: Chunk, _source: int, base: str) -> Chunk:
        kept = []
        for n in range(len(chunk)):
            name = (chunk.prefix + chunk.names[n]).decode("utf-8", "surrogateescape")
            if expression.evaluate(row(f"{base}/{name}"), file_metadata(name, chunk.sizes[n], chunk.mtimes[n])):
                kept.append(n)
        return chunk if len(kept) == len(chunk) else chunk.select(kept)

    return step


def file_metadata(name: str, size: int, mtime_ns: int) -> dict[str, Any]:
    """What a filter may ask about a file. Stores keep no time of creation: that of the last change stands for it (None: unknown)."""
    changed = EPOCH + timedelta(microseconds=mtime_ns // 1000) if mtime_ns else None
    dot = name.rfind(".", name.rfind("/") + 2)
    return {
        "Size": size,
        "LastModifiedTime": changed,
        "CreationTime": changed,
        "CreatedTime": changed,
        "Extension": name[dot:] if dot >= 0 else "",
        "CanSeek": True,
    }
