"""Pipelines in YAML (specification B7): the same graphs as those that Python constructs, and errors that name the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchmill.pipeline.graph import DatasetSource, OutputSource, PathSource, Reference
from batchmill.pipeline.parallel_run_config import ParallelRunConfig
from batchmill.pipeline.pipeline import Pipeline
from batchmill.workspace.compute import AmlCompute, ComputeTarget
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.environment import Environment
from batchmill.workspace.workspace import Workspace

TEXT = """
pipeline:
  name: digits
  description: scores digits
  default_compute: cpu-cluster
  parameters:
    size: {type: int, default: 5}
    where:
      type: datapath
      default: {datastore: workspaceblobstore, path_on_datastore: in/}
  data_references:
    images: {dataset_name: mnist}
    labels: {datastore: workspaceblobstore, path_on_datastore: labels}
  steps:
    prepare:
      type: PythonScriptStep
      script_name: prepare.py
      inputs: {labels: {source: labels}}
      outputs: {names: {destination: label_names, datastore: workspaceblobstore}}
      arguments: [--labels, "input:labels", --out, "output:names", --size, "parameter:size"]
      params: {mode: strict}
    score:
      type: ParallelRunStep
      name: score-digits
      parallel_run_config: config.yml
      inputs: {images: {source: images}}
      side_inputs: {names: {source: label_names}}
      outputs: {scores: {destination: scores}}
      arguments: [--names, "side_input:names"]
      allow_reuse: false
    say:
      type: CommandStep
      command: cat rows.txt
      source_directory: other
      run_after: [score]
"""


@pytest.fixture
def file(ws: Workspace) -> Path:
    ComputeTarget.create(ws, "cpu-cluster", AmlCompute.provisioning_configuration(max_nodes=2))
    Dataset.File.from_files((ws.get_default_datastore(), "mnist/*.png"), validate=False).register(ws, "mnist")
    for name, text in {"prepare.py": "", "score.py": "def run(batch): return batch", "other/rows.txt": "rows"}.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    config = ParallelRunConfig(Environment("e"), "score.py", 0, "append_row", ComputeTarget(ws, "cpu-cluster"), 2, source_directory=".")
    config.save_to_yaml("config.yml")
    Path("pipeline.yml").write_text(TEXT)
    return Path("pipeline.yml")


def test_what_it_says(ws: Workspace, file: Path) -> None:
    pipeline = Pipeline.load_yaml(ws, str(file))
    prepare, score, say = pipeline.graph.nodes
    assert pipeline.description == "scores digits"
    assert (prepare.script, prepare.compute, prepare.params) == ("prepare.py", "cpu-cluster", {"mode": "strict"})
    assert prepare.arguments == (
        *("--labels", Reference("input", "labels"), "--out", Reference("output", "names"), "--size", Reference("parameter", "size")),
    )
    assert isinstance(prepare.inputs[0].source, PathSource)
    assert (score.name, score.allow_reuse, score.node_count) == ("score-digits", False, 2)
    assert [type(port.source) for port in score.inputs] == [DatasetSource, OutputSource]
    assert score.inputs[1].source == OutputSource(prepare.id, "names")
    assert say.needs == (score.id,)
    assert pipeline.graph.parameters["size"].default == 5
    assert pipeline.validate() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pipeline:", "pipelines:", 'must have a "pipeline:" section'),
        ("type: int", "type: number", "parameter size: type 'number'"),
        ("script_name: prepare.py", "script_name: nobody.py", "script not found at"),
        ("type: CommandStep", "type: MpiStep", "step say: type 'MpiStep'"),
        ("source: labels}", "source: nobody}", "step prepare: input labels: 'nobody'"),
        ("output:names", "output:nobody", "argument output:nobody 'nobody' does not exist"),
        ("run_after: [score]", "run_after: [nobody]", "run_after 'nobody' does not exist"),
        ("datastore: workspaceblobstore, path_on_datastore: labels", "datastore: nobody", "datastore 'nobody' does not exist"),
        ("allow_reuse: false", "allow_reuze: false", "step score: key 'allow_reuze' is not known"),
        ("destination: scores", "destination: label_names", "'label_names' is already the output of another step"),
        ("  name: digits", "  name: [", "is no YAML"),
    ],
)
def test_what_it_says_wrong(ws: Workspace, file: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(said)):
        Pipeline.load_yaml(ws, str(file))


def test_no_file(ws: Workspace) -> None:
    with pytest.raises(ValueError, match=r"'nowhere\.yml' cannot be read: No such file"):
        Pipeline.load_yaml(ws, "nowhere.yml")
