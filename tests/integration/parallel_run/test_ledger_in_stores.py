"""Ledger and output of a cluster run against real stores: processes that are killed, and several who would be the coordinator."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from batchmill.errors import LedgerFencedError
from batchmill.parallel_run.collected_output import CollectedOutput
from batchmill.parallel_run.events import Done
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import LedgerMirror, SegmentedLedger
from batchmill.worker.delivery import RECORD
from tests import stores
from tests.integration.conftest import bucket_of

PARTS = 20
PART = 1 << 20

WRITER = """
import sys
from pathlib import Path
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger

ledger = SegmentedLedger(Path(sys.argv[1]), RunStore(sys.argv[2], "run").files)
ledger.claim()
number = len(ledger.failed())
while True:
    with ledger.transaction():
        ledger.add_failed(number, 1)
        ledger.put(counts=str(number))
    print(number, flush=True)
    number += 1
"""

PUBLISHER = """
import os, signal, sys
from pathlib import Path
from batchmill.parallel_run.collected_output import CollectedOutput
from batchmill.parallel_run import collected_output
from batchmill.parallel_run.run_store import RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

path, place, moment, total = sys.argv[1:]
collected_output.BLOCK = 4 << 20
store = RunStore(place, "run")
ledger = SegmentedLedger(Path(path), store.files)
output = CollectedOutput(store, "out.txt", ledger, "run", ledger.claim(), int(total))
output.open(0, 0)
if moment == "amid the blocks":
    blocks = collected_output._blocks
    def some(*args):
        for number, block in enumerate(blocks(*args)):
            yield block
            if number == 1:
                die()
    collected_output._blocks = some
elif moment == "before it is noted":
    SegmentedLedger.transaction = die
elif moment == "when it is noted":
    put = SegmentedLedger.put
    SegmentedLedger.put = lambda self, **values: (put(self, **values), die())
output.publish()
die()
"""


@pytest.fixture(params=["folder", "s3", "az"])
def place(request: pytest.FixtureRequest, servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    return f"{bucket_of(request.param, servers, monkeypatch).url}/out"


def test_a_coordinator_that_is_killed_again_and_again_loses_nothing_it_told(place: str, tmp_path: Path) -> None:
    """Every transaction that was told is there, in order, and at most one that was not; wherever it goes on."""
    chance, told = random.Random(7), -1
    mirror = LedgerMirror(tmp_path / "mirror.sqlite", RunStore(place, "run").files)
    for death in range(6):
        index = tmp_path / f"{death // 2}.sqlite"
        command = [sys.executable, "-c", WRITER, str(index), place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 25)):
                told = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in process.stdout.read().splitlines())])
        mirror.refresh()
        with closing(Ledger(tmp_path / "mirror.sqlite")) as ledger:
            assert ledger.epoch == death + 1
            found = [mini_batch for mini_batch, _ in ledger.failed()]
            assert found == list(range(len(found)))
            assert len(found) - (told + 1) in (0, 1)
            assert ledger.meta("counts") == str(found[-1])
            told = found[-1]


def test_of_many_coordinators_at_once_one_is_heard_at_a_time(place: str, tmp_path: Path) -> None:
    """Each claims, writes until it is fenced off, and claims again: what it was told to be committed is there, the rest is not."""
    committed: list[int] = []
    refused: list[int] = []
    troubles: list[BaseException] = []

    def coordinate(who: int) -> None:
        try:
            for life in range(4):
                with closing(SegmentedLedger(tmp_path / f"{who}-{life}.sqlite", RunStore(place, "run").files)) as ledger:
                    mini_batch = who * 10_000 + life * 1_000
                    try:
                        ledger.claim()
                        for mini_batch in range(mini_batch, mini_batch + 10):  # noqa: B020 - the last one counts when it is refused
                            with ledger.transaction():
                                ledger.add_failed(mini_batch, 1)
                            committed.append(mini_batch)
                    except LedgerFencedError:
                        refused.append(mini_batch)
        except BaseException as trouble:
            troubles.append(trouble)

    threads = [threading.Thread(target=coordinate, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    with closing(SegmentedLedger(tmp_path / "last.sqlite", RunStore(place, "run").files)) as ledger:
        found = [mini_batch for mini_batch, _ in ledger.failed()]
    assert found == sorted(committed)
    assert not {mini_batch for mini_batch in refused if mini_batch not in committed} & set(found)
    assert committed


def parts_of(place: str, index: Path) -> bytes:
    """A finished run whose parts lie in its store; returns its output."""
    store, chance = RunStore(place, "run"), random.Random(3)
    contents = [chance.randbytes(PART) for _ in range(PARTS)]
    order = chance.sample(range(PARTS), PARTS)
    for number in order:
        store.parts.put(f"1-node0-{number}", contents[number])
    with closing(SegmentedLedger(index, store.files)) as ledger:
        ledger.begin(id="run")
        ledger.claim()
        with ledger.transaction():
            for number in order:
                packed = RECORD.pack(PART, 1, 1, 1, 0, 0, 0, 0)
                ledger.add_done(Done("n", "w", 1, number, 1, None, f"1-node0-{number}", 0, PART, 1, 1, 1, 0, packed))
    return b"".join(contents)


SLOW = [pytest.param(moment, marks=pytest.mark.slow) for moment in ("before it is noted", "when it is published")]


@pytest.mark.parametrize("moment", ["amid the blocks", "when it is noted", *SLOW])
def test_a_publication_that_is_killed_is_repeated_with_the_same_bytes(place: str, moment: str, tmp_path: Path) -> None:
    index, store = tmp_path / "ledger.sqlite", RunStore(place, "run")
    expected = parts_of(place, index)
    store.results.put("out.txt", b"of an earlier run")
    killed = subprocess.run([sys.executable, "-c", PUBLISHER, str(index), place, moment, str(PARTS)], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    found = store.results.read("out.txt")
    assert found == (expected if moment == "when it is published" else b"of an earlier run")
    with closing(SegmentedLedger(tmp_path / "elsewhere.sqlite", store.files)) as ledger:
        output = CollectedOutput(store, "out.txt", ledger, "run", ledger.claim(), PARTS)
        output.open(0, 0)
        output.publish()
    assert store.results.read("out.txt") == expected
    assert [entry.name for entry in store.results.list() if not entry.name.startswith(".batchmill/")] == ["out.txt"]
