"""The digits example without Batchmill around it: the images are real, and the model reads most of them."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"


def test_scores_the_exported_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runpy.run_path(str(EXAMPLE / "prepare.py"))["prepare"](tmp_path) == 898
    monkeypatch.setattr("sys.argv", ["score.py", "--model", str(tmp_path / "model.joblib")])
    script = runpy.run_path(str(EXAMPLE / "score.py"))
    script["init"]()
    # runpy hands out a copy of the globals; the functions themselves hold the real ones.
    images = sorted(map(str, (tmp_path / "images").iterdir()))
    rows = [row.split(": ") for row in script["run"](images)]
    with open(tmp_path / "labels.csv", newline="", encoding="utf-8") as file:
        truth = {row["name"]: row["digit"] for row in csv.DictReader(file)}
    assert [name for name, _ in rows] == sorted(truth)
    assert sum(truth[name] == digit for name, digit in rows) > 0.9 * len(rows)
