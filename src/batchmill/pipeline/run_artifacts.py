"""The files of a run: its logs, and what its script has uploaded (Azure ML: artifacts).

They lie in the default datastore of the workspace below ``azureml/ExperimentRun/dcid.<run id>/``. The logs of a run that is not over
yet lie in its folder on the machine that carries it out, under the same names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.storage.transfer import StoreFile
    from batchmill.workspace.workspace import Workspace

ROOT = "azureml/ExperimentRun/dcid."
LOGS = "logs"


def place_of(run_id: str) -> str:
    """Where the files of a run lie in the default datastore.

    >>> place_of("4711")
    'azureml/ExperimentRun/dcid.4711/'
    """
    return f"{ROOT}{run_id}/"


class RunArtifacts:
    """The files of one run. ``folder``: where it is carried out, its logs lie in ``logs`` below it; "" where there is none here."""

    def __init__(self, workspace: Workspace, run_id: str, folder: str = "") -> None:
        self._workspace = workspace
        self._place = place_of(run_id)
        self._run_id = run_id
        self._logs = Path(folder) / LOGS if folder else None

    @property
    def datastore(self) -> Any:
        """The datastore that they lie in."""
        return self._workspace.get_default_datastore()

    def names(self) -> list[str]:
        """The names of all files, in order."""
        return sorted({*self.stored(), *self.local()})

    def stored(self) -> dict[str, int]:
        """The files in the datastore: name -> size in bytes."""
        return {file.name[len(self._place) :]: file.size for file in self.datastore.files(self._place)}

    def local(self) -> dict[str, Path]:
        """The log files in the folder of the run on this machine: name -> path."""
        if self._logs is None or not self._logs.is_dir():
            return {}
        below = LOGS if self._logs.is_symlink() else ""  # of a parallel run the folder itself is shown there
        found = (path for path in self._logs.rglob("*") if path.is_file())
        return {str(PurePosixPath(below, path.relative_to(self._logs))): path for path in found}

    def urls(self) -> dict[str, str]:
        """The log files with where they lie: name -> a URL."""
        root = self.datastore.physical(self._place)
        shown = {name: f"{root.rstrip('/')}/{name}" for name in self.stored() if is_log(name)}
        shown = {name: place if "://" in place else Path(place).as_uri() for name, place in shown.items()}
        return dict(sorted(({name: path.as_uri() for name, path in self.local().items()} | shown).items()))

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none of that name."""
        import tempfile

        path = self.local().get(name)
        if path is not None:
            return path.read_bytes()
        if name not in self.stored():
            return None
        with tempfile.TemporaryDirectory() as folder:
            target = os.path.join(folder, "file")
            self.download(name, target)
            return Path(target).read_bytes()

    def download(self, name: str, target: str | os.PathLike[str] | None = None) -> Path:
        """Copy one file to ``target`` (a path, or a folder that is there), by default to its own name in the current folder.

        Raises:
            UserErrorException: the run has no file of that name.
        """
        path = Path(os.fspath(target)) if target else Path(PurePosixPath(name).name)
        if path.is_dir() or str(target or "").endswith("/"):
            path = path / PurePosixPath(name).name
        self._fetch([name], {name: path})
        return path

    def download_all(self, prefix: str | None, folder: str | os.PathLike[str] | None, *, append_prefix: bool = True) -> list[Path]:
        """Copy all files whose names begin with ``prefix`` into a folder, under their whole names, or without the prefix."""
        names = [name for name in self.names() if name.startswith(prefix or "")]
        drop = 0 if append_prefix else len(prefix or "")
        targets = {name: Path(folder or ".") / (name[drop:].lstrip("/") or PurePosixPath(name).name) for name in names}
        self._fetch(names, targets)
        return list(targets.values())

    def _fetch(self, names: Iterable[str], targets: dict[str, Path]) -> None:
        import shutil

        stored, local = self.stored(), self.local()
        for name in names:
            target = targets[name]
            if name not in stored and name not in local:
                there = ", ".join(self.names()) or "none"
                raise UserErrorException(f"File with path {name} was not found, available files include: {there}.")
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in local:  # what is being written is newer than what was uploaded
                shutil.copyfile(local[name], target)
            else:
                self._take(name, stored[name], target)

    def _take(self, name: str, size: int, target: Path) -> None:
        from batchmill.storage.transfer import StoreFile, Transfer

        Transfer(self.datastore.place(), overwrite=True).fetch([StoreFile(self._place + name, str(target.absolute()), size)])

    def upload(self, files: Iterable[tuple[str, str | os.PathLike[str]]]) -> list[str]:
        """Upload files: pairs of the name in the run and the path on this machine; returns the names.

        Raises:
            UserErrorException: one is no file, or the run has a file of that name already.
            StoreError: the store is unreachable or refuses.
        """
        given = list(_checked(files))
        there = self.stored()
        for file in given:
            if file.name in there:
                where = f"ExperimentRun/dcid.{self._run_id}/{file.name}"
                raise UserErrorException(f"UserError: Resource Conflict: ArtifactId {where} already exists.")
        self.datastore.send(given, self._place.rstrip("/"), False, False)
        return [file.name for file in given]


def is_log(name: str) -> bool:
    """Whether a file of a run is one of its logs.

    >>> is_log("user_logs/std_log.txt"), is_log("outputs/model.pkl")
    (True, False)
    """
    return name.split("/")[0] in ("logs", "user_logs", "azureml-logs", "system_logs") and "/" in name


def _checked(files: Iterable[tuple[str, str | os.PathLike[str]]]) -> Iterator[StoreFile]:
    from batchmill.storage.transfer import StoreFile

    for name, path in files:
        text = str(name).replace(os.sep, "/").removeprefix("./").strip("/")
        if not text or ".." in text.split("/"):
            raise UserErrorException(f"'{name}' is no name of a file of a run: it is relative, and does not lead out of it.")
        if not os.path.isfile(path):
            raise UserErrorException(f"File {path} was not found: there is nothing to upload as {text}.")
        yield StoreFile(text, os.path.abspath(os.fspath(path)), os.path.getsize(path))
