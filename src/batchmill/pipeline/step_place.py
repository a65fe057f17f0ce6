"""Where one step of one run is carried out, and what is known before it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import DatasetSource, InputPort, Node, OutputSource, ParameterSource, PathSource
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.storage_datastore import StorageDatastore
    from batchmill.workspace.workspace import Workspace

SNAPSHOT, INPUTS, OUTPUTS, LOGS = "snapshot", "inputs", "outputs", "logs"
WRITABLE = 0o700


@dataclass(frozen=True, slots=True)
class StepPlace:
    """``folder`` is that of the step run. ``parameters``: as `StepWork.parameters`. ``made``: what the steps before it left, by node and
    output: ``{"datastore": NAME, "path": PATH}``."""

    workspace: Workspace
    node: Node
    step_run_id: str
    folder: Path
    parameters: Mapping[str, Any]
    made: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def cwd(self) -> Path:
        """The working copy of the snapshot, in which scripts run."""
        return self.folder / SNAPSHOT

    def datastore(self, name: str) -> StorageDatastore:
        """A datastore that holds files.

        Raises:
            UserErrorException: there is none of that name, or it is a database.
        """
        from batchmill.pipeline.runner_record import patiently
        from batchmill.workspace.datastore import Datastore
        from batchmill.workspace.storage_datastore import StorageDatastore

        found = patiently(lambda: Datastore.get(self.workspace, name))
        if not isinstance(found, StorageDatastore):
            raise UserErrorException(f"Datastore '{name}' is a database: step {self.node.name} cannot read or write files there.")
        return found

    def local(self, datastore: str, path: str) -> Path | None:
        """Where a path of a datastore lies on this machine; None where the datastore is elsewhere."""
        place = self.datastore(datastore).place()
        return None if place.remote else Path(place.path, path)

    def source_of(self, port: InputPort) -> DatasetSource | PathSource | OutputSource:
        """What an input is made of in this run.

        Raises:
            UserErrorException: the value of its parameter is neither a dataset nor a path.
        """
        if not isinstance(port.source, ParameterSource):
            return port.source
        value = self.parameters.get(port.source.parameter)
        if isinstance(value, Mapping) and "definition" in value:
            return DatasetSource(**value)
        if isinstance(value, Mapping) and "datastore" in value:
            return PathSource(str(value["datastore"]), str(value.get("path") or ""))
        raise UserErrorException(
            f"Input {port.name} of step {self.node.name}: parameter {port.source.parameter} is {value!r}, neither dataset nor path."
        )

    def made_by(self, source: OutputSource) -> PathSource:
        """Where the output of another step lies.

        Raises:
            UserErrorException: the step has no such output.
        """
        found = self.made.get(source.node, {}).get(source.output)
        if found is None:
            raise UserErrorException(f"Step {self.node.name} reads output {source.output} of node {source.node}, which has not made it.")
        return PathSource(str(found["datastore"]), str(found["path"]))

    def on_compute(self, path_on_compute: str | None, kind: str, name: str) -> Path:
        """Where an input or output is to be on this machine: absolute as it is, relative below the working directory."""
        return Path(self.folder, kind, name) if path_on_compute is None else self.cwd / path_on_compute


def empty(path: Path) -> None:
    """Remove a folder with all below it, whatever its permissions, or a file; links are not followed. Nothing there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.is_dir():
        return
    for here, folders, _ in os.walk(path):
        for name in folders:
            below = os.path.join(here, name)
            if not os.path.islink(below):
                os.chmod(below, WRITABLE)
    path.chmod(WRITABLE)
    shutil.rmtree(path)
