"""Finding init, run and shutdown in an entry script."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.worker.entry_script import EntryScript
from batchmill.worker.script import MiniBatchContext, MiniBatchDataset, MissingRunFunction, UserScript


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, text: str, name: str = "zoo_score.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("signature", "wants"),
    [("b", False), ("b, c", True), ("b, c=None", True), ("b, /, c", True), ("b, *, c", False), ("b, *c", False), ("b, **c", False)],
)
def test_who_wants_the_context(tmp_path: Path, signature: str, wants: bool) -> None:
    assert UserScript(write(tmp_path, f"def run({signature}): pass")).wants_context is wants


def test_a_script_without_run(tmp_path: Path) -> None:
    with pytest.raises(MissingRunFunction, match="has no function run"):
        UserScript(write(tmp_path, "run = 7"))


def test_a_script_named_like_a_module_of_the_library_does_not_replace_it(tmp_path: Path) -> None:
    import json

    script = UserScript(write(tmp_path, "def run(b): return b", "json.py"))
    assert sys.modules["json"] is json
    assert script.module.__name__ == "entry_script_json"


def test_init_and_shutdown_are_optional(tmp_path: Path) -> None:
    script = UserScript(write(tmp_path, "calls = []\ndef init(): calls.append(1)\ndef run(b): pass"))
    script.init()
    script.shutdown()
    assert script.module.calls == [1]


def test_the_context_can_be_printed() -> None:
    context = MiniBatchContext("7", {"user": "ann"}, MiniBatchDataset(["/a", "/b"], None))
    assert (
        repr(context)
        == "MiniBatchContext(minibatch_index='7', partition_key_value={'user': 'ann'}, dataset=MiniBatchDataset(2 paths: /a, /b))"
    )
    assert context.dataset.to_path() == ["/a", "/b"]


def test_outside_a_run_the_entry_script_is_agent000() -> None:
    script = EntryScript()
    assert script is EntryScript()
    assert script.agent_name == "agent000"
    script.logger.info("harmless")
