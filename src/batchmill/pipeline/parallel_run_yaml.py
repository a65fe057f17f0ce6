"""`ParallelRunConfig` as a YAML file: what Azure ML writes and reads, and what its contrib package wrote (specification B2)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.parallel_run_rules import default_of

if TYPE_CHECKING:
    from batchmill.pipeline.parallel_run_config import ParallelRunConfig
    from batchmill.workspace.environment import Environment
    from batchmill.workspace.workspace import Workspace

TOP = "parallel_run_config"
FIELDS = (
    "mini_batch_size",
    "partition_keys",
    "error_threshold",
    "allowed_failed_count",
    "allowed_failed_percent",
    "output_action",
    "logging_level",
    "node_count",
    "process_count_per_node",
    "entry_script",
    "source_directory",
    "description",
    "run_invocation_timeout",
    "run_max_try",
    "append_row_file_name",
    "environment_variables",
)
REQUIRED = ("entry_script", "error_threshold", "output_action", "node_count")
NO_ENVIRONMENT = "Parameter error: an environment must be provided"
COMPUTE, ENVIRONMENT, FOLDER, NAME = "compute_target_name", "environment", "environment_dir_path", "environment_name"
ISOLATE, GPUS = "isolate_failures", "gpus_per_process"


def save(config: ParallelRunConfig, path: str | os.PathLike[str]) -> None:
    """Write a configuration. Passwords of the environment are left out; what Azure ML does not have is written where it is set."""
    import yaml

    values: dict[str, Any] = {name: default_of(getattr(config, name)) for name in FIELDS}
    values |= {COMPUTE: config.compute_name, ENVIRONMENT: config.environment.to_dict()}
    if not config.isolate_failures:
        values[ISOLATE] = False
    if config.gpus_per_process is not None:
        values[GPUS] = config.gpus_per_process
    text = yaml.safe_dump({TOP: values}, sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding="utf-8")


def load(workspace: Workspace, path: str | os.PathLike[str]) -> ParallelRunConfig:
    """Read a configuration.

    Raises:
        ValueError: the file holds none, or it is not whole.
        OSError: it cannot be read.
    """
    from batchmill.pipeline.parallel_run_config import ParallelRunConfig

    values = _values(Path(path))
    given = {name: values[name] for name in FIELDS if values.get(name) is not None}
    keys = given.get("partition_keys")
    if isinstance(keys, str):  # the default of a pipeline parameter was the JSON text of a list
        import json

        given["partition_keys"] = json.loads(keys)
    return ParallelRunConfig(
        environment=_environment(workspace, values, Path(path).absolute().parent),
        compute_target=_compute(workspace, values.get(COMPUTE)),
        isolate_failures=bool(values.get(ISOLATE, True)),
        gpus_per_process=values.get(GPUS),
        **given,
    )


def _values(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} holds no ParallelRunConfig, it is no YAML: {' '.join(str(error).split())}") from None
    values = content.get(TOP) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no ParallelRunConfig: the key '{TOP}' is missing.")
    for name in REQUIRED:
        if values.get(name) is None:
            raise ValueError(f"The ParallelRunConfig in {path} is not whole: '{name}' is missing.")
    return values


def _compute(workspace: Workspace, name: str | None) -> Any:
    if not name:
        return None
    from batchmill.workspace.compute import AmlCompute

    return AmlCompute(workspace, name)


def _environment(workspace: Workspace, values: Mapping[str, Any], beside: Path) -> Environment:
    """The environment, given inline, as a folder, or by the keys of the contrib package; folders are relative to the file."""
    from batchmill.workspace.environment import Environment

    given = values.get(ENVIRONMENT)
    if isinstance(given, dict):
        return Environment.from_dict(given)
    folder = given if isinstance(given, str) else values.get(FOLDER)
    if folder:
        here = Path(folder) if Path(folder).is_dir() else beside / folder
        return Environment.load_from_directory(here)
    if values.get(NAME):
        return Environment.get(workspace, str(values[NAME]))
    raise ValueError(NO_ENVIRONMENT)
