"""Pipelines in YAML (Azure ML: ``Pipeline.load_yaml``): the same objects that Python code would construct, in the same words.

```yaml
pipeline:
  name: digits
  default_compute: cpu-cluster
  parameters: {size: {type: int, default: 5}}
  data_references: {images: {dataset_name: mnist}}
  steps:
    score:
      type: ParallelRunStep
      parallel_run_config: config.yml
      inputs: {images: {source: images}}
      outputs: {scores: {destination: scores, datastore: workspaceblobstore}}
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from batchmill.pipeline.pipeline import Pipeline
    from batchmill.pipeline.step import PipelineStep
    from batchmill.workspace.workspace import Workspace

SCALARS: Final = {"string": str, "str": str, "int": int, "integer": int, "float": float, "bool": bool, "boolean": bool}
REFERENCE = re.compile(r"^(parameter|side_input|input|output):(\w+)$")
KEYS: Final = {
    "ParallelRunStep": {"parallel_run_config", "side_inputs", "reuse"},
    "PythonScriptStep": {"script_name", "source_directory", "compute", "hash_paths", "runconfig", "params"},
    "CommandStep": {"command", "source_directory", "compute", "runconfig", "params"},
}
COMMON: Final = {"type", "name", "inputs", "outputs", "arguments", "parameters", "allow_reuse", "run_after"}
TOP: Final = {"name", "description", "parameters", "data_references", "default_compute", "default_datastore", "steps"}


def load_pipeline(workspace: Workspace, filename: str) -> Pipeline:
    """The pipeline that a YAML file says. Relative paths in it are meant from its own folder.

    Raises:
        ValueError: the file does not exist, is no YAML or does not say a pipeline; the text names the key.
    """
    import yaml

    file = Path(filename)
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ValueError(f"The pipeline file '{filename}' cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"The pipeline file '{filename}' is no YAML: {' '.join(str(error).split())}") from None
    said = content.get("pipeline") if isinstance(content, Mapping) else None
    if not isinstance(said, Mapping):
        raise ValueError(f"The pipeline file '{filename}' must have a \"pipeline:\" section.")
    return _Reader(workspace, file.absolute().parent, said).pipeline()


class _Reader:
    """Reads one ``pipeline:`` section."""

    def __init__(self, workspace: Workspace, folder: Path, said: Mapping[str, Any]) -> None:
        _check_keys("pipeline", said, TOP)
        self._workspace = workspace
        self._folder = folder
        self._said = said
        self._parameters = {name: self._parameter(name, one) for name, one in _section(said, "parameters").items()}
        self._sources = {name: self._data_reference(name, one) for name, one in _section(said, "data_references").items()}
        self._made: dict[str, Any] = {}

    def pipeline(self) -> Pipeline:
        """The pipeline."""
        from batchmill.pipeline.pipeline import Pipeline

        steps: dict[str, PipelineStep] = {}
        sections = _section(self._said, "steps")
        if not sections:
            raise ValueError("The pipeline has no steps.")
        for key, one in sections.items():
            self._make_outputs(key, one)
        for key, one in sections.items():
            steps[key] = self._step(key, one)
        for key, one in sections.items():
            for earlier in one.get("run_after") or []:
                steps[key].run_after(_known(steps, earlier, f"step {key}: run_after"))
        store = self._said.get("default_datastore")
        return Pipeline(
            self._workspace,
            list(steps.values()),
            description=self._said.get("description") or self._said.get("name"),
            default_datastore=None if store is None else _known(self._workspace.datastores, store, "default_datastore"),
        )

    def _parameter(self, name: str, said: Mapping[str, Any]) -> Any:
        from batchmill.pipeline.parameter import PipelineParameter
        from batchmill.workspace.data_path import DataPath

        kind, default = said.get("type"), said.get("default")
        if kind == "datapath" and isinstance(default, Mapping):
            store = _known(self._workspace.datastores, default.get("datastore"), f"parameter {name}: datastore")
            return PipelineParameter(name, DataPath(store, default.get("path_on_datastore")))
        if kind not in SCALARS:
            raise ValueError(f"parameter {name}: type '{kind}' is none of string, int, float, bool, datapath with a default.")
        return PipelineParameter(name, SCALARS[kind](default))

    def _data_reference(self, name: str, said: Mapping[str, Any]) -> Any:
        from batchmill.workspace.data_path import DataReference
        from batchmill.workspace.dataset import Dataset

        if "dataset_name" in said:
            dataset = Dataset.get_by_name(self._workspace, said["dataset_name"])
            named = dataset.as_named_input(name)
            mode = said.get("bind_mode", "direct")
            return named if mode == "direct" else named.as_mount() if mode == "mount" else named.as_download()
        store = _known(self._workspace.datastores, said.get("datastore"), f"data reference {name}: datastore")
        return DataReference(store, name, said.get("path_on_datastore"), said.get("bind_mode", "mount"))

    def _make_outputs(self, key: str, said: Mapping[str, Any]) -> None:
        from batchmill.pipeline.pipeline_data import PipelineData

        for name, one in _section(said, "outputs").items():
            destination = one.get("destination", name)
            if destination in self._made:
                raise ValueError(f"step {key}: output {name}: '{destination}' is already the output of another step.")
            store = one.get("datastore")
            datastore = None if store is None else _known(self._workspace.datastores, store, f"step {key}: output {name}: datastore")
            self._made[destination] = PipelineData(name, datastore, output_mode=one.get("bind_mode", "mount"))

    def _step(self, key: str, said: Mapping[str, Any]) -> PipelineStep:
        kind = said.get("type")
        if kind not in KEYS:
            raise ValueError(f"step {key}: type '{kind}' is none of {', '.join(KEYS)}.")
        _check_keys(f"step {key}", said, COMMON | KEYS[kind])
        name = said.get("name") or key
        inputs = self._inputs(key, _section(said, "inputs"))
        outputs = {one: self._made[port.get("destination", one)] for one, port in _section(said, "outputs").items()}
        side = self._inputs(key, _section(said, "side_inputs"))
        local = {one: self._local(key, one, value) for one, value in _section(said, "parameters").items()}
        words = [self._word(key, word, local, inputs | side, outputs) for word in said.get("arguments") or []]
        reuse = bool(said.get("allow_reuse", True))
        if kind == "ParallelRunStep":
            return self._parallel_run_step(key, name, said, inputs, outputs, side, words, reuse)
        return self._script_step(key, name, said, list(inputs.values()), list(outputs.values()), words, reuse)

    def _parallel_run_step(
        self,
        key: str,
        name: str,
        said: Mapping[str, Any],
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        side: Mapping[str, Any],
        words: list[Any],
        reuse: bool,
    ) -> PipelineStep:
        from batchmill.pipeline.parallel_run_config import ParallelRunConfig
        from batchmill.pipeline.parallel_run_step import ParallelRunStep

        path = said.get("parallel_run_config")
        if not isinstance(path, str):
            raise ValueError(f"step {key}: parallel_run_config is the path of a file that ParallelRunConfig.save_to_yaml wrote.")
        if len(outputs) > 1:
            raise ValueError(f"step {key}: a ParallelRunStep has one output, not {len(outputs)}.")
        return ParallelRunStep(
            name=name,
            parallel_run_config=ParallelRunConfig.load_yaml(self._workspace, str(self._folder / path)),
            inputs=[one.as_dataset().as_mount() if hasattr(one, "as_dataset") else one for one in inputs.values()],
            output=next(iter(outputs.values()), None),
            side_inputs=list(side.values()) or None,
            arguments=words or None,
            allow_reuse=reuse,
            **({"reuse": said["reuse"]} if "reuse" in said else {}),
        )

    def _script_step(
        self, key: str, name: str, said: Mapping[str, Any], inputs: list[Any], outputs: list[Any], words: list[Any], reuse: bool
    ) -> PipelineStep:
        from batchmill.pipeline.command_step import CommandStep
        from batchmill.pipeline.python_script_step import PythonScriptStep
        from batchmill.workspace.run_configuration import RunConfiguration

        given: dict[str, Any] = {"name": name, "inputs": inputs, "outputs": outputs, "allow_reuse": reuse}
        given["compute_target"] = said.get("compute") or self._said.get("default_compute")
        given["source_directory"] = str(self._folder / said.get("source_directory", "."))
        if said.get("runconfig") is not None:
            file = self._folder / said["runconfig"]
            given["runconfig"] = RunConfiguration.load(str(file.parent), file.stem)
        if said.get("params") is not None:
            given["params"] = said["params"]
        if said["type"] == "CommandStep":
            return CommandStep(command=[said.get("command"), *words] if words else said.get("command"), **given)
        return PythonScriptStep(script_name=str(said.get("script_name") or ""), arguments=words, **given)

    def _inputs(self, key: str, said: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, one in said.items():
            source: Any = one.get("source") if isinstance(one, Mapping) else one
            data = self._sources.get(source, self._made.get(source))
            if data is None:
                raise ValueError(f"step {key}: input {name}: '{source}' is no data reference and no output of a step.")
            found[name] = data
        return found

    def _local(self, key: str, name: str, value: Any) -> Any:
        """A parameter of a step: a value, or the source that is a parameter of the pipeline."""
        if isinstance(value, Mapping):
            return _known(self._parameters, value.get("source"), f"step {key}: parameter {name}: source")
        return value

    def _word(self, key: str, word: Any, local: Mapping[str, Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        match = REFERENCE.match(word) if isinstance(word, str) else None
        if match is None:
            return word
        kind, name = match.groups()
        where = {"parameter": {**self._parameters, **local}, "input": inputs, "side_input": inputs, "output": outputs}[kind]
        return _known(where, name, f"step {key}: argument {word}")


def _section(said: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = said.get(key) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{key} is a mapping of names, not {type(found).__name__}.")
    return dict(found)


def _check_keys(where: str, said: Any, keys: set[str]) -> None:
    if not isinstance(said, Mapping):
        raise ValueError(f"{where} is a mapping, not {type(said).__name__}.")
    unknown = [str(key) for key in said if key not in keys]
    if unknown:
        raise ValueError(f"{where}: key '{unknown[0]}' is not known; known are {', '.join(sorted(keys))}.")


def _known(where: Mapping[str, Any], name: Any, what: str) -> Any:
    if not isinstance(name, str) or name not in where:
        raise ValueError(f"{what} '{name}' does not exist.")
    return where[name]
