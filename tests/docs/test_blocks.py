"""Every code block of the README and the docs runs, page by page, from top to bottom, in a folder of its own.

What stands behind the language of a block says how it runs:

* ``title="score.py"``: the block is written to that file; any other ``python`` block runs in the one interpreter of its page.
* ``exit="2"``: the commands end with that exit code instead of 0.
* ``store="s3"``: the page runs with a local S3 server, whose variables are set; the buckets of blocks that succeed exist.
* ``machine="own"``: the page runs on a machine of its own (`tests.own_machine`), on which Ray may be started and stopped as on a real
  one, with RAY_AUTH_MODE=token; it is among the slow tests.
* ``skip="reason"``: the block cannot run here, and why.

``bash`` blocks run with the `batchmill` command on PATH. A ``text`` block right after one is what it prints last, with ``of="stderr"``
to stderr; three dots in it stand for anything.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import stores
from tests.conftest import Project
from tests.own_machine import own_machine

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```(\w+)((?: \w+="[^"]*")*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')
BUCKET = re.compile(r"(?:s3://|--s3 )([a-z0-9-]+)")
ATTRIBUTES = {"title", "exit", "store", "machine", "skip", "of"}
RUNNABLE = {"python", "bash"}
INTERPRETER = """
import contextlib, io, json, sys, traceback
names, answers, sys.argv = {"__name__": "__main__"}, sys.stdout, [""]
for line in sys.stdin:
    out, error = io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(json.loads(line), "<page>", "exec"), names)
        except BaseException:
            error = traceback.format_exc()
    print(json.dumps([out.getvalue(), error]), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Block:
    language: str
    attributes: Mapping[str, str]
    code: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and "skip" not in self.attributes


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], dict(ATTRIBUTE.findall(found[2])), found[3], text[: found.start()].count("\n") + 1)
        for found in BLOCK.finditer(text)
    ]


ALL_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in ALL_PAGES if any(block.runs for block in blocks(page))]


def test_no_block_escapes() -> None:
    for page in ALL_PAGES:
        where = page.relative_to(ROOT)
        fences = page.read_text(encoding="utf-8").count("\n```")
        assert fences == 2 * len(blocks(page)), f"{where} has a fence that is no block with a language"
        for block in blocks(page):
            assert set(block.attributes) <= ATTRIBUTES, f"{where}:{block.line} has an unknown attribute"
            assert block.attributes.get("skip") != "", f"{where}:{block.line} is skipped without a reason"


def _speed(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if _own_machine(page) else []


def _own_machine(page: Path) -> bool:
    return any(block.attributes.get("machine") == "own" for block in blocks(page))


@pytest.fixture
def page_machine(page: Path, project: Project) -> Iterator[list[str]]:
    """What stands before the commands of a page that has a machine of its own."""
    if not _own_machine(page):
        yield []
        return
    with own_machine(project.folder) as words:
        yield words


@pytest.fixture
def page_environment(page: Path) -> Iterator[dict[str, str]]:
    """The variables of a page that speaks to a store, while its server runs."""
    with contextlib.ExitStack() as stack:
        found = blocks(page)
        if not any(block.attributes.get("store") == "s3" for block in found):
            yield {}
            return
        server = stack.enter_context(stores.s3_server())
        for bucket in sorted(
            {name for block in found if block.runs and "exit" not in block.attributes for name in BUCKET.findall(block.code)}
        ):
            server.create(bucket)
        yield server.environment


@pytest.mark.parametrize("page", [pytest.param(page, marks=_speed(page), id=str(page.relative_to(ROOT))) for page in PAGES])
def test_blocks_run(page: Path, project: Project, page_environment: dict[str, str], page_machine: list[str]) -> None:
    environment = project.environment(page_environment)
    if page_machine:
        environment |= {"HOME": str(project.folder), "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    if "examples/" in page.read_text(encoding="utf-8"):  # as in a clone of the repository
        (project.folder / "examples").symlink_to(ROOT / "examples")
    previous: Block | None = None
    printed = {"stdout": "", "stderr": ""}
    with Interpreter(project.folder, environment, page_machine) as python:
        for block in blocks(page):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            if title := block.attributes.get("title"):
                project.write({title: block.code})
            elif block.runs and block.language == "bash":
                printed = _bash(block, project.folder, environment, where, page_machine)
            elif block.runs:
                printed = {"stdout": python.run(block.code, where), "stderr": ""}
            elif block.language == "text" and previous is not None and previous.runs and "title" not in previous.attributes:
                _compare(block, printed[block.attributes.get("of", "stdout")], where)
            previous = block


class Interpreter:
    """The ``python`` blocks of one page, in one process; started when there is one."""

    def __init__(self, folder: Path, environment: Mapping[str, str], machine: Sequence[str]) -> None:
        self._folder, self._environment, self._machine = folder, environment, machine
        self._process: subprocess.Popen[str] | None = None

    def run(self, code: str, where: str) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                [*self._machine, sys.executable, "-c", INTERPRETER],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        printed, error = json.loads(self._process.stdout.readline())
        assert not error, f"{where}: {error}"
        return str(printed)

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            with self._process as process:
                process.kill()


def _bash(block: Block, folder: Path, environment: Mapping[str, str], where: str, machine: Sequence[str]) -> dict[str, str]:
    command = [*machine, "bash", "-euo", "pipefail", "-c", block.code]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    expected = int(block.attributes.get("exit", "0"))
    assert ended.returncode == expected, f"{where}: exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return {"stdout": ended.stdout, "stderr": ended.stderr}


def _compare(block: Block, printed: str, where: str) -> None:
    pattern = ".*?".join(re.escape(part) for part in block.code.rstrip().split("..."))
    assert re.search(rf"(?:\A|\n){pattern}\s*\Z", printed, re.DOTALL), f"{where}: printed\n{printed}"
