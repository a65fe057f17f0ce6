"""Runs over tabular datasets by name: operations, several tables, partitions, queries, crashes, replay (specification D2, D3, F5, F6)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchmill.workspace.data_type import DataType
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace
from tests.acceptance.conftest import Start, shown, until
from tests.conftest import Project
from tests.table_inputs import iris_csv

ECHO = """
import os, time

def run(mini_batch):
    while os.environ.get("GATE") and len(mini_batch) and 60 in mini_batch.index and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
    if "bad" in mini_batch and mini_batch.bad.any():
        raise ValueError(f"{int(mini_batch.bad.sum())} bad rows")
    return mini_batch
"""
SIZES = """
def run(mini_batch, context):
    key = "-".join(str(value) for value in context.partition_key_value.values())
    return [f"{context.minibatch_index} {len(mini_batch)} {key} {','.join(mini_batch.columns)}"] * len(mini_batch)
"""


@pytest.fixture
def ws(project: Project, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(project.home))
    monkeypatch.chdir(project.folder)
    return Workspace.create("default", show_output=False)


@pytest.fixture
def root(ws: Workspace) -> Path:
    return ws.folder / "workspaceblobstore"


Csv = Callable[..., Any]


@pytest.fixture
def csv(ws: Workspace, root: Path) -> Csv:
    """``csv(name, text, **options)`` is the dataset of a file in the default datastore."""

    def make(name: str, text: str, **options: Any) -> Any:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        return Dataset.Tabular.from_delimited_files((ws.get_default_datastore(), name), **options)

    return make


def run(project: Project, *arguments: str, script: str = ECHO, code: int = 0) -> list[str]:
    """Run to the end; the lines of the output."""
    project.write({"score.py": script})
    ended = project.batchmill("run", "score.py", *arguments, "--output", "out", "--workers", "2")
    assert ended.returncode == code, ended.stderr
    return project.read("out/parallel_run_step.txt").splitlines() if code == 0 else []


def space_separated(frame: pd.DataFrame) -> list[str]:
    return frame.to_csv(sep=" ", header=False, index=False).splitlines()


def test_k25_iris_by_name(project: Project, ws: Workspace, csv: Csv) -> None:
    csv("iris.csv", iris_csv()).register(ws, "iris")
    lines = run(project, "--input", "dataset:iris", "--mini-batch-size", "512", script=SIZES)
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert list(sizes.values()) == [17, 19, 18, 17, 16, 17, 17, 17, 12]
    assert len(run(project, "--input", "dataset:iris", "--mini-batch-size", "1KB")) == 150


def test_operations_in_a_run_are_those_of_the_data_frame(project: Project, ws: Workspace, csv: Csv) -> None:
    iris = csv("iris.csv", iris_csv())
    chosen = iris.skip(10).filter(iris["sepal_width"] > 2.8).take_sample(0.5, seed=4).keep_columns(["petal_length", "species"]).take(40)
    chosen.register(ws, "chosen")
    expected = space_separated(chosen.to_pandas_dataframe())
    assert len(expected) == 40
    for size in ("300", "2KB", "7rows"):
        assert run(project, "--input", "dataset:chosen", "--mini-batch-size", size) == expected
    one, two = iris.random_split(0.5, seed=1)
    one.register(ws, "one")
    two.register(ws, "two")
    both = run(project, "--input", "dataset:one", "--input", "dataset:two:1", "--mini-batch-size", "512")
    assert sorted(both) == sorted(space_separated(iris.to_pandas_dataframe()))
    assert both == space_separated(pd.concat([one.to_pandas_dataframe(), two.to_pandas_dataframe()]))


def test_two_tables_of_different_options_and_a_plain_one(project: Project, ws: Workspace, csv: Csv, root: Path) -> None:
    csv("semicolons.csv", "a;b\n1;x\n2;y\n", separator=";", set_column_types={"a": DataType.to_string()}).register(ws, "one")
    pd.DataFrame({"n": [5, 6]}).to_parquet(root / "t.parquet")
    Dataset.Tabular.from_parquet_files((ws.get_default_datastore(), "t.parquet"), include_path=True).register(ws, "two")
    project.write({"plain.csv": "p,q\n7,8\n"})
    lines = run(project, "--input", "dataset:one", "--input", "plain.csv", "--input", "dataset:two", script=ECHO)
    assert lines == ["1 x", "2 y", "7 8", f"{root}/t.parquet 5", f"{root}/t.parquet 6"]


def test_files_and_tables_are_not_run_together(project: Project, ws: Workspace, csv: Csv) -> None:
    csv("iris.csv", iris_csv()).register(ws, "iris")
    project.write({"score.py": ECHO, "in/a.png": b"x"})
    ended = project.batchmill("run", "score.py", "--input", "dataset:iris", "--input", "in")
    assert ended.returncode == 2
    assert "are all files or all tables: dataset:iris as csv, but in as files" in ended.stderr


def test_partitions_written_by_partition_by(project: Project, ws: Workspace, csv: Csv) -> None:
    sales = "Store,Brand,sold\n2,dom,1\n10,trop,2\n2,dom,3\n2,a.b,4\n"
    made = csv("oj.csv", sales).partition_by(["Store", "Brand"], (ws.get_default_datastore(), "parts"), name="oj")
    lines = run(project, "--input", "dataset:oj", "--partition-key", "Store", "--partition-key", "Brand", script=SIZES)
    assert lines == [
        "0 1 2-a.b sold,Store,Brand",
        "1 2 2-dom sold,Store,Brand",
        "1 2 2-dom sold,Store,Brand",
        "2 1 10-trop sold,Store,Brand",
    ]
    lines = run(project, "--input", "dataset:oj", "--partition-key", "Brand")
    assert lines == ["4 2 a.b", "1 2 dom", "3 2 dom", "2 10 trop"]
    assert made.version == 1
    project.write({"score.py": ECHO})
    ended = project.batchmill("run", "score.py", "--input", "dataset:oj", "--partition-key", "sold")
    assert ended.returncode == 2
    assert "partition_keys {'sold'} are not a subset of the dataset's partition keys {'Store', 'Brand'}" in ended.stderr


def test_cells_made_null_and_lines_left_out_are_told(project: Project, ws: Workspace, root: Path, csv: Csv) -> None:
    csv("t.csv", "n\n1\nx\n3\n", set_column_types={"n": DataType.to_long()}).register(ws, "numbers")
    assert run(project, "--input", "dataset:numbers") == ["1.0", '""', "3.0"]
    (root / "t.jsonl").write_text('{"n": 1}\nnonsense\n')
    lines = Dataset.Tabular.from_json_lines_files((ws.get_default_datastore(), "t.jsonl"), invalid_lines="drop")
    lines.register(ws, "lines")
    assert run(project, "--input", "dataset:lines") == ["1"]
    result = "".join(path.read_text() for path in sorted(project.home.glob("runs/*/logs/job_result.txt")))
    assert "1 cells did not fit the type of their column and were made null." in result
    assert "1 lines are no JSON objects and were left out." in result


def test_bad_rows_among_those_that_a_filter_leaves(project: Project, ws: Workspace, csv: Csv) -> None:
    text = "n,bad\n" + "".join(f"{n},{'true' if n in (12, 30, 41) else 'false'}\n" for n in range(60))
    numbers = csv("t.csv", text)
    numbers.filter(numbers["n"] > 20).skip(2).register(ws, "filtered")
    lines = run(project, "--input", "dataset:filtered", "--mini-batch-size", "100", "--error-threshold", "5", "--run-max-try", "1")
    assert [int(line.split()[0]) for line in lines] == [n for n in range(23, 60) if n not in (30, 41)]
    (letters,) = project.home.glob("runs/*/dead_letters.jsonl")
    found = [json.loads(line) for line in letters.read_text().splitlines()]
    assert [letter["item"].rpartition("/")[2] for letter in found] == ["t.csv:line 32", "t.csv:line 43"]
    project.write({"score.py": ECHO.replace("mini_batch.bad.any()", "False")})
    replayed = project.batchmill("runs", "replay", "last")
    assert replayed.returncode == 0, replayed.stderr
    assert [int(line.split()[0]) for line in project.read("out/parallel_run_step.txt").splitlines()] == list(range(23, 60))


def test_a_killed_run_over_a_query_reads_the_same_rows_when_it_is_resumed(
    project: Project, ws: Workspace, start: Start, tmp_path: Path
) -> None:
    database = tmp_path / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE sales (id INTEGER, name TEXT)")
        connection.executemany("INSERT INTO sales VALUES (?, ?)", [(n, f"n{n}") for n in range(500)])
    connection.close()
    shop = Datastore.register_sql_database(ws, "shop", f"sqlite:///{database}")
    query = Dataset.Tabular.from_sql_query((shop, "SELECT id, name FROM sales ORDER BY id"))
    query.filter(query["id"] >= 100).register(ws, "sales")
    expected = [f"{n} n{n}" for n in range(100, 500)]
    project.write({"score.py": ECHO})
    arguments = ("run", "score.py", "--input", "dataset:sales", "--mini-batch-size", "70rows", "--workers", "2", "--output", "out")
    process = start(*arguments, GATE=str(project.folder / "gate"))
    until(lambda: list(project.home.glob("runs/*/plan/plan.json")))
    process.kill()
    process.communicate(timeout=60)
    assert shown(project)["status"] == "Interrupted"
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM sales")
    connection.close()
    resumed = project.batchmill("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert project.read("out/parallel_run_step.txt").splitlines() == expected
