from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from batchmill.errors import ContractError
from batchmill.testing import CHECKS, check_contract

FRAME = pd.DataFrame({"n": [1, 2, 3]})

BROKEN = {
    "script": "def runn(batch): return []",
    "signature": "def run(batch, context, more): return []",
    "init": "def init(): raise OSError('no model')\ndef run(batch): return list(batch.n)",
    "run": "def run(batch):\n    return [1 / 0 for _ in batch.n]",
    "exit": "import sys\ndef run(batch): sys.exit(3)",
    "result": "def run(batch): return None",
    "rows": "def run(batch): return [1]",
    "encoding": "def run(batch): return ['\\ud800'] * len(batch)",
    "folder": "import os\ndef run(batch):\n    os.chdir('/')\n    return list(batch.n)",
    "deterministic": "calls = []\ndef run(batch):\n    calls.append(1)\n    return [len(calls)] * len(batch)",
    "grouping": "def run(batch): return list(batch.n - batch.n.mean())",
    "shutdown": "def run(batch): return list(batch.n)\ndef shutdown(): raise OSError('busy')",
}


def check(folder: Path, text: str, **options: object) -> object:
    path = folder / "score.py"
    path.write_text(text)
    return check_contract(path, FRAME, **options)  # type: ignore[arg-type]


def test_every_check_has_its_example() -> None:
    assert list(BROKEN) == list(CHECKS)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_promises(tmp_path: Path, name: str) -> None:
    with pytest.raises(ContractError) as caught:
        check(tmp_path, BROKEN[name], grouping=True)
    assert caught.value.facts["check"] == name
    assert "\n" not in str(caught.value)
    assert "score.py" in str(caught.value)
    assert caught.value.cure


def test_good_script(tmp_path: Path) -> None:
    report = check_contract_of(tmp_path, "def run(batch): return list(batch.n * 2)", grouping=True)
    assert report.checks == tuple(CHECKS)
    assert report.result.rows == ["2", "4", "6"]


def check_contract_of(folder: Path, text: str, **options: object):  # type: ignore[no-untyped-def]
    return check(folder, text, **options)


def test_checks_can_be_left_out(tmp_path: Path) -> None:
    report = check_contract_of(tmp_path, BROKEN["deterministic"], skip=["deterministic"])
    assert "deterministic" not in report.checks
    assert "grouping" not in report.checks
    with pytest.raises(ValueError, match="no check 'colour'"):
        check(tmp_path, BROKEN["rows"], skip=["colour"])


def test_messages_say_where(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"run\(\) on mini-batch 0 raised ZeroDivisionError: division by zero \(score\.py, line 2\)\."):
        check(tmp_path, BROKEN["run"])
    with pytest.raises(ContractError, match=r"returned 1 row for 3 items \(mini-batch 0: row 0, row 1, \.\.\.\)"):
        check(tmp_path, BROKEN["rows"])
    with pytest.raises(ContractError, match=r"The actual type of output is NoneType"):
        check(tmp_path, BROKEN["result"])


def test_grouping_is_left_out_for_partitions(tmp_path: Path) -> None:
    report = check_contract_of(tmp_path, BROKEN["grouping"], grouping=True, keys={"user": 1})
    assert "grouping" not in report.checks
