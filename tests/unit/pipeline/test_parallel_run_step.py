"""What a `ParallelRunStep` accepts, becomes and refuses, with the texts of Azure ML (specification B3 to B5, B8)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline import contrib_parallel_run as contrib
from batchmill.pipeline.graph import DatasetSource, Node, OutputSource, ParameterSource, Reference
from batchmill.pipeline.output_dataset import OutputFileDatasetConfig
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parallel_run_step import ParallelRunStep
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.workspace import Workspace


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts" / "sub").mkdir(parents=True)
    (tmp_path / "scripts" / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    return Workspace.create("default", show_output=False)


@pytest.fixture
def images(ws: Workspace) -> Any:
    return Dataset.File.from_files((ws.get_default_datastore(), "images/"), validate=False)


@pytest.fixture
def table(ws: Workspace) -> Any:
    (ws.folder / "workspaceblobstore").mkdir(parents=True, exist_ok=True)
    (ws.folder / "workspaceblobstore" / "t.csv").write_text("a\n1\n")
    return Dataset.Tabular.from_delimited_files((ws.get_default_datastore(), "t.csv"))


def config(**changes: Any) -> ParallelRunConfig:
    values: dict[str, Any] = {
        "environment": Environment("batch"),
        "source_directory": "scripts",
        "entry_script": "score.py",
        "error_threshold": 10,
        "output_action": "append_row",
        "compute_target": "cpu-cluster",
        "node_count": 2,
    }
    return ParallelRunConfig(**{**values, **changes})


def step(inputs: Any, settings: ParallelRunConfig | None = None, **changes: Any) -> ParallelRunStep:
    given: dict[str, Any] = {"name": "score", "output": PipelineData("scores"), **changes}
    return ParallelRunStep(parallel_run_config=settings or config(), inputs=inputs, **given)


def node(inputs: Any, settings: ParallelRunConfig | None = None, **changes: Any) -> Node:
    return step(inputs, settings, **changes).node("0badcafe")


def test_what_it_becomes(images: Any, tmp_path: Path) -> None:
    labels = images.as_named_input("labels").as_mount("/labels")
    size = PipelineParameter("size", 5)
    made = step(
        [images.as_named_input("images")],
        config(mini_batch_size=size, run_max_try=2, environment_variables={"A": 1}, append_row_file_name="rows.txt"),
        side_inputs=[labels],
        arguments=["--labels_dir", labels, "--rate", 0.5, "--size", size, "--task_overhead_timeout", "30"],
        allow_reuse=False,
        reuse="mini_batch",
    )
    found = made.node("0badcafe")
    assert (found.name, found.kind, found.script, found.source) == ("score", "parallel_run", "score.py", str(tmp_path / "scripts"))
    assert [(port.name, port.mode, port.side) for port in found.inputs] == [("images", "mount", False), ("labels", "mount", True)]
    assert isinstance(found.inputs[0].source, DatasetSource)
    assert found.inputs[1].path_on_compute == "/labels"
    assert found.arguments == ("--labels_dir", Reference("input", "labels"), "--rate", 0.5, "--size", Reference("parameter", "size"))
    assert found.settings == {
        "error_threshold": 10,
        "output_action": "append_row",
        "mini_batch_size": Reference("parameter", "size"),
        "run_invocation_timeout": 60,
        "run_max_try": 2,
        "append_row_file_name": "rows.txt",
        "logging_level": "INFO",
        "isolate_failures": True,
        "task_overhead_timeout": 30.0,
        "output": "scores",
    }
    assert (found.compute, found.node_count, found.allow_reuse, found.reuse) == ("cpu-cluster", 2, False, "mini_batch")
    assert found.environment_variables == {"A": "1"}
    assert found.environment == Environment("batch").to_dict()
    assert [one.name for one in made.parameters] == ["size"]
    assert images in made.datasets
    assert list(made.makes) == ["scores"]


def test_modes(images: Any, table: Any) -> None:
    assert node([images.as_named_input("a").as_download()]).inputs[0].mode == "mount"
    assert node([table.as_named_input("a")]).inputs[0].mode == "direct"
    keys = config(partition_keys=["user"])
    assert node([images.as_named_input("a")], keys).inputs[0].mode == "direct"
    with pytest.raises(Exception, match=exactly("Please ensure input dataset consumption mode is direct for partitioned dataset")):
        step([images.as_named_input("a").as_mount()], keys)
    parameter = PipelineParameter("data", images)
    port = node([DatasetConsumptionConfig("a", parameter)]).inputs[0]
    assert (port.source, port.mode) == (ParameterSource("data"), "mount")


@pytest.mark.usefixtures("ws")
def test_data_of_other_steps() -> None:
    made = OutputFileDatasetConfig("made")
    folder = PipelineData("folder")
    data = step([made, folder.as_dataset()])
    assert [port.mode for port in data.node("0badcafe").inputs] == ["mount", "mount"]
    assert [isinstance(port.source, OutputSource) and port.source.type for port in data.node("0badcafe").inputs] == ["file", "file"]
    assert list(data.reads.values()) == [made.key, folder.key]
    rows = node([made.read_delimited_files(), folder.as_dataset().parse_delimited_files()])
    assert [port.mode for port in rows.inputs] == ["direct", "direct"]


def test_k19_inputs(images: Any, table: Any) -> None:
    text = "The parameter 'inputs' must be a list and have at least one element or rank_mini_batch_count must be greater than zero."
    nothing: tuple[Any, ...] = ([], None, (images.as_named_input("a"),))
    for none in nothing:
        with pytest.raises(AssertionError, match=exactly(text)):
            step(none)
    with pytest.raises(Exception, match=exactly("All inputs of step must be same type")):
        step([images.as_named_input("a"), table.as_named_input("b")])
    with pytest.raises(UserErrorException):
        table.as_named_input("a").as_download()
    with pytest.raises(Exception, match=r"^Step input must be of any type: .*, found FileDataset$"):
        step([images])
    with pytest.raises(ValueError, match=exactly("[a] is repeated. Input port names must be unique.")):
        step([images.as_named_input("a"), images.as_named_input("a")])


def test_k19_output(images: Any) -> None:
    with pytest.raises(Exception, match=exactly("Please specify output parameter.")):
        step([images.as_named_input("a")], output=None)
    assert node([images.as_named_input("a")], config(output_action="summary_only"), output=None).outputs == ()
    assert node([images.as_named_input("a")], output=[OutputFileDatasetConfig("rows")]).outputs[0].name == "rows"
    with pytest.raises(ValueError, match="not str"):
        step([images.as_named_input("a")], output="scores")


def test_k20_scripts(images: Any) -> None:
    one = [images.as_named_input("a")]
    refused = {
        "The value 'nowhere' specified in source_directory doesn't exist.": {"source_directory": "nowhere"},
        "The value 'scripts/score.py' specified in source_directory is not a directory.": {"source_directory": "scripts/score.py"},
        "The value 'none.py' specified in entry_script doesn't exist.": {"entry_script": "none.py"},
        "The value 'sub' specified in entry_script is not a file.": {"entry_script": "sub"},
    }
    for text, settings in refused.items():
        with pytest.raises(ValueError, match=exactly(text)):
            step(one, config(**settings))
    alone = node(one, config(source_directory=None, entry_script="scripts/score.py"))
    assert (Path(alone.source or "").name, alone.script) == ("scripts", "score.py")
    with pytest.raises(AttributeError, match=r"must be a azureml.pipeline.steps.ParallelRunConfig"):
        step(one, "config")  # type: ignore[arg-type]


def test_arguments(images: Any) -> None:
    one = [images.as_named_input("a")]
    text = "Found invalid argument 'x'. As your arguments will be merged with reserved argument, you can only use keyword argument."
    with pytest.raises(ValueError, match=exactly(text)):
        step(one, arguments=["x"])
    with pytest.raises(AttributeError):
        step(one, arguments=[5])
    for name in ("--output", "--mini_batch_size=5", "--partition_keys"):
        text = f"'{name.partition('=')[0]}' is a reserved argument in ParallelRunStep, please use another argument name instead."
        with pytest.raises(ValueError, match=exactly(text)):
            step(one, arguments=["--a", "1", name, "5"])
    with pytest.warns(UserWarning, match="Azure ML leaves a tuple out"):
        assert node(one, arguments=("--a", 1)).arguments == ("--a", 1)
    with pytest.raises(TypeError, match="are a list, not str"):
        step(one, arguments="--a 1")


@pytest.mark.usefixtures("ws")
def test_mini_batches_without_input() -> None:
    made = node([], arguments=["--rank_mini_batch_count", "8", "--a", "b"])
    assert (made.settings["rank_mini_batch_count"], made.inputs, made.arguments) == (8, (), ("--a", "b"))
    count = PipelineParameter("count", 8)
    assert node([], arguments=["--rank_mini_batch_count", count]).settings["rank_mini_batch_count"] == Reference("parameter", "count")
    with pytest.raises(AssertionError):
        step([], arguments=["--rank_mini_batch_count", "0"])


def test_arguments_that_are_meant_for_the_run(images: Any) -> None:
    given: list[Any] = ["--resource_monitor_interva", "0", "--append_row_dataframe_header", "True", "--metrics_name_prefix=a"]
    given += ["--copy_logs_to_parent", True, "--profiling_module", "cProfile", "--progress", "x", "--first_task_creation_timeout", 5]
    made = node([images.as_named_input("a")], arguments=[*given, "--input_format", "file"])
    assert made.arguments == ("--progress", "x")
    assert (made.settings["resource_monitor_interval"], made.settings["append_row_dataframe_header"]) == (0.0, True)
    assert (made.settings["metrics_name_prefix"], made.settings["copy_logs_to_parent"]) == ("a", True)
    assert (made.settings["profiling_module"], made.settings["first_task_creation_timeout"]) == ("cProfile", 5.0)
    assert "input_format" not in made.settings


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("--task_overhead_timeout", "0", "a number of seconds above 0, at most 259200"),
        ("--progress_update_timeout", "259201", "a number of seconds above 0, at most 259200"),
        ("--resource_monitor_interval", "often", "a number of seconds, 0 for never"),
        ("--copy_logs_to_parent", "perhaps", "True or False"),
        ("--profiling_module", "line_profiler", "cProfile or profile"),
        ("--rank_mini_batch_count", "1.5", "a whole number of mini-batches"),
    ],
)
def test_values_that_they_cannot_have(images: Any, name: str, value: str, rule: str) -> None:
    text = f"Argument {name} of a ParallelRunStep has the value {value!r}: it must be {rule}."
    with pytest.raises(ValueError, match=exactly(text)):
        step([images.as_named_input("a")], arguments=[name, value])


def test_a_value_that_is_missing(images: Any) -> None:
    with pytest.raises(ValueError, match="--task_overhead_timeout of a ParallelRunStep has no value"):
        step([images.as_named_input("a")], arguments=["--task_overhead_timeout"])
    with pytest.raises(ValueError, match="reuse is 'step' or 'mini_batch'"):
        step([images.as_named_input("a")], reuse="items")


# --- the contrib package ----------------------------------------------------------------------------------------------------------------


def contrib_config(**changes: Any) -> contrib.ParallelRunConfig:
    values: dict[str, Any] = {
        "environment": Environment("batch"),
        "source_directory": "scripts",
        "entry_script": "score.py",
        "mini_batch_size": "5",
        "error_threshold": 10,
        "output_action": "append_row",
        "compute_target": "cpu-cluster",
        "node_count": 4,
    }
    return contrib.ParallelRunConfig(**{**values, **changes})


def test_steps_of_the_contrib_package(images: Any) -> None:
    made = contrib.ParallelRunStep(
        name="predict-digits",
        models=["mnist"],
        parallel_run_config=contrib_config(process_count_per_node=2),
        inputs=[images.as_named_input("mnist")],
        output=PipelineData(name="inferences", output_path_on_compute="mnist/results"),
        arguments=[],
        allow_reuse=True,
    )
    defaults = {one.name: one.default_value for one in made.parameters}
    assert defaults == {
        "aml_node_count": 4,
        "aml_process_count_per_node": 2,
        "aml_mini_batch_size": 5,
        "aml_error_threshold": 10,
        "aml_logging_level": "INFO",
        "aml_run_invocation_timeout": 60,
    }
    found = made.node("0badcafe")
    assert (found.node_count, found.models) == (Reference("parameter", "aml_node_count"), ("mnist",))
    assert found.settings["mini_batch_size"] == Reference("parameter", "aml_mini_batch_size")
    assert found.settings["run_max_try"] == 3


@pytest.mark.parametrize(("kind", "size"), [("images", 10), ("table", 1 << 20)])
def test_default_sizes_of_the_contrib_package(kind: str, size: int, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(kind).as_named_input("data")
    made = contrib.ParallelRunStep("predict", contrib_config(mini_batch_size=None), [data], PipelineData("rows"))
    assert {one.name: one.default_value for one in made.parameters}["aml_mini_batch_size"] == size
    assert "aml_process_count_per_node" not in {one.name for one in made.parameters}


def test_what_the_contrib_package_refuses(images: Any) -> None:
    with pytest.raises(ValueError, match=exactly("Parameter error_threshold must be an int value greater than or equal to -1")):
        contrib_config(error_threshold=-2)
    with pytest.raises(ValueError, match=exactly("Parameter mini_batch_size must be of type str.")):
        contrib_config(mini_batch_size=5)
    text = "Compute compute_target object is not supported in ParallelRunStep. AmlCompute is the only supported compute_target."
    with pytest.raises(Exception, match=exactly(text)):
        contrib_config(compute_target=object())
    for name, text in {
        "ab": "Step name must have 3-32 characters",
        "a" * 33: "Step name must have 3-32 characters",
        "Predict": "Step name must follow regex rule ^[a-z]([-a-z0-9]*[a-z0-9])?$",
    }.items():
        with pytest.raises(Exception, match=exactly(text)):
            contrib.ParallelRunStep(name, contrib_config(), [images.as_named_input("a")], PipelineData("rows"))
    with pytest.raises(ValueError, match="models are models or names of models, not int"):
        contrib.ParallelRunStep("predict", contrib_config(), [images.as_named_input("a")], PipelineData("rows"), models=[1])


def test_bounds_of_the_compute_target_of_the_contrib_package(ws: Workspace) -> None:
    from batchmill.workspace.compute import AmlCompute, ComputeTarget

    target = ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration(max_nodes=4))
    assert contrib_config(compute_target=target).node_count == 4
    with pytest.raises(ValueError, match=exactly("Parameter node_count must be between 1 and max_nodes 4")):
        contrib_config(compute_target=target, node_count=5)
