"""Whole runs of pipelines of script steps: a runner of its own, real processes, folders and the registry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from batchmill.parallel_run.cores import usable_cores
from batchmill.pipeline.experiment import Experiment
from batchmill.pipeline.graph import Parameter, Reference
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parallel_run_step import ParallelRunStep
from batchmill.pipeline.pipeline import Pipeline
from batchmill.pipeline.runner import resume_run
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.registered_run import SCRIPT_RUN
from batchmill.workspace.workspace import Workspace
from tests.pipeline_runs import end_runners, ended, input_from, log, node, output, processes_with, std_log, steps, submitted, until

MAKES = """
import os, sys
print("made by", os.environ["AZUREML_RUN_ID"])
assert not os.path.exists(sys.argv[1]), sys.argv[1]
os.makedirs(sys.argv[1])
with open(os.path.join(sys.argv[1], "a.txt"), "w") as file:
    file.write(sys.argv[2])
"""
READS = """
import os, sys
print(open(os.path.join(sys.argv[1], "a.txt")).read() + "!", os.environ["scores"], os.environ["AZUREML_DATAREFERENCE_scores"])
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    found = Workspace.create("team", show_output=False)
    yield found
    end_runners(found)


def test_two_steps_and_what_flows_between_them(ws: Workspace, tmp_path: Path) -> None:
    out = Reference("output", "scores")
    first = node(ws, tmp_path, "first", MAKES, [out, Reference("parameter", "word")], outputs=(output("scores"),))
    second = node(ws, tmp_path, "second", READS, [Reference("input", "scores")], inputs=(input_from(first, "scores"),))
    run = ended(ws, submitted(ws, [first, second], {"word": Parameter("word", "string", "hello")}).id)
    assert (run.status, run.error) == ("Completed", None), log(ws, run.id)
    found = steps(ws, run.id)
    assert {name: step.status for name, step in found.items()} == {"first": "Completed", "second": "Completed"}
    folder = ws.folder / "workspaceblobstore" / "azureml" / found["first"].id / "scores"
    assert std_log(found["second"]) == f"hello! {folder} {folder}\n"
    place = {"datastore": "workspaceblobstore", "path": f"azureml/{found['first'].id}/scores"}
    assert found["first"].details["outputs"] == {"scores": place}
    kept = ws.folder / "workspaceblobstore" / "azureml" / "ExperimentRun" / f"dcid.{found['first'].id}" / "user_logs" / "std_log.txt"
    assert kept.read_text() == f"made by {found['first'].id}\n"
    assert found["first"].tags == {"azureml.nodeid": first.id, "azureml.pipeline": run.id}
    assert json.dumps(run.as_dict())


FAILS = "import sys; print('on its way'); sys.exit('it is broken')"
FINE = "print('fine')"
LASTS = "import time, pathlib, sys; pathlib.Path(sys.argv[1]).touch(); time.sleep(120)"


def _statuses(ws: Workspace, run_id: str) -> dict[str, str]:
    return {name: step.status for name, step in steps(ws, run_id).items()}


@pytest.mark.parametrize(("go_on", "other"), [(False, "Canceled"), (True, "Completed")])
def test_k71_after_a_failure(ws: Workspace, tmp_path: Path, go_on: bool, other: str) -> None:
    first = node(ws, tmp_path, "first", FAILS)
    later = node(ws, tmp_path, "later", FINE, after=(first.id,))
    wait = node(ws, tmp_path, "wait", FINE)
    independent = node(ws, tmp_path, "independent", FINE, after=(wait.id,))
    run = ended(ws, submitted(ws, [first, later, independent, wait], continue_on_step_failure=go_on).id)
    assert run.status == "Failed"
    assert run.error == "Step first failed: The script script.py ended with exit code 1: it is broken"
    found = steps(ws, run.id)
    assert found["first"].error == "The script script.py ended with exit code 1: it is broken"
    assert (found["later"].status, found["later"].error) == ("Canceled", "not started, because step first failed")
    assert found["wait"].status == "Completed" or not go_on
    if go_on:
        assert found["independent"].status == "Completed"
    assert std_log(found["first"]) == "on its way\nit is broken\n"


