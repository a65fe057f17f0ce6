"""``batchmill run --compute ray:ADDRESS``: the same command on a real Ray cluster of two machines, watched, left, killed and resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from batchmill.parallel_run.ledger import Ledger
from tests.acceptance.conftest import REFERENCE, SCORE, Start, shown, until, until_half_done
from tests.conftest import Project
from tests.ray_cluster import RayCluster, ray_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two machines with room for one node of one worker each."""
    with ray_cluster(nodes=2, cpus=1) as started:
        yield started


Words = list[str]


@pytest.fixture
def words(cluster: RayCluster) -> Words:
    """The command, up to what a test adds."""
    where = ["--nodes", "2", "--compute", f"ray:{cluster.address}", "--output", "out"]
    return ["run", "score.py", "--input", "in", "--mini-batch-size", "3", *where]


@pytest.fixture
def gate(scored: Project) -> Iterator[Path]:
    """Where files from 30 on wait (`at`); open when the test ends, so that its runs leave the cluster."""
    path = scored.folder / "gate"
    yield path
    path.touch()
    for run in sorted((scored.home / "runs").glob("*")):
        scored.batchmill("runs", "cancel", run.name)


def coordinators(run: str) -> list[psutil.Process]:
    """The processes in which the coordinator of a run lives: their scratch folders are named after them."""
    folders = Path(tempfile.gettempdir()).glob(f"batchmill-{os.getuid()}/{run}-*/{run}.coordinator-*")
    return [psutil.Process(int(folder.name.rpartition("-")[2])) for folder in folders if folder.is_dir()]


def ledger_value(scored: Project, run: str, key: str) -> str | None:
    """What the mirrored ledger of a run says."""
    ledger = Ledger(scored.home / "runs" / run / "ledger.sqlite")
    try:
        return ledger.meta(key)
    finally:
        ledger.close()


def at(gate: Path) -> Words:
    """What tells a script on a cluster about the gate."""
    return ["--env", f"GATE={gate}"]


def test_it_behaves_as_on_this_machine(scored: Project, words: Words) -> None:
    ended = scored.batchmill(*words)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert re.search(r"^Run \S+ \(score\): 60 items in 20 mini-batches$", ended.stderr, re.M)
    assert re.search(r"^Run \S+ \(score\): Completed in 0:\d\d:\d\d\.$", ended.stderr, re.M)
    assert re.search(r"items +60 = 60 succeeded \+ 0 failed \+ 0 not run$", ended.stderr, re.M)
    assert re.search(r"output +out/parallel_run_step.txt$", ended.stderr, re.M)
    record = shown(scored)
    assert record["status"] == "Completed"
    assert record["counts"]["mini_batches"]["succeeded"] == 20
    assert scored.batchmill("runs", "logs", "last").stdout.count("scored ") == 20
    assert "already completed" in scored.batchmill("resume", "last").stderr
    left = sorted(path.name for path in Path(scored.folder, "out").rglob("*") if path.parent.parent.name == ".batchmill")
    assert not {"parts", "side", "cancel"} & set(left)
    assert {"ledger", "logs", "plan", "snapshot.zip", "dead_letters.jsonl"} <= set(left)
    assert not [name for name in os.listdir(scored.folder / "in") if name.startswith(".")]


