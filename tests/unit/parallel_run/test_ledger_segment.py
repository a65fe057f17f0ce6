from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import StoreError
from batchmill.parallel_run.ledger_schema import SCHEMA, TABLES, WRITES
from batchmill.parallel_run.ledger_segment import START, LedgerSegment, decode, decode_all

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT | st.binary(max_size=200)
WRITE = st.tuples(st.sampled_from(sorted(WRITES)), VALUES, VALUES, VALUES)
TOKEN = st.binary(min_size=16, max_size=16)
SEGMENT = st.builds(LedgerSegment, st.integers(1, 10**12 - 1), TOKEN, TOKEN, st.lists(WRITE, max_size=20))
SOME = LedgerSegment(7, b"t" * 16, START, [("meta", "key", "value"), ("range", 1, b"\0\1\2" * 50, 0.1, None, "é")])


@given(SEGMENT)
def test_a_segment_comes_back_as_it_was(segment: LedgerSegment) -> None:
    assert decode(segment.encode(), "x") == segment


@given(st.lists(SEGMENT, max_size=5))
def test_segments_one_after_the_other_come_back(segments: list[LedgerSegment]) -> None:
    assert list(decode_all(b"".join(one.encode() for one in segments), "x")) == segments


@given(SEGMENT, st.data())
def test_no_damage_goes_unnoticed(segment: LedgerSegment, data: st.DataObject) -> None:
    good = segment.encode()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StoreError, match=r"damaged|newer"):
        decode(bytes(changed), "ledger/x")
    with pytest.raises(StoreError, match=r"ledger/x is damaged"):
        decode(good[:at], "ledger/x")
    with pytest.raises(StoreError, match="damaged"):
        decode(good + good, "ledger/x")


def test_a_newer_version_is_told_from_damage() -> None:
    data = bytearray(SOME.encode())
    struct.pack_into("<H", data, 4, 2)
    with pytest.raises(StoreError, match="newer Batchmill") as caught:
        decode(bytes(data), "ledger/x")
    assert caught.value.cure


def test_a_write_that_nobody_knows_is_refused() -> None:
    segment = LedgerSegment(1, START, START, [("DROP TABLE ranges", 1)])
    with pytest.raises(StoreError, match="damaged"):
        decode(segment.encode(), "x")


STORED = bytes.fromhex(
    "424d4c53010000000700000000000000747474747474747474747474747474740000000000000000000000000000000048000000000000003c00000000000000"
    "926be18978018b8e56ca4d2d4954d251ca4ead0492658939a5a94ab13ad14a458979e9a94a3a863ad54a494a5686a606b53a067a863a79a539393a4a87572ac5"
    "c63230320d4204000eae12e2"
)


def test_what_runs_have_stored_stays_readable() -> None:
    assert decode(STORED, "x") == SOME


def test_every_table_can_be_forgotten() -> None:
    assert sorted(TABLES) == sorted(line.split()[5] for line in SCHEMA.splitlines() if line.startswith("CREATE TABLE"))
