"""Where the results of a run belong: a local folder, or a URL with a local folder in which they are made before they are uploaded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from batchmill.parallel_run.output_claim import OutputClaim
from batchmill.parallel_run.run_folder import RunFolder, run_name

BUFFER = 8 << 20


class OutputTarget(Protocol):
    """``folder`` is local: the growing output and the files of scripts go there."""

    folder: Path

    def claim(self, epoch: int) -> None:
        """Keep other runs out.

        Raises:
            OutputError: the folder cannot be used, or another run holds it.
        """

    def check(self) -> None:
        """Before results appear.

        Raises:
            LedgerFencedError: somebody else may hold the output by now.
        """

    def fetch(self, name: str, folder: Path) -> Path:
        """Where the published file ``name`` can be read, if there is one; what lies elsewhere is brought into ``folder`` first."""

    def publish(self) -> None:
        """Bring what lies in the local folder to where it belongs."""

    def release(self) -> None:
        """Let other runs in again."""


class LocalTarget:
    """A local folder: results are made where they belong."""

    def __init__(self, folder: Path, run: RunFolder) -> None:
        self.folder = folder
        self._run = run
        self._claim: OutputClaim | None = None

    def claim(self, epoch: int) -> None:
        """Lock the folder itself."""
        self._claim = OutputClaim(self.folder, self._run.id)

    def check(self) -> None:
        """Nobody else gets the lock while this process lives."""

    def fetch(self, name: str, folder: Path) -> Path:
        """It is here already."""
        return self.folder / name

    def publish(self) -> None:
        """It is there already."""

    def release(self) -> None:
        """Unlock the folder."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None


class RemoteTarget:
    """A URL: results are made in the run folder and uploaded when the run is complete (a put is atomic)."""

    def __init__(self, url: str, run: RunFolder, retry_timeout: float) -> None:
        from batchmill.storage.upload import OutputFolder

        self.folder = run.path / "upload"
        self._url = url
        self._run = run
        self._retry_timeout = retry_timeout
        self._remote = OutputFolder(url, retry_timeout)

    def claim(self, epoch: int) -> None:
        """Take the lock object of the URL."""
        from batchmill.storage.output_lock import OutputLock

        self.folder.mkdir(exist_ok=True)
        self._lock = OutputLock(self._url, self._run.id, run_name(self._run), epoch, retry_timeout=self._retry_timeout)
        self._lock.acquire()

    def check(self) -> None:
        """See whether the lock was renewed in time."""
        self._lock.check()

    def fetch(self, name: str, folder: Path) -> Path:
        """Download the published file."""
        from batchmill.storage.files import open_binary

        path = folder / name
        path.unlink(missing_ok=True)
        if self._remote.exists(name):
            folder.mkdir(exist_ok=True)
            with open_binary(self._remote.url_of(name), retry_timeout=self._retry_timeout) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, BUFFER)
        return path

    def publish(self) -> None:
        """Upload every file and remove it here, one after the other: whoever repeats this uploads only what is left."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and ".partial." not in path.name:
                self.check()
                self._remote.publish(path, path.relative_to(self.folder).as_posix())
                path.unlink()
        shutil.rmtree(self.folder)

    def release(self) -> None:
        """Remove the lock object, if it is still ours."""
        self._lock.release()


def target_of(output: str, run: RunFolder, retry_timeout: float) -> OutputTarget:
    """The target of a run."""
    return RemoteTarget(output, run, retry_timeout) if "://" in output else LocalTarget(Path(output), run)
