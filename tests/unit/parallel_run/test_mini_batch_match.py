"""Matching of mini-batches by identity, and the stretches that are copied: the same as looking up one by one."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.parallel_run import mini_batch_match
from batchmill.parallel_run.earlier_output import LONGEST, NONE, stretches
from batchmill.parallel_run.mini_batch_identity import SIZE
from batchmill.parallel_run.mini_batch_match import failed_before, match

NUMBERS = st.lists(st.integers(0, 40), unique=True, max_size=40)


def identities(numbers: list[int]) -> bytearray:
    return bytearray(b"".join(blake2b(b"%d" % number, digest_size=SIZE).digest() for number in numbers))


@given(new=NUMBERS, old=NUMBERS, bad=st.sets(st.integers(0, 40)), few=st.booleans())
def test_match_is_a_lookup(new: list[int], old: list[int], bad: set[int], few: bool) -> None:
    usable = bytearray(int(number not in bad) for number in old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini_batch_match, "FEW", 100 if few else 0)
        patch.setattr(mini_batch_match, "STEP", 3)
        found = match(identities(new), identities(old), usable)
    expected = [old.index(number) if number in old and number not in bad else NONE for number in new]
    assert list(found) == expected
    assert failed_before(identities(new), identities(old), usable, found) == {k for k, n in enumerate(new) if n in old and n in bad}


@given(st.lists(st.integers(NONE, 30), max_size=40))
def test_stretches_are_what_was_found_and_as_long_as_they_can_be(found: list[int]) -> None:
    told = list(stretches(array("q", found))) if found else []
    pairs = {one.first + n: one.earlier + n for one in told for n in range(one.count)}
    assert pairs == {k: earlier for k, earlier in enumerate(found) if earlier != NONE}
    for one, after in pairwise(told):
        assert one.first + one.count < after.first or one.earlier + one.count != after.earlier


def test_a_long_stretch_is_cut() -> None:
    found = array("q", range(LONGEST * 2 + 1))
    assert [one.count for one in stretches(found)] == [LONGEST, LONGEST, 1]
