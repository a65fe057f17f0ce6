"""What is copied into a run, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.errors import EntryScriptError, SnapshotError
from batchmill.nodes.path_proof import make_proofs
from batchmill.parallel_run import snapshot
from batchmill.parallel_run.snapshot import IgnoreRules, check_script, take_snapshot


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("def run(batch):\n    return batch\n")


def copied(target: Path) -> list[str]:
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_inputs_and_output_beside_the_script_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path, "src/score.py", "src/model/a.txt", "src/images/1.png", "src/images/deep/2.png", "src/out/rows.txt", "src/table.csv")
    data = [tmp_path / "src/images", tmp_path / "src/x/../out", tmp_path / "src/table.csv", tmp_path / "src"]
    script, root = take_snapshot(tmp_path / "src/score.py", None, tmp_path / "snapshot", data)
    assert copied(root) == ["model/a.txt", "score.py"]
    assert script == tmp_path / "snapshot/score.py"


def test_what_other_runs_leave_for_a_while_beside_their_inputs_is_not_copied(tmp_path: Path) -> None:
    write(tmp_path, "src/score.py", "src/images/.1.png")
    (proof,) = make_proofs([tmp_path / "src/images"])
    assert proof.token is not None
    _, root = take_snapshot(tmp_path / "src/score.py", None, tmp_path / "snapshot")
    assert copied(root) == ["images/.1.png", "score.py"]


@pytest.mark.parametrize("home", ["src/.batchmill", "src"])
def test_the_batchmill_home_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """It holds the key of the secrets, and closing a copied SQLite file would take this process's locks on it away."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / home))
    write(
        tmp_path,
        "src/score.py",
        "src/runs.py",
        *(f"{home}/{name}" for name in ("secret.key", "workspace.sqlite-wal", "runs/1/ledger.sqlite")),
    )
    _, root = take_snapshot(tmp_path / "src/score.py", None, tmp_path / "snapshot")
    assert copied(root) == ["runs.py", "score.py"]


def test_a_script_of_the_batchmill_home_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    write(tmp_path, "home/runs/1/snapshot/score.py", "home/runs/1/snapshot/model.py")
    _, root = take_snapshot(tmp_path / "home/runs/1/snapshot/score.py", None, tmp_path / "copy")
    assert copied(root) == ["model.py", "score.py"]


def test_a_folder_that_is_too_large_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "FILE_LIMIT", 3)
    write(tmp_path, "src/score.py", *(f"src/{number}.txt" for number in range(3)))
    with pytest.raises(SnapshotError, match="--source DIR"):
        take_snapshot(tmp_path / "src/score.py", None, tmp_path / "snapshot")
    take_snapshot(tmp_path / "src/score.py", None, tmp_path / "again", [tmp_path / "src/1.txt"])


def test_the_source_folder_holds_the_script(tmp_path: Path) -> None:
    write(tmp_path, "src/deep/score.py", "src/other.py", "elsewhere/x.py")
    script, root = take_snapshot(tmp_path / "src/deep/score.py", str(tmp_path / "src"), tmp_path / "snapshot")
    assert copied(root) == ["deep/score.py", "other.py"]
    assert script == root / "deep/score.py"
    with pytest.raises(SnapshotError, match="does not lie in the source folder"):
        take_snapshot(tmp_path / "src/deep/score.py", str(tmp_path / "elsewhere"), tmp_path / "third")


@pytest.mark.parametrize(
    ("rules", "path", "is_folder", "ignored"),
    [
        ("*.log", "deep/a.log", False, True),
        ("*.log\n!keep.log", "deep/keep.log", False, False),
        ("/data", "data", True, True),
        ("/data", "deep/data", True, False),
        ("data/", "data", False, False),
        ("data/", "deep/data", True, True),
        ("a/**/z", "a/b/c/z", False, True),
        ("file[0-9].txt", "file7.txt", False, True),
        ("# comment\n\n", "anything", False, False),
    ],
)
def test_ignore_rules(tmp_path: Path, rules: str, path: str, is_folder: bool, ignored: bool) -> None:
    (tmp_path / ".amlignore").write_text(rules)
    (tmp_path / ".gitignore").write_text("anything")
    assert IgnoreRules(tmp_path).ignored(path, is_folder=is_folder) is ignored


@pytest.mark.parametrize(
    ("text", "message"),
    [("def run(", "syntax error in line 1"), ("def score(x): pass", "has no function run"), ("\0", "no Python source|syntax error")],
)
def test_a_script_that_cannot_run_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "score.py").write_text(text)
    with pytest.raises(EntryScriptError, match=message):
        check_script(str(tmp_path / "score.py"))


@pytest.mark.parametrize("text", ["from other import run", "from other import *", "run = print", "def run(a): pass", "import x as run"])
def test_run_may_come_from_elsewhere(tmp_path: Path, text: str) -> None:
    (tmp_path / "score.py").write_text(text)
    assert check_script(str(tmp_path / "score.py")) == tmp_path / "score.py"
