"""The coordinator dies or is asked to stop; resume finishes the job as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from batchmill.nodes.restoring import restore
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.records import RunStatus
from tests.disasters.conftest import Zoo, eventually, kill, rows, survivors, workers_of
from tests.unit.parallel_run.invariants import check_invariants

ECHO = """
import os, time
def run(mini_batch):
    time.sleep({seconds})
    return [os.path.basename(path) for path in mini_batch]
"""


GATED = """
import os, time
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    while names[0] >= {last!r} and not os.path.exists({gate!r}):  # the run surely lives until the gate is opened
        time.sleep(0.01)
    time.sleep(0.02)
    return names
"""


def committed(folder: RunFolder) -> int:
    return Run(folder).counts.mini_batches.succeeded


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_resume_after_a_signal(zoo: Zoo, number: signal.Signals) -> None:
    names = zoo.files(60)
    gate = zoo.folder / "gate"
    folder = zoo.create(GATED.format(gate=str(gate), last="040.txt"))
    process = zoo.start(folder)
    eventually(lambda: committed(folder) >= 3)
    code = kill(process, number)
    eventually(lambda: not survivors(folder.id))
    run = Run(folder)
    assert run.status is RunStatus.INTERRUPTED
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    before = run.counts
    assert 3 <= before.mini_batches.succeeded < 30
    assert not Path(run.output_path or "").exists()
    gate.touch()
    ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == rows(names)
    assert ended.tries == []
    assert os.listdir(run.output) == ["parallel_run_step.txt"]


@pytest.mark.parametrize("stuck", ["time.sleep(1e6)", "re.match(r'(a+)+$', 'a' * 60 + 'b')"], ids=["sleeping", "holding the GIL"])
def test_workers_die_with_their_coordinator(zoo: Zoo, stuck: str) -> None:
    """Also inside run() with the GIL held; and what they were on is not charged."""
    zoo.files(4)
    script = f"import os, re, time\ndef run(mini_batch):\n    open(os.path.basename(mini_batch[0]), 'x')\n    {stuck}"
    folder = zoo.create(script, run_invocation_timeout=100)
    process = zoo.start(folder)
    eventually(lambda: len(list(folder.path.glob("work/*/*/*.txt"))) == 2)
    kill(process)
    eventually(lambda: not survivors(folder.id))
    assert list(Run(folder).failed_tries()) == []


def test_a_completed_run_is_not_taken_up_again(zoo: Zoo) -> None:
    names = zoo.files(4)
    ended = zoo.run(ECHO.format(seconds=0))
    folder = ended.run._folder
    assert zoo.start(folder).wait(60) == 2
    assert zoo.ended(folder).output == rows(names)


def test_children_of_workers_die_with_the_coordinator(zoo: Zoo) -> None:
    zoo.files(2)
    folder = zoo.create("""
        import subprocess, time
        def run(mini_batch):
            subprocess.Popen(["sleep", "1000"])
            subprocess.Popen(["sleep", "1001"], start_new_session=True)
            time.sleep(1e6)
    """)
    process = zoo.start(folder)
    eventually(lambda: len(survivors(folder.id)) >= 3)
    kill(process)
    eventually(lambda: not survivors(folder.id))


def test_the_guardian_and_a_worker_may_die_too(zoo: Zoo) -> None:
    names = zoo.files(40)
    gate = zoo.folder / "gate"
    folder = zoo.create(GATED.format(gate=str(gate), last="020.txt"), run_max_try=2)
    process = zoo.start(folder)
    eventually(lambda: committed(folder) >= 2)
    for child in _children(process.pid):
        if child not in workers_of(folder):
            os.kill(child, signal.SIGKILL)
    os.kill(workers_of(folder)[0], signal.SIGKILL)
    gate.touch()
    assert process.wait(60) == 0
    ended = zoo.ended(folder)
    assert ended.output == rows(names)
    assert len(ended.tries) <= 1


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_script_that_kills_its_coordinator(zoo: Zoo) -> None:
    names = zoo.files(20)
    folder = zoo.create("""
        import os, signal
        def run(mini_batch):
            marker = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "met")
            if mini_batch[0].endswith("010.txt") and not os.path.exists(marker):
                open(marker, "x").close()
                os.kill(os.getppid(), signal.SIGKILL)
            return [os.path.basename(path) for path in mini_batch]
    """)
    assert zoo.start(folder).wait(60) == -signal.SIGKILL
    ended = zoo.carry_out(folder)
    assert ended.output == rows(names)
    assert ended.tries == []


def test_a_mini_batch_that_takes_every_coordinator_down_is_found(zoo: Zoo) -> None:
    """Decision 8: three deaths make it suspect, it runs alone, and each further death is a try of it."""
    names = zoo.files(8)
    folder = zoo.create(
        """
        import os, signal
        def run(mini_batch):
            if mini_batch[0].endswith("000.txt"):
                os.kill(os.getppid(), signal.SIGKILL)
                signal.pause()
            return [os.path.basename(path) for path in mini_batch]
        """,
        workers=1,
        run_max_try=2,
    )
    deaths = 0
    while zoo.start(folder).wait(60) == -signal.SIGKILL:
        deaths += 1
        assert len(list(Run(folder).failed_tries())) == max(0, deaths - 4)
        assert deaths < 10
    ended = zoo.ended(folder)
    assert deaths == 5
    assert ended.status is RunStatus.COMPLETED
    assert [(one.mini_batch, one.items_failed, one.error_class) for one in ended.letters] == [(0, 2, "CoordinatorDied")]
    assert ended.output == rows(names, *names[:2])


def chaos(zoo: Zoo, seed: int) -> None:
    """Kill coordinators and workers at moments that the seed chooses, until the run is through."""
    choice = random.Random(seed)
    names = zoo.files(choice.choice((30, 60, 90)))
    bad = {name for name in names if choice.random() < 0.03}
    script = ECHO.format(seconds=0.01) + f"    # {sorted(bad)}\n"
    script = script.replace(
        "    time.sleep", f"    if any(os.path.basename(path) in {bad!r} for path in mini_batch): raise ValueError\n    time.sleep"
    )
    folder = zoo.create(script, mini_batch_size=choice.choice((1, 2, 5)), workers=choice.choice((1, 2)), run_max_try=9)
    for _ in range(choice.randint(3, 8)):
        process = zoo.start(folder)
        _harm(folder, process.pid, choice)
        number = choice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        if process.poll() is None:
            process.send_signal(number)
        if process.wait(60) == 0 or Run(folder).status is RunStatus.COMPLETED:
            break
        restored_scheduler_agrees(folder)
    ended = zoo.carry_out(folder) if Run(folder).status is not RunStatus.COMPLETED else zoo.ended(folder)
    assert ended.status is RunStatus.COMPLETED, ended.error
    assert ended.output == rows(names, *bad)
    assert set(ended.failed) == bad
    assert set(ended.failed.values()) <= {"ValueError"}
    assert ended.tried <= {"ValueError", "WorkerKilled"}


def _harm(folder: RunFolder, coordinator: int, choice: random.Random) -> None:
    """Let it work for a random while; kill a worker in the midst of it, now and then."""
    worker_too = choice.random() < 0.5
    mark = committed(folder) + choice.randint(0, 8)
    deadline = choice.uniform(0.05, 0.9)
    end = time.monotonic() + deadline
    while time.monotonic() < end and committed(folder) < mark + 1:
        time.sleep(choice.uniform(0.001, 0.02))
        if worker_too and (workers := workers_of(folder)):
            worker_too = False
            os.kill(choice.choice(workers), signal.SIGKILL)


def restored_scheduler_agrees(folder: RunFolder) -> None:
    """What a new incarnation will know adds up to what the dead one told."""
    counts = Run(folder).counts
    if not counts.mini_batches.total:
        return
    ledger = Ledger(folder.ledger)
    scheduler = Scheduler(counts.mini_batches.total, Policy(run_max_try=9, error_threshold=-1), lambda k: None)
    restore(ledger, scheduler)
    ledger.close()
    check_invariants(scheduler)
    assert scheduler.counts(counts.items.total) == counts


@pytest.mark.parametrize("seed", range(3))
def test_chaos(zoo: Zoo, seed: int) -> None:
    chaos(zoo, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_chaos_at_length(zoo: Zoo, seed: int) -> None:
    chaos(zoo, seed)


def test_nothing_that_was_not_synced_is_trusted(zoo: Zoo, tmp_path: Path) -> None:
    """Decision 5: at any moment, take the run folder as it is, cut every file back to what the ledger proves, and resume the copy."""
    names = zoo.files(60)
    gate = tmp_path / "gate"
    folder = zoo.create(f"""
        import os, time
        def run(files):
            while os.path.basename(files[0]) >= "040.txt" and not os.path.exists({str(gate)!r}):  # never done before all copies are made
                time.sleep(0.01)
            time.sleep(0.03)
            return [os.path.basename(path) for path in files]
    """)
    process = zoo.start(folder)
    copies = []
    for number in range(4):
        eventually(lambda at=4 * number + 2: committed(folder) >= at)
        process.send_signal(signal.SIGSTOP)
        copies.append(_copy(folder, zoo.folder / "out", tmp_path / f"copy{number}"))
        process.send_signal(signal.SIGCONT)
    gate.touch()
    assert process.wait(60) == 0
    for number, copy in enumerate(copies):
        out = zoo.folder / "out"
        shutil.rmtree(out)
        shutil.copytree(tmp_path / f"copy{number}" / "out", out)
        shutil.rmtree(folder.path)
        shutil.copytree(copy, folder.path)
        _drop_what_is_not_proven(folder, out)
        ended = zoo.carry_out(folder)
        assert ended.status is RunStatus.COMPLETED
        assert ended.output == rows(names)
        assert ended.tries == []


def _copy(folder: RunFolder, out: Path, target: Path) -> Path:
    """The ledger first: what it proves is in the files copied after it."""
    run = target / "run"
    run.mkdir(parents=True)
    ledger = Ledger(folder.ledger)
    copy = sqlite3.connect(run / "ledger.sqlite")
    ledger._connection.backup(copy)
    copy.close()
    ledger.close()

    def gone(source: str, destination: str) -> object:
        try:
            return shutil.copy2(source, destination)
        except FileNotFoundError:
            return None

    shutil.copytree(folder.path, run, dirs_exist_ok=True, copy_function=gone, ignore=shutil.ignore_patterns("ledger*", "work", "slots"))
    (run / "slots").mkdir(exist_ok=True)
    shutil.copytree(out, target / "out", copy_function=gone)
    return run


def _drop_what_is_not_proven(folder: RunFolder, out: Path) -> None:
    ledger = Ledger(folder.ledger)
    ends: dict[str, int] = {}
    for _, _, segment, _, _, _ in ledger.ranges():
        ends[segment.part] = max(ends.get(segment.part, 0), segment.offset + segment.length)
    length = int(ledger.meta("output_length") or 0)
    ledger.close()
    for part in folder.parts.iterdir():
        if part.name in ends:
            os.truncate(part, ends[part.name])
        else:
            part.unlink()
    for partial in out.glob("*.partial.*"):
        if length:
            os.truncate(partial, length)
        else:
            partial.write_bytes(b"garbage that was never synced")
