"""A ledger in segments is a ledger: whatever happens to it, it holds what a plain one holds that was told the same."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchmill.errors import LedgerFencedError, StoreError
from batchmill.parallel_run import ledger_sequence, segmented_ledger
from batchmill.parallel_run.events import Done, ErrorFacts, TryFailed
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.ledger_schema import TABLES
from batchmill.parallel_run.segmented_ledger import LedgerMirror, SegmentedLedger
from batchmill.records import Counts, RunStatus
from batchmill.storage.folder_store import FolderStore
from batchmill.worker.delivery import RECORD

Change = Callable[[Ledger], object]


class Faulty(FolderStore):
    """Loses requests, or their answers, when it is told to."""

    fault: str | None = None

    def create(self, name: str, data: bytes) -> bool:
        fault, self.fault = self.fault, None
        if fault == "request":
            raise StoreError("The request was lost.")
        created = super().create(name, data)
        if fault == "answer":
            raise StoreError("The answer was lost.")
        return created


@pytest.fixture(autouse=True)
def _short_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PACK_SEGMENTS": 5, "WORTH_A_PACK": 2, "READ_AT_ONCE": 4, "PACKS_FROM": 2}.items():
        monkeypatch.setattr(ledger_sequence, name, value)
    monkeypatch.setattr(segmented_ledger, "PACK_SEGMENTS", 3)


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All there is, but for times of the clock."""
    with closing(sqlite3.connect(path)) as database:
        found = {table: database.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}
    found["meta"] = [row for row in found["meta"] if row[0] not in ("created", "ended")]
    return found


def done(first: int, count: int, piece: tuple[int, int] | None = None, *, notes: bool = False) -> Done:
    packed = b"".join(RECORD.pack(3, 1, 2, 2, first + k, 1e9, 0.5, 0.25) for k in range(count))
    facts = {"mb": first, "item": "é", "position": 1, "items_failed": 1, "class": "ValueError", "message": "no"}
    told = [facts, {"mb": first, "warning": "hm"}] if notes else []
    return Done(
        "node0", "p1", 1, first, count, piece, "1-node0-0", 10 * first, 3 * count, count, 2 * count, 2 * count, 0, packed, b"s", told, "h"
    )


def failed_try(mini_batch: int, piece: tuple[int, int] | None) -> TryFailed:
    error = ErrorFacts("ValueError", "no \udce9", "Traceback ...")
    return TryFailed("node0", "p1", 1, mini_batch, piece, 2, None, "RUN_EXCEPTION", error, 1e9, 0.5, 0.25, (0, 1, 2, 3))


def whole(mini_batch: int, count: int) -> Change:
    def change(ledger: Ledger) -> None:
        for k in range(mini_batch, mini_batch + count):
            ledger.take_out(k)
        outcome = done(mini_batch, count, notes=True)
        ledger.add_done(outcome)
        ledger.add_notes(outcome, 1)

    return change


def settle(number: int, again: bool) -> Change:
    def change(ledger: Ledger) -> None:
        letters = list(ledger.letters())
        if letters:
            letter = letters[number % len(letters)]
            ledger.settle_letter(letter, letter if again else None)

    return change


K = st.integers(0, 30)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(whole, K, st.integers(1, 5)),
    st.builds(settle, K, st.booleans()),
    K.map(lambda k: lambda ledger: ledger.take_out(k)),
    K.map(lambda k: lambda ledger: ledger.add_done(done(k, 1, (k % 3, 1)))),
    K.map(lambda k: lambda ledger: ledger.add_try(failed_try(k, (0, 1) if k % 2 else None), 1)),
    K.map(lambda k: lambda ledger: ledger.add_split(k, 4, k % 4, ended=k % 2 == 0)),
    K.map(lambda k: lambda ledger: ledger.add_failed(k, 2)),
    K.map(lambda k: lambda ledger: ledger.add_failed_piece(k, (1, 2), "p")),
    K.map(lambda k: lambda ledger: ledger.add_warning(f"w{k}", k, "p")),
    K.map(lambda k: lambda ledger: ledger.add_letter(k, None, None, 2, 1, "p", "E", "m", "t", 5)),
    K.map(lambda k: lambda ledger: ledger.put(counts=str(k), error=None)),
)
TRANSACTION = st.lists(CHANGES, max_size=4)
PLACE = st.sampled_from(["here", "elsewhere", "earlier copy"])


