"""``batchmill plan``: what a run would be, and nothing left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project

SCORE = """
import os, sys, time
from batchmill import EntryScript

def run(mini_batch):
    entry = EntryScript()
    with open(os.path.join(entry.output_dir, f"made by {os.getpid()}"), "w") as file:
        file.write("x")
    with open(sys.argv[1], "a") as file:
        file.write(entry.output_dir + "\\n")
    return [os.path.basename(path) for path in mini_batch]
"""


@pytest.fixture
def files(project: Project) -> Project:
    return project.write({"score.py": SCORE, **{f"in/{number:02d}.txt": "x" * 10 for number in range(50)}})


def planned(project: Project, *options: str, code: int = 0) -> dict[str, Any]:
    ended = project.batchmill("plan", *options[:1], "--json", "--quiet", *options[1:])
    assert ended.returncode == code, ended.stderr
    record: dict[str, Any] = json.loads(ended.stdout)
    return record


def nothing_left(project: Project) -> None:
    assert [path for path in project.home.rglob("*") if path.is_file()] == []
    assert json.loads(project.batchmill("runs", "list", "--json").stdout) == []


def test_files(files: Project) -> None:
    record = planned(files, "score.py", "--input", "in", "--mini-batch-size", "4")
    plan = record["plan"]
    assert (plan["files"], plan["bytes"], plan["mini_batches"], plan["rows"]) == (50, 500, 13, None)
    assert record["trial"] is None
    nothing_left(files)


def test_for_people(files: Project) -> None:
    ended = files.batchmill("plan", "score.py", "--input", "in", "--mini-batch-size", "4")
    assert ended.returncode == 0
    assert [line.split() for line in ended.stdout.splitlines()] == [
        ["files", "50", "500", "bytes"],
        ["mini-batches", "13", "of", "4", "files", "at", "most"],
    ]


def test_tables_and_keys(project: Project) -> None:
    rows = "".join(f"{n},{'ab'[n % 2]}\n" for n in range(40))
    project.write({"score.py": "def run(frame): return list(frame.n)", "in.csv": "n,letter\n" + rows})
    assert planned(project, "score.py", "--input", "in.csv", "--mini-batch-size", "15rows")["plan"]["mini_batches"] == 3
    keyed = planned(project, "score.py", "--input", "in.csv", "--partition-key", "letter", "--try", "2")
    assert keyed["plan"]["partition_keys"] == ["letter"]
    assert keyed["plan"]["mini_batches"] == 2
    assert keyed["trial"]["items"] == 40
    assert keyed["estimate"]["mini_batch_size"]["value"] is None
    sliced = planned(project, "score.py", "--input", "in.csv", "--mini-batch-size", "8rows", "--try", "2", "--workers", "1")
    assert sliced["estimate"]["items"] == 40
    nothing_left(project)


def test_a_trial_runs_for_real_and_throws_away(files: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    record = planned(
        files, "score.py", "--input", "in", "--mini-batch-size", "5", "--try", "4", "--workers", "2", "--output", "out", "--", str(log)
    )
    trial, estimate = record["trial"], record["estimate"]
    assert (trial["mini_batches"], trial["succeeded"], trial["items"], trial["items_failed"]) == (4, 4, 20, 0)
    assert trial["workers"] == 2
    folders = set(log.read_text().splitlines())
    assert folders
    assert not any(os.path.exists(folder) for folder in folders)
    assert not (files.folder / "out").exists()
    assert estimate["items"] == 50
    assert estimate["wall_seconds_low"] <= estimate["wall_seconds"] <= estimate["wall_seconds_high"]
    assert estimate["memory_per_worker"] > 5 << 20
    assert estimate["workers"]["value"] >= 1
    assert int(estimate["mini_batch_size"]["value"]) >= 1
    nothing_left(files)


def test_a_trial_for_people(files: Project, tmp_path: Path) -> None:
    ended = files.batchmill("plan", "score.py", "--input", "in", "--try", "2", "--workers", "1", "--", str(tmp_path / "log"))
    assert ended.returncode == 0, ended.stderr
    for word in ("wall time", "items/s", "memory", "--mini-batch-size", "--workers", "Tried 2 mini-batches (20 items)"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("def init(): raise OSError('no model')\ndef run(batch): return batch", "init() failed: OSError: no model"),
        ("def run(batch): raise ValueError('bad')", "2 of 2 tried mini-batches failed: ValueError: bad"),
        ("def run(batch): return [1]", "2 of 2 tried mini-batches failed: ItemsFailed"),
        ("import os\ndef run(batch): os._exit(3)", "2 of 2 tried mini-batches failed: WorkerExited"),
    ],
)
def test_a_trial_that_fails(files: Project, text: str, word: str) -> None:
    files.write({"score.py": text})
    ended = files.batchmill("plan", "score.py", "--input", "in", "--try", "2", "--workers", "1")
    assert ended.returncode == 1, ended.stdout
    assert word in ended.stderr
    nothing_left(files)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("score.py",), "No input was given"),
        (("score.py", "--input", "nowhere"), "nowhere"),
        (("none.py", "--input", "in"), "does not exist"),
        (("score.py", "--input", "in", "--mini-batch-size", "0"), "--mini-batch-size"),
    ],
)
def test_wrong_use(files: Project, options: tuple[str, ...], word: str) -> None:
    ended = files.batchmill("plan", *options)
    assert ended.returncode == 2
    assert word in ended.stderr
    nothing_left(files)
