"""Grouping any table by its columns: a real process, real files, read back as workers do (decision 18)."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.data import grouping
from batchmill.data.group_writer import GROUP
from batchmill.data.table_reader import TableReader
from batchmill.data.table_slice import TableSlice
from batchmill.errors import DiskFullError, InputError, PartitionFormatError
from batchmill.parallel_run.plan import make_plan
from batchmill.settings import RunSettings
from batchmill.worker import plan_file
from batchmill.worker.plan_file import MiniBatchPlan, PlanFile


class GroupedPlan:
    """A planned and grouped input, read as a worker reads it."""

    def __init__(self, folder: Path, *inputs: Path, keys: Sequence[str], **more: Any) -> None:
        self.announced: list[str] = []
        values = {"script": "s.py", "inputs": [str(path) for path in inputs], "partition_keys": list(keys), **more}
        make_plan(RunSettings.parse(values), folder, announce=self.announced.append)
        self.plan = PlanFile(folder)
        self.reader = TableReader(self.plan.header["table"], self.plan.folder)

    def batches(self) -> list[tuple[MiniBatchPlan, TableSlice]]:
        plans = [self.plan.mini_batch(k) for k in range(self.plan.mini_batches)]
        return [(plan, self.reader.read(plan, self.plan.item)) for plan in plans]

    def keys(self) -> list[dict[str, Any] | None]:
        return [plan.keys for plan, _ in self.batches()]


def test_the_record_of_the_index_is_the_one_of_the_plan() -> None:
    assert GROUP.format == plan_file.GROUP.format


def test_rows_of_a_key_in_the_order_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.csv").write_text("user,n,v\nbob,2,a\nann,10,b\n,1,c\nbob,2,d\n")
    (tmp_path / "in/2.csv").write_text("user,n,v\nann,9,e\nbob,2,f\n")
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "in", keys=["user", "n"])
    assert grouped.keys() == [
        {"user": "ann", "n": 9},
        {"user": "ann", "n": 10},
        {"user": "bob", "n": 2},
        {"user": None, "n": 1},
    ]
    frames = [piece.frame() for _, piece in grouped.batches()]
    assert [frame.v.tolist() for frame in frames] == [["e"], ["b"], ["a", "d", "f"], ["c"]]
    assert frames[2].columns.tolist() == ["user", "n", "v"]
    assert frames[2].index.tolist() == [0, 1, 2]
    assert {str(frame.dtypes.n) for frame in frames} == {"int64"}
    piece = grouped.batches()[2][1]
    assert [piece.describe(row) for row in range(3)] == [
        f"{tmp_path}/in/1.csv:row 1",
        f"{tmp_path}/in/1.csv:row 4",
        f"{tmp_path}/in/2.csv:row 2",
    ]
    assert grouped.announced[0].startswith("Grouping by user, n needs up to 1 MB of disk below ")
    left = {path.name for path in (tmp_path / "plan").iterdir()}
    assert left >= {"grouped-0.arrow", "groups.index", "groups.keys", "plan.json"}
    assert not left & {"grouping.json", "grouping.items", "grouping.result", "grouping.spill"}


def test_each_input_is_grouped_by_itself(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"{n}.csv").write_text(f"k,v\nb,{n}\na,{n}\n")
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "1.csv", tmp_path / "2.csv", keys=["k"])
    assert [(plan.input, plan.keys, piece.frame().v.tolist()) for plan, piece in grouped.batches()] == [
        (0, {"k": "a"}, [1]),
        (0, {"k": "b"}, [1]),
        (1, {"k": "a"}, [2]),
        (1, {"k": "b"}, [2]),
    ]


def test_typed_keys(tmp_path: Path) -> None:
    rows = [(day, flag) for day in ("2019-02-03", "2018-01-01", "") for flag in ("true", "", "FALSE")]
    (tmp_path / "t.csv").write_text("day,flag\n" + "".join(f"{day},{flag}\n" for day, flag in rows))
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["day", "flag"])
    days = [pd.Timestamp("2018-01-01"), pd.Timestamp("2019-02-03"), None]
    assert grouped.keys() == [{"day": day, "flag": flag} for day in days for flag in (False, True, None)]


def test_other_formats_and_compressed_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": [3, 1, 2, 1], "v": [[1], [2], [], [3]]})
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet", row_group_size=2)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"k,v\n3,a\n1,b\n2,c\n1,d\n"))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"k": k, "v": {"x": k}}) + "\n" for k in (3, 1, 2, 1)))
    for name in ("t.parquet", "t.csv.gz", "t.jsonl"):
        grouped = GroupedPlan(tmp_path / f"plan-{name}", tmp_path / name, keys=["k"])
        assert grouped.keys() == [{"k": 1}, {"k": 2}, {"k": 3}]
        assert [len(piece.frame()) for _, piece in grouped.batches()] == [2, 1, 1]
    assert grouped.batches()[0][1].frame().v.tolist() == [{"x": 1}, {"x": 1}]


def test_frames_cut_from_a_shared_one_are_the_scripts_own(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("k,n,v\n" + "".join(f"{n % 7},{n},text {n}\n" for n in range(70)))
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "1.csv", keys=["k"])
    pieces = [piece for _, piece in grouped.batches()]
    for piece in pieces:
        frame = piece.frame()
        pd.testing.assert_frame_equal(frame, piece.frame(0, piece.rows))  # made from the piece alone
        frame.loc[:, "n"] = -1
        frame["v"] = "spoilt"
    assert [piece.frame().n.tolist() for piece in pieces] == [list(range(k, 70, 7)) for k in range(7)]
    assert not any((piece.frame().v == "spoilt").any() for piece in pieces)


def test_keys_from_the_path(tmp_path: Path) -> None:
    for user in ("bob", "ann"):
        (tmp_path / "in" / user).mkdir(parents=True)
        (tmp_path / "in" / user / "t.csv").write_text(f"v\n{user}1\n{user}2\n")
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "in", keys=["user"], partition_format="{user}/t.csv")
    assert [(plan.keys, piece.frame().values.tolist()) for plan, piece in grouped.batches()] == [
        ({"user": "ann"}, [["ann", "ann1"], ["ann", "ann2"]]),
        ({"user": "bob"}, [["bob", "bob1"], ["bob", "bob2"]]),
    ]


@pytest.mark.parametrize("null_key", [True, False])
def test_rows_that_cannot_be_read_fail_in_the_group_without_keys(tmp_path: Path, null_key: bool) -> None:
    rows = ['{"k": "a"}', "broken", '{"k": "b"}', '{"k": null}' if null_key else '{"k": "b"}', "[]"]
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n")
    grouped = GroupedPlan(tmp_path / "plan", tmp_path / "t.jsonl", keys=["k"])
    assert grouped.keys() == [{"k": "a"}, {"k": "b"}, {"k": None}]
    plan, piece = grouped.batches()[-1]
    good = 1 if null_key else 0
    assert plan.rows == piece.rows == good + 2
    assert [(row, kind) for row, kind, _ in piece.failed] == [(good, "InvalidLine"), (good + 1, "InvalidLine")]
    assert piece.failed[0][2].startswith("'broken' is no JSON")
    assert [piece.describe(row) for row in (good, good + 1)] == [f"{tmp_path}/t.jsonl:line 2", f"{tmp_path}/t.jsonl:line 5"]
    assert len(piece.frame()) == good
    assert sum(piece.rows for _, piece in grouped.batches()) == 5


def test_an_unknown_key_stops_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PartitionFormatError, match=r"no column 'c' to group by\. Its columns are: a, b"):
        GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["c"])
    assert not list(tmp_path.glob("plan*"))


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(DiskFullError, match=r"Grouping by a needs up to 1 MB .* has 0 MB free|has 1 MB free"):
        GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["a"])


def test_a_file_that_breaks_while_it_is_grouped_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    run = grouping._run_process

    def cut_and_run(*arguments: Any) -> Any:
        path.write_text("a,b\n")
        return run(*arguments)

    monkeypatch.setattr(grouping, "_run_process", cut_and_run)
    with pytest.raises(InputError, match=r"t\.csv changed after the plan was made: 8 bytes then, 4 now"):
        GroupedPlan(tmp_path / "plan", path, keys=["a"])
    assert not list(tmp_path.glob("plan*"))


def test_a_killed_grouping_leaves_nothing_and_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr("batchmill.data.grouping.sys.executable", str(killed))
        with pytest.raises(InputError, match="The process that groups the input was killed by signal 9"):
            GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["a"])
    assert not list(tmp_path.glob("plan*"))
    assert GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["a"]).keys() == [{"a": 1}]


def test_more_rows_than_memory(tmp_path: Path) -> None:
    """Sorted with less memory than the rows take: the spill folder is used and left empty."""
    numbers = random.Random(1)
    text = "k,v,w\n" + "".join(f"{numbers.randrange(500)},{n},{'x' * 80}{n}\n" for n in range(400_000))
    (tmp_path / "t.csv").write_text(text)
    grouped = None
    original = grouping.group

    def small(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, "memory_limit": 48 * 1024**2, "threads": 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "group", small)
        grouped = GroupedPlan(tmp_path / "plan", tmp_path / "t.csv", keys=["k"])
    assert grouped.plan.mini_batches == 500
    total = 0
    for plan, piece in grouped.batches():
        frame = piece.frame()
        assert set(frame.k) == {plan.keys["k"]} if plan.keys else False
        assert frame.v.is_monotonic_increasing
        total += len(frame)
    assert total == 400_000


values = st.sampled_from(["a", "b", "", "1", "2.5", "true"])


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(values, values), min_size=1, max_size=30), st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2, unique=True)
)
def test_groups_are_the_whole(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], keys: list[str]) -> None:
    folder = tmp_path_factory.mktemp("grouped")
    (folder / "t.csv").write_text("x,y,n\n" + "".join(f"{x},{y},{n}\n" for n, (x, y) in enumerate(rows)))
    grouped = GroupedPlan(folder / "plan", folder / "t.csv", keys=keys)
    seen: list[tuple[str, ...]] = []
    numbers: list[int] = []
    for plan, piece in grouped.batches():
        frame = piece.frame()
        assert frame.n.is_monotonic_increasing
        found = {tuple(repr(value) for value in row) for row in frame[keys].astype(object).where(frame[keys].notna(), None).values.tolist()}
        assert found == {tuple(repr(value) for value in (plan.keys or {}).values())}
        seen += found
        numbers += frame.n.tolist()
    assert len(seen) == len(set(seen))
    assert sorted(numbers) == list(range(len(rows)))
