"""What a machine of a cluster needs before workers start on it: proofs of paths, snapshot, environment, plan, folders for logs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from batchmill.errors import UsageError
from batchmill.nodes.gpus import gpu_count, gpu_processes
from batchmill.nodes.node_order import NodeOrder
from batchmill.nodes.node_setup import default_workers
from batchmill.nodes.path_proof import check_proofs
from batchmill.nodes.plan_mirror import fetch_plan
from batchmill.nodes.published_snapshot import fetch_snapshot
from batchmill.nodes.scratch import Scratch, Stopped
from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.run_folder import NodeLogs
from batchmill.parallel_run.run_store import LOGS
from batchmill.storage.shared_store import SharedStore
from batchmill.workspace.environment_preparation import Interpreter

PROCESS = re.compile(r"process(\d+)\.")


def prepare_node(name: str, order: NodeOrder, scratch: Scratch, files: SharedStore, stopped: Callable[[], bool]) -> NodeConfig:
    """Have everything on this machine; the config then leads to it. ``files`` is the run store.

    Raises:
        UsageError: a path is not seen here.
        BatchmillError: something cannot be fetched or built.
        Stopped: ``stopped`` said so.
    """
    unseen = check_proofs(order.proofs)
    if unseen:
        raise UsageError(
            f"{', '.join(unseen)} cannot be seen there, or is another one there.",
            cure="Nodes of a cluster read and write object stores, or folders that every node has mounted at the same path.",
        )
    source = scratch.once("snapshot", lambda folder: fetch_snapshot(files, folder), stopped)
    plan = scratch.once("plan", lambda folder: fetch_plan(files, order.plan, folder, stopped, whole=False), stopped)
    interpreter = order.environment.interpreter() if order.environment is not None else None
    if stopped():
        raise Stopped
    config = with_interpreter(order.config, interpreter)
    config = replace(
        config,
        run_folder=scratch.own,
        plan_folder=plan,
        source=source,
        script=scratch.shared / config.script,
        output_dir=scratch.own / config.output_dir,
        workers=config.workers or _workers(config),
    )
    for folder in (config.output_dir, config.run_folder / "parts", config.run_folder / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    _continue_logs(name, config.run_folder, files)
    return config


def with_interpreter(config: NodeConfig, interpreter: Interpreter | None) -> NodeConfig:
    """The config for an interpreter of this machine (None: this one); its variables stand behind those of the user."""
    if interpreter is None:
        return replace(config, python=sys.executable)
    environment = {**interpreter.variables, **config.environment}
    hidden = tuple(name for name, value in environment.items() if not value and name not in config.environment)
    return replace(config, python=interpreter.python, environment=environment, hidden=hidden)


def _workers(config: NodeConfig) -> int:
    """As many as this machine bears, where nobody said how many."""
    gpus = gpu_count(config.environment) if config.gpu_ids is None else len(config.gpu_ids)
    return default_workers(1, gpu_processes(gpus, config.gpus_per_process), None)


def _continue_logs(name: str, run_folder: Path, files: SharedStore) -> None:
    """Numbers of processes go on where a node of this name ended in an earlier incarnation of the run, whose logs lie in the run store:
    an empty log stands for the last one, and is never shipped."""
    kinds = ("user/stdout", "user/stderr", "user/error", "sys/node")
    entries = (entry.name.rpartition("/")[2] for kind in kinds for entry in files.list(f"{LOGS}/{kind}/{name}"))
    numbers = [int(found[1]) for entry in entries if (found := PROCESS.match(entry))]
    if numbers:
        NodeLogs(run_folder, name).prepare(f"process{max(numbers):03d}")["stdout"].touch()
