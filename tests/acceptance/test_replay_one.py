"""``runs replay RUN --mini-batch N``: one mini-batch in the foreground."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BATCHMILL, Project

SCORE = """
import os, sys
from batchmill import EntryScript

def init():
    print("init", sys.argv[1:])

def run(mini_batch, context):
    EntryScript().logger.info("a word to the log")
    names = [os.path.basename(path) for path in mini_batch]
    if "3.txt" in names:
        raise ValueError("three\\nis bad")
    return [f"{name} of {context.minibatch_index}" for name in names]
"""


@pytest.fixture
def done(project: Project) -> Project:
    """A run of three mini-batches, the second of which failed."""
    project.write({"score.py": SCORE, **{f"in/{n}.txt": "x" * n for n in range(6)}})
    ended = project.batchmill(
        "run", "score.py", "--input", "in", "--mini-batch-size", "2", "--workers", "1", "--output", "out",
        "--error-threshold", "-1", "--no-isolate-failures", "--run-max-try", "1", "--", "--colour", "red",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return project


def fingerprint(project: Project) -> dict[str, str]:
    paths = [path for root in (project.home, project.folder) for path in root.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if not path.name.endswith(("-shm", "-wal"))}


def test_a_good_mini_batch(done: Project) -> None:
    before = fingerprint(done)
    ended = done.batchmill("runs", "replay", "last", "--mini-batch", "2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["init ['--colour', 'red']", "4.txt of 2", "5.txt of 2"]
    assert "Mini-batch 2: 2 items" in ended.stderr
    assert "in/4.txt" in ended.stderr
    assert "2 succeeded, 0 failed" in ended.stderr
    assert "a word to the log" in ended.stderr
    assert fingerprint(done) == before


def test_a_bad_one_shows_its_traceback_from_the_script_on(done: Project) -> None:
    before = fingerprint(done)
    ended = done.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert ended.returncode == 1
    assert "Error: Mini-batch 1: run() failed: ValueError: three is bad" in ended.stderr
    assert f'File "{done.folder}/score.py", line 12, in run' in ended.stderr
    assert "foreground.py" not in ended.stderr
    assert fingerprint(done) == before


def test_the_script_is_the_one_of_now(done: Project) -> None:
    done.write({"score.py": SCORE.replace('"3.txt" in names', "False")})
    ended = done.batchmill("runs", "replay", "last", "--mini-batch", "1", "--json", "--quiet")
    assert ended.returncode == 0, ended.stderr
    record = json.loads(ended.stdout)
    assert record["rows"] == ["2.txt of 1", "3.txt of 1"]
    assert record["counts"] == {"items": 2, "succeeded": 2, "failed": 0}
    assert [Path(item).name for item in record["items"]] == ["2.txt", "3.txt"]
    assert record["error"] is None


def test_wrong_numbers(done: Project) -> None:
    ended = done.batchmill("runs", "replay", "last", "--mini-batch", "3")
    assert ended.returncode == 2
    assert "has no mini-batch 3. It has 3 mini-batches, numbered from 0." in ended.stderr


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def test_a_debugger_can_be_attached(done: Project, terminal: tuple[int, int]) -> None:
    done.write({"score.py": SCORE.replace("    names =", "    breakpoint()\n    names =")})
    ours, theirs = terminal
    process = subprocess.Popen(
        [str(BATCHMILL), "runs", "replay", "last", "--mini-batch", "2"],
        cwd=done.folder,
        env=done.environment({"NO_COLOR": "1", "PYTHON_COLORS": "0", "TERM": "dumb"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    os.write(ours, b"p 'batch of ' + str(len(mini_batch))\nc\n")
    printed = b""
    try:
        while chunk := os.read(ours, 4096):
            printed += chunk
    except OSError:
        pass  # the terminal's other end closed
    assert process.wait(timeout=60) == 0, printed
    assert b"'batch of 2'" in printed
    assert b"5.txt of 2" in printed


def test_a_table_and_an_exit(project: Project) -> None:
    text = "import sys\ndef run(frame):\n    if frame.n.sum() > 2: sys.exit(4)\n    return list(frame.n)\n"
    project.write({"score.py": text, "in.csv": "n\n1\n1\n3\n4\n"})
    options = ("--error-threshold", "-1", "--no-isolate-failures", "--run-max-try", "1")
    project.batchmill("run", "score.py", "--input", "in.csv", "--mini-batch-size", "2rows", "--workers", "1", *options)
    good = project.batchmill("runs", "replay", "last", "--mini-batch", "0")
    assert (good.returncode, good.stdout) == (0, "1\n1\n"), good.stderr
    assert "in.csv:line 2" in good.stderr
    bad = project.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert bad.returncode == 1
    assert "run() failed: SystemExit: 4" in bad.stderr


def test_letters_are_replayed_without_a_number(done: Project) -> None:
    done.write({"score.py": SCORE.replace('"3.txt" in names', "False")})
    ended = done.batchmill("runs", "replay", "last")
    assert ended.returncode == 0, ended.stderr
    assert done.read("out/parallel_run_step.txt").splitlines()[2:4] == ["2.txt of 1", "3.txt of 1"]
