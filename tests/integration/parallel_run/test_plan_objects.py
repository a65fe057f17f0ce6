"""Plans over object stores and web servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.errors import InputError, StoreError
from batchmill.parallel_run.plan import make_plan
from batchmill.settings import RunSettings
from batchmill.worker.plan_file import PlanFile
from tests import stores
from tests.integration.conftest import Bucket


def planned(folder: Path, *inputs: str, size: str = "2") -> PlanFile:
    make_plan(RunSettings(script="x.py", inputs=list(inputs), mini_batch_size=size), folder / "plan")
    return PlanFile(folder / "plan")


def names_of(plan: PlanFile) -> list[list[str]]:
    return [[plan.item(n).name for n in plan.mini_batch(k).items] for k in range(plan.mini_batches)]


def test_objects_are_planned_with_their_etags(bucket: Bucket, tmp_path: Path) -> None:
    etags = {name: bucket.put(f"in/{name}", name.encode()) for name in ("b", "a/é", "a/x")}
    plan = planned(tmp_path, f"{bucket.url}/in")
    assert names_of(plan) == [["a/x", "a/é"], ["b"]]
    items = [plan.item(n) for n in range(3)]
    assert [(item.path, item.etag, item.size) for item in items] == [
        (f"{bucket.url}/in/{name}", etags[name], len(name.encode())) for name in ("a/x", "a/é", "b")
    ]
    mounted = PlanFile(tmp_path / "plan", ["/cache/0"])
    assert [path for path, _, _ in mounted.paths(0)] == ["/cache/0/a/x", "/cache/0/a/é"]
    assert plan.header["inputs"][0]["location"] == bucket.url.partition(":")[0]


def test_one_object_a_glob_and_a_list(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("in/1.png", "in/2.txt", "in/d/3.png"):
        bucket.put(key, b"x")
    (tmp_path / "list.txt").write_text(f"{bucket.url}/in/d/3.png\n{bucket.url}/in/2.txt\n")
    plan = planned(tmp_path, f"{bucket.url}/in/1.png", f"{bucket.url}/in/**/*.png", f"@{tmp_path}/list.txt")
    assert names_of(plan) == [["1.png"], ["1.png", "d/3.png"], ["2.txt", "d/3.png"]]
    assert {entry["base"] for entry in plan.header["inputs"]} == {f"{bucket.url}/in"}
    assert plan.item(4).etag


def test_what_the_store_does_not_have(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("in/a", b"x")
    with pytest.raises(InputError, match="holds no files"):
        planned(tmp_path, f"{bucket.url}/missing")
    (tmp_path / "list.txt").write_text(f"{bucket.url}/in/a\n{bucket.url}/in/missing\n")
    with pytest.raises(StoreError, match="missing"):
        planned(tmp_path, f"@{tmp_path}/list.txt")


def test_the_files_of_a_web_server_come_from_a_list(tmp_path: Path) -> None:
    (tmp_path / "www" / "d").mkdir(parents=True)
    for name in ("a", "d/b"):
        (tmp_path / "www" / name).write_bytes(b"12")
    with stores.static_server(tmp_path / "www") as server:
        (tmp_path / "list.txt").write_text(f"{server.url}/d/b\n{server.url}/a\n")
        plan = planned(tmp_path, f"@{tmp_path}/list.txt")
    assert names_of(plan) == [["a", "d/b"]]
    assert (plan.item(1).path, plan.item(1).size) == (f"{server.url}/d/b", 2)