class LedgerMachine(RuleBasedStateMachine):
    """One run, its coordinator dying and going on anywhere; beside it a plain ledger that is told what the store holds."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = Faulty(self.folder / "store")
        self.plain = Ledger(self.folder / "plain.sqlite", write=True)
        self.path = self.folder / "0.sqlite"
        self.paths = 0
        self.undecided: tuple[str, list[Change]] | None = None
        self.ledger = SegmentedLedger(self.path, self.store)

    def teardown(self) -> None:
        self.ledger.close()
        self.plain.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        for ledger in (self.plain, self.ledger):
            ledger.begin(id="run", name="x")
            ledger.claim()

    def _settled(self) -> None:
        """What was not decided is decided by the next transaction."""
        if self.undecided is not None:
            self._tell_plain(self.undecided[1])
            self.undecided = None

    def _tell_plain(self, changes: list[Change]) -> None:
        with self.plain.transaction():
            for change in changes:
                change(self.plain)

    @rule(changes=TRANSACTION)
    def transaction(self, changes: list[Change]) -> None:
        self._settled()
        with self.ledger.transaction():
            for change in changes:
                change(self.ledger)
        self._tell_plain(changes)

    @precondition(lambda self: self.undecided is None)
    @rule(changes=st.lists(CHANGES, min_size=1, max_size=4), fault=st.sampled_from(["request", "answer"]))
    def trouble(self, changes: list[Change], fault: str) -> None:
        with self.ledger.rehearsal():
            before = self.ledger._connection.total_changes
            for change in changes:
                change(self.ledger)
            if self.ledger._connection.total_changes == before:
                return
        self.store.fault = fault
        with suppress(StoreError), self.ledger.transaction():
            for change in changes:
                change(self.ledger)
        if self.store.fault is None:
            self.undecided = (fault, changes)
        self.store.fault = None

    @rule(changes=TRANSACTION)
    def rolled_back(self, changes: list[Change]) -> None:
        self._settled()
        with suppress(ZeroDivisionError), self.ledger.transaction():
            for change in changes:
                change(self.ledger)
            raise ZeroDivisionError

    @rule(changes=TRANSACTION)
    def rehearsed(self, changes: list[Change]) -> None:
        with self.ledger.rehearsal():
            for change in changes:
                change(self.ledger)

    @rule(place=PLACE, orderly=st.booleans())
    def reopened(self, place: str, orderly: bool) -> None:
        if self.undecided is not None and self.undecided[0] == "answer":
            self._tell_plain(self.undecided[1])
        self.undecided = None
        earlier = self.path
        if orderly:
            self.ledger.close()
        else:
            self.ledger._connection.close()
        if place != "here":
            self.paths += 1
            self.path = self.folder / f"{self.paths}.sqlite"
        if place == "earlier copy":
            oldest = self.folder / "old.sqlite"
            if oldest.exists():
                shutil.copy(oldest, self.path)
            if orderly:
                shutil.copy(earlier, oldest)
        self.ledger = SegmentedLedger(self.path, self.store)
        self.plain.claim()
        assert self.ledger.claim() == self.plain.epoch

    @precondition(lambda self: self.undecided is None)
    @rule()
    def another_claims(self) -> None:
        with closing(SegmentedLedger(self.folder / "other.sqlite", self.store)) as other:
            other.claim()
        self.plain.claim()
        with pytest.raises(LedgerFencedError), self.ledger.transaction():
            self.ledger.add_failed(99, 1)
        self.reopened("elsewhere", orderly=False)

    @precondition(lambda self: self.undecided is None)
    @rule()
    def mirrored(self) -> None:
        mirror = LedgerMirror(self.folder / "mirror.sqlite", self.store)
        mirror.refresh()
        assert dump(self.folder / "mirror.sqlite") == dump(self.plain.path)
        assert not mirror.refresh()

    @precondition(lambda self: self.undecided is None)
    @invariant()
    def the_same(self) -> None:
        assert dump(self.path) == dump(self.plain.path)


LedgerMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20)
TestLedgerMachine = LedgerMachine.TestCase


# --- single rules ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path / "store")


@pytest.fixture
def ledger(tmp_path: Path, store: Faulty) -> Iterator[SegmentedLedger]:
    with closing(SegmentedLedger(tmp_path / "ledger.sqlite", store)) as ledger:
        ledger.begin(id="run")
        ledger.claim()
        yield ledger


def fail(ledger: Ledger, mini_batch: int) -> None:
    with ledger.transaction():
        ledger.add_failed(mini_batch, 1)


def segments(store: FolderStore) -> list[str]:
    return [entry.name for entry in store.list("ledger")]


def test_a_transaction_is_a_segment_and_an_empty_one_is_none(store: Faulty, ledger: SegmentedLedger) -> None:
    assert segments(store) == ["ledger/000000000001", "ledger/000000000002"]
    fail(ledger, 1)
    assert segments(store)[2:] == ["ledger/000000000003"]
    with ledger.transaction():
        pass
    assert len(segments(store)) == 3


def test_the_end_and_its_counts_are_in_the_store(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    ledger.end(RunStatus.FAILED, "why", Counts())
    LedgerMirror(tmp_path / "mirror.sqlite", store).refresh()
    with closing(Ledger(tmp_path / "mirror.sqlite")) as mirror:
        assert (mirror.status, mirror.meta("error"), mirror.epoch) == (RunStatus.FAILED, "why", 1)


def test_the_older_of_two_incarnations_is_fenced_off_and_changes_nothing(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    with closing(SegmentedLedger(tmp_path / "other.sqlite", store)) as other:
        assert other.claim() == 2
        for _ in range(2):
            with pytest.raises(LedgerFencedError, match="goes on with the ledger"):
                fail(ledger, 1)
        assert ledger.failed() == []
        fail(other, 2)
        assert other.failed() == [(2, 1)]


def test_of_two_who_claim_the_same_epoch_one_gets_it(store: Faulty, tmp_path: Path) -> None:
    with (
        closing(SegmentedLedger(tmp_path / "a.sqlite", store)) as one,
        closing(SegmentedLedger(tmp_path / "b.sqlite", store)) as two,
    ):
        assert one.claim() == 1
        with pytest.raises(LedgerFencedError):
            two.claim()


def test_what_an_older_incarnation_had_under_way_does_not_keep_a_new_one_from_claiming(
    store: Faulty, ledger: SegmentedLedger, tmp_path: Path
) -> None:
    with closing(SegmentedLedger(tmp_path / "other.sqlite", store)) as other:
        fail(ledger, 1)
        fail(ledger, 2)
        assert other.claim() == 2
        assert other.failed() == [(1, 1), (2, 1)]
        with pytest.raises(LedgerFencedError):
            fail(ledger, 3)


def test_a_store_that_ignores_conditions_is_found_out(tmp_path: Path) -> None:
    class Ignorant(FolderStore):
        def create(self, name: str, data: bytes) -> bool:
            self.put(name, data)
            return True

    ledger = SegmentedLedger(tmp_path / "ledger.sqlite", Ignorant(tmp_path / "store"))
    with closing(ledger), pytest.raises(StoreError, match="ignores conditional writes"):
        ledger.claim()


def test_what_the_index_could_not_take_is_taken_before_the_next(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    """The disk of the index is full in the moment between segment and commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_move", lambda segment: ledger._connection.execute("INSERT INTO replica VALUES (1, 1, x'')"))
        with pytest.raises(sqlite3.IntegrityError):
            fail(ledger, 1)
    assert ledger.failed() == []
    assert len(segments(store)) == 3
    fail(ledger, 2)
    assert ledger.failed() == [(1, 1), (2, 1)]
    with closing(SegmentedLedger(tmp_path / "again.sqlite", store)) as again:
        assert again.failed() == [(1, 1), (2, 1)]


