from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.command_step import CommandStep
from batchmill.pipeline.graph import Graph, Reference
from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.python_script_step import PythonScriptStep
from batchmill.pipeline.step import producer_of
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.run_configuration import RunConfiguration, ScriptRunConfig


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "src" / "train.py").write_text("")
    (tmp_path / "src" / "deep" / "score.py").write_text("")
    (tmp_path / "outside.py").write_text("")
    return str(tmp_path / "src")


class Target:
    name = "cpu-cluster"


def test_script_step_is_a_node(source: str) -> None:
    data, size = PipelineData("preds"), PipelineParameter("size", 5)
    step = PythonScriptStep(
        "train.py",
        arguments=["--size", size, "--out", data],
        compute_target=Target(),
        outputs=[data],
        params={"n": 1},
        source_directory=source,
        allow_reuse=False,
        version="3",
        hash_paths=["a"],
    )
    node = step.node("0123abcd")
    assert (step.name, step.version, step.hash_paths) == ("train.py", "3", ["a"])
    assert (node.id, node.name, node.kind, node.source, node.script) == ("0123abcd", "train.py", "python", source, "train.py")
    assert (node.compute, node.environment, node.node_count, node.allow_reuse) == ("cpu-cluster", None, 1, False)
    assert node.arguments == ("--size", Reference("parameter", "size"), "--out", Reference("output", "preds"))
    assert (node.params, step.parameters, step.makes) == ({"n": 1}, [size], {"preds": data.key})
    assert producer_of(data.key) is step
    assert node.module == step.node("00000000").module
    assert Graph.from_dict(Graph((node,)).to_dict()).nodes == (node,)


def test_module_tells_what_a_step_does(source: str) -> None:
    def module(script: str, name: str | None = None) -> str:
        return PythonScriptStep(script, name, compute_target="local", source_directory=source).node("0").module

    assert module("train.py") == module("./train.py", "train.py") != module("train.py", "other")
    assert module("deep/score.py", "a") != module("train.py", "a")


@pytest.mark.parametrize(
    ("target", "compute"), [("cpu", "cpu"), (("cpu", "AmlCompute"), "cpu"), (Target(), "cpu-cluster"), ("local", None)]
)
def test_compute_target_has_a_name(source: str, target: Any, compute: str | None) -> None:
    step = PythonScriptStep("train.py", compute_target=target, source_directory=source)
    assert step.node("0").compute == compute


def test_compute_target_is_required(source: str) -> None:
    with pytest.raises(ValueError, match=r"^compute target is required$"):
        PythonScriptStep("train.py", source_directory=source)
    with pytest.raises(ValueError, match=r"^compute target is required$"):
        PythonScriptStep("train.py", compute_target="", source_directory=source)
    with pytest.raises(ValueError, match="The compute target of a step is"):
        PythonScriptStep("train.py", compute_target=5, source_directory=source)


def test_script_is_required(source: str) -> None:
    with pytest.raises(ValueError, match=r"^script_name is required$"):
        PythonScriptStep("", compute_target="local")
    with pytest.raises(ValueError, match=r"^script_name must be a string$"):
        PythonScriptStep(5, compute_target="local")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^script not found at: {source}/missing.py"):
        PythonScriptStep("missing.py", compute_target="local", source_directory=source)
    with pytest.raises(ValueError, match="does not lie below the source_directory"):
        PythonScriptStep("../outside.py", compute_target="local", source_directory=source)


