"""``batchmill dataset``, and runs over registered file datasets."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import REFERENCE, Start, until_half_done
from tests.conftest import Project

ECHO = """
import os

def run(mini_batch):
    return [f"{len(mini_batch)} {os.path.basename(os.path.dirname(path))}/{os.path.basename(path)}" for path in mini_batch]
"""


@pytest.fixture
def echo(project: Project) -> Project:
    """An entry script that says what it gets, and files in three folders."""
    files = {f"{folder}/{n}.txt": f"{folder} {n}" for folder in "abc" for n in range(3)}
    return project.write({"echo.py": ECHO, **{f"data/{name}": text for name, text in files.items()}})


def done(project: Project, *arguments: str, env: dict[str, str] | None = None) -> str:
    result = project.batchmill(*arguments, env=env)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(project: Project, *arguments: str) -> str:
    result = project.batchmill(*arguments)
    assert result.returncode == 2, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.removeprefix("Error: ").rstrip("\n")


def rows(project: Project, output: str = "out") -> list[str]:
    return project.read(f"{output}/parallel_run_step.txt").splitlines()


# --- the commands


def test_created_listed_shown_changed_removed(echo: Project) -> None:
    told = echo.batchmill(
        "dataset", "create", "images", "--path", "data/a", "--path", "data/b/*.txt", "--tag", "k=v", "--description", "words"
    )
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr == "Dataset images:1 is registered in workspace default. In a run: --input dataset:images\n"
    made = json.loads(done(echo, "dataset", "create", "images", "--path", "data/c", "--new-version", "--json"))
    assert (made["name"], made["version"], made["definition"]["sources"]) == ("images", 2, [f"{echo.folder}/data/c"])
    first, second = json.loads(done(echo, "dataset", "list", "--name", "images", "--json"))
    assert (first["version"], second["version"], second["tags"], second["description"]) == (2, 1, {"k": "v"}, "words")
    lines = done(echo, "dataset", "list").splitlines()
    assert lines[0].split() == ["NAME", "VERSION", "KIND", "SOURCE", "TAGS", "CREATED"]
    assert lines[1].split()[:4] == ["images", "2", "file", f"{echo.folder}/data/c"]
    shown = done(echo, "dataset", "show", "images:1")
    assert f"source       {echo.folder}/data/a\nsource       {echo.folder}/data/b/*.txt\n" in shown
    assert "tags         k=v\n" in shown
    done(echo, "dataset", "update", "images:1", "--tag", "n=2", "--remove-tag", "k", "--description", "new")
    found = json.loads(done(echo, "dataset", "show", "images:1", "--json"))
    assert (found["tags"], found["description"]) == ({"n": "2"}, "new")
    assert "Add --new-version, or choose another name" in refused(echo, "dataset", "create", "images", "--path", "data/a")
    assert refused(echo, "dataset", "remove", "images") == (
        "Dataset images with all its versions would no longer be known in workspace default. Nothing was done: add --yes to do it."
    )
    done(echo, "dataset", "remove", "images:1", "--yes")
    assert "(version: 1)" in refused(echo, "dataset", "show", "images:1")
    done(echo, "dataset", "remove", "images", "--yes")
    assert done(echo, "dataset", "list", "--json").strip() == "[]"
    assert echo.read("data/a/0.txt") == "a 0"


def test_files_and_head(echo: Project) -> None:
    done(echo, "dataset", "create", "images", "--path", "data/a", "--path", "data/b/2.txt")
    assert done(echo, "dataset", "files", "images") == "/0.txt\n/1.txt\n/2.txt\n/2.txt\n"
    assert done(echo, "dataset", "head", "images", "-n", "2") == "/0.txt\n/1.txt\n"
    assert done(echo, "dataset", "head", "images", "-n", "0") == ""
    told = json.loads(done(echo, "dataset", "files", "images", "--limit", "4", "--json"))
    assert told[3] == {"path": "/2.txt", "place": f"{echo.folder}/data/b/2.txt", "size": 3}
    assert json.loads(done(echo, "dataset", "files", "images:latest", "--json")) == told


def test_the_first_rows_of_a_table(echo: Project) -> None:
    echo.write({"t.csv": 'Name,x,when\nann,1,2024-01-02\nbob,,2024-01-03\n"a, b",3.5,\n'})
    done(echo, "dataset", "create", "t", "--path", "t.csv", "--tabular", "csv")
    assert done(echo, "dataset", "head", "t").splitlines() == [
        "Name    x  when",
        "ann   1.0  2024-01-02 00:00:00",
        "bob        2024-01-03 00:00:00",
        "a, b  3.5",
    ]
    assert json.loads(done(echo, "dataset", "head", "t", "-n", "2", "--json"))[1] == {
        "Name": "bob",
        "x": None,
        "when": "2024-01-03T00:00:00.000",
    }
    done(echo, "dataset", "create", "texts", "--path", "t.csv", "--tabular", "csv", "--no-infer-column-types")
    assert done(echo, "dataset", "head", "texts", "-n", "1").splitlines()[1] == "ann   1  2024-01-02"
    assert done(echo, "dataset", "files", "texts") == "/t.csv\n"
    assert "infer column types  no" in done(echo, "dataset", "show", "texts")


def test_a_broken_definition_can_be_listed_and_removed(echo: Project) -> None:
    sdk(echo, "for n, broken in enumerate(({}, {'kind': 3, 'sources': 7}, {'sources': []})): ws.registry.add('dataset', f'b{n}', broken)")
    assert [line.split()[0] for line in done(echo, "dataset", "list").splitlines()] == ["NAME", "b0", "b1", "b2"]
    assert 'Dataset "b1" (version: 1) cannot be used. The definition of a dataset cannot be read' in refused(echo, "dataset", "show", "b1")
    done(echo, "dataset", "remove", "b1", "--yes")
    assert len(json.loads(done(echo, "dataset", "list", "--json"))) == 2


def test_pages(echo: Project) -> None:
    for name in ("c", "a", "b"):
        done(echo, "dataset", "create", name, "--path", "data/a")
    first = echo.batchmill("dataset", "list", "--limit", "2")
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["NAME", "a", "b"]
    assert "--after b" in first.stderr
    assert [one["name"] for one in json.loads(done(echo, "dataset", "list", "--after", "b", "--json"))] == ["c"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("create", "x", "--path", "nowhere"), "Path nowhere does not exist. Relative paths start at "),
        (("create", "x", "--path", "datastore://nothing/x"), "There is no datastore 'nothing' in workspace default"),
        (("create", "x", "--path", "data/a", "--tabular", "xlsx"), "Option --tabular has the value 'xlsx'"),
        (("create", "x", "--path", "data/a", "--separator", ";"), "Option --separator is for tables. Say which kind with --tabular."),
        (("create", "x", "--path", "data/a", "--partition-format", "{"), 'Invalid partition_format "{". Brackets must is pair'),
        (("create", "x", "--path", "data/a/*.png"), "Failed to validate the data.If data is inaccessible"),
        (("create", "a/b", "--path", "data/a"), "A dataset cannot be registered as 'a/b'"),
        (("create", "x", "--path", "data/a", "--tag", "words"), "Option --tag has the value 'words'"),
        (("create", "x"), "Missing option '--path'"),
        (("show", "x"), 'Cannot find dataset registered with name "x" in the workspace.'),
        (("files", "id:7"), 'Cannot find dataset with id "7" in the workspace.'),
        (("update", "x"), "Nothing to change was given."),
        (("list", "--workspace", "nowhere"), "There is no workspace 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(echo: Project, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in refused(echo, "dataset", *arguments)


# --- runs


def test_k23_a_run_over_a_dataset(echo: Project) -> None:
    echo.write({f"in/{n:02}.png": "x" for n in range(23)})
    done(echo, "dataset", "create", "images", "--path", "in")
    done(echo, "run", "echo.py", "--input", "dataset:images", "--mini-batch-size", "10", "--output", "out")
    assert rows(echo) == [f"{10 if n < 20 else 3} in/{n:02}.png" for n in range(23)]


def test_several_places_are_one_input_of_the_run(echo: Project) -> None:
    done(echo, "dataset", "create", "images", "--path", "data/a", "--path", "data/c/1.txt", "--path", "data/b")
    done(echo, "run", "echo.py", "--input", "dataset:images", "--mini-batch-size", "4", "--output", "out")
    assert rows(echo) == [f"4 {name}" for name in ("a/0.txt", "a/1.txt", "a/2.txt", "c/1.txt")] + [f"3 b/{n}.txt" for n in range(3)]
    planned = json.loads(done(echo, "plan", "echo.py", "--input", "dataset:images", "--mini-batch-size", "4", "--json"))["plan"]
    assert (planned["mini_batches"], [place.get("joined", False) for place in planned["inputs"]]) == (2, [False, True, True])


def test_k02_a_dataset_of_one_file_is_one_line(echo: Project) -> None:
    done(echo, "dataset", "create", "one", "--path", "data/a/0.txt")
    done(echo, "run", "echo.py", "--input", "dataset:one", "--output", "out")
    assert rows(echo) == ["1 a/0.txt"]


def sdk(project: Project, code: str) -> str:
    """Run some lines of the SDK in the project, as a notebook would."""
    import subprocess
    import sys

    prelude = "from batchmill.workspace.workspace import Workspace\nfrom batchmill.workspace.dataset import Dataset\n"
    code = f"{prelude}ws = Workspace.from_config()\n{code}"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_parts_of_a_split_are_a_run_each(echo: Project) -> None:
    echo.write({f"in/{n:02}.png": "x" for n in range(40)})
    sdk(
        echo,
        "whole = Dataset.File.from_files('in')\n"
        "first, second = whole.random_split(0.3, seed=5)\n"
        "first.register(ws, 'first')\n"
        "second.skip(1).register(ws, 'second')\n",
    )
    for name in ("first", "second"):
        done(echo, "run", "echo.py", "--input", f"dataset:{name}", "--output", name)
    told = [row.split()[1] for name in ("first", "second") for row in rows(echo, name)]
    assert len(told) == len(set(told)) == 39
    assert 3 < len(rows(echo, "first")) < 25


def test_partitions_of_a_dataset(echo: Project) -> None:
    done(echo, "dataset", "create", "users", "--path", "data", "--partition-format", "{user}/{n}.txt")
    done(echo, "run", "echo.py", "--input", "dataset:users", "--partition-key", "user", "--output", "out")
    assert rows(echo) == [f"3 {user}/{n}.txt" for user in "abc" for n in range(3)]
    assert refused(echo, "run", "echo.py", "--input", "dataset:users", "--partition-key", "color", "--output", "other") == (
        "partition_keys {'color'} are not a subset of the dataset's partition keys {'user', 'n'}"
    )


RATIO = """
import os

