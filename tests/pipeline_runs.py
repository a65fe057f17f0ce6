"""Runs of graphs that tests make by hand: sources become snapshots, a run is added, its runner is started; and waiting for it."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from batchmill.pipeline.graph import Graph, InputPort, Node, OutputPort, OutputSource, Parameter, Value
from batchmill.pipeline.runner import start_runner
from batchmill.pipeline.source_snapshot import keep_snapshot
from batchmill.workspace.registered_run import PIPELINE_RUN, SCRIPT_RUN, STEP_RUN, RegisteredRun
from batchmill.workspace.workspace import Workspace

PATIENCE = 60.0
STORE = "workspaceblobstore"


def node(ws: Workspace, folder: Path, name: str, text: str, arguments: Sequence[Value] = (), **more: Any) -> Node:
    """A `PYTHON` step whose script has this text; never reused unless asked for."""
    source = folder / "sources" / name
    source.mkdir(parents=True, exist_ok=True)
    (source / "script.py").write_text(text)
    given: dict[str, Any] = {"kind": "python", "script": "script.py", "source": str(source), "allow_reuse": False}
    given["snapshot"] = keep_snapshot(ws, source)
    return Node(id=uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:8], name=name, module="m", arguments=tuple(arguments), **(given | more))


def output(name: str, **more: Any) -> OutputPort:
    return OutputPort(name, STORE, **more)


def input_from(before: Node, name: str, **more: Any) -> InputPort:
    source = {key: more.pop(key) for key in ("type", "read", "register") if key in more}
    return InputPort(name, OutputSource(before.id, name, **source), **more)


def added(ws: Workspace, nodes: Sequence[Node], parameters: Mapping[str, Parameter] | None = None, **details: Any) -> RegisteredRun:
    """A run that nobody works at yet."""
    kept = ws.registry.save("graph", Graph(tuple(nodes), dict(parameters or {})).to_dict())
    run_id, kind = str(uuid.uuid4()), details.pop("kind", PIPELINE_RUN)
    given = {"graph": kept.id, "parameters": {}, **details}
    folder = str(Path(ws.folder, "pipeline_runs", run_id))
    return ws.registry.add_run(run_id, kind=kind, name="test", experiment="tests", details=given, folder=folder)


def submitted(ws: Workspace, nodes: Sequence[Node], parameters: Mapping[str, Parameter] | None = None, **details: Any) -> RegisteredRun:
    """A run whose runner has been started."""
    run = added(ws, nodes, parameters, **details)
    start_runner(ws, run.id)
    return run


def known(ws: Workspace, run_id: str) -> RegisteredRun:
    run = ws.registry.run(run_id)
    assert run is not None
    return run


def steps(ws: Workspace, run_id: str) -> dict[str, RegisteredRun]:
    """The runs of the steps by name."""
    return {run.name: run for run in ws.registry.runs(parent=run_id, kind=STEP_RUN, limit=None)}


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.01)


def ended(ws: Workspace, run_id: str, patience: float = PATIENCE) -> RegisteredRun:
    """The run once it has ended and its runner has let go of it."""
    until(lambda: (run := known(ws, run_id)).ended is not None and run.holder is None, f"run {run_id} has ended", patience)
    return known(ws, run_id)


def log(ws: Workspace, run_id: str) -> str:
    path = Path(ws.folder, "pipeline_runs", run_id, "runner.txt")
    return path.read_text() if path.exists() else ""


def std_log(step: RegisteredRun) -> str:
    return Path(step.folder, "logs", "user_logs", "std_log.txt").read_text()


def kill_runner(ws: Workspace, run_id: str) -> None:
    holder = known(ws, run_id).holder
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)


def end_runners(ws: Workspace) -> None:
    """Let no runner outlive its test."""
    for run in ws.registry.runs(kind=(PIPELINE_RUN, SCRIPT_RUN), limit=None):
        if run.held and run.holder is not None and run.holder.pid != os.getpid():
            os.kill(run.holder.pid, signal.SIGKILL)


def processes_with(mark: str) -> list[int]:
    """Processes whose environment holds a text."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue
            found += [int(name)] if mark.encode() in text else []
    return found
