"""The cases of parallel runs (specification K23 to K58) as a user of the SDK meets them: one pipeline, a step for each case."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.acceptance.pipelines.conftest import write
from tests.table_inputs import iris_csv

ECHO = "import os\n\ndef run(mini_batch):\n    return [os.path.basename(path) for path in mini_batch]\n"
SAME = "def run(mini_batch):\n    return mini_batch\n"
FAILING = """
import os

def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    if any(name >= FIRST for name in names):
        raise ValueError("these are bad")
    return names
"""
SIZES = """
def run(mini_batch, mini_batch_context):
    return [f"{mini_batch_context.minibatch_index} {len(mini_batch)} {mini_batch.index[0]}"] * len(mini_batch)
"""
TYPES = """
import pandas as pd

def run(mini_batch):
    moments = pd.to_datetime(["2019-01-01"] * len(mini_batch))
    times = pd.to_datetime(["2019-01-01 10:00:00"] * len(mini_batch))
    values = {"a": 1, "b": 1.5, "c": "x y", "d": True, "e": moments, "f": times, "g": None}
    return pd.DataFrame(values, index=range(len(mini_batch)))
"""
ONCE = """
import os
from azureml_user.parallel_run import EntryScript

def run(mini_batch):
    marker = os.path.join(EntryScript().output_dir, "tried-" + os.path.basename(mini_batch[0]))
    if not os.path.exists(marker) and mini_batch[0].endswith("05.txt"):
        open(marker, "w").close()
        raise ValueError("the first try")
    return list(mini_batch)
"""
KILLED = """
import os

def run(mini_batch):
    if any(path.endswith("07.txt") for path in mini_batch):
        os._exit(1)
    return [os.path.basename(path) for path in mini_batch]
"""
INIT = """
import os
from azureml_user.parallel_run import EntryScript

def init():
    if CONDITION:
        raise RuntimeError("init cannot go on")

def run(mini_batch):
    return [os.path.basename(path) for path in mini_batch]
"""
SURROUNDINGS = """
import json, os
from azureml_user.parallel_run import EntryScript
from azureml.core.model import Model
import beside

def init():
    entry = EntryScript()
    assert entry is EntryScript() and os.path.isdir(entry.log_dir) and os.path.isdir(entry.output_dir)
    entry.logger.info("hello from %s", entry.agent_name)
    assert not os.path.exists("x.txt")
    with open("x.txt", "w") as file:
        file.write(os.getcwd())

def run(mini_batch):
    print("printed", len(mini_batch))
    facts = {"file": __file__, "beside": beside.VALUE, "cwd": os.getcwd(), "run": os.environ["AZUREML_RUN_ID"]}
    return [json.dumps(facts)] * len(mini_batch)

def shutdown():
    with open(os.path.join(EntryScript().output_dir, f"marker-{EntryScript().agent_name}"), "w") as file:
        file.write("down")
"""
WRITER = """
import argparse, os

def init():
    global output
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", dest="output")
    output = parser.parse_known_args()[0].output

def run(mini_batch):
    for path in mini_batch:
        with open(os.path.join(output, os.path.basename(path)), "w") as file:
            file.write("scored")
    return mini_batch
"""
LABELS = """
import argparse, os

def init():
    global labels
    parser = argparse.ArgumentParser()
    parser.add_argument("--labels_dir", required=True)
    with open(os.path.join(parser.parse_known_args()[0].labels_dir, "labels.txt")) as file:
        labels = file.read().split()

def run(mini_batch):
    return [f"{os.path.basename(path)} {labels[len(os.path.basename(path)) % 2]}" for path in mini_batch]