def test_detached_it_goes_on_and_its_logs_can_be_followed(scored: Project, words: Words, start: Start, gate: Path) -> None:
    ended = scored.batchmill(*words, *at(gate), "--detach")
    run = ended.stdout.strip()
    assert (ended.returncode, ended.stderr) == (0, "")
    until_half_done(scored)
    assert shown(scored, run)["status"] == "Running"
    reader = start("runs", "logs", run, "--follow")
    watcher = start("resume", run)
    gate.touch()
    told, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0
    assert told.count("scored ") == 20
    assert watcher.wait(60) == 0
    assert shown(scored, run)["status"] == "Completed"
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_watching_leaves_it_going(scored: Project, words: Words, start: Start, gate: Path, number: int) -> None:
    process = start(*words, *at(gate))
    until_half_done(scored, process)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=60)
    run = shown(scored)["id"]
    assert process.returncode == 130, told
    assert f"Run {run} goes on. Follow it: batchmill resume {run}. Stop it: batchmill runs cancel {run}" in told
    assert shown(scored)["status"] == "Running"
    gate.touch()
    resumed = scored.batchmill("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_killed_follower_is_replaced(scored: Project, words: Words, start: Start, gate: Path) -> None:
    process = start(*words, *at(gate))
    until_half_done(scored, process)
    process.kill()
    process.communicate(timeout=60)
    assert shown(scored)["status"] == "Running"
    follower = start("resume", "last")
    gate.touch()
    _, told = follower.communicate(timeout=60)
    assert follower.returncode == 0, told
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def nothing_left(scored: Project) -> None:
    assert not list(scored.home.glob("runs/*"))
    assert not (scored.folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "nowhere"], "nowhere"),
        (["--input", "empty"], "holds no files"),
        (["--input", "in", "--mini-batch-size", "5rows"], "files have no rows"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(scored: Project, cluster: RayCluster, arguments: list[str], said: str) -> None:
    (scored.folder / "empty").mkdir()
    where = ["--compute", f"ray:{cluster.address}", "--output", "out"]
    for more in ([], ["--detach"]):
        ended = scored.batchmill("run", "score.py", *arguments, *where, *more)
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.startswith("Error: ")
        assert said in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        nothing_left(scored)


def test_a_missing_script_or_cluster_is_refused(scored: Project, words: Words) -> None:
    ended = scored.batchmill("run", "missing.py", *words[2:])
    assert ended.returncode == 2
    assert "does not exist" in ended.stderr
    nowhere = [word if not word.startswith("ray:") else "ray:127.0.0.1:1" for word in words]
    ended = scored.batchmill(*nowhere)
    assert ended.returncode == 2
    assert "No Ray cluster answers at 127.0.0.1:1" in ended.stderr
    nothing_left(scored)


def test_an_output_that_the_cluster_does_not_see_is_refused(scored: Project, words: Words) -> None:
    """As on machines that do not share the folder: what is read of it there is something else."""
    (scored.folder / "sitecustomize.py").write_text(HIDE)
    ended = scored.batchmill(*words, env={"PYTHONPATH": str(scored.folder)})
    assert ended.returncode == 2, ended.stderr
    assert f"{scored.folder / 'out'} is not seen by the nodes of the cluster" in ended.stderr
    assert "Give --output a URL" in ended.stderr
    nothing_left(scored)


HIDE = """
import batchmill.nodes.path_proof as proofs
original = proofs._proof
def another(path):
    proof = original(path)
    if path.endswith("/out"):
        return proofs.PathProof(path, (proof.token[0], "of another folder"))
    return proof
proofs._proof = another
"""


def test_a_failing_run_says_why_and_keeps_its_logs(scored: Project, words: Words) -> None:
    scored.write({"in/bad1.txt": "x", "in/bad2.txt": "y"})
    ended = scored.batchmill(*words, "--run-max-try", "2")
    assert ended.returncode == 1
    assert "exceeds error threshold" in ended.stderr
    assert shown(scored)["status"] == "Failed"
    told = scored.batchmill("runs", "errors", "last", "--traceback").stdout
    failed = re.search(r"mini-batch 20  \S*(bad[12]).txt  ValueError: (bad[12]).txt is bad", told)
    assert failed, told
    assert failed[1] == failed[2]
    assert 'raise ValueError(f"{name} is bad' in told
    assert f"about to fail on {failed[1]}.txt" in scored.batchmill("runs", "logs", "last").stdout
    assert not (scored.folder / "out" / "parallel_run_step.txt").exists()
    assert (scored.folder / "in" / "bad1.txt").exists()


def test_tolerated_failures_can_be_replayed(scored: Project, words: Words) -> None:
    scored.write({"in/bad1.txt": "x"})
    assert scored.batchmill(*words, "--error-threshold", "5", "--run-max-try", "1").returncode == 0
    run = shown(scored)
    assert run["counts"]["items"] == {"total": 61, "succeeded": 60, "failed": 1, "not_run": 0}
    scored.write({"score.py": SCORE.replace('startswith("bad")', 'startswith("worse")')})
    replayed = scored.batchmill("runs", "replay", "last")
    assert replayed.returncode == 0, replayed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE + "bad1.txt: 1\n"
    assert shown(scored)["counts"]["items"]["succeeded"] == 61
    assert scored.batchmill("runs", "replay", "last", "--mini-batch", "0").returncode == 0


def test_cancel_and_resume(scored: Project, words: Words, start: Start, gate: Path) -> None:
    process = start(*words, *at(gate))
    until_half_done(scored, process)
    assert scored.batchmill("runs", "cancel", "last").returncode == 0
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was canceled" in told
    assert shown(scored)["status"] == "Canceled"
    gate.touch()
    resumed = scored.batchmill("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert "done before" in resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_two_runs_at_once_and_never_into_the_same_folder(scored: Project, words: Words, start: Start, gate: Path) -> None:
    first = start(*words, *at(gate), "--name", "first", "--nodes", "1")
    until_half_done(scored, first)
    busy = scored.batchmill(*words)
    assert busy.returncode == 2
    assert "is being written by run" in busy.stderr
    assert "(first)" in busy.stderr
    other = scored.batchmill(*[word if word != "out" else "other" for word in words], "--nodes", "1")
    assert other.returncode == 0, other.stderr
    gate.touch()
    assert first.wait(60) == 0
    assert scored.read("out/parallel_run_step.txt") == scored.read("other/parallel_run_step.txt") == REFERENCE


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_coordinator_is_started_again(scored: Project, words: Words, start: Start, gate: Path, number: int) -> None:
    """SIGTERM is what `ray stop` sends to everything on its machine."""
    process = start(*words, *at(gate))
    until_half_done(scored, process)
    run = shown(scored)["id"]
    for one in coordinators(run):
        one.send_signal(number)
    gate.touch()
    _, told = process.communicate(timeout=100)
    assert process.returncode == 0, told
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert ledger_value(scored, run, "epoch") == "2"


@pytest.mark.slow
def test_a_frozen_coordinator_that_was_given_up_disturbs_nobody(scored: Project, words: Words, start: Start, gate: Path) -> None:
    process = start(*words, *at(gate))
    until_half_done(scored, process)
    process.kill()
    run = shown(scored)["id"]
    frozen = coordinators(run)
    assert frozen
    for one in frozen:
        one.suspend()
    until(lambda: shown(scored, run)["status"] == "Interrupted")
    assert scored.batchmill("runs", "cancel", run).returncode == 0
    for one in frozen:
        one.resume()
    assert psutil.wait_procs(frozen, timeout=60)[1] == [], "it has nothing to do, and ends for good"
    assert shown(scored, run)["status"] == "Canceled"
    assert coordinators(run) == []
    gate.touch()
    resumed = scored.batchmill("resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_files_of_scripts_arrive(scored: Project, words: Words) -> None:
    scored.write({"files.py": FILES})
    ended = scored.batchmill("run", "files.py", *words[2:], "--output-action", "summary_only")
    assert ended.returncode == 0, ended.stderr
    assert len(list((scored.folder / "out" / "made").iterdir())) == 60
    assert not (scored.folder / "out" / "parallel_run_step.txt").exists()


FILES = """
import os

def run(mini_batch):
    folder = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "made")
    os.makedirs(folder, exist_ok=True)
    for path in mini_batch:
        with open(os.path.join(folder, os.path.basename(path)), "w") as file:
            file.write(path)
    return list(mini_batch)
"""


def test_tables_are_the_same_as_on_this_machine(scored: Project, words: Words) -> None:
    rows = "".join(f"{number},{number / 7}\n" for number in range(5000))
    scored.write({"table/a.csv": "a,b\n" + rows, "table.py": "def run(rows):\n    return rows.assign(c=rows.a * 2)\n"})
    command = ("run", "table.py", "--input", "table", "--mini-batch-size", "2KB", "--append-row-dataframe-header", "--nodes", "2")
    there = scored.batchmill(*command, "--output", "there", "--compute", words[words.index("--compute") + 1])
    assert there.returncode == 0, there.stderr
    assert scored.batchmill(*command, "--output", "here").returncode == 0
    assert scored.read("there/parallel_run_step.txt") == scored.read("here/parallel_run_step.txt")


def test_results_are_reused(scored: Project, words: Words) -> None:
    assert scored.batchmill(*words, "--reuse", "mini-batch").returncode == 0
    first = shown(scored)["id"]
    scored.write({"in/99.txt": "99.txt"})
    again = scored.batchmill(*words, "--reuse", "mini-batch")
    assert again.returncode == 0, again.stderr
    assert f"Reused 20 of 21 mini-batches of run {first}" in again.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE + "99.txt: 6\n"


@pytest.mark.slow
def test_a_run_outlives_its_cluster(scored: Project, start: Start, gate: Path) -> None:
    words = ["run", "score.py", "--input", "in", "--mini-batch-size", "3", "--output", "out", *at(gate)]
    with ray_cluster(nodes=1, cpus=1) as lost:
        process = start(*words, "--compute", f"ray:{lost.address}")
        until_half_done(scored, process)
        run = shown(scored)["id"]
    _, told = process.communicate(timeout=100)
    assert process.returncode == 130, told
    assert f"batchmill resume {run}" in told
    assert shown(scored)["status"] == "Interrupted"
    gate.touch()
    with ray_cluster(nodes=1, cpus=1) as another:
        resumed = scored.batchmill("resume", run, "--compute", f"ray:{another.address}")
        assert resumed.returncode == 0, resumed.stderr
    assert "done before" in resumed.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert "is not one on a Ray cluster" in local(scored).stderr


def local(scored: Project) -> subprocess.CompletedProcess[str]:
    """A run on this machine that somebody would move to a cluster."""
    assert scored.batchmill("run", "score.py", "--input", "in").returncode == 0
    return scored.batchmill("resume", "last", "--compute", "ray:127.0.0.1:1")
