"""The collected output is the concatenation of what the ledger names, in the order of mini-batches, however the parts lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors import LedgerFencedError, LedgerInconsistentError, OutputBusyError, StoreError
from batchmill.parallel_run import collected_output
from batchmill.parallel_run.collected_output import CollectedOutput
from batchmill.parallel_run.events import Done
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.output import OrderedOutput
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.worker.delivery import RECORD


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BLOCK": 64, "PIECES": 5, "READ": 16, "GAP": 3}.items():
        monkeypatch.setattr(collected_output, name, value)


def add(
    ledger: Ledger, first: int, count: int, part: str, offset: int, length: int, header: str | None, piece: tuple[int, int] | None
) -> None:
    packed = RECORD.pack(length, 1, 1, 1, 0, 0, 0, 0) * count
    ledger.add_done(Done("n", "w", 1, first, count, piece, part, offset, length, count, count, count, 0, packed, header=header))


ROWS = st.lists(
    st.tuples(st.sampled_from(["whole", "split", "failed"]), st.integers(1, 3), st.integers(0, 3), st.sampled_from([0, 1, 5, 40, 100])),
    max_size=12,
)


@settings(max_examples=60)
@given(ROWS, st.sampled_from([None, "a,b\n"]))
def test_the_output_is_the_rows_in_order(rows: list[tuple[str, int, int, int]], header: str | None) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        _check(folder, rows, header)
    finally:
        shutil.rmtree(folder)


def _check(folder: Path, rows: list[tuple[str, int, int, int]], header: str | None) -> None:
    parts: dict[str, bytes] = {f"1-node{number}-0": b"" for number in range(4)}
    expected, first, byte = b"", 0, 0
    local, plan = folder / "parts", []
    for kind, count, node, length in rows:
        for piece in [(0, 1), (1, 2), (3, 1)] if kind == "split" else [None]:
            part = f"1-node{node}-0"
            if kind == "failed":
                continue
            data = bytes((byte + k) % 251 for k in range(length))
            byte += length
            plan.append((first, count if piece is None else 1, part, len(parts[part]), length, piece))
            parts[part] += data + b"\xff" * (length % 3)
            expected += data
        plan.append((first, 1 if kind != "whole" else count, kind))
        first += count if kind == "whole" else 1
    store = RunStore(str(folder / "out"), "run")
    local.mkdir()
    for name, data in parts.items():
        store.parts.put(name, data)
        (local / name).write_bytes(data)
    with closing(Ledger(folder / "ledger.sqlite", write=True)) as ledger:
        ledger.begin(id="run")
        ledger.claim()
        with ledger.transaction():
            for entry in plan:
                if len(entry) == 6:
                    at, count, part, offset, length, piece = entry
                    add(ledger, at, count, part, offset, length, header, piece)
                elif entry[2] == "split":
                    ledger.add_split(entry[0], 4, 4, ended=True)
                elif entry[2] == "failed":
                    ledger.add_failed(entry[0], 1)
        output = CollectedOutput(store, "out.txt", ledger, "run", 1, first)
        output.open(0, 0)
        output.publish()
        assert store.results.read("out.txt") == (header.encode() if header and expected else b"") + expected
        assert output.length == len(store.results.read("out.txt"))
        _as_ordered(folder, ledger, local, first, store.results.read("out.txt"))


def _as_ordered(folder: Path, ledger: Ledger, parts: Path, total: int, expected: bytes) -> None:
    """One machine would have written the same."""
    output = OrderedOutput(folder, "ordered.txt", parts, "run", 1, total)
    output.open(0, 0)
    for first, count, segments in collected_output.in_order(ledger):
        output.add(first, count, segments)
    output.advance()
    output.publish()
    output.close()
    assert (folder / "ordered.txt").read_bytes() == expected


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path / "out"), "run")
    store.parts.put("p", b"0123456789")
    return store


@pytest.fixture
def ledger(store: RunStore, tmp_path: Path) -> Iterator[SegmentedLedger]:
    with closing(SegmentedLedger(tmp_path / "ledger.sqlite", store.files)) as ledger:
        ledger.begin(id="run")
        ledger.claim()
        with ledger.transaction():
            add(ledger, 0, 2, "p", 0, 4, None, None)
            add(ledger, 2, 2, "p", 4, 6, None, None)
        yield ledger


def outputs(store: RunStore) -> list[str]:
    return [entry.name for entry in store.results.list() if not entry.name.startswith(".batchmill/")]


def test_a_mini_batch_that_is_missing_is_no_output(store: RunStore, ledger: SegmentedLedger) -> None:
    with pytest.raises(LedgerInconsistentError, match="Only 4 of 5"):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 5).publish()
    with ledger.transaction():
        ledger.take_out(1)
    with pytest.raises(LedgerInconsistentError, match="Mini-batch 1 is missing"):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 4).publish()
    assert outputs(store) == []


def test_a_part_that_is_short_or_gone_is_no_output(store: RunStore, ledger: SegmentedLedger) -> None:
    store.parts.put("p", b"012345678")
    with pytest.raises(StoreError, match="ends before byte 10"):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 4).publish()
    store.parts.delete("p")
    with pytest.raises(StoreError, match="there is no such"):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 4).publish()
    assert outputs(store) == []


def test_an_incarnation_that_was_replaced_does_not_publish(store: RunStore, ledger: SegmentedLedger, tmp_path: Path) -> None:
    store.results.put("out.txt", b"newer")
    with closing(SegmentedLedger(tmp_path / "other.sqlite", store.files)) as other:
        other.claim()
    with pytest.raises(LedgerFencedError):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 4).publish()
    assert store.results.read("out.txt") == b"newer"
    assert outputs(store) == ["out.txt"]


def test_an_output_that_another_run_may_hold_is_not_published(store: RunStore, ledger: SegmentedLedger) -> None:
    def check() -> None:
        raise OutputBusyError("taken over")

    with pytest.raises(OutputBusyError):
        CollectedOutput(store, "out.txt", ledger, "run", 1, 4, check).publish()
    assert outputs(store) == []
    assert ledger.meta("output_front") is None


def test_an_output_that_nobody_wants_any_more_is_not_written_to_its_end(store: RunStore, ledger: SegmentedLedger) -> None:
    store.results.put("out.txt", b"older")
    store.parts.put("p", b"x" * 1000)
    with ledger.transaction():
        add(ledger, 4, 1, "p", 0, 1000, None, None)
    output, asked = CollectedOutput(store, "out.txt", ledger, "run", 1, 5), iter([False, False, True])
    assert not output.publish(lambda: next(asked))
    assert (outputs(store), store.results.read("out.txt")) == (["out.txt"], b"older")
    assert output.publish()
    assert len(store.results.read("out.txt")) == 1010


def test_what_killed_incarnations_left_is_removed(store: RunStore, ledger: SegmentedLedger) -> None:
    for name in ("out.txt.partial.run.1", "out.txt.partial.run.2", "out.txt.partial.another.1", "out.txt.partial.run.9"):
        store.results.put(name, b"0123")
    output = CollectedOutput(store, "out.txt", ledger, "run", 3, 4)
    output.open(3, 17)
    output.publish()
    assert outputs(store) == ["out.txt", "out.txt.partial.another.1", "out.txt.partial.run.9"]
    assert store.results.read("out.txt") == b"0123456789"
    assert (ledger.meta("output_front"), ledger.meta("output_length")) == ("4", "10")


def test_neighbours_are_read_at_once(store: RunStore, ledger: SegmentedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected_output, "READ", 100)
    asked: list[tuple[str, int, int | None]] = []
    read = store.parts.read

    def counted(name: str, offset: int = 0, length: int | None = None) -> bytes:
        asked.append((name, offset, length))
        return read(name, offset, length)

    monkeypatch.setattr(store.parts, "read", counted)
    CollectedOutput(store, "out.txt", ledger, "run", 1, 4).publish()
    assert asked == [("p", 0, 10)]
