"""What a `ParallelRunConfig` accepts, what it keeps and what it refuses, with the texts of Azure ML (specification B1, B2)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.environment import Environment
from batchmill.workspace.workspace import Workspace


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def config(**changes: Any) -> ParallelRunConfig:
    values: dict[str, Any] = {
        "environment": Environment("batch"),
        "entry_script": " score.py ",
        "error_threshold": 10,
        "output_action": "append_row",
        "compute_target": "cpu-cluster",
        "node_count": 2,
    }
    return ParallelRunConfig(**{**values, **changes})


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    return Workspace.create("default", show_output=False)


@pytest.fixture
def cluster(ws: Workspace) -> AmlCompute:
    return ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration(vm_size="", max_nodes="4"))


@pytest.mark.parametrize(("given", "kept"), [("5", 5), ("1KB", 1024), ("10mb", 10485760), ("1GB", 1073741824), (7, 7), (0, 0), ("0", 0)])
def test_k11_sizes_become_numbers(given: Any, kept: int) -> None:
    assert config(mini_batch_size=given).mini_batch_size == kept


def test_rows_and_parameters_stay_sizes() -> None:
    assert config(mini_batch_size="500rows").mini_batch_size == "500rows"
    late = PipelineParameter("size", "1KB")
    assert config(mini_batch_size=late).mini_batch_size is late


@pytest.mark.parametrize("bad", ["-1", "1 KB", "1.5MB", "1TB", "", -1, PipelineParameter("size", "1TB")])
def test_k12_sizes_that_are_none(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"^Parameter mini_batch_size must follow regex rule \^\\d\+\(\[kKmMgG\]\[bB\]\)\*\$\.$"):
        config(mini_batch_size=bad)


def test_sizes_of_other_types_and_doubled_units() -> None:
    with pytest.raises(ValueError, match=r"^Parameter mini_batch_size must be of type int or str\.$"):
        config(mini_batch_size=1.5)
    with pytest.raises(ValueError, match=r"invalid literal for int\(\)"):
        config(mini_batch_size="1kbkb")


def test_k13_output_actions() -> None:
    assert config(output_action="APPEND_ROW").output_action == "APPEND_ROW"
    with pytest.raises(ValueError, match=r"^Parameter output_action must be summary_only or append_row\.$"):
        config(output_action="foo")
    with pytest.raises(AttributeError):
        config(output_action=None)


@pytest.mark.parametrize("bad", [-2, "5", 1.0, None])
def test_k14_error_thresholds(bad: Any) -> None:
    with pytest.raises(ValueError, match=exactly(f"error_threshold '{bad}' is not an int value greater than or equal to -1.")):
        config(error_threshold=bad)


def test_failed_mini_batches_that_are_allowed() -> None:
    made = config(allowed_failed_count=-1, allowed_failed_percent=99.5)
    assert (made.allowed_failed_count, made.allowed_failed_percent) == (-1, 99.5)
    with pytest.raises(ValueError, match=r"^allowed_failed_count '-2' is not an int value"):
        config(allowed_failed_count=-2)
    with pytest.raises(ValueError, match=r"^allowed_failed_percent '5' is not an int or float\.$"):
        config(allowed_failed_percent="5")
    with pytest.raises(ValueError, match=r"^allowed_failed_percent '101' is not between 0 and 100\.$"):
        config(allowed_failed_percent=101)


def test_k15_nodes(cluster: AmlCompute) -> None:
    assert config(node_count=4, compute_target=cluster).node_count == 4
    with pytest.raises(ValueError, match=r"^node_count '5' is not between 1 and max_nodes 4\.$"):
        config(node_count=5, compute_target=cluster)
    with pytest.raises(ValueError, match=r"^node_count '0' is not between 1 and max_nodes 4\.$"):
        config(node_count=PipelineParameter("nodes", 0), compute_target=cluster)
    assert config(node_count=5, compute_target="cpu-cluster").node_count == 5
    assert config(node_count=5, compute_target=None).compute_name is None
    with pytest.raises(TypeError, match="node_count must be an integer, not str 'four'"):
        config(node_count="four", compute_target=cluster)


def test_k16_environments() -> None:
    with pytest.raises(ValueError, match=r"^Parameter environment is required\. It should be instance of azureml\.core\.Environment\.$"):
        config(environment=None)
    with pytest.raises(
        ValueError, match=r"^Parameter environment must be an instance of azureml\.core\.Environment\. The actual value is batch\.$"
    ):
        config(environment="batch")


def test_k17_file_names() -> None:
    with pytest.raises(ValueError, match=r"^Parameter append_row_file_name must be a valid UNIX file name\.$"):
        config(append_row_file_name="a/b.txt")
    assert config(append_row_file_name="a/b.txt", output_action="summary_only").append_row_file_name == "a/b.txt"
    assert config(append_row_file_name="a b.txt").append_row_file_name == "a b.txt"
    assert config().append_row_file_name is None


def test_k18_sizes_and_keys_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"^Parameters mini_batch_size and partition_keys are mutually exclusive"):
        config(mini_batch_size=5, partition_keys=["user"])
    assert config(partition_keys=[]).partition_keys == []


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("user", "Parameter partition_keys must be of type list."),
        (["user", 1], "Element 1 in partition_keys is not a str."),
        (
            PipelineParameter("keys", "user"),
            "default_value of PipelineParameter partition_keys must be json dump result of a list of str, try json.loads the value to "
            "validate.",
        ),
        (
            PipelineParameter("keys", '"user"'),
            "default_value of PipelineParameter partition_keys must be json dump result of a list of str.",
        ),
        (PipelineParameter("keys", "[1]"), "Element 1 in default_value of PipelineParameter partition_keys is not a str."),
    ],
)
def test_partition_keys(keys: Any, text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        config(partition_keys=keys)


@pytest.mark.parametrize("name", ["process_count_per_node", "run_invocation_timeout", "run_max_try"])
def test_numbers_above_zero(name: str) -> None:
    assert getattr(config(**{name: 2}), name) == 2
    assert getattr(config(**{name: "2"}), name) == 2
    for bad in (0, -1, PipelineParameter("p", 0)):
        with pytest.raises(ValueError, match=exactly(f"Parameter {name} must be an integer greater than 0.")):
            config(**{name: bad})
    with pytest.raises(TypeError, match=f"{name} must be an integer, not str 'two'"):
        config(**{name: "two"})


def test_what_is_kept() -> None:
    made = config(run_invocation_timeout=None, run_max_try=None, logging_level=None, source_directory=" scripts ")
    assert (made.run_invocation_timeout, made.run_max_try, made.logging_level) == (60, 3, "INFO")
    assert (made.entry_script, made.source_directory, made.process_count_per_node) == ("score.py", "scripts", None)
    assert made.isolate_failures
    assert repr(made).startswith("ParallelRunConfig(environment='batch', entry_script='score.py', error_threshold=10")


def test_k21_files(ws: Workspace, cluster: AmlCompute, tmp_path: Path) -> None:
    environment = Environment("batch")
    environment.environment_variables = {"A": "1"}
    made = config(
        environment=environment,
        compute_target=cluster,
        mini_batch_size=PipelineParameter("size", "1KB"),
        node_count=PipelineParameter("nodes", 3),
        allowed_failed_count=2,
        allowed_failed_percent=10,
        append_row_file_name="rows.txt",
        environment_variables={"B": "2"},
        source_directory="scripts",
        description="scores",
        isolate_failures=False,
        gpus_per_process=0.5,
    )
    made.save_to_yaml(tmp_path / "config.yml")
    read = ParallelRunConfig.load_yaml(ws, tmp_path / "config.yml")
    assert type(read.compute_target) is AmlCompute
    assert (read.mini_batch_size, read.node_count) == (1024, 3)
    assert read.environment.to_dict() == environment.to_dict()
    same = (
        "error_threshold allowed_failed_count allowed_failed_percent output_action logging_level entry_script source_directory description"
    )
    same += " run_invocation_timeout run_max_try append_row_file_name environment_variables isolate_failures process_count_per_node"
    same += " gpus_per_process"
    for name in same.split():
        assert getattr(read, name) == getattr(made, name), name


def test_partition_keys_in_a_file(ws: Workspace, tmp_path: Path) -> None:
    for keys in (["user"], PipelineParameter("keys", '["user"]')):
        config(compute_target=None, partition_keys=keys).save_to_yaml(tmp_path / "config.yml")
        read = ParallelRunConfig.load_yaml(ws, tmp_path / "config.yml")
        assert (read.partition_keys, read.compute_target) == (["user"], None)


LEGACY = """
parallel_run_config:
  mini_batch_size: '5'
  error_threshold: 3
  output_action: append_row
  node_count: 2
  entry_script: digit.py
  input_format: file
  environment_name: batch
