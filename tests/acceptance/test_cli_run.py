"""``batchmill run``: what it prints, writes and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import REFERENCE, shown, until
from tests.conftest import Project


def test_it_writes_every_row_once_in_order_and_adds_up(scored: Project) -> None:
    ended = scored.batchmill("run", "score.py", "--input", "in", "--mini-batch-size", "7", "--workers", "2", "--output", "out")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert re.search(r"^Run \S+ \(score\): 60 items in 9 mini-batches$", ended.stderr, re.M)
    assert re.search(r"^Run \S+ \(score\): Completed in 0:\d\d:\d\d\.$", ended.stderr, re.M)
    assert re.search(r"items +60 = 60 succeeded \+ 0 failed \+ 0 not run$", ended.stderr, re.M)
    assert re.search(r"mini-batches +9 = +9 succeeded \+ 0 failed \+ 0 not run$", ended.stderr, re.M)
    assert re.search(r"output +out/parallel_run_step.txt$", ended.stderr, re.M)
    logs = re.search(r"logs +(\S+)$", ended.stderr, re.M)
    assert logs is not None
    assert Path(logs[1], "job_result.txt").exists()


def test_without_output_the_rows_lie_under_the_home(scored: Project) -> None:
    assert scored.batchmill("run", "score.py", "--input", "in").returncode == 0
    output = Path(shown(scored)["output"])
    assert output.is_relative_to(scored.home)
    assert (output / "parallel_run_step.txt").read_text() == REFERENCE


def test_words_after_the_dashes_belong_to_the_script(scored: Project) -> None:
    assert scored.batchmill("run", "score.py", "--input", "in", "--", "--model", "m.bin", "--input", "--").returncode == 0
    assert "init with ['--model', 'm.bin', '--input', '--']" in scored.batchmill("runs", "logs", "last").stdout


def test_environment_variables_and_flags_reach_the_run(scored: Project) -> None:
    scored.write({"env.py": "import os\ndef run(mini_batch):\n    return [os.environ['A'] + os.environ['B']] * len(mini_batch)\n"})
    ended = scored.batchmill(
        "run", "env.py", "--input", "in/0*.txt", "--input", "in/59.txt", "--env", "A=1", "--env", "B==2", "--output", "o"
    )
    assert ended.returncode == 0, ended.stderr
    assert scored.read("o/parallel_run_step.txt") == "1=2\n" * 11


def test_json_prints_the_run_and_quiet_prints_nothing_else(scored: Project) -> None:
    ended = scored.batchmill("run", "score.py", "--input", "in", "--json", "--quiet", "--name", "digits")
    assert (ended.returncode, ended.stderr) == (0, "")
    record = json.loads(ended.stdout)
    assert record["name"] == "digits"
    assert record["counts"]["items"] == {"total": 60, "succeeded": 60, "failed": 0, "not_run": 0}


def test_detach_prints_the_id_at_once_and_the_run_goes_on(scored: Project) -> None:
    gate = scored.folder / "gate"
    ended = scored.batchmill("run", "score.py", "--input", "in", "--output", "out", "--detach", env={"GATE": str(gate)})
    run = ended.stdout.strip()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert shown(scored)["id"] == run
    assert shown(scored, run)["status"] == "Running"
    gate.touch()
    until(lambda: shown(scored, run)["status"] == "Completed")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_detach_with_json_prints_the_run(scored: Project) -> None:
    ended = scored.batchmill("run", "score.py", "--input", "in", "--detach", "--json")
    assert json.loads(ended.stdout)["id"] == until(lambda: shown(scored).get("status") == "Completed" and shown(scored))["id"]


def test_a_detached_run_refuses_bad_input_before_it_returns(scored: Project) -> None:
    ended = scored.batchmill("run", "score.py", "--input", "nowhere", "--detach")
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
    assert list((scored.home / "runs").iterdir()) == []


def test_a_failed_item_is_isolated_and_named(scored: Project) -> None:
    scored.write({"in/bad.txt": ""})
    ended = scored.batchmill("run", "score.py", "--input", "in", "--mini-batch-size", "7", "--error-threshold", "1", "--output", "out")
    assert ended.returncode == 0, ended.stderr
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    assert re.search(r"items +61 = 60 succeeded \+ 1 failed \+ 0 not run$", ended.stderr, re.M)
    assert re.search(r"mini-batches +9 = +8 succeeded \+ 1 failed \+ 0 not run \(1 retried\)$", ended.stderr, re.M)
    assert re.search(r"errors +batchmill runs errors \S+$", ended.stderr, re.M)
    assert re.search(r"replay +batchmill runs replay \S+$", ended.stderr, re.M)


def test_a_failed_run_says_the_cause_first_then_the_cure(scored: Project) -> None:
    scored.write({"in/bad.txt": ""})
    ended = scored.batchmill("run", "score.py", "--input", "in", "--mini-batch-size", "7", "--output", "out")
    assert ended.returncode == 1
    cause = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert len(cause) == 1
    assert "failed: The number of failed items is 1, which exceeds error threshold 0." in cause[0]
    assert re.search(r"errors +batchmill runs errors \S+$", ended.stderr, re.M)
    assert "batchmill resume" not in ended.stderr  # it would meet the threshold again at once
    assert not (scored.folder / "out" / "parallel_run_step.txt").exists()


def test_a_quiet_failure_is_one_line(scored: Project) -> None:
    scored.write({"in/bad.txt": ""})
    ended = scored.batchmill("run", "score.py", "--input", "in", "--quiet")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("Error: Run ")


def test_init_that_fails_is_named_and_its_traceback_is_one_command_away(scored: Project) -> None:
    scored.write({"broken.py": "def init():\n    raise OSError('no model here')\ndef run(mini_batch):\n    return mini_batch\n"})
    ended = scored.batchmill("run", "broken.py", "--input", "in")
    assert ended.returncode == 1
    assert "OSError: no model here" in ended.stderr
    assert "batchmill resume" in ended.stderr
    errors = scored.batchmill("runs", "errors", "last")
    assert "no model here" in errors.stderr
    assert 'raise OSError("no model here")' in errors.stdout.replace("'", '"')


def test_the_module_is_the_command(scored: Project) -> None:
    version = subprocess.run([sys.executable, "-m", "batchmill", "--version"], capture_output=True, text=True, check=True).stdout
    assert version == scored.batchmill("--version").stdout
    assert re.fullmatch(r"batchmill \d+\.\d+\.\d+\S*\n", version)


@pytest.mark.parametrize("command", [[], ["run"], ["resume"], ["runs"], ["runs", "list"], ["runs", "logs"]])
def test_help_of_every_command(project: Project, command: list[str]) -> None:
    ended = project.batchmill(*command, "--help", env={"COLUMNS": "200"})
    assert ended.returncode == 0
    assert "Usage: batchmill" in ended.stdout


def test_help_shows_defaults_and_choices(project: Project) -> None:
    text = " ".join(project.batchmill("run", "--help", env={"COLUMNS": "200"}).stdout.split())
    assert "--run-max-try" in text
    assert "[default: 3]" in text
    assert "append_row|summary_only" in text
    assert "[-- ARGS...]" in text
    assert "Failures" in text
