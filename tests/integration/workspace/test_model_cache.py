"""The copies of models on this machine: whole, shared, checked, bounded; whatever happens to processes and files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import DiskFullError
from batchmill.workspace import model_cache
from batchmill.workspace.asset import Asset
from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model import Model, fetch_model
from batchmill.workspace.model_cache import cache_folder, make_room
from batchmill.workspace.workspace import Workspace

FETCHES = """
import sys
from batchmill.workspace.current import find_workspace
from batchmill.workspace.model import fetch_model, resolve_model
ws = find_workspace("team")
print("ready", flush=True)
folder = fetch_model(ws, resolve_model(ws, "mnist"))
print((folder / "models" / "a.bin").read_text(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.bin").write_text("content of a")
    (tmp_path / "models" / "b.bin").write_text("content of b")
    yield Workspace.create("team", show_output=False)
    _leave()


def _leave() -> None:
    """As if this process had ended: it uses no entry any more."""
    for descriptor in model_cache._in_use.values():
        os.close(descriptor)
    model_cache._in_use.clear()


@pytest.fixture
def mnist(ws: Workspace) -> Asset:
    return Model.register(ws, "models", "mnist")._asset


def stored(ws: Workspace, asset: Asset, name: str = "models/a.bin") -> Path:
    return ws.folder / str(asset.definition["location"]) / name


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return value


def entries(ws: Workspace) -> list[str]:
    """What lies in the cache of a workspace, locks left out."""
    paths = (cache_folder() / ws.name).glob("*/*")
    return sorted(path.name for path in paths if not path.name.endswith((".using", ".fetching")))


def test_files_are_read_only_and_fetched_once(ws: Workspace, mnist: Asset) -> None:
    folder = fetch_model(ws, mnist)
    file = folder / "models" / "a.bin"
    assert file.read_text() == "content of a"
    assert file.stat().st_mode & 0o777 == 0o444
    assert folder == cache_folder() / "team" / "mnist" / f"1-{mnist.id[:8]}"
    inode = file.stat().st_ino
    stored(ws, mnist).unlink()
    assert fetch_model(ws, mnist) == folder
    assert file.stat().st_ino == inode


def test_executables_stay_executable(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "models" / "a.bin").chmod(0o755)
    folder = fetch_model(ws, Model.register(ws, "models", "tool")._asset)
    assert (folder / "models" / "a.bin").stat().st_mode & 0o777 == 0o555
    assert (folder / "models" / "b.bin").stat().st_mode & 0o777 == 0o444


def _overwrite(folder: Path) -> None:
    (folder / "models" / "a.bin").chmod(0o644)
    (folder / "models" / "a.bin").write_text("CONTENT OF A")


def _add(folder: Path) -> None:
    (folder / "models" / "own").write_text("of a script")


HARM: dict[str, Callable[[Path], Any]] = {
    "a file of other content": _overwrite,
    "a file that is missing": lambda folder: (folder / "models" / "a.bin").unlink(),
    "a file cut short": lambda folder: os.truncate(folder / "models" / "a.bin", 3),
    "a file too many": _add,
    "no manifest": lambda folder: folder.with_name(folder.name + ".json").unlink(),
    "a manifest cut short": lambda folder: os.truncate(folder.with_name(folder.name + ".json"), 10),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_entry_is_fetched_again(ws: Workspace, mnist: Asset, harm: str) -> None:
    folder = fetch_model(ws, mnist)
    HARM[harm](folder)
    assert fetch_model(ws, mnist) == folder
    assert {path.name: path.read_text() for path in (folder / "models").iterdir()} == {"a.bin": "content of a", "b.bin": "content of b"}
    assert entries(ws) == [folder.name, f"{folder.name}.json"]


@pytest.mark.parametrize("damaged", [True, False])
def test_after_a_new_start_of_the_machine_the_content_is_compared(
    ws: Workspace, mnist: Asset, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    folder = fetch_model(ws, mnist)
    file = folder / "models" / "a.bin"
    if damaged:
        looks = file.stat()
        _overwrite(folder)
        file.chmod(0o444)
        os.utime(file, ns=(looks.st_atime_ns, looks.st_mtime_ns))
    else:
        stored(ws, mnist).unlink()
    monkeypatch.setattr(model_cache, "_boot", lambda: "another")
    assert (fetch_model(ws, mnist) / "models" / "a.bin").read_text() == "content of a"


def test_content_that_is_not_what_was_registered_is_never_used(ws: Workspace, mnist: Asset) -> None:
    stored(ws, mnist).write_text("CONTENT OF A")
    with pytest.raises(
        WebserviceException, match=r"The files of model mnist:1 are not those that were registered: .*Register the model again"
    ):
        fetch_model(ws, mnist)
    assert entries(ws) == []
    stored(ws, mnist).unlink()
    with pytest.raises(WebserviceException, match="The files of model mnist:1 are not all in the workspace"):
        fetch_model(ws, mnist)
    stored(ws, mnist).write_text("content of a")
    assert (fetch_model(ws, mnist) / "models" / "a.bin").read_text() == "content of a"


def test_two_processes_that_fetch_at_once_share_one_fetch(ws: Workspace, mnist: Asset) -> None:
    pipe = stored(ws, mnist)
    pipe.unlink()
    os.mkfifo(pipe)  # its content can be read once
    command = [sys.executable, "-c", FETCHES]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    pipe.write_text("content of a")
    for process in processes:
        assert process.communicate("\n", timeout=60)[0] == "content of a\n"


def test_threads_that_fetch_at_once_share_one_fetch(ws: Workspace, mnist: Asset) -> None:
    pipe = stored(ws, mnist)
    pipe.unlink()
    os.mkfifo(pipe)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(fetch_model, ws, mnist) for _ in range(4)]
        pipe.write_text("content of a")
        assert {one.result(30) for one in waiting} == {waiting[0].result()}


def test_a_process_killed_while_it_fetches_leaves_nothing_that_counts(ws: Workspace, mnist: Asset) -> None:
    pipe = stored(ws, mnist)
    pipe.unlink()
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-c", FETCHES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    descriptor = os.open(pipe, os.O_WRONLY)  # it reads
    os.write(descriptor, b"cont")
    eventually(lambda: any(".partial-" in name for name in entries(ws)))
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    os.close(descriptor)
    pipe.unlink()
    pipe.write_text("content of a")
    folder = fetch_model(ws, mnist)
    assert (folder / "models" / "a.bin").read_text() == "content of a"
    assert entries(ws) == [folder.name, f"{folder.name}.json"]


# --- space ------------------------------------------------------------------------------------------------------------------------


def registered(ws: Workspace, name: str, size: int) -> Asset:
    Path("large.bin").write_bytes(b"x" * size)
    return Model.register(ws, "large.bin", name)._asset


def fetched(ws: Workspace, asset: Asset, at: int) -> Path:
    """Fetch a model as if at that moment, and leave."""
    folder = fetch_model(ws, asset)
    os.utime(folder.with_name(folder.name + ".json"), (at, at))
    _leave()
    return folder


def test_what_was_used_longest_ago_makes_room(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "LARGEST", 250)
    old, newer = fetched(ws, registered(ws, "old", 100), 1000), fetched(ws, registered(ws, "newer", 100), 2000)
    newest = fetched(ws, registered(ws, "newest", 100), 3000)
    assert [folder.exists() for folder in (old, newer, newest)] == [False, True, True]
    assert not old.with_name(old.name + ".json").exists()


def test_what_is_in_use_stays(ws: Workspace, mnist: Asset, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", FETCHES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline() == "content of a\n"
    own = fetch_model(ws, registered(ws, "own", 100))
    used = cache_folder() / "team" / "mnist" / f"1-{mnist.id[:8]}"
    make_room(0, 0)
    assert used.exists()
    assert own.exists()
    process.communicate("\n", timeout=30)
    make_room(0, 0)
    assert not used.exists()
    assert own.exists()


def test_a_full_disk_takes_what_is_not_in_use(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fetched(ws, registered(ws, "old", 100), 1000)
    asset = registered(ws, "new", 100)
    bring, calls = model_cache.bring_files, []

    def full_at_first(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise DiskFullError("No space is left.")
        bring(*arguments)

    monkeypatch.setattr(model_cache, "bring_files", full_at_first)
    assert fetch_model(ws, asset).exists()
    assert not old.exists()
    monkeypatch.setattr(model_cache, "bring_files", lambda *arguments: calls.clear() or full_at_first(*arguments))  # type: ignore[func-returns-value]
    with pytest.raises(DiskFullError):
        fetch_model(ws, registered(ws, "newest", 100))
    assert not any(".partial-" in name for name in entries(ws))


def test_an_entry_that_is_just_given_up_is_fetched_again(ws: Workspace, mnist: Asset) -> None:
    """Whoever wants it waits for the end of that, and then fetches."""
    folder = fetched(ws, mnist, 1000)
    stop, problems = threading.Event(), []

    def give_up() -> None:
        while not stop.is_set():
            make_room(0, 0)

    thread = threading.Thread(target=give_up)
    thread.start()
    try:
        for _ in range(20):
            try:
                assert (fetch_model(ws, mnist) / "models" / "b.bin").read_text() == "content of b"
            except BaseException as problem:
                problems.append(problem)
            _leave()
    finally:
        stop.set()
        thread.join(30)
    assert problems == []
    assert fetch_model(ws, mnist) == folder