"""


def test_files_of_the_contrib_package(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(LEGACY + "  environment_dir_path: parallel_run_env\n")
    Environment("saved").save_to_directory(tmp_path / "parallel_run_env")
    assert ParallelRunConfig.load_yaml(ws, path).environment.name == "saved"
    path.write_text(LEGACY)
    Environment("batch").register(ws)
    assert ParallelRunConfig.load_yaml(ws, path).environment.version == "1"
    path.write_text(LEGACY.replace("environment_name: batch", f"environment: {tmp_path / 'parallel_run_env'}"))
    assert ParallelRunConfig.load_yaml(ws, path).environment.name == "saved"
    path.write_text(LEGACY.replace("  environment_name: batch\n", ""))
    with pytest.raises(ValueError, match=r"^Parameter error: an environment must be provided$"):
        ParallelRunConfig.load_yaml(ws, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "it is no YAML"),
        ("[]", "the key 'parallel_run_config' is missing"),
        ("parallel_run_config: {node_count: 1}", "'entry_script' is missing"),
    ],
)
def test_files_that_hold_no_configuration(ws: Workspace, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(ValueError, match=said):
        ParallelRunConfig.load_yaml(ws, tmp_path / "config.yml")


@pytest.mark.parametrize("share", [None, 0, 0.5, 1, 2])
def test_a_process_may_get_part_of_a_gpu_or_several(share: float | None) -> None:
    assert config(gpus_per_process=share).gpus_per_process == share


@pytest.mark.parametrize("share", [-1, 1.5, True, "1"])
def test_a_share_of_a_gpu_that_is_none(share: object) -> None:
    with pytest.raises(ValueError, match="is not a part of a GPU, up to 1, nor a whole number of them"):
        config(gpus_per_process=share)
