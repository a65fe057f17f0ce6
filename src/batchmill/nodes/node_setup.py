"""How the workers of a run are started, as far as settings, environment and compute target say it; the plan adds the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.nodes.gpus import COUNT_VARIABLE, gpu_count, gpu_processes
from batchmill.parallel_run.cores import usable_cores
from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.settings import RunSettings

if TYPE_CHECKING:
    from batchmill.workspace.environment_preparation import Interpreter
    from batchmill.workspace.vm_sizes import VmSize

SHUTDOWN_SECONDS = 30.0
INIT_FACTOR, INIT_SECONDS = 3, 30.0
CACHE_BYTES = 4 << 30


def unplanned_config(
    folder: RunFolder,
    settings: RunSettings,
    *,
    epoch: int,
    source: Path,
    script: Path,
    output: Path,
    interpreter: Interpreter | None = None,
    size: VmSize | None = None,
) -> NodeConfig:
    """``source`` is the copy of the script's folder that the workers use, ``size`` what a node of the compute target may use."""
    environment = {**(interpreter.variables if interpreter is not None else {}), **settings.environment_variables}
    hidden = tuple(name for name, value in environment.items() if not value and name not in settings.environment_variables)
    if size is not None:
        environment[COUNT_VARIABLE] = str(min(size.gpus, gpu_count(environment)))
    return NodeConfig(
        run_id=folder.id,
        run_folder=folder.path,
        epoch=epoch,
        plan_folder=folder.plan,
        script=script,
        source=source,
        arguments=tuple(settings.arguments),
        output_dir=output,
        output_action=settings.output_action,
        with_header=settings.append_row_dataframe_header,
        level=settings.logging_level,
        workers=settings.workers or default_workers(settings.nodes, gpu_processes(gpu_count(environment), settings.gpus_per_process), size),
        node_count=settings.nodes,
        mini_batches=0,
        remote=False,
        cache_bytes=CACHE_BYTES,
        retry_timeout=settings.retry_timeout,
        run_timeout=float(settings.run_invocation_timeout),
        init_timeout=INIT_FACTOR * settings.run_invocation_timeout + INIT_SECONDS,
        read_timeout=float(settings.task_overhead_timeout),
        shutdown_timeout=SHUTDOWN_SECONDS,
        python=interpreter.python if interpreter is not None else sys.executable,
        environment=environment,
        hidden=hidden,
        profiling_module=settings.profiling_module,
        resource_monitor_interval=float(settings.resource_monitor_interval),
        memory_limit=size.memory if size is not None else None,
        gpus_per_process=settings.gpus_per_process,
    )


def default_workers(nodes: int, gpus: int, size: VmSize | None) -> int:
    """One for each process that the GPUs serve, else a node's share of the cores (decision 14), and no more than its size has."""
    if gpus:
        return gpus
    share = max(1, usable_cores() // nodes)
    return share if size is None else min(share, size.cores)
