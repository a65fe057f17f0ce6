"""Outcomes of several worker processes as one: what a node stores together is told, committed and kept together.

Consecutive mini-batches of one lease become one `Done`. Its ``worker`` says who ran which: ``process000*3,4,process000`` are three
mini-batches of process000, one of process004 and one more of process000; ``process000`` alone ran them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from batchmill.parallel_run.events import Done
from batchmill.worker.delivery import RECORD, SPAN

MOST = 10_000
"""Mini-batches in one outcome, so that no message and no row of the ledger grows without bound."""

NUMBERED = re.compile(r"process(\d{3}|[1-9]\d{3,})")


def in_order(outcomes: Iterable[Done]) -> list[Done]:
    """By mini-batch, pieces by their first item: the order of their bytes in a common part."""
    return sorted(outcomes, key=lambda done: (done.first, done.piece or (-1, 0), done.token))


def merged(ordered: Sequence[Done], part: str) -> list[Done]:
    """Outcomes whose bytes lie one after another in ``part``, as few as can be; pieces stay as they are."""
    told: list[Done] = []
    group: list[Done] = []
    start = offset = count = 0
    for done in ordered:
        if group and not (_follows(group[-1], done) and count + done.count <= MOST):
            told.append(_one(group, part, start))
            group, start, count = [], offset, 0
        group.append(done)
        offset, count = offset + done.length, count + done.count
    if group:
        told.append(_one(group, part, start))
    return told


def _follows(before: Done, after: Done) -> bool:
    whole = before.piece is None and after.piece is None
    return whole and (before.node, before.token, before.first + before.count) == (after.node, after.token, after.first)


def _one(group: list[Done], part: str, offset: int) -> Done:
    head = group[0]
    if len(group) == 1:
        return replace(head, part=part, offset=offset)
    return Done(
        node=head.node,
        worker=_text(chain.from_iterable(shares(done.worker, done.count) for done in group)),
        token=head.token,
        first=head.first,
        count=sum(done.count for done in group),
        piece=None,
        part=part,
        offset=offset,
        length=sum(done.length for done in group),
        rows=sum(done.rows for done in group),
        items=sum(done.items for done in group),
        ok=sum(done.ok for done in group),
        short=sum(done.short for done in group),
        packed=b"".join(done.packed for done in group),
        spans=b"".join(done.spans for done in group),
        notes=tuple(note for done in group for note in done.notes),
        header=next((done.header for done in group if done.length), None),
    )


def cut(done: Done, first: int, count: int) -> Done:
    """What an outcome says of the mini-batches ``[first, first + count)``, which are among its own."""
    begin, end = (first - done.first) * RECORD.size, (first - done.first + count) * RECORD.size
    before = sum(record[0] for record in RECORD.iter_unpack(done.packed[:begin]))
    records = list(RECORD.iter_unpack(done.packed[begin:end]))
    length, rows, items, ok = (sum(record[field] for record in records) for field in range(4))
    stop = first + count
    return replace(
        done,
        worker=cut_workers(done.worker, first - done.first, count),
        first=first,
        count=count,
        offset=done.offset + before,
        length=length,
        rows=rows,
        items=items,
        ok=ok,
        short=sum(record[3] < record[2] for record in records),
        packed=done.packed[begin:end],
        spans=b"".join(SPAN.pack(*span) for span in SPAN.iter_unpack(done.spans) if first <= span[0] < stop),
        notes=tuple(note for note in done.notes if first <= note["mb"] < stop),
        header=done.header,
    )


# --- who ran which ----------------------------------------------------------------------------------------------------------------


def shares(workers: str, count: int) -> Iterator[tuple[str, int]]:
    """The worker processes of ``count`` consecutive mini-batches, each with how many of them it ran in a row."""
    if "," not in workers and "*" not in workers:
        yield workers, count
        return
    for entry in workers.split(","):
        name, _, times = entry.partition("*")
        yield (f"process{int(name):03d}" if name.isdigit() else name), int(times or 1)


def worker_of(workers: str, offset: int) -> str:
    """The worker process that ran the mini-batch ``offset`` places after the first."""
    ends = 0
    for name, times in shares(workers, offset + 1):
        ends += times
        if offset < ends:
            return name
    raise ValueError(f"'{workers}' names no worker for mini-batch {offset} after the first")


def cut_workers(workers: str, offset: int, count: int) -> str:
    """Who ran the ``count`` mini-batches that begin ``offset`` places after the first."""
    found, at = [], 0
    for name, times in shares(workers, offset + count):
        here = min(at + times, offset + count) - max(at, offset)
        if here > 0:
            found.append((name, here))
        at += times
    return _text(found)


def _text(found: Iterable[tuple[str, int]]) -> str:
    runs: list[tuple[str, int]] = []
    for name, times in found:
        if runs and runs[-1][0] == name:
            runs[-1] = (name, runs[-1][1] + times)
        else:
            runs.append((name, times))
    if len(runs) == 1:
        return runs[0][0]
    return ",".join(_entry(name, times, short=position > 0) for position, (name, times) in enumerate(runs))


def _entry(name: str, times: int, *, short: bool) -> str:
    """The prefix that all names have in common is written once."""
    number = NUMBERED.fullmatch(name) if short else None
    text = name if number is None else str(int(number[1]))
    return text if times == 1 else f"{text}*{times}"
