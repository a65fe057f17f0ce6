"""A ledger whose rows name several worker processes: every reader finds the one that ran a mini-batch."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.parallel_run.events import Done
from batchmill.parallel_run.job_logs import _write_processed
from batchmill.parallel_run.ledger import Ledger
from batchmill.worker.delivery import RECORD, SPAN

WORKERS = "process000*2,4,process000"
RAN = ["process000", "process000", "process004", "process000"]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Mini-batches 10 to 13, run by two processes; item 12 was left out."""
    ledger = Ledger(tmp_path / "ledger.sqlite", write=True)
    ledger.claim()
    packed = b"".join(RECORD.pack(2, 1, 1, int(k != 12), k, 1.0, 0.5, 0.25) for k in range(10, 14))
    spans = b"".join(SPAN.pack(k, 0, k, 0, 0) for k in range(10, 14))
    note = {"mb": 12, "item": "x", "position": 0, "items_failed": 1, "class": "ShortResult", "message": "one is missing"}
    warning = {"mb": 13, "warning": "odd"}
    done = Done("node3", WORKERS, 1, 10, 4, None, "1-node3-0", 0, 8, 4, 4, 3, 1, packed, spans, (note, warning))
    with ledger.transaction():
        ledger.add_done(done)
        ledger.add_notes(done, 1)
    yield ledger
    ledger.close()


def test_letters_and_warnings_name_the_process_that_ran_the_mini_batch(ledger: Ledger) -> None:
    assert [letter.worker for letter in ledger.letters()] == ["process004"]
    assert ledger.warnings() == [(13, "process000", "odd")]


def test_record_of_one_mini_batch_names_its_process(ledger: Ledger) -> None:
    found = [ledger.record_of(k) for k in range(10, 14)]
    assert [one and one[:2] for one in found] == [("node3", name) for name in RAN]
    assert ledger.record_of(9) is None
    assert ledger.record_of(14) is None


def test_what_is_left_around_a_replayed_mini_batch_keeps_its_processes(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.take_out(11)
    assert [(first, count, worker) for first, count, _, worker, _, _ in ledger.records()] == [
        (10, 1, "process000"),
        (12, 2, "process004,0"),
    ]
    assert ledger.record_of(11) is None
    assert ledger.record_of(13) == ("node3", "process000", ledger.record_of(12)[2])  # type: ignore[index]


def test_job_report_has_a_line_for_each_mini_batch_with_its_process(ledger: Ledger, tmp_path: Path) -> None:
    plan: Any = SimpleNamespace(header={"kind": "files"}, first_name=lambda k: f"item{k}")
    _write_processed(ledger, tmp_path, plan)
    with (tmp_path / "processed_mini-batches.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Mini-batch Id"], row["Process"], row["Succeeded"]) for row in rows] == [
        (str(k), name, "0" if k == 12 else "1") for k, name in enumerate(RAN, 10)
    ]
    with (tmp_path / "process_summary.csv").open(newline="") as file:
        sums = {row["Process"]: (row["Mini-batches"], row["Failed Items"]) for row in csv.DictReader(file)}
    assert sums == {"process000": ("3", "0"), "process004": ("1", "1")}
