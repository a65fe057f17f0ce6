"""Wrong usage and wrong input: exit code 2, one line, nothing started, nothing left behind."""

from __future__ import annotations

import pytest

from tests.conftest import Project

WRONG = {
    "no script": (["run"], "Missing argument 'SCRIPT'"),
    "no input": (["run", "score.py"], "No input was given"),
    "no such option": (["run", "score.py", "--inputs", "in"], "No such option: --inputs"),
    "no such command": (["go"], "No such command 'go'"),
    "option without value": (["run", "score.py", "--input"], "--input"),
    "words that nothing asked for": (["run", "score.py", "--input", "in/1.txt", "in/2.txt"], "Unexpected argument 'in/2.txt'"),
    "no number": (["run", "score.py", "--input", "in", "--workers", "many"], "Option --workers has the value 'many'"),
    "number too small": (["run", "score.py", "--input", "in", "--workers", "0"], "Option --workers"),
    "no such choice": (["run", "score.py", "--input", "in", "--format", "xml"], "Option --format has the value 'xml'"),
    "wrong size": (["run", "score.py", "--input", "in", "--mini-batch-size", "ten"], "Option --mini-batch-size has the value 'ten'"),
    "wrong pair": (["run", "score.py", "--input", "in", "--env", "A"], "Option --env"),
    "forbidden file name": (["run", "score.py", "--input", "in", "--append-row-file-name", "a/b"], "append_row_file_name"),
    "settings that exclude each other": (
        ["run", "score.py", "--input", "in", "--mini-batch-size", "2", "--partition-key", "k"],
        "mutually exclusive",
    ),
    "missing script": (["run", "absent.py", "--input", "in"], "'absent.py' does not exist"),
    "script with a syntax error": (["run", "syntax.py", "--input", "in"], "syntax error in line 1"),
    "script without run": (["run", "no_run.py", "--input", "in"], "no function run()"),
    "missing input": (["run", "score.py", "--input", "absent"], "absent"),
    "empty input": (["run", "score.py", "--input", "empty"], "empty"),
    "output inside the input": (["run", "score.py", "--input", "in", "--output", "in/out"], "in/out"),
    "output that is a file": (["run", "score.py", "--input", "in", "--output", "score.py"], "score.py"),
    "no such run": (["resume", "absent"], "There is no run with the id or name 'absent'"),
    "no run at all": (["runs", "show", "last"], "There is no run"),
    "mini-batch of whom": (["runs", "logs", "last", "--mini-batch", "x"], "--mini-batch"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_line_and_nothing_left_behind(project: Project, case: str) -> None:
    words, message = WRONG[case]
    project.write(
        {
            "score.py": "def run(mini_batch):\n    return mini_batch\n",
            "syntax.py": "def run(:\n",
            "no_run.py": "def walk(mini_batch):\n    return mini_batch\n",
            "in/1.txt": "1",
            "in/2.txt": "2",
        }
    )
    (project.folder / "empty").mkdir()
    before = sorted(project.folder.rglob("*"))
    extra = [] if words[0] != "run" or "--output" in words or words[-1] == "--input" else ["--output", "fresh/out"]
    ended = project.batchmill(*words, *extra)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("Error: ")
    assert message in ended.stderr
    assert sorted(project.folder.rglob("*")) == before
    assert not (project.home / "runs").exists() or list((project.home / "runs").iterdir()) == []


def test_a_home_that_cannot_be_used(project: Project) -> None:
    project.write({"score.py": "def run(mini_batch):\n    return mini_batch\n", "in/1.txt": "1", "file": ""})
    home = {"BATCHMILL_HOME": str(project.folder / "file")}
    ended = project.batchmill("run", "score.py", "--input", "in", env=home)
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: The batchmill home ")
    assert len(ended.stderr.splitlines()) == 1
    assert project.batchmill("runs", "list", "--json", env=home).stdout == "[]\n"
