"""The zoo: scripts that do what scripts do in the field, run for real; each must end in a named outcome inside its bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import Counts, DeadLetter, RunStatus
from batchmill.settings import RunSettings

BOUND = 25.0
"""Seconds for a whole small run, on a busy machine too; what would end it otherwise (30 s for shutdown(), 60 s for run()) is more."""


def survivors(run_id: str) -> list[int]:
    """Processes that still carry the environment of the run's workers."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"BATCHMILL_RUN_ID={run_id}".encode() in environment:
            found.append(int(name))
    return found


def eventually(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true value of a condition, looked at until the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return value


@dataclass(frozen=True)
class Ended:
    """A run that ended, as its ledger and its files tell it."""

    run: Run
    seconds: float
    status: RunStatus
    error: str | None
    counts: Counts
    letters: list[DeadLetter]
    tries: list[dict[str, Any]]
    warnings: list[str]
    output: str | None

    @property
    def logs(self) -> Path:
        return self.run.folder / "logs"

    @property
    def failed(self) -> dict[str | None, str]:
        """Failed item (its name alone) -> error class."""
        return {Path(letter.item).name if letter.item else None: letter.error_class for letter in self.letters}

    @property
    def tried(self) -> set[str]:
        """The error classes of all failed tries."""
        return {one["error_class"] for one in self.tries}

    def log(self, pattern: str) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.logs.glob(pattern)))


@dataclass
class Zoo:
    """A folder with files, a script, and the run over them."""

    folder: Path

    def files(self, count: int = 12) -> list[str]:
        """Make the input; returns the rows of the echo script, in order."""
        inputs = self.folder / "in"
        inputs.mkdir(exist_ok=True)
        names = [f"{number:03d}.txt" for number in range(count)]
        for name in names:
            (inputs / name).write_text(name)
        return names

    def script(self, text: str) -> Path:
        path = self.folder / "src" / "score.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def create(self, script: str, **settings: Any) -> RunFolder:
        values = {
            "script": str(self.script(script)),
            "inputs": [str(self.folder / "in")],
            "output": str(self.folder / "out"),
            "mini_batch_size": 2,
            "workers": 2,
            "run_max_try": 1,
            "error_threshold": -1,
            **settings,
        }
        return create_run(RunSettings.parse(values))

    def carry_out(self, folder: RunFolder) -> Ended:
        """One incarnation, in this process; whatever its end, the books must balance and nothing may live on."""
        began = time.monotonic()
        coordinator = Coordinator(folder)
        coordinator.prepare()
        coordinator.carry_out()
        return self.ended(folder, time.monotonic() - began)

    def ended(self, folder: RunFolder, seconds: float = 0.0) -> Ended:
        run = Run(folder)
        ledger = Ledger(folder.ledger)
        warnings = [text for _, _, text in ledger.warnings()]
        mini_batches, items, ok = ledger.sums()
        ledger.close()
        record, letters = run.record(), run.errors()
        path = Path(run.output_path) if run.output_path else None
        output = path.read_bytes().decode("utf-8") if path and path.exists() else None
        counts = record.counts
        assert counts.items.total is not None
        assert counts.items.not_run is not None
        assert counts.items.total == counts.items.succeeded + counts.items.failed + counts.items.not_run
        batches = counts.mini_batches
        assert batches.total == batches.succeeded + batches.failed + batches.not_run
        assert sum(letter.items_failed for letter in letters) == counts.items.failed
        if record.status is RunStatus.COMPLETED:
            assert (mini_batches, items, ok) == (batches.total, counts.items.total, counts.items.succeeded)
            assert counts.items.not_run == batches.not_run == 0
        eventually(lambda: not survivors(folder.id))
        return Ended(run, seconds, record.status, record.error, counts, letters, list(run.failed_tries()), warnings, output)

    def run(self, script: str, **settings: Any) -> Ended:
        return self.carry_out(self.create(script, **settings))

    def start(self, folder: RunFolder) -> subprocess.Popen[bytes]:
        """A coordinator in a process of its own, to be killed."""
        log = (folder.logs / "coordinator.txt").open("ab")
        with log:
            return subprocess.Popen([sys.executable, "-m", "batchmill.nodes.coordinator_process", folder.id], stdout=log, stderr=log)


def rows(names: Sequence[str], *without: str) -> str:
    return "".join(name + "\n" for name in names if name not in without)


def workers_of(folder: RunFolder) -> list[int]:
    return [pid for pid in survivors(folder.id) if b"worker/__main__.py" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def kill(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> int:
    process.send_signal(number)
    return process.wait(60)


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    return Zoo(tmp_path)
