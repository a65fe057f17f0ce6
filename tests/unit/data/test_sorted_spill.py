from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.sorted_spill import SortedSpill


@given(st.lists(st.lists(st.binary(max_size=6), max_size=20), max_size=20), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_what_goes_in_comes_out_sorted_however_often_it_spilled(batches: list[list[bytes]], most: int) -> None:
    spill = SortedSpill(most_names=most)
    for batch in batches:
        spill.extend(batch)
    assert list(spill) == sorted(value for batch in batches for value in batch)
    spill.close()


def test_long_strings_spill_by_their_bytes_and_leave_no_file(tmp_path: Path) -> None:
    spill = SortedSpill(str(tmp_path), most_bytes=10_000)
    for n in range(20):
        spill.extend([b"%03d" % (99 - n) + b"x" * 1000])
    assert spill.runs >= 2
    assert [value[:3] for value in spill] == [b"%03d" % n for n in range(80, 100)]
    assert list(tmp_path.iterdir()) == []
    spill.close()
