"""Plans of file datasets: several places are one input, operations apply before files are cut, partitions come from the definition."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.data.definition import Definition
from batchmill.data.definition_inputs import open_definition
from batchmill.data.expression import Expression
from batchmill.errors import InputError, PartitionFormatError
from batchmill.parallel_run.plan import PlanSummary, make_plan
from batchmill.settings import RunSettings
from batchmill.worker.plan_file import PlanFile
from tests.integration.conftest import Bucket


def touch(folder: Path, *names: str, content: bytes = b"x") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def dataset(*sources: Path | str, **values: Any) -> Definition:
    return Definition("file", tuple(map(os.fspath, sources)), **values)


def planned(tmp_path: Path, *inputs: Definition | Path, **values: Any) -> tuple[PlanSummary, PlanFile]:
    definitions = {f"dataset:{n}": one for n, one in enumerate(inputs) if isinstance(one, Definition)}
    texts = [f"dataset:{n}" if isinstance(one, Definition) else str(one) for n, one in enumerate(inputs)]
    folder = tmp_path / "run" / "plan"
    summary = make_plan(RunSettings.parse({"script": "x.py", "inputs": texts, **values}), folder, definitions=definitions)
    return summary, PlanFile(folder)


def paths_of(plan: PlanFile, base: Path) -> list[list[str]]:
    return [[os.path.relpath(path, base) for path, _, _ in plan.paths(k)] for k in range(plan.mini_batches)]


def test_sources_in_several_folders_are_one_input(tmp_path: Path) -> None:
    one, two, three = touch(tmp_path / "a", "1", "2", "3"), touch(tmp_path / "b", "4"), touch(tmp_path / "c", "5", "6")
    summary, plan = planned(tmp_path, dataset(one, two / "4", f"{three}/*"), mini_batch_size="2")
    assert paths_of(plan, tmp_path) == [["a/1", "a/2"], ["a/3", "b/4"], ["c/5", "c/6"]]
    assert (summary.mini_batches, summary.items) == (3, 6)
    assert [(part.base, part.first_item, part.items, part.first_mini_batch, part.mini_batches, part.joined) for part in summary.inputs] == [
        (f"{tmp_path}/a", 0, 3, 0, 3, False),
        (f"{tmp_path}/b", 3, 1, 3, 0, True),
        (f"{tmp_path}/c", 4, 2, 3, 0, True),
    ]
    assert [plan.first_mini_batch_of(n) for n in range(7)] == [0, 0, 1, 1, 2, 2, 3]
    assert [plan.item(n).path for n in range(6)] == [f"{tmp_path}/{name}" for name in ("a/1", "a/2", "a/3", "b/4", "c/5", "c/6")]
    assert plan.paths(1, 1, 1) == plan.paths(1)[1:]
    assert [plan.first_name(k) for k in range(3)] == ["1", "3", "5"]


def test_every_place_can_be_mounted_elsewhere(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a", "1", "2", "3"), touch(tmp_path / "b", "4")
    planned(tmp_path, dataset(one, two), mini_batch_size="2")
    plan = PlanFile(tmp_path / "run" / "plan", [None, "/cache/1"])
    assert [path for path, _, _ in plan.paths(1)] == [f"{one}/3", "/cache/1/4"]


def test_a_dataset_and_a_folder_are_two_inputs(tmp_path: Path) -> None:
    one, two, three = touch(tmp_path / "a", "1"), touch(tmp_path / "b", "2", "3"), touch(tmp_path / "c", "4", "5", "6")
    summary, plan = planned(tmp_path, three, dataset(one, two), three, mini_batch_size="2")
    assert paths_of(plan, tmp_path) == [["c/4", "c/5"], ["c/6"], ["a/1", "b/2"], ["b/3"], ["c/4", "c/5"], ["c/6"]]
    assert [one.mini_batches for one in summary.inputs] == [2, 2, 0, 2]


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_only_the_last_mini_batch_of_an_input_is_smaller(shapes: list[list[int]], size: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as base:
        inputs, expected = [], []
        for i, counts in enumerate(shapes):
            places = [Path(base) / f"{i}-{j}" for j in range(len(counts))]
            names = []
            for place, count in zip(places, counts, strict=True):
                place.mkdir()
                touch(place, *(f"{n}" for n in range(count)))
                names += [f"{place.name}/{n}" for n in range(count)]
            if not names:
                touch(places[0], "0")
                names = [f"{places[0].name}/0"]
            inputs.append(dataset(*places))
            expected += [names[n : n + size] for n in range(0, len(names), size)]
        _, plan = planned(Path(base), *inputs, mini_batch_size=size)
        assert paths_of(plan, Path(base)) == expected
        starts = [n for n in range(plan.items or 0) if n == 0 or plan.first_mini_batch_of(n) != plan.first_mini_batch_of(n - 1)]
        assert len(starts) == plan.mini_batches


def test_operations_apply_before_files_are_cut(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a", *(f"{n}" for n in range(8))), touch(tmp_path / "b", *(f"{n}" for n in range(8)))
    part = dataset(one, two).with_operation(op="skip", count=6).with_operation(op="take", count=5)
    _, plan = planned(tmp_path, part, mini_batch_size="3")
    assert paths_of(plan, tmp_path) == [["a/6", "a/7", "b/0"], ["b/1", "b/2"]]
    large = touch(tmp_path / "c", "large", content=b"xxx")
    big = dataset(one, large).with_operation(op="filter", expression=(Expression.metadata("Size") > 2).tree)
    assert paths_of(planned(tmp_path, big)[1], tmp_path) == [["c/large"]]


def test_a_dataset_of_one_file_is_one_mini_batch_of_one_item(tmp_path: Path) -> None:
    folder = touch(tmp_path / "mnist", "0.png", "1.png")
    summary, plan = planned(tmp_path, dataset(folder / "0.png"))
    assert (summary.mini_batches, summary.items, paths_of(plan, tmp_path)) == (1, 1, [["mnist/0.png"]])
    assert planned(tmp_path, dataset(folder / "0.png", is_file=True))[0].items == 1


def test_a_list_of_files_is_one_place(tmp_path: Path) -> None:
    folder = touch(tmp_path / "a", *(f"{n:03}" for n in range(300)))
    names = [f"{n:03}" for n in range(299, -1, -1)]
    summary, plan = planned(tmp_path, dataset(*(folder / name for name in names)), mini_batch_size="1000")
    assert len(summary.inputs) == 1
    assert paths_of(plan, folder) == [names]  # in the order of the definition
    twice, _ = planned(tmp_path, dataset(folder / "001", folder / "002", folder / "001"))
    assert [one.items for one in twice.inputs] == [2, 1]  # a file that is named twice is two items, which never share a place


def test_partitions_run_across_the_places_of_a_dataset(tmp_path: Path) -> None:
    one = touch(tmp_path / "a", "user1/winter/piano.wav", "user2/summer/guitar.wav")
    two = touch(tmp_path / "b", "user1/winter/piano.wav", "user1/spring/piano.wav", "user3/winter/piano.wav")
    touch(two, "user3/winter/empty.wav", content=b"")
    music = dataset(one, two, partition_format="{user}/{season}/{genres}.wav")
    summary, plan = planned(tmp_path, music, partition_keys=["user", "genres"])
    assert paths_of(plan, tmp_path) == [
        ["a/user1/winter/piano.wav", "b/user1/spring/piano.wav", "b/user1/winter/piano.wav"],
        ["a/user2/summer/guitar.wav"],
        ["b/user3/winter/piano.wav"],
    ]
    assert plan.mini_batch(0).keys == {"user": "user1", "genres": "piano"}
    assert (summary.mini_batches, plan.header["skipped_empty"]) == (3, 1)
    assert [plan.mini_batch(k).input for k in range(3)] == [0, 0, 0]


def test_each_dataset_brings_its_own_partition_format(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "a", "ann/1.txt"), touch(tmp_path / "b", "x/bob/2.txt")
    both = (dataset(one, partition_format="{user}/*.txt"), dataset(two, partition_format="{kind}/{user}/*.txt"))
    _, plan = planned(tmp_path, *both, partition_keys=["user"])
    assert [plan.mini_batch(k).keys for k in range(2)] == [{"user": "ann"}, {"user": "bob"}]
    with pytest.raises(
        PartitionFormatError, match=r"partition_keys \{'kind'\} are not a subset of the dataset's partition keys \{'user'\}"
    ):
        planned(tmp_path, *both, partition_keys=["kind"])
    dated = dataset(two, partition_format="{kind}/{user:yyyy}/*.txt")
    with pytest.raises(PartitionFormatError, match="'user' is a date in one input and a text in another"):
        planned(tmp_path, both[0], dated, partition_keys=["user"])


def test_keys_of_a_dataset_without_partitions(tmp_path: Path) -> None:
    plain = dataset(touch(tmp_path / "a", "ann/1.txt"))
    with pytest.raises(PartitionFormatError, match=r"partition_keys \{'user'\} are not a subset of the dataset's partition keys \{\}"):
        planned(tmp_path, plain, partition_keys=["user"])
    _, plan = planned(tmp_path, plain, partition_keys=["user"], partition_format="{user}/*.txt")
    assert plan.mini_batch(0).keys == {"user": "ann"}


def test_files_stay_files_whatever_their_names(tmp_path: Path) -> None:
    tables = touch(tmp_path / "a", "1.csv", "2.csv", content=b"x\n1\n")
    assert planned(tmp_path, dataset(tables))[0].kind == "files"
    assert planned(tmp_path, dataset(tables), format="csv")[0].kind == "table"
    with pytest.raises(InputError, match="all files or all tables"):
        planned(tmp_path, dataset(tables), tables)
    assert planned(tmp_path, dataset(tables), tables, format="files")[0].items == 4


@pytest.mark.parametrize(
    ("operation", "cure"),
    [(None, "Check the paths"), ({"op": "take", "count": 0}, "leaves none"), ({"op": "skip", "count": 9}, "leaves none")],
)
def test_an_empty_dataset_is_refused(tmp_path: Path, operation: dict[str, Any] | None, cure: str) -> None:
    folder = touch(tmp_path / "a", *(["1"] if operation else [".hidden"]))
    one = dataset(folder) if operation is None else dataset(folder).with_operation(**operation)
    with pytest.raises(InputError, match=f"dataset:0 holds no files. .*{cure}"):
        planned(tmp_path, one)
    assert planned(tmp_path, dataset(tmp_path / "a" / ".." / "a", touch(tmp_path / "b", "2")))[0].items >= 1


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        planned(tmp_path, dataset(touch(tmp_path / "a", "1"), tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is not one file"):
        planned(tmp_path, dataset(tmp_path / "a", is_file=True))


def test_stores_and_folders_are_one_input(tmp_path: Path, bucket: Bucket) -> None:
    local = touch(tmp_path / "a", "1", "2")
    for name in ("in/3", "in/4", "single/5", "single/6", "single/7"):
        bucket.put(name, name.encode())
    singles = [f"{bucket.url}/single/{name}" for name in ("7", "5")]
    summary, plan = planned(tmp_path, dataset(local, f"{bucket.url}/in", *singles), mini_batch_size="3")
    assert [[plan.item(n).name for n in plan.mini_batch(k).items] for k in range(2)] == [["1", "2", "3"], ["4", "7", "5"]]
    assert [(one.location != "local", one.items) for one in summary.inputs] == [(False, 2), (True, 2), (True, 2)]
    assert all(plan.item(n).etag for n in range(2, 6))


def test_a_listing_of_many_files_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "many"
    for n in range(100):
        (folder / f"{n:02}").mkdir(parents=True)
    for n in range(100_000):
        os.mknod(folder / f"{n % 100:02}" / f"{n:05}")
    entered: list[str] = []
    scandir = os.scandir

    def counting(path: Any) -> Any:
        entered.append(os.fsdecode(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    (one,) = open_definition(dataset(folder).with_operation(op="take", count=1500))
    assert entered == []
    assert sum(map(len, one.chunks())) == 1500
    assert len(entered) == 3  # the folder itself and the two whose thousand files each were needed
    (half,) = open_definition(dataset(folder).with_operation(**{"op": "split", "from": 0, "to": 0.5, "seed": 7}))
    assert 49_000 < sum(map(len, half.chunks())) < 51_000


def test_definitions_cross_processes(tmp_path: Path) -> None:
    one = dataset(tmp_path).with_operation(op="take", count=1)
    assert pickle.loads(pickle.dumps(one)) == one
