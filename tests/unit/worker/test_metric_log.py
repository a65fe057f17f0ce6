"""What is logged becomes plain values, and offline it is printed."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest

from batchmill.worker.channel import NotTheWorker
from batchmill.worker.metric_log import metrics_of, plain
from batchmill.worker.offline_run import OfflineRun
from batchmill.worker.questions import answer_with
from batchmill.worker.script_run import ScriptRun, run_of_script
from batchmill.workspace.exceptions import AzureMLException, UserErrorException


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.bool_(True), True),
        (Level.HIGH, 3),
        ({1: (2, np.nan)}, None),
        (None, None),
    ],
)
def test_plain_values(given: Any, kept: Any) -> None:
    found = plain(given)
    if isinstance(given, dict):
        assert list(found) == ["1"]
        assert np.isnan(found["1"][1])
    else:
        assert found == kept
        assert type(found) is type(kept)


def test_what_a_process_of_no_run_gets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("AZUREML_RUN_ID", "BATCHMILL_STEP_QUESTIONS"):
        monkeypatch.delenv(name, raising=False)
    run = run_of_script()
    assert isinstance(run, OfflineRun)
    run.upload_folder("outputs", "nowhere")
    run.child_run("part").log("x", 1)
    with run:
        run.log_image("plot", path="a.png")
    assert run.get_details()["status"] == "Completed"
    assert capsys.readouterr().out.splitlines()[:3] == ["Attempted to upload outputs", "Attempted to log scalar metric x:", "1"]
    with pytest.raises(AzureMLException, match="belongs to no run"):
        run_of_script(allow_offline=False)


class Asked:
    """A run that keeps what it is asked."""

    def __init__(self) -> None:
        self.questions: list[dict[str, Any]] = []

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        self.questions.append(question)
        if question["kind"] == "run":
            return {"id": "r", "name": "n", "type": "t", "experiment": None, "parent": None, "workspace": None, "inputs": {}, "outputs": {}}
        if question["kind"] == "upload":
            return {"error": {"class": "UserErrorException", "message": "no room"}}
        return {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AZUREML_RUN_ID", "r")
    run = Asked()
    before = answer_with(run)
    yield run
    answer_with(before)


def test_equal_metrics_are_no_equal_questions(asked: Asked) -> None:
    """Workers that ask the same at one time share an answer: a metric would be lost."""
    run = run_of_script()
    assert isinstance(run, ScriptRun)
    for _ in range(2):
        run.log("x", 1)
    first, second = asked.questions
    assert first["telling"] != second["telling"]
    assert {**first, "telling": 0} == {**second, "telling": 0} == {"kind": "metric", "name": "x", "as": "value", "value": 1, "telling": 0}


def test_the_run_is_asked_once_for_what_does_not_change(asked: Asked) -> None:
    run = ScriptRun()
    assert (run.id, run.name, run.parent, run.input_datasets, run.output_datasets) == ("r", "n", None, {}, {})
    assert [one["kind"] for one in asked.questions] == ["run"]
    with pytest.raises(AttributeError, match="A script cannot use wait_for_completion of its run"):
        run.wait_for_completion()
    assert not hasattr(run, "_repr_html_")


def test_a_refusal_is_an_error_of_the_sdk(asked: Asked) -> None:
    with pytest.raises(UserErrorException, match="no room"):
        ScriptRun().upload_file("a", "b")
    with pytest.raises(UserErrorException, match="There are 1 names for 2 paths"):
        ScriptRun().upload_files(["a"], ["b", "c"])


def test_a_part_of_a_run_does_not_end_it(asked: Asked) -> None:
    run = ScriptRun()
    with run.child_run("part") as part:
        part.log("x", 1)
    with pytest.raises(ZeroDivisionError), part:
        1 / 0  # noqa: B018
    assert [one["kind"] for one in asked.questions] == ["run", "metric"]
    with pytest.raises(ZeroDivisionError), run:
        1 / 0  # noqa: B018
    assert asked.questions[-1]["error"] == "ZeroDivisionError: division by zero"


def test_a_child_of_a_worker_is_told_what_to_do(asked: Asked) -> None:
    def refuse(question: dict[str, Any]) -> dict[str, Any]:
        raise NotTheWorker("no")

    answer_with(refuse)
    with pytest.raises(UserErrorException, match=r"only the worker itself can\. Ask in init"):
        ScriptRun().log("x", 1)


def test_metrics_of_one_name() -> None:
    assert metrics_of([("a", "list", [1]), ("a", "list", [2])], "a") == {"a": [1, 2]}
