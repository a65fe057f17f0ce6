"""Projects with an entry script and inputs, and runs that stand still until a test lets them go on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import BATCHMILL, Project

SCORE = """
import os, sys, time

def init():
    print("init with", sys.argv[1:])

def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    if "GATE" in os.environ:
        time.sleep(0.06)  # longer than a worker keeps what it finished to itself
    while any(name >= "30" for name in names) and os.environ.get("GATE") and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    for name in names:
        if name.startswith("bad"):
            print("about to fail on", name)
            raise ValueError(f"{name} is bad\\nsecond line")
    print("scored", names[0])
    sys.stderr.write(f"warned {names[0]}\\n")
    return [f"{name}: {os.path.getsize(path)}" for name, path in zip(names, mini_batch)]
"""
NAMES = [f"{number:02d}.txt" for number in range(60)]
REFERENCE = "".join(f"{name}: {len(name)}\n" for name in NAMES)


@pytest.fixture
def scored(project: Project) -> Project:
    """``score.py`` and sixty files in ``in/``; with GATE set, the files from 30 on wait until that file is there."""
    return project.write({"score.py": SCORE, **{f"in/{name}": name for name in NAMES}})


Start = Callable[..., "subprocess.Popen[str]"]


def _hear_interrupts() -> None:
    """A suite started in the background by a shell ignores SIGINT, and so would everything it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(scored: Project) -> Iterator[Start]:
    """Start the command in the background, in a process group of its own as a shell does; it is gone when the test ends."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(BATCHMILL), *arguments],
            cwd=scored.folder,
            env=scored.environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_interrupts,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll until the condition holds; returns what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def shown(project: Project, run: str = "last") -> dict[str, Any]:
    """The object of ``runs show --json``; empty while there is no such run."""
    ended = project.batchmill("runs", "show", run, "--json")
    record: dict[str, Any] = json.loads(ended.stdout) if ended.returncode == 0 else {}
    return record


def until_half_done(project: Project, process: subprocess.Popen[str] | None = None) -> None:
    """Wait until what does not wait at the gate is in the ledger."""

    def half_done() -> bool:
        assert process is None or process.poll() is None, process.communicate()
        record = shown(project)
        return bool(record) and record["counts"]["items"]["succeeded"] >= 20

    until(half_done)
