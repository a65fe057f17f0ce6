from __future__ import annotations

from typing import Any

import pytest
import typer

from batchmill.cli.options import ScriptCommand, parse_settings, takes_settings
from batchmill.errors import SettingError, UsageError
from batchmill.settings import RunSettings

EXAMPLES: dict[str, tuple[list[str], Any]] = {
    "inputs": (["--input", "a", "--input", "b"], ["a", "b"]),
    "format": (["--format", "CSV"], "csv"),
    "include_hidden": (["--include-hidden"], True),
    "partition_keys": (["--partition-key", "k", "--partition-key", "l"], ["k", "l"]),
    "partition_format": (["--partition-format", "{a}/x.csv"], "{a}/x.csv"),
    "retry_timeout": (["--retry-timeout", "1.5"], 1.5),
    "separator": (["--separator", ";"], ";"),
    "header": (["--header", "false"], "no_headers"),
    "encoding": (["--encoding", "UTF16"], "utf16"),
    "infer_column_types": (["--no-infer-column-types"], False),
    "support_multi_line": (["--support-multi-line"], True),
    "empty_as_string": (["--empty-as-string"], True),
    "include_path": (["--include-path"], True),
    "unparsable": (["--unparsable", "null"], "null"),
    "mini_batch_size": (["--mini-batch-size", "500rows"], "500rows"),
    "rank_mini_batch_count": (["--rank-mini-batch-count", "7"], 7),
    "workers": (["--workers", "3"], 3),
    "gpus_per_process": (["--gpus-per-process", "0.5"], 0.5),
    "nodes": (["--nodes", "2"], 2),
    "source": (["--source", "src"], "src"),
    "environment_variables": (["--env", "A=1", "--env", "B=x=y"], {"A": "1", "B": "x=y"}),
    "output": (["--output", "out"], "out"),
    "output_action": (["--output-action", "summary_only"], "summary_only"),
    "append_row_file_name": (["--append-row-file-name", "rows.txt"], "rows.txt"),
    "append_row_dataframe_header": (["--append-row-dataframe-header"], True),
    "error_threshold": (["--error-threshold", "-1"], -1),
    "allowed_failed_count": (["--allowed-failed-count", "4"], 4),
    "allowed_failed_percent": (["--allowed-failed-percent", "2.5"], 2.5),
    "run_invocation_timeout": (["--run-invocation-timeout", "5"], 5.0),
    "run_max_try": (["--run-max-try", "1"], 1),
    "isolate_failures": (["--no-isolate-failures"], False),
    "task_overhead_timeout": (["--task-overhead-timeout", "9"], 9.0),
    "progress_update_timeout": (["--progress-update-timeout", "9"], 9.0),
    "first_task_creation_timeout": (["--first-task-creation-timeout", "9"], 9.0),
    "reuse": (["--reuse", "mini_batch"], "mini-batch"),
    "workspace": (["--workspace", "team"], "team"),
    "models": (["--model", "mnist", "--model", "iris:2"], ["mnist", "iris:2"]),
    "environment": (["--environment", "batch-env:3"], "batch-env:3"),
    "environments": (["--environments", "Current"], "current"),
    "compute": (["--compute", "cpu-cluster"], "cpu-cluster"),
    "logging_level": (["--logging-level", "debug"], "DEBUG"),
    "name": (["--name", "n"], "n"),
    "resource_monitor_interval": (["--resource-monitor-interval", "0"], 0.0),
    "profiling_module": (["--profiling-module", "cProfile"], "cProfile"),
    "arguments": (["--", "a", "--", "-b"], ["a", "--", "-b"]),
}


def given(*words: str) -> dict[str, Any]:
    """What a command that takes settings is called with."""
    seen: list[dict[str, Any]] = []

    def command(values: dict[str, Any]) -> None:
        seen.append(values)

    app = typer.Typer(add_completion=False)
    app.command(cls=ScriptCommand)(takes_settings(command))
    typer.main.get_command(app).main(list(words), standalone_mode=False)
    return seen[0]


def test_only_what_the_user_gave_is_handed_on() -> None:
    assert given("score.py") == {"script": "score.py"}
    assert given("score.py", "--input", "a", "--workers", "2") == {"script": "score.py", "inputs": ["a"], "workers": "2"}


def test_an_example_for_every_setting() -> None:
    assert set(EXAMPLES) == set(RunSettings.model_fields) - {"script"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_setting_is_an_option(name: str) -> None:
    words, value = EXAMPLES[name]
    values = given("score.py", *words)
    assert set(values) == {"script", name}
    assert getattr(parse_settings(values), name) == value


def test_words_that_nothing_asked_for_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Unexpected argument 'b\.png'"):
        given("score.py", "--input", "a.png", "b.png", "c.png")


def test_messages_speak_of_options() -> None:
    with pytest.raises(SettingError, match=r"^Option --env has the value"):
        parse_settings({"script": "score.py", "environment_variables": ["A"]})
    with pytest.raises(SettingError, match=r"^Option --workers has the value '0': .*Option --nodes"):
        parse_settings({"script": "score.py", "workers": "0", "nodes": "-3"})
