"""The folder of a run: self-contained and readable. Where each thing lies, and how a run is found."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from batchmill.errors import OutputError, RunBusyError, RunNotFoundError
from batchmill.parallel_run.events import ErrorFacts
from batchmill.storage.home import home as home

ERROR_LOG_LIMIT = 16 << 20
PROBE_SECONDS = 0.5
"""Patience for a run folder's lock: whoever asks `RunFolder.alive` holds it for an instant too."""
LOCK_EVERY = 0.01


def runs_folder() -> Path:
    """Where the run folders lie."""
    return home() / "runs"


def take_lock(descriptor: int, patience: float) -> bool:
    """Lock a file for this process alone, within ``patience`` seconds; False where another one held it all the time."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOCK_EVERY)
        else:
            return True


class RunFolder:
    """Paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.ledger = path / "ledger.sqlite"
        self.settings = path / "settings.json"
        self.plan = path / "plan"
        self.snapshot = path / "snapshot"
        self.parts = path / "parts"
        self.slots = path / "slots"
        self.logs = path / "logs"
        self.dead_letters = path / "dead_letters.jsonl"
        self.cancel_request = path / "cancel"
        self.starter = path / "starter.json"
        self._lock: int | None = None

    @classmethod
    def create(cls) -> RunFolder:
        """A new, empty run folder with an id that sorts by time: ``last`` is the newest of two runs of one second, too."""
        while True:
            seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
            moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
            path = runs_folder() / f"{moment}-{nanoseconds // 1000:05x}{os.urandom(1).hex()}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise OutputError(
                    f"The batchmill home {home()} cannot be used: {error.strerror}.",
                    cure="Set BATCHMILL_HOME to a folder that can be written; nothing was started.",
                ) from None
            folder = cls(path)
            for sub in (folder.parts, folder.slots, folder.logs):
                sub.mkdir()
            return folder

    def lock(self) -> None:
        """Hold the run for this process; the lock ends with it, however it ends (no child inherits the descriptor).

        Raises:
            RunBusyError: a living coordinator holds it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        if not take_lock(descriptor, PROBE_SECONDS):
            os.close(descriptor)
            raise RunBusyError(f"Run {self.id} is running in another process.", cure=f"Follow it: batchmill resume {self.id}")
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def alive(self) -> bool:
        """True while a coordinator holds the run, or one was just started for it."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return self._starting()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return self._starting()

    def _starting(self) -> bool:
        try:
            pid = json.loads(self.starter.read_text())["pid"]
            os.kill(pid, 0)
        except (OSError, ValueError, KeyError):
            return False
        return True

    def output_folder(self) -> Path:
        return self.path / "output"


def all_runs(after: str | None = None) -> Iterator[RunFolder]:
    """All runs of this home, newest first; with ``after`` those that are older than the run with that id."""
    try:
        names = sorted((entry.name for entry in os.scandir(runs_folder()) if entry.is_dir()), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if after is not None and name >= after:
            continue
        folder = RunFolder(runs_folder() / name)
        if folder.settings.exists():
            yield folder


def run_name(folder: RunFolder) -> str:
    """The name a user gave to the run (or its script's)."""
    try:
        return str(json.loads(folder.settings.read_text())["name"])
    except (OSError, ValueError, KeyError):
        return folder.id


def on_cluster(folder: RunFolder) -> bool:
    """Whether a cluster carries the run out."""
    try:
        return bool(json.loads(folder.settings.read_text()).get("cluster"))
    except (OSError, ValueError):
        return False


def find_run(text: str) -> RunFolder:
    """A run by its id, a unique prefix of one, its name (the newest of that name) or ``last``.

    Raises:
        RunNotFoundError: there is none, or a prefix fits several.
    """
    exact = RunFolder(runs_folder() / text)
    if exact.path.parent == runs_folder() and text not in ("", ".", "..") and exact.settings.exists():
        return exact
    prefixed: list[RunFolder] = []
    for folder in all_runs():
        if text == "last" or run_name(folder) == text:
            return folder
        if text and folder.id.startswith(text):
            prefixed.append(folder)
    if len(prefixed) == 1:
        return prefixed[0]
    if prefixed:
        raise RunNotFoundError(
            f"'{text}' is the beginning of {len(prefixed)} run ids.", cure="Give more of the id: batchmill runs list shows them."
        )
    raise RunNotFoundError(f"There is no run with the id or name '{text}' in {home()}.", cure="batchmill runs list shows the runs.")


class NodeLogs:
    """Where the processes of one node write (specification E1)."""

    def __init__(self, run_folder: Path, node: str) -> None:
        self._logs = run_folder / "logs"
        self._work = run_folder / "work" / node
        self._node = node

    def next_process_number(self) -> int:
        """Numbers go on where an earlier incarnation of the node ended, so that no log is written twice."""
        folder = self._logs / "user" / "stdout" / self._node
        names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
        numbers = [int(name[7:].split(".")[0]) for name in names if name.startswith("process")]
        return max(numbers, default=-1) + 1

    def prepare(self, process: str) -> dict[str, Path]:
        """Make the folders of a new process; returns the paths it writes to."""
        user, sys_folder = self._logs / "user", self._logs / "sys" / "node" / self._node
        paths = {
            "stdout": user / "stdout" / self._node / f"{process}.stdout.txt",
            "stderr": user / "stderr" / self._node / f"{process}.stderr.txt",
            "stacks": sys_folder / f"{process}.stacks.txt",
            "profile": sys_folder / f"{process}.profile",
        }
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        folders = {"log_dir": user / "entry_script_log" / self._node, "working_dir": self._work / process}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return paths | folders

    def error(self, process: str, where: str, facts: ErrorFacts) -> None:
        """Append one failure to the error logs (each bounded in size; on a full disk the ledger alone keeps it)."""
        _append_error(self._logs / "user" / "error" / self._node / f"{process}.txt", self._node, process, where, facts)
        write_error(self._logs, self._node, process, where, facts)


def write_error(logs: Path, node: str, process: str, where: str, facts: ErrorFacts) -> None:
    """Append one failure to the error log of the whole run."""
    _append_error(logs / "user" / "error.txt", node, process, where, facts)


def _append_error(path: Path, node: str, process: str, where: str, facts: ErrorFacts) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        if file.tell() < ERROR_LOG_LIMIT:
            file.write(f"{stamp} {node} {process} {where}: {facts.error_class}: {facts.message}\n{facts.traceback or ''}\n")
