"""Outcomes that are stored together: nothing of them is lost, and each mini-batch still says who ran it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from batchmill.parallel_run.events import Done
from batchmill.parallel_run.merged_outcomes import MOST, cut, cut_workers, in_order, merged, shares, worker_of
from batchmill.worker.delivery import RECORD, SPAN

NAMES = st.sampled_from(["process000", "process001", "process012", "process1000", "other", "reused"])


def done(token: int, first: int, lengths: list[int], worker: str = "process000", offset: int = 0, **more: Any) -> Done:
    """An outcome whose mini-batches have rows of these lengths: one item each, that of an empty one is missing."""
    packed = b"".join(RECORD.pack(n, n, 1, int(n > 0), k, 1.0, 0.5, 0.25) for k, n in enumerate(lengths))
    spans = b"".join(SPAN.pack(first + k, k, k + 1, 0, 0) for k in range(len(lengths)))
    notes = tuple({"mb": first + k, "warning": "empty"} for k, n in enumerate(lengths) if not n)
    numbers = (sum(lengths), len(lengths), sum(n > 0 for n in lengths), sum(n == 0 for n in lengths))
    return Done("node3", worker, token, first, len(lengths), None, "local", offset, sum(lengths), *numbers, packed, spans, notes, **more)


@st.composite
def flushes(draw: st.DrawFn) -> list[Done]:
    """Outcomes of several leases in any order, gaps between them."""
    found, at = [], 0
    for token in range(1, draw(st.integers(1, 3)) + 1):
        at += draw(st.integers(0, 2))
        for lengths in draw(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=5)):
            found.append(done(token, at, lengths, draw(NAMES), header=draw(st.sampled_from([None, "h"]))))
            at += len(lengths) + draw(st.sampled_from([0, 0, 0, 1]))
    return draw(st.permutations(found))


def each(outcomes: list[Done]) -> list[Any]:
    """What outcomes say of single mini-batches, wherever their bytes lie."""
    return [
        (d.token, d.first + k, worker_of(d.worker, k), record) for d in outcomes for k, record in enumerate(RECORD.iter_unpack(d.packed))
    ]


@given(flushes())
def test_what_is_merged_says_the_same_of_every_mini_batch(outcomes: list[Done]) -> None:
    ordered = in_order(outcomes)
    told = merged(ordered, "9-node3-1")
    assert each(told) == each(ordered)
    assert {one.part for one in told} <= {"9-node3-1"}
    for name in ("rows", "items", "ok", "short", "length"):
        assert sum(getattr(one, name) for one in told) == sum(getattr(one, name) for one in ordered)
    assert b"".join(one.spans for one in told) == b"".join(one.spans for one in ordered)
    assert [note for one in told for note in one.notes] == [note for one in ordered for note in one.notes]


@given(flushes())
def test_bytes_lie_one_after_another_and_no_two_outcomes_could_be_one(outcomes: list[Done]) -> None:
    told = merged(in_order(outcomes), "part")
    assert [one.offset for one in told] == [sum(before.length for before in told[:k]) for k in range(len(told))]
    borders = pairwise(told)
    assert all(a.token != b.token or a.first + a.count < b.first for a, b in borders)


@given(flushes())
def test_header_is_the_one_that_its_first_bytes_came_with(outcomes: list[Done]) -> None:
    ordered = in_order(outcomes)
    for one in merged(ordered, "part"):
        mine = [d for d in ordered if one.first <= d.first < one.first + one.count]
        expected = next((d.header for d in mine if d.length), mine[0].header if len(mine) == 1 else None)
        assert one.header == expected


@given(flushes(), st.data())
def test_a_part_of_an_outcome_says_what_the_whole_says_of_it(outcomes: list[Done], data: st.DataObject) -> None:
    for one in merged(in_order(outcomes), "part"):
        first = data.draw(st.integers(one.first, one.first + one.count - 1))
        count = data.draw(st.integers(1, one.first + one.count - first))
        left, middle = cut(one, one.first, max(1, first - one.first)), cut(one, first, count)
        assert each([middle]) == [entry for entry in each([one]) if first <= entry[1] < first + count]
        assert cut(one, one.first, one.count) == one
        if first > one.first:
            assert left.offset + left.length == middle.offset
        assert len(middle.spans) == SPAN.size * count
        assert len(middle.notes) == middle.short


def test_pieces_and_other_leases_stay_apart() -> None:
    outcomes = [done(1, 0, [1]), done(2, 1, [1]), done(2, 2, [1])]
    pieces = [
        Done("node3", "process000", 5, 9, 1, piece, "local", 0, 3, 1, 1, 1, 0, RECORD.pack(3, 1, 1, 1, 0, 1.0, 0.5, 0.25))
        for piece in ((2, 2), (0, 2))
    ]
    told = merged(in_order([*outcomes, *pieces]), "part")
    assert [(one.token, one.first, one.count, one.piece) for one in told] == [
        (1, 0, 1, None),
        (2, 1, 2, None),
        (5, 9, 1, (0, 2)),
        (5, 9, 1, (2, 2)),
    ]


def test_an_outcome_has_a_bound() -> None:
    outcomes = [done(1, first, [1] * (MOST // 2)) for first in range(0, 2 * MOST, MOST // 2)]
    assert [one.count for one in merged(in_order(outcomes), "part")] == [MOST, MOST]


def test_who_ran_which_is_short_and_readable() -> None:
    outcomes = [done(1, 0, [1, 1, 1], "process000"), done(1, 3, [1], "process004"), done(1, 4, [1], "process000"), done(1, 5, [1], "other")]
    (one,) = merged(in_order(outcomes), "part")
    assert one.worker == "process000*3,4,0,other"
    assert [worker_of(one.worker, k) for k in (0, 2, 3, 4, 5)] == ["process000", "process000", "process004", "process000", "other"]
    (alone,) = merged(in_order([done(1, 0, [1, 1], "process007"), done(1, 2, [1], "process007")]), "part")
    assert alone.worker == "process007"
    assert worker_of(alone.worker, 2) == "process007"


@given(st.lists(st.tuples(NAMES, st.integers(1, 4)), min_size=1, max_size=6), st.data())
def test_any_part_of_a_text_names_the_same_workers(runs: list[tuple[str, int]], data: st.DataObject) -> None:
    names = [name for name, times in runs for _ in range(times)]
    outcomes = [done(1, position, [1], name) for position, name in enumerate(names)]
    (one,) = merged(outcomes, "part")
    offset = data.draw(st.integers(0, len(names) - 1))
    count = data.draw(st.integers(1, len(names) - offset))
    part = cut_workers(one.worker, offset, count)
    assert [name for name, times in shares(part, count) for _ in range(times)] == names[offset : offset + count]