def test_cancel_of_a_run(ws: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    lasting = node(ws, tmp_path, "lasting", LASTS, [str(begun)])
    later = node(ws, tmp_path, "later", FINE, after=(lasting.id,))
    run = submitted(ws, [lasting, later])
    until(begun.exists, "the script runs")
    began = time.monotonic()
    ws.registry.request_cancel(run.id)
    assert ended(ws, run.id).status == "Canceled"
    assert time.monotonic() - began < 5
    assert _statuses(ws, run.id) == {"lasting": "Canceled", "later": "Canceled"}
    assert steps(ws, run.id)["later"].error == "not started, because the run was canceled"
    assert processes_with(run.id) == []


def test_cancel_of_one_step(ws: Workspace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    lasting = node(ws, tmp_path, "lasting", LASTS, [str(begun)])
    other = node(ws, tmp_path, "other", FINE)
    run = submitted(ws, [lasting, other], continue_on_step_failure=True)
    until(begun.exists, "the script runs")
    ws.registry.request_cancel(steps(ws, run.id)["lasting"].id)
    assert ended(ws, run.id).status == "Canceled"
    assert _statuses(ws, run.id) == {"lasting": "Canceled", "other": "Completed"}


def test_a_script_that_lasts_too_long(ws: Workspace, tmp_path: Path) -> None:
    run = ended(ws, submitted(ws, [node(ws, tmp_path, "slow", LASTS, [str(tmp_path / "x")], timeout=0.5)]).id)
    assert run.error == "Step slow failed: The script script.py ran longer than its time-out of 0.5 seconds and was ended."


def test_what_a_script_leaves_running_is_ended(ws: Workspace, tmp_path: Path) -> None:
    leaves = "import subprocess, sys; subprocess.Popen(['sleep', '300'], start_new_session=True); print('done')"
    run = ended(ws, submitted(ws, [node(ws, tmp_path, "leaves", leaves)]).id)
    assert run.status == "Completed"
    assert processes_with(steps(ws, run.id)["leaves"].id) == []


def test_independent_steps_run_at_the_same_time(ws: Workspace, tmp_path: Path) -> None:
    if usable_cores() < 2:
        pytest.skip("NOT TESTED: this machine has one core")
    meets = """
import pathlib, sys, time
mine, other = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
mine.touch()
deadline = time.monotonic() + 30
while not other.exists():
    assert time.monotonic() < deadline
    time.sleep(0.01)
"""
    a, b = tmp_path / "a", tmp_path / "b"
    nodes = [node(ws, tmp_path, "one", meets, [str(a), str(b)]), node(ws, tmp_path, "two", meets, [str(b), str(a)])]
    assert ended(ws, submitted(ws, nodes).id).status == "Completed"


def test_steps_wait_for_nodes_of_their_compute_target(ws: Workspace, tmp_path: Path) -> None:
    ComputeTarget.create(ws, "one", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1))
    alone = """
import os, sys
os.mkdir(sys.argv[1])
os.rmdir(sys.argv[1])
"""
    nodes = [node(ws, tmp_path, f"step{n}", alone, [str(tmp_path / "lock")], compute="one") for n in range(5)]
    run = ended(ws, submitted(ws, nodes).id)
    assert (run.status, run.error) == ("Completed", None)
    assert ws.compute_targets["one"].get_status().serialize()["nodeStateCounts"]["runningNodeCount"] == 0


def test_commands(ws: Workspace, tmp_path: Path) -> None:
    out = Reference("output", "scores")
    line = node(ws, tmp_path, "line", "", kind="command", script=None, command=("ls *.py && echo $HOME_OF && exit 3",))
    words = node(ws, tmp_path, "words", "", kind="command", command=("echo", "a b", out), outputs=(output("scores", exists=True),))
    line = replace(line, environment_variables={"HOME_OF": "me"})
    run = ended(ws, submitted(ws, [line, words], continue_on_step_failure=True).id)
    found = steps(ws, run.id)
    assert found["line"].error == "The command ended with exit code 3: me"
    assert std_log(found["line"]) == "script.py\nme\n"
    assert std_log(found["words"]) == f"a b {ws.folder}/workspaceblobstore/azureml/{found['words'].id}/scores\n"


def test_a_single_script_is_its_own_step(ws: Workspace, tmp_path: Path) -> None:
    run = ended(ws, submitted(ws, [node(ws, tmp_path, "alone", "import os; print(os.environ['AZUREML_RUN_ID'])")], kind=SCRIPT_RUN).id)
    assert (run.status, run.kind) == ("Completed", SCRIPT_RUN)
    assert steps(ws, run.id) == {}
    assert std_log(run) == f"{run.id}\n"


def test_a_run_that_has_ended_is_begun_again(ws: Workspace, tmp_path: Path) -> None:
    marker, count = tmp_path / "marker", tmp_path / "count"
    counts = "import sys; open(sys.argv[1], 'a').write('x')"
    needs = "import os, sys; sys.exit(0 if os.path.exists(sys.argv[1]) else 'not yet')"
    first = node(ws, tmp_path, "first", counts, [str(count)])
    second = node(ws, tmp_path, "second", needs, [str(marker)], after=(first.id,))
    third = node(ws, tmp_path, "third", FINE, after=(second.id,))
    run = ended(ws, submitted(ws, [first, second, third]).id)
    assert run.status == "Failed"
    marker.touch()
    assert resume_run(ws, run.id) is not None
    again = ended(ws, run.id)
    assert (again.status, again.error) == ("Completed", None)
    assert set(_statuses(ws, run.id).values()) == {"Completed"}
    assert count.read_text() == "x"
    assert resume_run(ws, run.id) is None


def test_k70_steps_one_behind_the_other_and_side_by_side(ws: Workspace, tmp_path: Path) -> None:
    if usable_cores() < 2:
        pytest.skip("NOT TESTED: this machine has one core")
    spans = """
import sys, time
began = time.time()
time.sleep(0.5)
print(began, time.time())
"""
    a = node(ws, tmp_path, "a", spans)
    b, c = (node(ws, tmp_path, name, spans, after=(a.id,)) for name in "bc")
    d = node(ws, tmp_path, "d", spans, after=(b.id, c.id))
    run = ended(ws, submitted(ws, [a, b, c, d]).id)
    times = {name: tuple(map(float, std_log(step).split())) for name, step in steps(ws, run.id).items()}
    assert times["a"][1] < min(times["b"][0], times["c"][0])
    assert max(times["b"][0], times["c"][0]) < min(times["b"][1], times["c"][1])
    assert max(times["b"][1], times["c"][1]) < times["d"][0]


def test_a_run_on_both_databases(database: str, tmp_path: Path) -> None:
    ws = Workspace.create("default", show_output=False)
    first = node(ws, tmp_path, "first", FINE)
    fails = node(ws, tmp_path, "fails", FAILS, after=(first.id,))
    run = ended(ws, submitted(ws, [first, fails]).id)
    assert (run.status, run.attempts, run.holder) == ("Failed", 1, None)
    assert _statuses(ws, run.id) == {"first": "Completed", "fails": "Failed"}


def test_parallel_steps_without_a_node_are_queued(ws: Workspace, tmp_path: Path) -> None:
    ComputeTarget.create(ws, "one", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1))
    begun, gate, images = tmp_path / "begun", tmp_path / "gate", ws.folder / "workspaceblobstore" / "images"
    images.mkdir()
    (images / "a").touch()
    source = tmp_path / "source"
    source.mkdir()
    (source / "score.py").write_text(
        "import pathlib, time\ndef run(mini_batch):\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        f"    while not pathlib.Path({str(gate)!r}).exists():\n        time.sleep(0.01)\n"
        "    return mini_batch\n"
    )
    config = ParallelRunConfig(
        environment=Environment("e"),
        entry_script="score.py",
        source_directory=str(source),
        error_threshold=0,
        output_action="summary_only",
        compute_target="one",
        mini_batch_size="1",
        node_count=1,
        process_count_per_node=1,
    )
    files = Dataset.File.from_files((ws.get_default_datastore(), "images")).as_named_input("images")
    both = [ParallelRunStep(name, parallel_run_config=config, inputs=[files], allow_reuse=False) for name in ("one", "two")]
    run_id = Experiment(ws, "tests").submit(Pipeline(ws, both)).id
    until(begun.exists, "one of them works")
    until(lambda: sorted(_statuses(ws, run_id).values()) == ["Queued", "Running"], "the other waits for its node")
    gate.touch()
    assert ended(ws, run_id).status == "Completed", log(ws, run_id)