def test_source_of_the_pipeline_and_of_the_notebook(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = PythonScriptStep("deep/score.py", compute_target="local")  # whether it is there shows when its folder is known
    assert step.node("0", default_source=source).script == "deep/score.py"
    monkeypatch.chdir(source)
    assert step.node("0").source == source
    assert PythonScriptStep("train.py", compute_target="local", source_directory=".").node("0").source == source
    with pytest.raises(ValueError, match=r"^script not found at: "):
        step.node("0", default_source=os.path.join(source, "deep"))


def test_run_configuration(source: str) -> None:
    configuration = RunConfiguration(conda_dependencies=CondaDependencies.create(pip_packages=["pillow"]))
    configuration.target, configuration.node_count = "cpu", 2
    configuration.environment_variables = {"A": "b"}
    configuration.max_run_duration_seconds = 60
    node = PythonScriptStep("train.py", runconfig=configuration, source_directory=source).node("0")
    assert (node.compute, node.node_count, node.environment_variables, node.timeout) == ("cpu", 2, {"A": "b"}, 60)
    assert node.environment == configuration.environment.to_dict()
    assert PythonScriptStep("train.py", runconfig=configuration, compute_target="x", source_directory=source).node("0").compute == "x"
    plain = PythonScriptStep("train.py", runconfig=RunConfiguration(), source_directory=source).node("0")
    assert (plain.compute, plain.environment) == (None, None)
    with pytest.raises(ValueError, match="runconfig is a RunConfiguration, not Environment"):
        PythonScriptStep("train.py", runconfig=Environment("e"), source_directory=source)


def test_parameters_of_the_run_configuration(source: str) -> None:
    nodes = PipelineParameter("nodes", 2)
    step = PythonScriptStep("train.py", compute_target="cpu", runconfig_pipeline_params={"NodeCount": nodes}, source_directory=source)
    assert step.node("0").node_count == Reference("parameter", "nodes")
    assert step.parameters == [nodes]
    with pytest.raises(ValueError, match="cannot set 'Colour'"):
        PythonScriptStep("train.py", compute_target="cpu", runconfig_pipeline_params={"Colour": nodes}, source_directory=source)
    with pytest.raises(ValueError, match="mapping of names to PipelineParameter"):
        PythonScriptStep("train.py", compute_target="cpu", runconfig_pipeline_params={"NodeCount": 2}, source_directory=source)


def test_run_after(source: str) -> None:
    first = PythonScriptStep("train.py", compute_target="local", source_directory=source)
    second = PythonScriptStep("train.py", "second", compute_target="local", source_directory=source)
    second.run_after(first)
    assert second.after == [first]
    with pytest.raises(ValueError, match=r"can run after a step, not after 'train.py'"):
        second.run_after("train.py")  # type: ignore[arg-type]


def test_command_as_a_text(source: str) -> None:
    step = CommandStep("python train.py && echo done", compute_target="local", source_directory=source)
    node = step.node("0")
    assert (step.name, node.kind, node.script, node.source) == ("python", "command", None, source)
    assert node.command[1:] == ("-c", "python train.py && echo done", "sh")


def test_command_as_a_list(source: str) -> None:
    data = PipelineData("preds")
    step = CommandStep(["python", "train.py", "--text", "two words", "--out", data], "go", "local", outputs=[data], source_directory=source)
    assert step.node("0").command == ("python", "train.py", "--text", "two words", "--out", Reference("output", "preds"))
    shell = CommandStep(["python train.py --out", data, "&&", "echo"], "go", "local", outputs=[data], source_directory=source).node("0")
    assert shell.command[1:] == ("-c", 'python train.py --out "${1}" && echo', "sh", Reference("output", "preds"))


def test_command_of_a_run_configuration(source: str) -> None:
    wanted = ScriptRunConfig(source, command=["python", "train.py"], compute_target="cpu")
    node = CommandStep(runconfig=wanted).node("0")
    assert (node.command, node.compute, node.source) == (("python", "train.py"), "cpu", source)


def test_command_is_required(source: str) -> None:
    with pytest.raises(ValueError, match=r"^command is required$"):
        CommandStep(compute_target="local")
    with pytest.raises(ValueError, match="command must be a string or a list"):
        CommandStep(5, compute_target="local")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not exist, or is no folder"):
        CommandStep("ls", compute_target="local", source_directory=f"{source}/none")