def run(mini_batch, mini_batch_context):
    keys = mini_batch_context.partition_key_value
    sizes = [os.path.getsize(path) for path in mini_batch]
    print(mini_batch_context.dataset)
    return [f"{keys['user']},{keys['genres']},{sum(sizes)},{size / sum(sizes)}" for size in sizes]
"""


def test_k04_one_mini_batch_per_combination_of_the_keys_asked_for(echo: Project) -> None:
    """As the notebook about partitions per folder: keys user, season and genres, of which two are asked for."""
    names = ("user1/winter/disco", "user1/fall/piano", "user2/spring/rock", "user3/summer/pop", "user4/winter/piano", "user4/fall/piano")
    echo.write({"ratio.py": RATIO, **{f"music/{name}.wav": "four" for name in names}})
    sdk(
        echo,
        "store = ws.get_default_datastore()\n"
        "store.upload('music', 'partition_data', show_progress=False)\n"
        "music = Dataset.File.from_files((store, 'partition_data'), partition_format='{user}/{season}/{genres}.wav')\n"
        "assert music.partition_keys == ['user', 'season', 'genres']\n"
        "music.register(ws, 'music')\n",
    )
    arguments = ("--partition-key", "user", "--partition-key", "genres", "--output", "out", "--json")
    told = json.loads(done(echo, "run", "ratio.py", "--input", "dataset:music", *arguments))
    assert told["counts"]["mini_batches"]["total"] == 5
    assert sorted(rows(echo)) == [
        "user1,disco,4,1.0",
        "user1,piano,4,1.0",
        "user2,rock,4,1.0",
        "user3,pop,4,1.0",
        "user4,piano,8,0.5",
        "user4,piano,8,0.5",
    ]


@pytest.mark.parametrize("killed", [False, True])
def test_a_version_is_bound_by_the_first_resolution(scored: Project, start: Start, killed: bool) -> None:
    """A new version that is registered while a run stands still is not taken by its resume."""
    scored.write({"other/x.txt": "x"})
    done(scored, "dataset", "create", "images", "--path", "in")
    process = start(
        "run", "score.py", "--input", "dataset:images", "--mini-batch-size", "3", "--output", "out", GATE=str(scored.folder / "gate")
    )
    until_half_done(scored, process)
    process.kill() if killed else os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    done(scored, "dataset", "create", "images", "--path", "other", "--new-version")
    done(scored, "resume", "last")
    assert scored.read("out/parallel_run_step.txt") == REFERENCE
    done(scored, "run", "score.py", "--input", "dataset:images", "--output", "newest")
    assert rows(scored, "newest") == ["x.txt: 1"]
    done(scored, "run", "score.py", "--input", "dataset:images:1", "--output", "first")
    assert scored.read("first/parallel_run_step.txt") == REFERENCE


def test_an_output_inside_of_a_dataset_is_refused(echo: Project) -> None:
    done(echo, "dataset", "create", "images", "--path", "data")
    told = refused(echo, "run", "echo.py", "--input", "dataset:images", "--output", "data/out")
    assert "lies inside the input" in told
    assert not (echo.folder / "data" / "out").exists()


def test_a_dataset_that_lost_its_data(echo: Project) -> None:
    done(echo, "dataset", "create", "images", "--path", "data/a")
    os.rename(echo.folder / "data" / "a", echo.folder / "data" / "moved")
    assert f"Input {echo.folder}/data/a does not exist." in refused(echo, "run", "echo.py", "--input", "dataset:images", "--output", "out")
    sdk(echo, "Dataset.File.from_files('data').filter(Dataset.File.from_files('data').file_metadata('Size') > 999).register(ws, 'none')")
    assert "dataset:none holds no files." in refused(echo, "run", "echo.py", "--input", "dataset:none", "--output", "out")


def test_dead_letters_of_a_dataset_are_replayed(echo: Project) -> None:
    script = (
        "def run(mini_batch):\n    if any('b/1' in path for path in mini_batch):\n        raise ValueError('bad')\n    return mini_batch\n"
    )
    echo.write({"fails.py": script})
    done(echo, "dataset", "create", "images", "--path", "data/a", "--path", "data/b")
    done(
        echo,
        "run",
        "fails.py",
        "--input",
        "dataset:images",
        "--mini-batch-size",
        "4",
        "--output",
        "out",
        "--error-threshold",
        "-1",
        "--run-max-try",
        "1",
    )
    assert len(rows(echo)) == 5
    echo.write({"fails.py": script.replace("'b/1'", "'never'")})
    done(echo, "runs", "replay", "last")
    assert [Path(row).parent.name + "/" + Path(row).name for row in rows(echo)] == [f"{f}/{n}.txt" for f in "ab" for n in range(3)]


def test_a_python_call_takes_datasets_as_well(echo: Project) -> None:
    done(echo, "dataset", "create", "images", "--path", "data/a")
    told: Any = sdk(
        echo,
        "import batchmill\nrun = batchmill.run('echo.py', inputs='dataset:images', output='out')\nrun.wait()\nprint(run.status)\n",
    )
    assert told.strip().endswith("Completed")
    assert len(rows(echo)) == 3
