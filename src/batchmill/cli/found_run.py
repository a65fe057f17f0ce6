"""Finding the run that a command means: a run of its own folder, or one of a pipeline, a step or a script in a workspace.

Parallel runs are found without the database; that is opened only where there may be something in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.errors import RunNotFoundError
from batchmill.parallel_run.run_folder import RunFolder, all_runs, find_run
from batchmill.storage.home import home

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import RegisteredRun
    from batchmill.workspace.workspace import Workspace

WHOLE = ("azureml.PipelineRun", "azureml.scriptrun")
STEP = "azureml.StepRun"
SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class WorkspaceRun:
    """A run that the registry of a workspace holds: of a pipeline, a step or a script."""

    workspace: Workspace
    id: str

    @property
    def row(self) -> RegisteredRun:
        """What the registry knows of it now."""
        found = self.workspace.registry.run(self.id)
        if found is None:
            raise RunNotFoundError(f"Run {self.id} has been removed.")
        return found


def find_any(text: str) -> RunFolder | WorkspaceRun:
    """A run by its id, a unique prefix of one, its name (the newest of that name) or ``last``; steps by their ids only.

    Raises:
        RunNotFoundError: there is none, or a prefix fits several.
    """
    if text == "last":
        return _last()
    with suppress(StopIteration):
        return next(_by_folder(text))
    try:
        return find_run(text)
    except RunNotFoundError as error:
        found = _registered(text)
        if found is None:
            raise error from None
        return found


def open_workspace(name: str | None = None) -> Workspace | None:
    """The workspace that is meant; None where none is there that nobody asked for by its name: parallel runs need none.

    Raises:
        WorkspaceException: there is none of that name.
    """
    if name is None and not _has_database():
        return None
    from batchmill.workspace.catalog import Catalog
    from batchmill.workspace.config_file import find_config
    from batchmill.workspace.current import DEFAULT, VARIABLE, find_workspace
    from batchmill.workspace.exceptions import WorkspaceException

    if name is None and find_config(Path.cwd()) is None and not os.environ.get(VARIABLE) and Catalog().find(DEFAULT) is None:
        return None  # it would be made
    try:
        return find_workspace(name)
    except WorkspaceException:
        if name is not None:
            raise
        return None


def moment_of(folder: RunFolder) -> datetime:
    """When a parallel run was made, which its id says."""
    try:
        made = datetime.strptime(folder.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        return made + timedelta(microseconds=int(folder.id[16:21], 16))
    except ValueError:  # a folder that somebody has named anew
        return datetime.fromtimestamp(folder.path.stat().st_ctime, UTC)


def carries_out_step(folder: RunFolder) -> bool:
    """Whether a parallel run is that of a step of a pipeline."""
    try:
        return bool(json.loads(folder.settings.read_text()).get("step_run"))
    except (OSError, ValueError):
        return False


def _has_database() -> bool:
    from batchmill.workspace.database import FILE, VARIABLE

    return bool(os.environ.get(VARIABLE)) or (home() / FILE).exists()


def _pipeline_folders() -> Iterator[tuple[str, str]]:
    """The runs of pipelines whose folders lie here: name of the workspace, id."""
    workspaces = home() / "workspaces"
    for workspace in sorted(os.listdir(workspaces)) if workspaces.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError):
            for run in os.listdir(workspaces / workspace / "pipeline_runs"):
                yield workspace, run


def _by_folder(text: str) -> Iterator[WorkspaceRun]:
    """The run of a pipeline with that id, in whichever workspace it is."""
    for name, run in _pipeline_folders():
        if run == text:
            workspace = open_workspace(name)
            if workspace is not None and workspace.registry.run(run) is not None:
                yield WorkspaceRun(workspace, run)


def _last() -> RunFolder | WorkspaceRun:
    """The newest run; parallel runs of steps are passed over."""
    folder = next((one for one in all_runs() if not carries_out_step(one)), None)
    workspace = open_workspace() if folder is None or next(_pipeline_folders(), None) is not None else None
    rows = workspace.registry.runs(kind=WHOLE, limit=1) if workspace is not None else []
    if workspace is not None and rows and (folder is None or rows[0].created > moment_of(folder)):
        return WorkspaceRun(workspace, rows[0].id)
    return folder if folder is not None else find_run("last")


def _registered(text: str) -> WorkspaceRun | None:
    workspace = open_workspace()
    if workspace is None or not text:
        return None
    row = workspace.registry.run(text)
    if row is None or row.kind not in (*WHOLE, STEP):
        row = next(iter(workspace.registry.runs(kind=WHOLE, name=text, limit=1)), None)
    if row is not None:
        return WorkspaceRun(workspace, row.id)
    ids = [row.id for row in workspace.registry.runs(kind=WHOLE, limit=None) if len(text) >= SHORTEST_PREFIX and row.id.startswith(text)]
    return WorkspaceRun(workspace, _only(text, ids)) if ids else None


def _only(text: str, ids: Sequence[str]) -> str:
    if len(ids) > 1:
        raise RunNotFoundError(
            f"'{text}' is the beginning of {len(ids)} run ids.", cure="Give more of the id: batchmill runs list shows them."
        )
    return ids[0]
