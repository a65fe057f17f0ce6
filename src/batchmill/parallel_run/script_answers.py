"""What entry scripts are told of the run that they belong to, and what they tell it: of a step, of a run in a workspace, of a plain run.

A plain run, which uses no workspace, keeps what its scripts log in ``metrics.jsonl`` of its folder.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import UsageError

if TYPE_CHECKING:
    from batchmill.workspace.dataset_answers import DatasetAnswers
    from batchmill.workspace.run_answers import RunAnswers
    from batchmill.workspace.workspace import Workspace

Question = Mapping[str, Any]
Answer = dict[str, Any]

METRICS = "metrics.jsonl"
TAG, PROPERTY = "tag", "property"
NO_WORKSPACE = "This run uses no workspace, and files and models of runs are kept in one. Name it: batchmill run --workspace NAME"


class ScriptAnswers:
    """The answers of one parallel run, but those about models.

    Args:
        folder: of the run.
        step: what ``create_run(..., step_run=...)`` was given.
        workspace: the workspace of the run, opened when it is first needed.
        uses: whether the run uses the workspace, and so is known there.
    """

    def __init__(
        self, folder: Path, name: str, step: Mapping[str, Any] | None, workspace: Callable[[], Workspace], uses: Callable[[], bool]
    ) -> None:
        self._folder = folder
        self._name = name
        self._step = step
        self._workspace = workspace
        self._uses = uses
        self._lock = threading.Lock()
        self._of_run: RunAnswers | None = None
        self._of_datasets: DatasetAnswers | None = None

    @property
    def step_run_id(self) -> str | None:
        """The step run that the run carries out, if it does."""
        return None if self._step is None else str(self._step["id"])

    @property
    def datasets(self) -> DatasetAnswers:
        """Answers about datasets."""
        from batchmill.workspace.dataset_answers import DatasetAnswers

        with self._lock:
            if self._of_datasets is None:
                self._of_datasets = DatasetAnswers(self._workspace, self._folder / "asked" / "tables")
            return self._of_datasets

    def answer(self, question: Question) -> Answer:
        """The answer to a question.

        Raises:
            BatchmillError: what the script is to see.
        """
        kind = question["kind"]
        if kind == "table":
            return self.datasets.table(question)
        if kind == "files":
            return self.datasets.files(question)
        run = self._registered()
        if run is not None:
            return run.answer(question)
        return PlainRun(self._folder, self._name, self._workspace() if kind == "run" and self._uses() else None).answer(question)

    def close(self) -> None:
        """End what was begun for scripts (mounts, files of rows)."""
        if self._of_datasets is not None:
            self._of_datasets.close()

    def _registered(self) -> RunAnswers | None:
        """The answers of the registry; None where it does not know the run."""
        from batchmill.workspace.run_answers import RunAnswers

        with self._lock:
            if self._of_run is None and self._step is not None:
                given = {name: self._step.get(name) for name in ("inputs", "outputs")}
                self._of_run = RunAnswers(self._workspace(), str(self._step["id"]), **given, folder=self._folder / "asked")
            if self._of_run is None and self._uses() and self._workspace().registry.run(self._folder.name) is not None:
                self._of_run = RunAnswers(self._workspace(), self._folder.name, folder=self._folder / "asked")
            return self._of_run


class PlainRun:
    """A run that no workspace knows; ``workspace``: the one that it names, none where it does not."""

    _writing = threading.Lock()

    def __init__(self, folder: Path, name: str, workspace: Workspace | None = None) -> None:
        self._folder = folder
        self._name = name
        self._workspace = workspace

    def answer(self, question: Question) -> Answer:
        """See `ScriptAnswers.answer`."""
        kind = question["kind"]
        if kind == "run":
            return self._told()
        if kind == "metric":
            self._keep(question["name"], question["as"], question["value"])
            return {}
        if kind == "metrics":
            return {"metrics": [one for one in self._kept() if one[1] not in (TAG, PROPERTY)]}
        if kind in (TAG, PROPERTY):
            for key, value in question["values"].items():
                self._keep(key, kind, value)
            for key in question.get("drop") or ():
                self._keep(key, kind, None)
            return {"tags": self._labels(TAG), "properties": self._labels(PROPERTY)}
        if kind == "status":
            return {}
        raise UsageError(NO_WORKSPACE if kind in ("upload", "register_model") else f"A run knows nothing of the kind '{kind}'.")

    def _told(self) -> Answer:
        from batchmill.workspace.run_answers import facts_of

        return {
            "id": self._folder.name,
            "name": self._name,
            "type": "parallel_run",
            "status": "Running",
            "experiment": None,
            "parent": None,
            "tags": self._labels(TAG),
            "properties": self._labels(PROPERTY),
            "workspace": None if self._workspace is None else facts_of(self._workspace),
            "alone": True,
            "inputs": {},
            "outputs": {},
        }

    def _labels(self, kind: str) -> dict[str, str]:
        found = {name: value for name, of, value in self._kept() if of == kind}
        return {name: value for name, value in found.items() if value is not None}

    def _keep(self, name: str, kind: str, value: Any) -> None:
        line = json.dumps({"name": name, "kind": kind, "value": value, "moment": datetime.now(UTC).isoformat()}) + "\n"
        with self._writing, (self._folder / METRICS).open("ab") as file:
            os.write(file.fileno(), line.encode())

    def _kept(self) -> list[tuple[str, str, Any]]:
        return list(logged_in(self._folder))


def logged_in(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """What the scripts of a plain run have logged: name, kind and value, in their order."""
    path = folder / METRICS
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            yield one["name"], one["kind"], one["value"]


def not_kept(question: Question) -> Answer:
    """The answer to a script that is only tried out: it is told that all is well, and nothing is kept.

    Raises:
        UsageError: it wants to register a model.
    """
    if question["kind"] == "register_model":
        raise UsageError("A script that is tried out registers no model.")
    return {"names": [name for name, _ in question.get("files", ())], "tags": {}, "properties": {}}
