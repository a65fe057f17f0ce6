"""Folders that go with the last process that holds them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batchmill.nodes.scratch import HeldFolder, Scratch, Stopped, sweep

HOLDS = """
import sys
from pathlib import Path
from batchmill.nodes.scratch import Scratch
scratch = Scratch("run", 1, sys.argv[2], Path(sys.argv[1]))
(scratch.own / "file").touch()
print(flush=True)
sys.stdin.read()
"""


def holder(root: Path, node: str) -> subprocess.Popen[bytes]:
    """A process that holds the folders of a node until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(root), node], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_the_last_one_to_leave_removes_the_folder(tmp_path: Path) -> None:
    one, two = HeldFolder(tmp_path / "x"), HeldFolder(tmp_path / "x")
    one.release()
    assert (tmp_path / "x").is_dir()
    two.release()
    two.release()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_goes_and_what_others_use_stays(tmp_path: Path) -> None:
    dead, alive = holder(tmp_path, "node0"), holder(tmp_path, "node1")
    try:
        end(dead)
        scratch = Scratch("run", 1, "node2", tmp_path)
        names = sorted(path.name for path in scratch.shared.iterdir() if path.is_dir())
        assert names == ["run.node1", "run.node2"]
        end(alive)
        scratch.close()
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        end(alive)


def test_other_runs_of_the_machine_are_left_alone(tmp_path: Path) -> None:
    ours, theirs = Scratch("run", 1, "node0", tmp_path), Scratch("run", 2, "node0", tmp_path)
    assert ours.shared != theirs.shared
    ours.close()
    assert theirs.own.is_dir()
    theirs.close()


def test_a_shared_folder_is_filled_once(tmp_path: Path) -> None:
    nodes = [Scratch("run", 1, f"node{number}", tmp_path) for number in range(4)]
    made, all_here = [], threading.Barrier(4)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "content").write_text("x")

    def work(scratch: Scratch) -> None:
        all_here.wait()
        assert (scratch.once("plan", make, lambda: False) / "content").read_text() == "x"

    threads = [threading.Thread(target=work, args=(scratch,)) for scratch in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    for scratch in nodes:
        scratch.close()


def test_who_fails_to_fill_it_leaves_it_to_the_next(tmp_path: Path) -> None:
    scratch = Scratch("run", 1, "node0", tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        scratch.once("plan", fail, lambda: False)
    made = scratch.once("plan", lambda folder: (folder / "whole").touch(), lambda: False)
    assert [path.name for path in made.iterdir()] == ["whole"]
    scratch.close()


def test_who_is_not_wanted_any_more_does_not_wait(tmp_path: Path) -> None:
    one, two = Scratch("run", 1, "node0", tmp_path), Scratch("run", 1, "node1", tmp_path)

    def make(folder: Path) -> None:
        with pytest.raises(Stopped):
            two.once("plan", lambda _: None, lambda: True)

    one.once("plan", make, lambda: False)
    one.close()
    two.close()