def test_an_interrupt_right_after_the_commit_repeats_nothing(ledger: SegmentedLedger) -> None:
    undecided: list[Any] = []
    move = ledger._move
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_move", lambda segment: (undecided.append(ledger._undecided), move(segment)))
        with ledger.transaction():
            ledger.add_warning("once")
    ledger._undecided = undecided[0]  # the next line of the program was never reached
    fail(ledger, 1)
    assert [text for _, _, text in ledger.warnings()] == ["once"]


@pytest.mark.parametrize("fault", ["request", "answer"])
def test_a_store_that_comes_back_gets_what_it_was_asked(store: Faulty, ledger: SegmentedLedger, fault: str) -> None:
    store.fault = fault
    with pytest.raises(StoreError, match=fault):
        fail(ledger, 1)
    assert ledger.failed() == []
    fail(ledger, 2)
    assert ledger.failed() == [(1, 1), (2, 1)]
    assert len(segments(store)) == 4


def test_an_index_of_another_sequence_is_begun_anew(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    fail(ledger, 1)
    other_store = Faulty(tmp_path / "other store")
    for more in (0, 5):
        path = tmp_path / f"index{more}.sqlite"
        with closing(SegmentedLedger(path, other_store)) as other:
            if not more:
                other.begin(id="other")
                other.claim()
                fail(other, 3)
        LedgerMirror(path, other_store).refresh()
        for number in range(more):
            fail(ledger, 10 + number)
        with closing(SegmentedLedger(path, store)) as found:
            assert found.failed() == ledger.failed()
            assert found.meta("id") == "run"


def test_a_segment_that_was_removed_is_missed(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    for number in range(3):
        fail(ledger, number)
    path = tmp_path / "found.sqlite"
    SegmentedLedger(path, store).close()
    store.delete("ledger/000000000004")
    store.clear("packs")
    with pytest.raises(StoreError, match="lacks ledger/000000000004, but has later segments"):
        SegmentedLedger(tmp_path / "new.sqlite", store)
    store.clear("ledger")
    with pytest.raises(StoreError, match="lacks ledger/000000000005, which was there"):
        SegmentedLedger(path, store)
    assert not LedgerMirror(path, store).refresh()
    with closing(Ledger(path)) as mirror:
        assert mirror.failed() == [(0, 1), (1, 1), (2, 1)]


def test_a_damaged_segment_stops_who_reads_it(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    fail(ledger, 1)
    store.put("ledger/000000000003", store.read("ledger/000000000003")[:-1])
    with pytest.raises(StoreError, match="ledger/000000000003 is damaged"):
        SegmentedLedger(tmp_path / "new.sqlite", store)
    store.put("ledger/000000000003", store.read("ledger/000000000002"))
    with pytest.raises(StoreError, match="damaged: ledger/000000000003 does not follow"):
        SegmentedLedger(tmp_path / "new.sqlite", store)


def fail_many(ledger: SegmentedLedger, count: int) -> None:
    """So many segments, each pack of which is in the store before the next is due: of a slow store none would be asked meanwhile."""
    for number in range(count):
        fail(ledger, number)
        if (packing := ledger._sequence._packing) is not None:
            packing.result(30)
    ledger.close()


class Counting(FolderStore):
    """Counts what it is asked."""

    asked: int = 0

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += 1
        return super().read(name, offset, length)

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[Any]:
        self.asked += 1
        return super().list(prefix, after)


def test_a_long_ledger_is_read_in_packs_and_a_mirror_that_is_up_to_date_asks_once(
    store: Faulty, ledger: SegmentedLedger, tmp_path: Path
) -> None:
    fail_many(ledger, 200)
    assert [entry.name for entry in store.list("packs")][:2] == ["packs/000000000001-000000000005", "packs/000000000006-000000000010"]
    counting = Counting(store.place)
    with closing(SegmentedLedger(tmp_path / "new.sqlite", counting)) as found:
        assert len(found.failed()) == 200
    assert counting.asked <= 202 / 5 + 10
    mirror = LedgerMirror(tmp_path / "mirror.sqlite", counting)
    assert mirror.refresh()
    counting.asked = 0
    assert not mirror.refresh()
    assert counting.asked == 1


def test_packs_that_are_missing_or_damaged_are_done_without(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    fail_many(ledger, 40)
    packs = [entry.name for entry in store.list("packs")]
    store.delete(packs[1])
    store.put(packs[2], store.read(packs[2])[:-1])
    store.put(packs[3], store.read(packs[4]))
    store.put(packs[4], b"")
    with closing(SegmentedLedger(tmp_path / "new.sqlite", store)) as found:
        assert len(found.failed()) == 40


def test_a_mirror_keeps_what_the_submitting_machine_wrote(store: Faulty, ledger: SegmentedLedger, tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "mirror.sqlite", write=True)) as own:
        own.begin(id="run", note="own")
    LedgerMirror(tmp_path / "mirror.sqlite", store).refresh()
    with closing(Ledger(tmp_path / "mirror.sqlite")) as mirror:
        assert (mirror.meta("note"), mirror.epoch) == ("own", 1)
