"""``batchmill runs``: list, show, logs, errors, cancel, remove."""

from __future__ import annotations

import json
import re
import shutil

from tests.acceptance.conftest import REFERENCE, Start, shown, until, until_half_done
from tests.conftest import Project


def complete(project: Project, *arguments: str) -> str:
    ended = project.batchmill("run", "score.py", "--input", "in", "--json", "--quiet", *arguments)
    assert ended.returncode == 0, ended.stderr
    return str(json.loads(ended.stdout)["id"])


def test_no_runs(project: Project) -> None:
    assert json.loads(project.batchmill("runs", "list", "--json").stdout) == []
    listed = project.batchmill("runs", "list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "no runs" in listed.stderr


def test_list_and_show(scored: Project) -> None:
    first = complete(scored, "--name", "one", "--output", "a")
    second = complete(scored, "--output", "b")
    rows = [line.split() for line in scored.batchmill("runs", "list").stdout.splitlines()]
    assert rows[0] == ["ID", "NAME", "STATUS", "STARTED", "ITEMS", "SUCCEEDED", "FAILED", "OUTPUT"]
    assert {(row[0], row[1], row[2], row[5], row[6], row[7], row[8]) for row in rows[1:]} == {
        (second, "score", "Completed", "60", "60", "0", "b"),
        (first, "one", "Completed", "60", "60", "0", "a"),
    }
    listed = json.loads(scored.batchmill("runs", "list", "--json").stdout)
    assert sorted(listed, key=lambda run: run["id"]) == sorted([shown(scored, first), shown(scored, second)], key=lambda run: run["id"])
    assert shown(scored, "one")["id"] == first
    assert shown(scored, first[:-1])["id"] == first
    text = scored.batchmill("runs", "show", "one").stdout
    assert re.search(r"^status +Completed$", text, re.M)
    assert re.search(r"^items +60 = 60 succeeded \+ 0 failed \+ 0 not run$", text, re.M)
    assert re.search(r"^output +a/parallel_run_step.txt$", text, re.M)


def test_how_much_there_is_can_be_seen_before_anything_is_done(scored: Project, start: Start) -> None:
    gate = scored.folder / "gate"
    scored.write({"late.py": LATE.format(gate=str(gate))})
    process = start("run", "late.py", "--input", "in", "--mini-batch-size", "10", "--workers", "1", "--output", "out")
    until(lambda: shown(scored).get("counts", {}).get("items", {}).get("total"))
    assert shown(scored)["counts"]["items"] == {"total": 60, "succeeded": 0, "failed": 0, "not_run": 60}
    assert shown(scored)["counts"]["mini_batches"]["total"] == 6
    gate.touch()
    assert process.wait(60) == 0


LATE = """
import os, time

def init():
    while not os.path.exists({gate!r}):
        time.sleep(0.01)

def run(mini_batch):
    return list(mini_batch)
"""


def test_list_in_pages(scored: Project) -> None:
    run = complete(scored, "--name", "one")
    older = [f"20200101-00000{n}-aaaaaaa" for n in range(3)]
    for name in older:
        shutil.copytree(scored.home / "runs" / run, scored.home / "runs" / name)
    first = scored.batchmill("runs", "list", "--limit", "2")
    assert [line.split()[0] for line in first.stdout.splitlines()[1:]] == [run, older[2]]
    assert first.stderr == f"2 are shown. More: --after {older[2]}, or a larger --limit.\n"
    rest = scored.batchmill("runs", "list", "--after", older[2])
    assert [line.split()[0] for line in rest.stdout.splitlines()[1:]] == [older[1], older[0]]
    assert rest.stderr == ""
    assert "no older runs" in scored.batchmill("runs", "list", "--after", older[0]).stderr
    assert [run["id"] for run in json.loads(scored.batchmill("runs", "list", "--json", "--limit", "1").stdout)] == [run]


def test_the_object_of_show(scored: Project) -> None:
    run = complete(scored, "--mini-batch-size", "7", "--output", "out")
    record = shown(scored)
    assert list(record) == ["id", "name", "status", "output", "counts", "started", "ended", "error"]
    assert record["counts"] == {
        "items": {"total": 60, "succeeded": 60, "failed": 0, "not_run": 0},
        "mini_batches": {"total": 9, "succeeded": 9, "failed": 0, "not_run": 0, "retried": 0},
    }
    assert (record["id"], record["name"], record["status"], record["error"]) == (run, "score", "Completed", None)
    assert record["output"] == str(scored.folder / "out")
    for time in (record["started"], record["ended"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)


def test_an_ambiguous_prefix_is_refused(scored: Project) -> None:
    first, second = complete(scored), complete(scored)
    shared = next(first[:end] for end in range(len(first), 0, -1) if second.startswith(first[:end]))
    ended = scored.batchmill("runs", "show", shared)
    assert ended.returncode == 2
    assert "is the beginning of 2 run ids" in ended.stderr


def test_errors_name_the_place_of_a_row_once(project: Project) -> None:
    lines = "".join(f'{{"n": {n}}}\n' for n in range(9)) + "not json\n"
    project.write({"score.py": "def run(frame):\n    return list(frame.n)\n", "in.jsonl": lines})
    ended = project.batchmill("run", "score.py", "--input", "in.jsonl", "--error-threshold", "-1")
    assert ended.returncode == 0, ended.stderr
    (line,) = project.batchmill("runs", "errors", "last").stdout.splitlines()
    place, kind, message = re.fullmatch(r"mini-batch 0  (\S+:line 10)  (\w+): (.*)", line).groups()  # type: ignore[union-attr]
    assert (place, kind) == (f"{project.folder}/in.jsonl:line 10", "InvalidLine")
    assert message.startswith("'not json' is no JSON")
    replayed = project.batchmill("runs", "replay", "last", "--mini-batch", "0")
    assert replayed.stderr.count("in.jsonl:line 10: 'not json' is no JSON") == 1
    assert replayed.stderr.count("line 10") == 2, "in the list of items, and with the reason"


def test_errors_one_line_each(scored: Project) -> None:
    scored.write({"in/bad1.txt": "", "in/bad2.txt": ""})
    run = complete(scored, "--mini-batch-size", "7", "--error-threshold", "-1")
    ended = scored.batchmill("runs", "errors", run)
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert [re.sub(r"\S+/", "", line) for line in lines] == [
        "mini-batch 8  bad1.txt  ValueError: bad1.txt is bad",
        "mini-batch 8  bad2.txt  ValueError: bad2.txt is bad",
    ]
    assert "Traceback (most recent call last):" in scored.batchmill("runs", "errors", run, "--traceback").stdout
    letters = json.loads(scored.batchmill("runs", "errors", run, "--json").stdout)
    assert [(letter["mini_batch"], letter["error_class"], letter["items_failed"]) for letter in letters] == [(8, "ValueError", 1)] * 2
    assert "score.py" in letters[0]["traceback"]


def test_errors_of_a_run_without_any(scored: Project) -> None:
    complete(scored)
    ended = scored.batchmill("runs", "errors", "last")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "has no failed items" in ended.stderr
    assert json.loads(scored.batchmill("runs", "errors", "last", "--json").stdout) == []


def test_logs_of_all_of_one_worker_and_of_one_mini_batch(scored: Project) -> None:
    complete(scored, "--mini-batch-size", "10", "--workers", "1")
    everything = scored.batchmill("runs", "logs", "last").stdout
    assert "==> user/stdout/node0/process000.stdout.txt <==" in everything
    assert re.findall(r"^(?:scored|warned) .*$", everything, re.M) == [
        f"{word} {number}0.txt" for word in ("scored", "warned") for number in range(6)
    ]
    assert scored.batchmill("runs", "logs", "last", "--worker", "process000").stdout == everything
    assert scored.batchmill("runs", "logs", "last", "--worker", "node0/process000").stdout == everything
    one = scored.batchmill("runs", "logs", "last", "--mini-batch", "4").stdout
    assert re.findall(r"^(?:scored|warned) .*$", one, re.M) == ["scored 40.txt", "warned 40.txt"]


def test_logs_of_a_mini_batch_show_its_failed_tries(scored: Project) -> None:
    scored.write({"in/bad.txt": ""})
    complete(scored, "--mini-batch-size", "60", "--error-threshold", "-1", "--run-max-try", "2")
    text = scored.batchmill("runs", "logs", "last", "--mini-batch", "1").stdout
    assert [line[:5] for line in text.splitlines() if line.startswith("==> try")] == ["==> t"] * 2
    assert text.count("ValueError: bad.txt is bad\nsecond line\nTraceback") == 2


def test_logs_of_a_mini_batch_show_what_its_failed_tries_printed(scored: Project) -> None:
    scored.write({"loud.py": "def run(files):\n    print('looking at', len(files), 'files')\n    raise ValueError('no')\n"})
    scored.batchmill(
        "run", "loud.py", "--input", "in", "--mini-batch-size", "30", "--workers", "1", "--run-max-try", "2", "--no-isolate-failures"
    )
    text = scored.batchmill("runs", "logs", "last", "--mini-batch", "0").stdout
    assert text.count("==> stdout <==\nlooking at 30 files\n") == text.count("==> try ") > 0


def test_logs_of_whom_there_is_none(scored: Project) -> None:
    complete(scored, "--workers", "1", "--mini-batch-size", "10")
    missing = scored.batchmill("runs", "logs", "last", "--worker", "process007")
    assert missing.returncode == 2
    assert "node0/process000" in missing.stderr
    beyond = scored.batchmill("runs", "logs", "last", "--mini-batch", "6")
    assert beyond.returncode == 2
    assert "has no mini-batch 6" in beyond.stderr


def test_follow_prints_until_the_run_ends(scored: Project, start: Start) -> None:
    gate = scored.folder / "gate"
    start("run", "score.py", "--input", "in", "--mini-batch-size", "10", "--workers", "1", GATE=str(gate))
    until_half_done(scored)
    follower = start("runs", "logs", "last", "--follow")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "==> user/stdout/node0/process000.stdout.txt <==\n"
    gate.touch()
    rest = follower.stdout.read()
    assert follower.wait(timeout=60) == 0
    assert sorted(re.findall(r"^scored .*$", rest, re.M)) == [f"scored {number}0.txt" for number in range(6)]


def test_cancel_then_resume(scored: Project, start: Start) -> None:
    process = start("run", "score.py", "--input", "in", "--mini-batch-size", "3", "--output", "out", GATE=str(scored.folder / "gate"))
    until_half_done(scored, process)
    ended = scored.batchmill("runs", "cancel", "last")
    assert ended.returncode == 0, ended.stderr
    assert "is canceled" in ended.stderr
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was canceled" in told
    assert shown(scored)["status"] == "Canceled"
    assert "nothing to cancel" in scored.batchmill("runs", "cancel", "last").stderr
    assert scored.batchmill("resume", "last").returncode == 0
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_remove(scored: Project) -> None:
    kept = complete(scored, "--output", "out")
    gone = complete(scored)
    assert "and its results" in scored.batchmill("runs", "remove", gone).stderr
    assert "its output out stays" in scored.batchmill("runs", "remove", kept).stderr
    assert list((scored.home / "runs").iterdir()) == []
    assert scored.read("out/parallel_run_step.txt") == REFERENCE


def test_a_living_run_is_not_removed(scored: Project, start: Start) -> None:
    gate = scored.folder / "gate"
    process = start("run", "score.py", "--input", "in", "--mini-batch-size", "3", GATE=str(gate))
    until_half_done(scored, process)
    ended = scored.batchmill("runs", "remove", "last")
    assert ended.returncode == 1
    assert "Cancel it first" in ended.stderr
    gate.touch()
    process.communicate(timeout=60)
    assert process.returncode == 0
