from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.errors import DocumentError
from batchmill.pipeline.document import read_document
from batchmill.pipeline.entry_script_block import EntryScriptBlocks, entry_script_blocks, script_path

SCRIPT = "def run(mini_batch):\n    return mini_batch\n"
CONFIG = "config = ParallelRunConfig(entry_script='a.py', source_directory='s')\n"


def pairs(folder: Path, *blocks: str) -> EntryScriptBlocks:
    (folder / "page.md").write_text("".join(f"```python\n{block}```\n\n" for block in blocks))
    return entry_script_blocks([(block, block.parse(print)) for block in read_document(folder / "page.md").blocks])


def written(folder: Path, *blocks: str) -> dict[int, int]:
    return {number: naming.block for number, naming in pairs(folder, *blocks).written.items()}


def test_a_script_and_the_config_behind_it(tmp_path: Path) -> None:
    assert written(tmp_path, "a = 1\n", SCRIPT, "b = 1\n", CONFIG) == {2: 4}


@pytest.mark.parametrize(
    "call",
    [
        "c = steps.ParallelRunConfig(env, 'a.py', 1)\n",
        "from azureml.pipeline.steps import ParallelRunConfig as C\nc = C(entry_script='a.py')\n",
        "def make():\n    return ParallelRunConfig(**settings)\n",
    ],
)
def test_ways_to_call_it(tmp_path: Path, call: str) -> None:
    assert written(tmp_path, SCRIPT, call) == {1: 2}


@pytest.mark.parametrize(
    "blocks", [(SCRIPT,), (SCRIPT, "a = 1\n"), (CONFIG, SCRIPT), (SCRIPT + CONFIG,), ("def run():\n    pass\n", CONFIG)]
)
def test_functions_that_nobody_names_later_are_functions(tmp_path: Path, blocks: tuple[str, ...]) -> None:
    found = pairs(tmp_path, *blocks)
    assert (found.written, found.replaced) == ({}, {})


def test_the_block_that_says_the_name_is_taken(tmp_path: Path) -> None:
    found = pairs(tmp_path, f"# b.py\n{SCRIPT}", f"# This is a.py.\n{SCRIPT}", CONFIG, CONFIG.replace("a.py", "b.py"))
    assert {number: naming.name for number, naming in found.written.items()} == {1: "b.py", 2: "a.py"}


def test_several_in_their_order(tmp_path: Path) -> None:
    assert written(tmp_path, SCRIPT, SCRIPT, CONFIG, CONFIG.replace("a.py", "b.py")) == {1: 3, 2: 4}


def test_the_last_of_several_for_one_config(tmp_path: Path) -> None:
    found = pairs(tmp_path, SCRIPT, SCRIPT, CONFIG, CONFIG)
    assert (list(found.written), found.replaced) == ([2], {1: 3})


def test_one_script_after_another(tmp_path: Path) -> None:
    assert written(tmp_path, SCRIPT, CONFIG, SCRIPT, CONFIG) == {1: 2, 3: 4}


def test_where_a_script_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert script_path((), {"entry_script": " a.py ", "source_directory": "s"}) == tmp_path / "s" / "a.py"
    assert script_path((None, "x/a.py"), {}) == tmp_path / "x" / "a.py"


@pytest.mark.parametrize(
    "keywords", [{}, {"entry_script": ""}, {"entry_script": "../a.py"}, {"entry_script": "/a.py", "source_directory": "s"}]
)
def test_where_no_script_is_written(keywords: dict[str, str]) -> None:
    with pytest.raises(DocumentError):
        script_path((), keywords)
