"""Every code block of the README and the docs runs, page by page, from top to bottom, in a folder of its own.

A block ``python title="score.py"`` is written to that file, any other ``python`` block runs in one namespace per page; ``bash`` blocks
run with the `batchmill` command on PATH and must succeed. A ``text`` block right after a ``bash`` block is what that one prints last.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
RUNNABLE = {"python", "bash"}


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2] or "", found[3], text[: found.start()].count("\n") + 1) for found in BLOCK.finditer(text)]


PAGES = [page for page in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]) if RUNNABLE & {b.language for b in blocks(page)}]
NO_COMMAND = importlib.util.find_spec("batchmill.cli.main") is None


def test_no_block_escapes() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        fences = page.read_text(encoding="utf-8").count("\n```")
        assert fences == 2 * len(blocks(page)), f"{page.relative_to(ROOT)} has a fence that is no block with a language"


@pytest.mark.skipif(NO_COMMAND, reason="the batchmill command is not there yet")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, project: Project) -> None:
    previous, printed = "", ""
    python_blocks: list[str] = []
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.title:
            project.write({block.title: block.code})
        elif block.language == "bash":
            printed = _run(["bash", "-euo", "pipefail", "-c", block.code], project, where)
        elif block.language == "python":
            # Earlier blocks run again, quietly dependable: each page is one program that grows.
            python_blocks.append(block.code)
            printed = _run([sys.executable, "-c", "\n".join(python_blocks)], project, where)
        elif block.language == "text" and previous == "bash":
            assert printed.rstrip().endswith(block.code.rstrip()), f"{where}: printed\n{printed}"
        previous = block.language if not block.title else ""


def _run(command: list[str], project: Project, where: str) -> str:
    ended = subprocess.run(command, cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, f"{where}: exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
