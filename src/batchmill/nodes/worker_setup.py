"""What a worker process is started with: its environment, and the first message, which tells it everything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchmill.nodes.gpus import COUNT_VARIABLE, gpu_count
from batchmill.nodes.process import NAMES
from batchmill.nodes.stragglers import incarnation
from batchmill.parallel_run.events import OUTPUT_HERE, NodeConfig

NOT_FOR_WORKERS = ("PYTHONDONTWRITEBYTECODE", "CUDA_VISIBLE_DEVICES", "BATCHMILL_SECRET_KEY", "BATCHMILL_STEP_QUESTIONS")
"""Variables that the workers do not inherit; what they ask of the workspace is answered by the coordinator, so they need no key, and
not the runner of a step that the run was started in."""


def worker_environment(config: NodeConfig) -> dict[str, str]:
    """The environment of worker processes (Azure ML names, specification C8, then the user's own)."""
    environment = {key: value for key, value in os.environ.items() if key not in NOT_FOR_WORKERS}
    environment.update(
        AZUREML_RUN_ID=config.run_id,
        BATCHMILL_RUN_ID=config.run_id,
        BATCHMILL_INCARNATION=incarnation(config.run_folder.name, config.epoch),  # as the guardian knows it
        AZUREML_BI_OUTPUT_PATH=str(config.output_dir),
        AZUREML_NODE_COUNT=str(config.node_count),
        AZ_BATCHAI_JOB_TEMP=str(config.run_folder / "work"),
    )
    environment.update({name: value.replace(OUTPUT_HERE, str(config.output_dir)) for name, value in config.environment.items()})
    environment = {name: value for name, value in environment.items() if name not in config.hidden}
    if config.gpu_ids is not None:
        environment[COUNT_VARIABLE] = str(len(config.gpu_ids))
    environment.setdefault(COUNT_VARIABLE, str(gpu_count(environment)))
    return environment


def first_message(
    config: NodeConfig, node: str, name: str, slot: int, slot_count: int, folders: Mapping[str, Path], mounts: list[str | None] | None
) -> dict[str, Any]:
    """What the worker process ``name`` is told before anything else; ``folders`` are those of its logs."""
    return {
        "parent": os.getpid(),
        "name": name,
        "slot": slot,
        "slots": str(config.run_folder / "slots" / f"epoch{config.epoch}"),
        "slot_count": slot_count,
        "plan": str(config.plan_folder),
        "mounts": mounts,
        "accept_changed": config.accept_changed,
        "script": str(config.script),
        "source": str(config.source),
        "names": NAMES,
        "arguments": [word.replace(OUTPUT_HERE, str(config.output_dir)) for word in config.arguments],
        "output_action": config.output_action,
        "with_header": config.with_header,
        "output_dir": str(config.output_dir),
        "level": config.level,
        "part": str(config.run_folder / "parts" / f"{config.epoch}-{node}-{name}"),
        "working_dir": str(folders["working_dir"]),
        "log_dir": str(folders["log_dir"]),
        "stacks": str(folders["stacks"]),
        "profile": str(folders["profile"]),
        "profiling_module": config.profiling_module,
    }
