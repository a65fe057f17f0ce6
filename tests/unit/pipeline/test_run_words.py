"""How SDK v1 says how a run stands, and what it says of metrics."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batchmill.pipeline.run_status_words import has_ended, pipeline_word, run_word, step_word
from batchmill.worker.metric_log import metrics_of
from batchmill.worker.offline_run import OfflineRun
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.holder import Holder
from batchmill.workspace.registered_run import Metric, RegisteredRun

NOW = datetime.now(UTC)


def _run(status: str, **facts: object) -> RegisteredRun:
    run = RegisteredRun("r", "mine", status, "", NOW, NOW, kind="azureml.PipelineRun", holder=Holder.me(), heartbeat=NOW)
    return replace(run, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "pipeline", "step", "run"),
    [
        ("NotStarted", "NotStarted", "NotStarted", "NotStarted"),
        ("Queued", "NotStarted", "Queued", "Queued"),
        ("Running", "Running", "Running", "Running"),
        ("Completed", "Finished", "Finished", "Completed"),
        ("Failed", "Failed", "Failed", "Failed"),
        ("Canceled", "Canceled", "Canceled", "Canceled"),
        ("Interrupted", "NotResponding", "NotResponding", "NotResponding"),
    ],
)
def test_words(ours: str, pipeline: str, step: str, run: str) -> None:
    assert (pipeline_word(ours), step_word(ours)) == (pipeline, step)
    if ours != "Interrupted":
        assert run_word(_run(ours)) == run


def test_a_run_whose_process_is_gone_is_never_running() -> None:
    dead = _run("Running", holder=Holder("elsewhere", 1, "1"), heartbeat=NOW - timedelta(hours=1))
    assert run_word(dead) == "NotResponding"
    assert has_ended(dead)
    assert not has_ended(_run("Running"))


def test_a_run_that_is_to_be_canceled_says_so_until_it_is() -> None:
    assert run_word(_run("Running", cancel_requested=True)) == "CancelRequested"
    assert run_word(_run("Completed", cancel_requested=True)) == "Completed"


def _logged(*metrics: tuple[str, str, object]) -> list[Metric]:
    return [Metric(name, kind, value, NOW) for name, kind, value in metrics]


def test_metrics_as_they_are_read() -> None:
    logged = _logged(
        ("loss", "value", 2),
        ("loss", "value", 1),
        ("once", "value", "x"),
        ("list", "list", [1]),
        ("list", "list", [2, 3]),
        ("rows", "row", {"a": 1, "b": 2}),
        ("rows", "row", {"a": 3}),
        ("row", "row", {"a": 1}),
        ("table", "table", {"a": [1, 2]}),
    )
    assert metrics_of(logged) == {
        "loss": [2, 1],
        "once": "x",
        "list": [1, 2, 3],
        "rows": {"a": [1, 3], "b": 2},
        "row": {"a": 1},
        "table": {"a": [1, 2]},
    }
    assert metrics_of(logged, "once") == {"once": "x"}


def test_an_offline_run_prints_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with OfflineRun() as run:
        run.log("loss", 0.5)
        run.log_table("t", {"a": [1], "b": 2})
        run.log_list("l", (1, 2))
        run.log_row("r", a=1)
        run.tag("k", "v")
    assert run.id.startswith("OfflineRun_")
    assert run.get_metrics() == {"loss": 0.5, "t": {"a": [1], "b": [2]}, "l": [1, 2], "r": {"a": 1}}
    assert (run.status, run.tags) == ("Completed", {"k": "v"})
    assert "Attempted to log scalar metric loss:\n0.5" in capsys.readouterr().out


def test_what_cannot_be_logged() -> None:
    run = OfflineRun()
    with pytest.raises(UserErrorException, match="may have 250 at most"):
        run.log_list("l", range(251))
    with pytest.raises(UserErrorException, match="is a dict of columns, not list"):
        run.log_table("t", [1])  # type: ignore[arg-type]
    with pytest.raises(UserErrorException, match="is a text that is not empty"):
        run.log("", 1)
    with pytest.raises(UserErrorException, match="is no JSON"):
        run.log_confusion_matrix("m", "{")