"""
SCRIPTS = {
    "echo": ECHO,
    "same": SAME,
    "one_bad": FAILING.replace("FIRST", '"15.txt"'),
    "half_bad": FAILING.replace("FIRST", '"10.txt"'),
    "most_bad": FAILING.replace("FIRST", '"05.txt"'),
    "all_bad": FAILING.replace("FIRST", '""'),
    "sizes": SIZES,
    "types": TYPES,
    "tuple": ECHO.replace("[os.path.basename(path) for path in mini_batch]", "tuple(os.path.basename(path) for path in mini_batch)"),
    "nothing": "def run(mini_batch):\n    return None\n",
    "text": "def run(mini_batch):\n    return 'a text'\n",
    "seven": ECHO.replace("for path in mini_batch]", "for path in mini_batch] + ['more', 'and more']"),
    "once": ONCE,
    "killed": KILLED,
    "never": INIT.replace("CONDITION", "True"),
    "sometimes": INIT.replace("CONDITION", "EntryScript().agent_name == 'process000'"),
    "no_run": "def walk(mini_batch):\n    return mini_batch\n",
    "syntax": "def run(mini_batch)\n    return mini_batch\n",
    "surroundings": SURROUNDINGS,
    "writer": WRITER,
    "labels": LABELS,
    "keyed": "def run(paths, context):\n    return [str(context.partition_key_value)] * len(paths)\n",
    "rank": "def run(rank):\n    return [f'rank {rank}']\n",
}
FOUR = {"data": "twenty", "mini_batch_size": "5", "run_max_try": 1}
CASES: dict[str, dict[str, Any]] = {
    "k23": {"script": "echo", "data": "many", "mini_batch_size": "10", "compute": True, "node_count": 2},
    "k25": {"script": "sizes", "data": "iris", "mini_batch_size": "512"},
    "k28": {"script": "same", "data": "pair", "mini_batch_size": 1000000},
    "k29": {"script": "same", "data": "headed"},
    "k30": {"script": "same", "data": "quoted", "mini_batch_size": "64"},
    "k33": {"script": "types", "data": "pair"},
    "k35": {"script": "tuple", **FOUR},
    "k36_none": {"script": "nothing", **FOUR},
    "k36_text": {"script": "text", **FOUR},
    "k37": {"script": "same", "data": "headed", "arguments": ["--append_row_dataframe_header", "True"]},
    "k39": {"script": "seven", **FOUR},
    "k41_four": {"script": "one_bad", **FOUR, "error_threshold": 4},
    "k41_five": {"script": "one_bad", **FOUR, "error_threshold": 5},
    "k42_rows": {"script": "all_bad", **FOUR, "error_threshold": -1},
    "k42_none": {"script": "all_bad", **FOUR, "error_threshold": -1, "output_action": "summary_only"},
    "k44_two": {"script": "half_bad", **FOUR, "error_threshold": -1, "allowed_failed_count": 1},
    "k44_once": {"script": "once", **FOUR, "error_threshold": -1, "allowed_failed_count": 0, "run_max_try": 2},
    "k45_half": {"script": "half_bad", **FOUR, "error_threshold": -1, "allowed_failed_percent": 50},
    "k45_more": {"script": "most_bad", **FOUR, "error_threshold": -1, "allowed_failed_percent": 50},
    "k46": {"script": "killed", **FOUR, "run_max_try": 2, "error_threshold": 5, "isolate_failures": False},
    "k47": {"script": "never", **FOUR},
    "k48": {"script": "sometimes", **FOUR},
    "k49_run": {"script": "no_run", **FOUR},
    "k49_syntax": {"script": "syntax", **FOUR},
    "k50": {"script": "surroundings", **FOUR},
    "k58": {"script": "writer", **FOUR, "output_action": "Summary_Only"},
    "labels": {"script": "labels", **FOUR, "labels": True},
    "rank": {"script": "rank", "arguments": ["--rank_mini_batch_count", 3]},
    "logs": {
        "script": "echo",
        **FOUR,
        "arguments": ["--copy_logs_to_parent", "True", "--push_metrics_to_parent", True, "--metrics_name_prefix", "p "],
    },
}


@dataclass
class Ended:
    """The run of the pipeline, ended."""

    run: Any
    ws: Any

    def step(self, name: str) -> Any:
        (found,) = self.run.find_step_run(name)
        return found

    def status(self, name: str) -> str:
        return str(self.step(name).get_status())

    def error(self, name: str) -> str:
        return str(self.ws.registry.run(self.step(name).id).error)

    def folder(self, name: str) -> Path:
        port = self.step(name).get_output_data("out")
        return Path(self.ws.folder, "workspaceblobstore", port.path_on_datastore)

    def rows(self, name: str) -> list[str]:
        return (self.folder(name) / "parallel_run_step.txt").read_text().splitlines()

    def batches(self, name: str) -> int:
        return int(self.step(name).get_metrics()["Total Mini Batches"])

    def log(self, name: str, pattern: str, run: Any = None) -> str:
        """The text of the logs that the datastore holds."""
        place = Path(self.ws.folder, "workspaceblobstore", "azureml", "ExperimentRun", f"dcid.{(run or self.step(name)).id}", "logs")
        return "".join(path.read_text() for path in sorted(place.glob(pattern)))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ended]:
    """All cases in one run."""
    from azureml.core import Experiment, Workspace
    from azureml.pipeline.core import Pipeline

    from batchmill.workspace.database import close_databases

    folder = tmp_path_factory.mktemp("cases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHMILL_HOME", str(folder / "home"))
        patch.chdir(folder)
        ws = Workspace.create("team", show_output=False)
        write(folder / "scripts", {f"{name}.py": text for name, text in SCRIPTS.items()} | {"beside.py": "VALUE = 42\n"})
        pipeline = Pipeline(ws, steps=steps(ws))
        assert pipeline.validate() == []
        late = {"aml_mini_batch_size": "2", "keys": '["user"]'}
        run = Experiment(ws, "cases").submit(pipeline, continue_on_step_failure=True, pipeline_parameters=late)
        assert run.wait_for_completion(show_output=False, raise_on_error=False) == "Failed"
        yield Ended(run, ws)
        close_databases()


def steps(ws: Any) -> list[Any]:
    from azureml.core.compute import AmlCompute, ComputeTarget

    store = Path(ws.folder, "workspaceblobstore")
    write(store / "many", {f"{number:02d}.txt": "x" for number in range(23)})
    write(store / "twenty", {f"{number:02d}.txt": "x" for number in range(20)})
    write(store / "labels", {"labels.txt": "even odd"})
    write(store / "pair", {f"{name}.csv": "a,b\n" + f"{name},123\n" * 100 for name in "pq"})
    write(store / "headed", {"none.csv": "a,b\n", "some.csv": "a,b\n1,x\n2,y\n"})
    write(store / "quoted", {"q.csv": 'a,b\n1,"two\nlines"\n' + "2,short\n" * 30})
    write(store / "iris", {"iris.csv": iris_csv()})
    cluster = ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration(max_nodes="4"))
    return [*(step(ws, name, cluster, **case) for name, case in CASES.items()), contrib_step(ws), keyed_step(ws), *two_steps(ws)]


def contrib_step(ws: Any) -> Any:
    """As it was in 2019; its numbers are parameters of the pipeline."""
    from azureml.contrib.pipeline.steps import ParallelRunConfig, ParallelRunStep
    from azureml.core import Dataset, Environment
    from azureml.pipeline.core import PipelineData

    store = ws.get_default_datastore()
    config = ParallelRunConfig(
        source_directory="scripts",
        entry_script="echo.py",
        mini_batch_size="5",
        error_threshold=10,
        output_action="append_row",
        environment=Environment("batch"),
        compute_target="cpu-cluster",
        node_count=1,
    )
    return ParallelRunStep(
        name="contrib-step",
        models=["never-registered"],
        parallel_run_config=config,
        inputs=[Dataset.File.from_files((store, "many/")).as_named_input("images")],
        output=PipelineData(name="out", datastore=store, output_path_on_compute="images/results"),
        arguments=[],
        allow_reuse=False,
    )


def keyed_step(ws: Any) -> Any:
    """Partitions by keys that are known only at the submission."""
    from azureml.core import Dataset, Environment
    from azureml.pipeline.core import PipelineParameter
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    store = ws.get_default_datastore()
    write(Path(ws.folder, "workspaceblobstore", "songs"), {f"{one}/{two}/a.txt": "x" for one in ("ann", "bob") for two in ("rock", "jazz")})
    songs = Dataset.File.from_files((store, "songs/"), partition_format="{user}/{genre}/a.txt")
    config = ParallelRunConfig(
        Environment("batch"),
        "keyed.py",
        0,
        "append_row",
        None,
        1,
        source_directory="scripts",
        partition_keys=PipelineParameter("keys", '["genre"]'),
    )
    from azureml.data import OutputFileDatasetConfig

    output = OutputFileDatasetConfig("out", destination=(store, "keyed/{run-id}"))
    return ParallelRunStep("keyed", config, [songs.as_named_input("songs")], output, allow_reuse=False)


def two_steps(ws: Any) -> list[Any]:
    """One reads as a table what the other has written."""
    from azureml.core import Dataset, Environment
    from azureml.pipeline.core import PipelineData
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    store = ws.get_default_datastore()
    made, out = PipelineData("made", datastore=store), PipelineData("out", datastore=store)
    table = Dataset.Tabular.from_delimited_files((store, "headed/*.csv")).as_named_input("table")
    settings: dict[str, Any] = {"environment": Environment("batch"), "entry_script": "same.py", "source_directory": "scripts"}
    settings |= {"error_threshold": 0, "output_action": "append_row", "compute_target": None, "node_count": 1}
    config = ParallelRunConfig(**settings, append_row_file_name="made.txt")
    first = ParallelRunStep("first", config, [table], made, arguments=["--append_row_dataframe_header", "True"], allow_reuse=False)
    again = made.as_dataset().parse_delimited_files(separator=" ", file_extension=None).keep_columns("b")
    return [first, ParallelRunStep("second", ParallelRunConfig(**settings), [again], out, allow_reuse=False)]


def step(ws: Any, name: str, cluster: Any, *, script: str, data: str | None = None, labels: bool = False, **case: Any) -> Any:
    from azureml.core import Dataset, Environment
    from azureml.pipeline.core import PipelineData
    from azureml.pipeline.steps import ParallelRunConfig, ParallelRunStep

    store = ws.get_default_datastore()
    arguments, inputs, side = case.pop("arguments", []), [], []
    if labels:
        side = [Dataset.File.from_files((store, "labels/")).as_named_input("labels").as_mount()]
        arguments = ["--labels_dir", *side]
    if data in ("many", "twenty"):
        inputs = [Dataset.File.from_files((store, f"{data}/")).as_named_input("images")]
    elif data is not None:
        table = Dataset.Tabular.from_delimited_files((store, f"{data}/*.csv"), support_multi_line=data == "quoted")
        inputs = [table.as_named_input("table")]
    target = cluster if case.pop("compute", False) else None
    settings = {"error_threshold": 0, "output_action": "append_row", "node_count": 1, "process_count_per_node": 2, **case}
    config = ParallelRunConfig(Environment("batch"), f"{script}.py", compute_target=target, source_directory="scripts", **settings)
    output = PipelineData("out", datastore=store)
    return ParallelRunStep(name, config, inputs, output, side, arguments, allow_reuse=False)


TWENTY = [f"{number:02d}.txt" for number in range(20)]


def test_k23_files(ended: Ended) -> None:
    assert ended.status("k23") == "Finished"
    assert ended.rows("k23") == [f"{number:02d}.txt" for number in range(23)]
    assert ended.batches("k23") == 3


def test_k25_k32_blocks_of_a_table(ended: Ended) -> None:
    sizes = dict.fromkeys(ended.rows("k25"))
    assert [int(line.split()[1]) for line in sizes] == [17, 19, 18, 17, 16, 17, 17, 17, 12]
    assert {line.split()[2] for line in sizes} == {"0"}


def test_k28_k29_k30_files_of_a_table(ended: Ended) -> None:
    assert ended.batches("k28") == 2
    assert ended.rows("k29") == ["1 x", "2 y"]
    assert ended.batches("k30") == 1
    assert ended.rows("k30")[:2] == ['1 "two', 'lines"']


def test_k33_rows_of_a_data_frame(ended: Ended) -> None:
    assert set(ended.rows("k33")) == {'1 1.5 "x y" True 2019-01-01 "2019-01-01 10:00:00" '}


def test_k35_k36_what_run_returns(ended: Ended) -> None:
    assert ended.rows("k35") == TWENTY
    for name, kind in (("k36_none", "NoneType"), ("k36_text", "str")):
        assert ended.status(name) == "Failed"
        errors = ended.log(name, "user/error.txt")
        assert f"The actual type of output is {kind}." in errors
        assert "should return a list or a pandas DataFrame" in errors


def test_k37_header(ended: Ended) -> None:
    assert ended.rows("k37") == ["a b", "1 x", "2 y"]


def test_k39_more_rows_than_items(ended: Ended) -> None:
    assert len(ended.rows("k39")) == 20 + 4 * 2
    assert "Warning: mini-batch 3: run() returned 7 rows for 5 items" in ended.log("k39", "job_result.txt")


def test_k41_error_threshold(ended: Ended) -> None:
    assert ended.status("k41_four") == "Failed"
    assert ended.error("k41_four") == "The number of failed items is 5, which exceeds error threshold 4."
    assert ended.status("k41_five") == "Finished"
    assert ended.rows("k41_five") == TWENTY[:15]


def test_k42_no_rows_at_all(ended: Ended) -> None:
    assert ended.status("k42_rows") == "Failed"
    assert ended.error("k42_rows").startswith("There is no succeeded mini batch item returned from run().")
    assert ended.status("k42_none") == "Finished"


def test_k44_k45_failed_mini_batches(ended: Ended) -> None:
    assert [ended.status(name) for name in ("k44_two", "k44_once", "k45_half", "k45_more")] == ["Failed", "Finished", "Finished", "Failed"]


def test_k46_a_worker_that_kills_itself(ended: Ended) -> None:
    assert ended.status("k46") == "Finished"
    assert ended.rows("k46") == TWENTY[:5] + TWENTY[10:]


def test_k47_k48_init(ended: Ended) -> None:
    assert ended.status("k47") == "Failed"
    assert "RuntimeError: init cannot go on" in ended.log("k47", "user/error/*/*.txt")
    assert ended.status("k48") == "Finished"
    assert ended.rows("k48") == TWENTY


def test_k49_scripts_that_are_none(ended: Ended) -> None:
    assert [ended.status(name) for name in ("k49_run", "k49_syntax")] == ["Failed", "Failed"]
    assert "no_run.py" in ended.error("k49_run")
    assert "syntax.py" in ended.error("k49_syntax")


def test_k50_k52_k53_k55_processes(ended: Ended) -> None:
    assert ended.status("k50") == "Finished"
    begun = set(re.findall(r"hello from (process\d+)", ended.log("k50", "user/entry_script_log/*/*.txt")))
    assert begun  # a process may find that nothing is left before it begins
    assert {path.name for path in ended.folder("k50").glob("marker-*")} == {f"marker-{name}" for name in begun}
    assert "printed 5" in ended.log("k50", "user/stdout/*/process*.stdout.txt")
    rows = pd.read_json(io.StringIO("\n".join(ended.rows("k50"))), lines=True)
    assert set(rows["beside"]) == {42}
    assert set(rows["run"]) == {ended.step("k50").id}
    assert all("snapshot" in path and path.endswith("surroundings.py") for path in rows["file"])


def test_k56_k57_reports(ended: Ended) -> None:
    (report,) = [ended.log("k23", "sys/job_report/processed_mini-batches.csv")]
    rows = list(csv.DictReader(io.StringIO(report)))
    assert len(rows) == 3
    assert [sum(int(row[name]) for row in rows) for name in ("Total", "Succeeded", "Failed")] == [23, 23, 0]
    assert {row["Status"] for row in rows} == {"RUN_DONE"}
    last = list(csv.DictReader(io.StringIO(ended.log("k23", "sys/metrics/*/progress.csv"))))[-1]
    assert [last[name] for name in ("Total Tasks", "Completed Tasks", "Failed Tasks")] == ["3", "3", "0"]
    assert ended.log("k23", "job_result.txt")
    assert ended.log("k23", "job_progress_overview.*")


def test_k58_files_beside_no_rows(ended: Ended, tmp_path: Path) -> None:
    port = ended.step("k58").get_output_data("out")
    assert port.download(str(tmp_path)) == 20
    assert sorted(path.name for path in (tmp_path / port.path_on_datastore).iterdir()) == TWENTY


def test_side_inputs(ended: Ended) -> None:
    assert ended.rows("labels") == [f"{name} even" for name in TWENTY]


def test_mini_batches_without_input(ended: Ended) -> None:
    assert ended.rows("rank") == ["rank 0", "rank 1", "rank 2"]


def test_values_that_are_known_at_the_submission(ended: Ended) -> None:
    assert ended.status("contrib-step") == "Finished"
    assert ended.batches("contrib-step") == 12
    assert ended.rows("keyed") == ["{'user': 'ann'}"] * 2 + ["{'user': 'bob'}"] * 2


def test_what_a_step_has_written_is_the_table_of_another(ended: Ended) -> None:
    assert ended.rows("second") == ["x", "y"]


def test_what_the_run_of_the_pipeline_is_told(ended: Ended) -> None:
    metrics = ended.run.get_metrics()
    assert metrics["p Total Mini Batches"] == 4
    assert "Total Mini Batches" not in metrics
    assert "20" in ended.log("logs", "logs/job_result.txt", ended.run)
