"""Plans on real files: written, read back, and what they promise."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.partition_format import PartitionFormat
from batchmill.errors import DiskFullError, InputError, OutputError, PartitionFormatError, SettingError
from batchmill.parallel_run import plan as planning
from batchmill.parallel_run.plan import PlanSummary, check_output_outside, make_plan, write_rank_plan
from batchmill.settings import RunSettings
from batchmill.worker.plan_file import PlanFile


def touch(folder: Path, *names: str | bytes, content: bytes = b"x") -> Path:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    return folder


def planned(tmp_path: Path, *inputs: Path | str, **values: Any) -> tuple[PlanSummary, PlanFile]:
    folder = tmp_path / "run" / "plan"
    summary = make_plan(RunSettings.parse({"script": "x.py", "inputs": [os.fspath(one) for one in inputs], **values}), folder)
    return summary, PlanFile(folder)


def names_of(plan: PlanFile) -> list[list[str]]:
    return [[plan.item(n).name for n in plan.mini_batch(k).items] for k in range(plan.mini_batches)]


def test_files_are_cut_in_order_ten_by_ten(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", *(f"{n:02d}" for n in range(23)))
    summary, plan = planned(tmp_path, folder)
    assert (summary.mini_batches, summary.items, summary.bytes) == (3, 23, 23)
    assert [len(plan.mini_batch(k).items) for k in range(3)] == [10, 10, 3]
    assert plan.paths(2) == [(str(folder / name), 1, (folder / name).stat().st_mtime_ns) for name in ("20", "21", "22")]
    assert plan.paths(0, 3, 2) == plan.paths(0)[3:5]
    assert plan.paths(0, 8) == plan.paths(0)[8:]
    assert plan.header["cut"] == {"rule": "count", "size": 10}


def test_each_input_is_cut_by_itself(tmp_path: Path) -> None:
    first, second, third = touch(tmp_path / "a", "1", "2", "3"), touch(tmp_path / "b", "4"), touch(tmp_path / "c", "5", "6")
    summary, plan = planned(tmp_path, first, second / "4", third, mini_batch_size="2")
    assert names_of(plan) == [["1", "2"], ["3"], ["4"], ["5", "6"]]
    assert [plan.mini_batch(k).input for k in range(4)] == [0, 0, 1, 2]
    assert [(one.first_item, one.items, one.first_mini_batch, one.mini_batches) for one in summary.inputs] == [
        (0, 3, 0, 2),
        (3, 1, 2, 1),
        (4, 2, 3, 1),
    ]
    assert [path for path, _, _ in plan.paths(3)] == [f"{third}/5", f"{third}/6"]
    assert [plan.first_mini_batch_of(n) for n in range(7)] == [0, 0, 1, 2, 3, 3, 4]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_every_item_is_in_exactly_one_mini_batch(counts: list[int], size: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folders = [touch(Path(scratch) / str(i), *(f"{n}" for n in range(count))) for i, count in enumerate(counts)]
        summary, plan = planned(Path(scratch), *folders, mini_batch_size=str(size))
        batches = [plan.mini_batch(k) for k in range(plan.mini_batches)]
        assert [n for batch in batches for n in batch.items] == list(range(sum(counts))) == list(range(summary.items or 0))
        assert all(plan.item(n).input == batch.input for batch in batches for n in batch.items)
        assert all(plan.first_mini_batch_of(n) == batch.index for batch in batches for n in batch.items)
        assert [len(plan.paths(k)) for k in range(plan.mini_batches)] == [len(batch.items) for batch in batches]
        with pytest.raises(IndexError):
            plan.paths(plan.mini_batches)


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    folder = touch(tmp_path / os.fsdecode(b"in\xff"), b"\xfe", "é")
    _, plan = planned(tmp_path, folder)
    assert [Path(path).exists() for path, _, _ in plan.paths(0)] == [True, True]
    assert os.fsencode(plan.item(1).path) == os.fsencode(folder) + b"/\xfe"


def test_a_mount_stands_for_the_base(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, touch(tmp_path / "a", "1"), touch(tmp_path / "b", "2"))
    mounted = PlanFile(plan.folder, [None, "/cache/1"])
    assert [mounted.item(n).path for n in (0, 1)] == [f"{tmp_path}/a/1", "/cache/1/2"]
    assert mounted.paths(1)[0][0] == "/cache/1/2"


def test_a_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, touch(tmp_path / "in", "a"))
    Path(plan.folder, "plan.json").write_text(json.dumps({**plan.header, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        PlanFile(plan.folder)


def test_ranks(tmp_path: Path) -> None:
    write_rank_plan(tmp_path / "plan", 3)
    plan = PlanFile(tmp_path / "plan")
    assert (plan.mini_batches, plan.items, plan.header["kind"]) == (3, 3, "rank")
    assert [list(plan.mini_batch(k).items) for k in range(3)] == [[0], [1], [2]]
    assert plan.item(2).name == "2"


def test_rows_are_no_size_for_files(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="files have no rows"):
        planned(tmp_path, touch(tmp_path / "in", "a.png"), mini_batch_size="500rows")


@pytest.mark.parametrize(
    ("names", "values"),
    [(["1.csv", "2.csv", "readme.md"], {}), ([], {"inputs": ["missing"]}), (["a"], {"partition_keys": ["k"]})],
)
def test_bad_input_leaves_nothing_behind(tmp_path: Path, names: Sequence[str], values: dict[str, Any]) -> None:
    folder = touch(tmp_path / "in", *names)
    with pytest.raises(InputError):
        planned(tmp_path, *values.pop("inputs", [folder]), **values)
    assert not list((tmp_path / "run").glob("*")) if (tmp_path / "run").exists() else True


def test_a_format_that_is_given_ends_the_mix(tmp_path: Path) -> None:
    summary, _ = planned(tmp_path, touch(tmp_path / "in", "1.csv", "readme.md"), format="files")
    assert (summary.kind, summary.items) == ("files", 2)


def test_what_a_killed_planner_left_is_swept(tmp_path: Path) -> None:
    touch(tmp_path / "run" / "plan.tmp", "items.bin", "junk")
    _, plan = planned(tmp_path, touch(tmp_path / "in", "a"))
    assert sorted(os.listdir(plan.folder)) == ["items.bin", "items.index", "plan.json"]
    assert os.listdir(tmp_path / "run") == ["plan"]


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(planning, "write_header", full)
    with pytest.raises(DiskFullError, match="the plan does not fit"):
        planned(tmp_path, touch(tmp_path / "in", "a"))
    assert os.listdir(tmp_path / "run") == []


def test_progress_is_told(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", *(f"{d}/{n}" for d in range(3) for n in range(500)))
    told: list[int] = []
    make_plan(RunSettings(script="x.py", inputs=[str(folder)]), tmp_path / "plan", progress=told.append)
    assert told == [1000]


def test_an_output_inside_an_input_is_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a")
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, folder / "out", tmp_path / "link" / "out"):
        with pytest.raises(OutputError, match="results would become input"):
            check_output_outside(RunSettings(script="x.py", inputs=[str(folder)], output=str(output)))
    check_output_outside(RunSettings(script="x.py", inputs=[str(folder)], output=str(tmp_path / "out")))
    check_output_outside(RunSettings(script="x.py", inputs=[str(folder)]))
    with pytest.raises(OutputError):
        check_output_outside(RunSettings(script="x.py", inputs=[str(folder)]), str(folder / "out"))


# --- partitions -----------------------------------------------------------------------------------------------------------------

SONGS = [
    "user1/winter/disco/a",
    "user1/fall/fusion/a",
    "user2/summer/piano/a",
    "user3/fall/fusion/a",
    "user4/spring/piano/a",
    "user4/fall/piano/a",
]


def test_one_mini_batch_per_combination_of_the_requested_keys(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", *SONGS)
    summary, plan = planned(tmp_path, folder, partition_format="{user}/{season}/{genres}/*", partition_keys=["user", "genres"])
    assert (summary.mini_batches, summary.items) == (5, 6)
    assert [plan.mini_batch(k).keys for k in range(5)] == [
        {"user": "user1", "genres": "disco"},
        {"user": "user1", "genres": "fusion"},
        {"user": "user2", "genres": "piano"},
        {"user": "user3", "genres": "fusion"},
        {"user": "user4", "genres": "piano"},
    ]
    assert names_of(plan)[4] == ["user4/fall/piano/a", "user4/spring/piano/a"]
    assert [path for path, _, _ in plan.paths(4)] == [f"{folder}/user4/fall/piano/a", f"{folder}/user4/spring/piano/a"]
    assert plan.first_mini_batch_of(0) == 1
    assert plan.header["partition_keys"] == ["user", "genres"]


def test_dates_are_typed_and_nulls_come_last(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "2024/10/x", "2024/02/x", "other/x", "1999/12/x")
    _, plan = planned(tmp_path, folder, partition_format="{day:yyyy/MM}/x", partition_keys=["day"])
    assert [plan.mini_batch(k).keys for k in range(4)] == [
        {"day": datetime(1999, 12, 1)},
        {"day": datetime(2024, 2, 1)},
        {"day": datetime(2024, 10, 1)},
        {"day": None},
    ]


def test_empty_files_are_left_out_of_partitions(tmp_path: Path) -> None:
    folder = touch(touch(tmp_path / "in", "a/1", "b/2", "b/4"), "a/0", "c/3", content=b"")
    summary, plan = planned(tmp_path, folder, partition_format="{k}/*", partition_keys=["k"])
    assert (summary.items, names_of(plan)) == (3, [["a/1"], ["b/2", "b/4"]])
    assert plan.header["skipped_empty"] == 2


def test_only_empty_files_are_no_partitions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds only empty files"):
        planned(tmp_path, touch(tmp_path / "in", "a/1", "b/2", content=b""), partition_format="{k}/*", partition_keys=["k"])


def test_each_input_has_its_own_groups(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "x", "b/1", "a/1"), touch(tmp_path / "y", "a/2")
    _, plan = planned(tmp_path, first, second, partition_format="{k}/*", partition_keys=["k"])
    assert [(plan.mini_batch(k).input, (plan.mini_batch(k).keys or {})["k"]) for k in range(3)] == [(0, "a"), (0, "b"), (1, "a")]


def test_the_pattern_may_reach_above_the_input(tmp_path: Path) -> None:
    _, plan = planned(tmp_path, touch(tmp_path / "in" / "ann", "1"), partition_format="{k}/*", partition_keys=["k"])
    assert plan.mini_batch(0).keys == {"k": "ann"}


def test_keys_that_the_paths_do_not_have(tmp_path: Path) -> None:
    folder = touch(tmp_path / "in", "a/1")
    with pytest.raises(PartitionFormatError, match=r"^partition_keys \{'z'\} are not a subset of the dataset's partition keys \{'k'\}"):
        planned(tmp_path, folder, partition_format="{k}/*", partition_keys=["z"])
    with pytest.raises(PartitionFormatError, match="at least one"):
        planned(tmp_path, folder, partition_format="x")


KEY = st.sampled_from(["a", "b", "é", "Z", "10", "9", "n.o"])


@given(st.sets(st.tuples(KEY, KEY, st.integers(0, 9)), min_size=1, max_size=15), st.sampled_from([["a"], ["b"], ["a", "b"], ["b", "a"]]))
@settings(deadline=None, max_examples=40)
def test_groups_partition_the_items(files: set[tuple[str, str, int]], keys: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = touch(Path(scratch) / "in", *(f"{a}/{b}/{n}" for a, b, n in files))
        _, plan = planned(Path(scratch), folder, partition_format="{a}/{b}/*", partition_keys=keys)
        groups = [plan.mini_batch(k) for k in range(plan.mini_batches)]
        assert sorted(n for group in groups for n in group.items) == list(range(len(files)))
        assert all(list(group.items) == sorted(group.items) for group in groups)
        order = [[(value is None, (value or "").encode()) for value in (group.keys or {}).values()] for group in groups]
        assert order == sorted(order)
        assert len({tuple(map(tuple, key)) for key in order}) == len(order)
        form = PartitionFormat("{a}/{b}/*")
        for group in groups:
            for n in group.items:
                values = dict(zip(form.columns, form.values(plan.item(n).path), strict=True))
                assert group.keys == {key: values[key] for key in keys}
                assert plan.first_mini_batch_of(n) == group.index


# --- tables ---------------------------------------------------------------------------------------------------------------------


def test_text_tables_are_cut_into_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = "".join(f"{n:03d},xyz\n" for n in range(31))
    for name in ("a.csv", "c.csv"):
        (folder / name).write_text("aaa,bbb\n" + rows)
    summary, plan = planned(tmp_path, folder, folder / "c.csv", mini_batch_size="64")
    assert (summary.kind, summary.format, summary.items, summary.files, summary.mini_batches) == ("table", "csv", None, 3, 12)
    assert plan.header["cut"] == {"rule": "blocks", "size": 64}
    batches = [plan.mini_batch(k) for k in range(12)]
    assert [(b.input, *b.items, b.start, b.stop) for b in batches] == [
        (0 if item < 2 else 1, item, start, start + 64) for item in range(3) for start in range(0, 256, 64)
    ]


def test_rows_of_tables_are_cut_into_slices(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("h\n1\n2\n3\n4\n5\n")
    (folder / "b.csv").write_text("h\n6\n")
    summary, plan = planned(tmp_path, folder, mini_batch_size="2rows")
    assert (summary.mini_batches, plan.header["cut"]) == (4, {"rule": "slices"})
    assert [(*plan.mini_batch(k).items, plan.mini_batch(k).rows) for k in range(4)] == [(0, 2), (0, 2), (0, 1), (1, 1)]
    assert [plan.first_mini_batch_of(n) for n in range(3)] == [0, 3, 4]
