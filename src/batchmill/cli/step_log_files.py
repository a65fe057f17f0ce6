"""The logs of the steps of a pipeline run: printed as they are, followed while they grow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from batchmill.cli.found_run import WorkspaceRun
from batchmill.cli.terminal import reader_left, styled
from batchmill.errors import UsageError
from batchmill.pipeline.run_artifacts import RunArtifacts
from batchmill.pipeline.run_status_words import has_ended
from batchmill.workspace.registered_run import STEP_RUN, RegisteredRun

KINDS = ("user_logs/", "logs/user/stdout/", "logs/user/stderr/", "logs/user/entry_script_log/", "logs/user/error/")
RUNNER = "runner.txt"
LOOK_EVERY = 0.3
CHUNK = 1 << 20


class StepLogFiles:
    """The log files of all steps, or of those called ``step``; remembers how far each was printed.

    Raises:
        UsageError: the run has no step of that name.
    """

    def __init__(self, run: WorkspaceRun, step: str | None = None) -> None:
        self._run, self._step = run, step
        self._printed: dict[tuple[str, str], int] = {}
        self._current: tuple[str, str] | None = None
        names = [row.name for row in self._rows()]
        if step is not None and step not in names:
            raise UsageError(
                f"Run {run.id} has no step called '{step}'.", cure=f"Its steps: {', '.join(dict.fromkeys(names)) or 'none yet'}."
            )

    def copy(self) -> bool:
        """Print what was not printed yet; returns whether there was anything."""
        some = False
        if self._step is None and self._run.row.folder:
            some = self._copy_local(self._run.id, "", RUNNER, Path(self._run.row.folder, RUNNER))
        for row in self._rows():
            if self._step in (None, row.name):
                some = self._copy_step(row) or some
        return some

    def follow(self) -> None:
        """Print what is added until the run has ended.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        while not has_ended(self._run.row):
            if not self.copy():
                time.sleep(LOOK_EVERY)
            if reader_left(sys.stdout):
                raise BrokenPipeError
        self.copy()

    def _rows(self) -> list[RegisteredRun]:
        """The runs of the steps, in the order in which they began."""
        row = self._run.row
        if row.kind == STEP_RUN or "graph" not in row.details or row.kind != "azureml.PipelineRun":
            return [row]
        rows = self._run.workspace.registry.runs(parent=row.id, kind=STEP_RUN, limit=None)
        return sorted(rows, key=lambda one: (one.started or one.modified, one.created, one.id))

    def _copy_step(self, row: RegisteredRun) -> bool:
        artifacts = RunArtifacts(self._run.workspace, row.id, row.folder)
        local = artifacts.local()
        some = False
        for name in _wanted(local):
            some = self._copy_local(row.id, row.name, name, local[name]) or some
        if not local and has_ended(row) and row.started is not None:  # carried out elsewhere, or its folder is gone
            for name in _wanted(artifacts.stored()):
                if (row.id, name) not in self._printed:
                    data = artifacts.read(name) or b""
                    self._printed[row.id, name] = len(data)
                    self._write(row.id, row.name, name, data)
                    some = True
        return some

    def _copy_local(self, run_id: str, step: str, name: str, path: Path) -> bool:
        start = self._printed.setdefault((run_id, name), 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                while chunk := file.read(CHUNK):
                    self._write(run_id, step, name, chunk)
                    self._printed[run_id, name] += len(chunk)
        except FileNotFoundError:
            return False
        return self._printed[run_id, name] > start

    def _write(self, run_id: str, step: str, name: str, data: bytes) -> None:
        if not data:
            return
        if (run_id, name) != self._current:
            lead = "\n" if self._current is not None else ""
            title = f"step {step}: {name}" if step else name
            print(lead + styled(f"==> {title} <==", sys.stdout, bold=True), flush=True)
            self._current = (run_id, name)
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _wanted(names: dict[str, Path] | dict[str, int]) -> Iterator[str]:
    for kind in KINDS:
        yield from sorted(name for name in names if name.startswith(kind))
