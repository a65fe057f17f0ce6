"""The prefetcher over a store in memory: order, bounds, sharing, failures, ending. No network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from batchmill.errors import DiskFullError
from batchmill.storage import fetch
from batchmill.storage.prefetch import Prefetcher, choose_cache_folder

BOUND = 60.0


@dataclass
class FakeItem:
    name: str
    size: int
    etag: str | None
    input: int = 0


@dataclass
class FakeMiniBatch:
    items: list[int]


@dataclass
class FakePlan:
    items: list[FakeItem] = field(default_factory=list)
    mini_batches: list[list[int]] = field(default_factory=list)
    header: dict[str, Any] = field(
        default_factory=lambda: {"inputs": [{"base": "s3://b/p", "location": "s3"}, {"base": "/x", "location": "local"}]}
    )

    def item(self, number: int) -> FakeItem:
        return self.items[number]

    def mini_batch(self, index: int) -> FakeMiniBatch:
        return FakeMiniBatch(self.mini_batches[index])


class RecordingStore:
    """A store in memory that notes what is asked of it, and holds back the keys in ``held``."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.asked: list[str] = []
        self.held: dict[str, threading.Event] = {}

    def get(self, key: str, options: Any = None) -> Any:
        self.asked.append(key)
        if key in self.held:
            self.held[key].wait(BOUND)
        return obstore.get(self.memory, key, options=options)

    def head(self, key: str) -> Any:
        return obstore.head(self.memory, key)


class World:
    """A plan of ``names``, one item of ``size`` bytes each, ``per`` in a mini-batch, and its store."""

    def __init__(self, folder: Path, store: RecordingStore) -> None:
        self.folder, self.store, self.plan = folder, store, FakePlan()
        self.told = threading.Event()
        self.open: list[Prefetcher] = []

    def add(self, count: int, per: int = 1, size: int = 1000) -> None:
        for _ in range(count):
            number = len(self.plan.items)
            name = f"d{number % 3}/{number}.bin"
            etag = obstore.put(self.store.memory, f"p/{name}", bytes([number % 256]) * size)["e_tag"]
            self.plan.items.append(FakeItem(name, size, etag))
        numbers = list(range(len(self.plan.items) - count, len(self.plan.items)))
        self.plan.mini_batches += [numbers[i : i + per] for i in range(0, count, per)]

    def prefetcher(self, max_bytes: int = 10**9, threads: int = 4) -> Prefetcher:
        prefetcher = Prefetcher(self.plan, self.folder, max_bytes, threads=threads, wake=self.told.set)
        self.open.append(prefetcher)
        return prefetcher

    def ready(self, prefetcher: Prefetcher, count: int) -> dict[int, dict[int, str]]:
        found: list[tuple[int, dict[int, str]]] = []
        deadline = time.monotonic() + BOUND
        while len(found) < count:
            assert self.told.wait(max(0.0, deadline - time.monotonic())), f"only {found} became ready"
            self.told.clear()
            found += prefetcher.ready()
        assert len(dict(found)) == len(found)
        return dict(found)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + BOUND
        while not condition():
            assert time.monotonic() < deadline
            threading.Event().wait(0.001)

    def content(self, number: int) -> bytes:
        return (self.folder / "0" / self.plan.items[number].name).read_bytes()

    def here(self) -> set[str]:
        return {path.stem for path in (self.folder / "0").rglob("*.bin")}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    store = RecordingStore()
    monkeypatch.setattr(fetch, "store_for", lambda _location, _timeout: store)
    world = World(tmp_path / "cache", store)
    yield world
    for event in store.held.values():
        event.set()
    for prefetcher in world.open:
        prefetcher.close()


def test_items_land_where_a_plan_looks_for_them(world: World) -> None:
    world.add(25, per=10)
    prefetcher = world.prefetcher()
    prefetcher.want(0, 3)
    assert world.ready(prefetcher, 3) == {0: {}, 1: {}, 2: {}}
    assert [world.content(n) for n in range(25)] == [bytes([n]) * 1000 for n in range(25)]
    assert prefetcher.ready() == []


def test_wants_are_served_in_their_order(world: World) -> None:
    world.add(6)
    prefetcher = world.prefetcher(threads=1)
    prefetcher.want(4, 2)
    prefetcher.want(0, 2)
    world.ready(prefetcher, 4)
    assert [key.split("/")[-1] for key in world.store.asked] == ["4.bin", "5.bin", "0.bin", "1.bin"]


def test_the_bound_on_bytes_holds_and_room_is_used_again(world: World) -> None:
    world.add(10)
    prefetcher = world.prefetcher(max_bytes=3 * 4096)
    prefetcher.want(0, 10)
    assert set(world.ready(prefetcher, 3)) == {0, 1, 2}
    for number in range(10):
        assert prefetcher.bytes_used <= 3 * 4096
        assert len(world.here()) <= 3
        prefetcher.done(number)
        if number < 7:
            assert set(world.ready(prefetcher, 1)) == {number + 3}


def test_a_mini_batch_larger_than_the_bound_is_let_in_alone(world: World) -> None:
    world.add(4, per=2, size=9000)
    prefetcher = world.prefetcher(max_bytes=4096)
    prefetcher.want(0, 2)
    assert set(world.ready(prefetcher, 1)) == {0}
    assert prefetcher.bytes_used == 2 * 12288
    prefetcher.done(0)
    assert set(world.ready(prefetcher, 1)) == {1}


def test_a_shared_item_is_fetched_once_and_kept_while_needed(world: World) -> None:
    world.add(3)
    world.plan.mini_batches = [[0], [0], [0, 1], [2]]
    prefetcher = world.prefetcher(max_bytes=2 * 4096)
    prefetcher.want(0, 4)
    assert set(world.ready(prefetcher, 3)) == {0, 1, 2}
    prefetcher.done(0)
    prefetcher.done(1)
    assert world.here() == {"0", "1"}
    prefetcher.done(2)
    assert set(world.ready(prefetcher, 1)) == {3}
    assert sorted(world.store.asked) == ["p/d0/0.bin", "p/d1/1.bin", "p/d2/2.bin"]


def test_an_item_that_nobody_needs_stays_until_its_room_is_wanted(world: World) -> None:
    world.add(3)
    prefetcher = world.prefetcher(max_bytes=2 * 4096)
    for number in (0, 1, 0):
        prefetcher.want(number)
        world.ready(prefetcher, 1)
        prefetcher.done(number)
    assert len(world.store.asked) == 2
    prefetcher.want(2)
    world.ready(prefetcher, 1)
    assert world.here() == {"0", "2"}


def test_a_bad_item_fails_alone_with_its_reason(world: World) -> None:
    world.add(6, per=3)
    obstore.put(world.store.memory, "p/d1/1.bin", b"other")
    obstore.delete(world.store.memory, "p/d2/5.bin")
    prefetcher = world.prefetcher()
    prefetcher.want(0, 2)
    found = world.ready(prefetcher, 2)
    assert found[0][1] == "Cannot read s3://b/p/d1/1.bin: it changed after the plan was made."
    assert found[1][2] == "Cannot read s3://b/p/d2/5.bin: it vanished after the plan was made."
    assert {failure.error_class for failures in found.values() for failure in failures.values()} == {"ItemChangedError"}  # type: ignore[attr-defined]
    assert world.here() == {"0", "2", "3", "4"}
    assert prefetcher.bytes_used == 4 * 4096


def test_a_changed_size_shows_where_the_store_has_no_etags(world: World) -> None:
    world.add(2)
    for item in world.plan.items:
        item.etag = None
    world.plan.items[0].size = 999
    world.plan.items[1].size = 1001
    prefetcher = world.prefetcher()
    prefetcher.want(0, 2)
    assert all("changed" in failures[0] for failures in world.ready(prefetcher, 2).values())
    assert world.here() == set()


def test_a_failed_item_is_tried_again_when_wanted_again(world: World) -> None:
    world.add(1)
    obstore.delete(world.store.memory, "p/d0/0.bin")
    prefetcher = world.prefetcher()
    prefetcher.want(0)
    assert world.ready(prefetcher, 1)[0]
    prefetcher.done(0)
    world.plan.items[0].etag = obstore.put(world.store.memory, "p/d0/0.bin", b"x" * 1000)["e_tag"]
    prefetcher.want(0)
    assert world.ready(prefetcher, 1) == {0: {}}


def test_a_key_that_is_also_a_folder_fails_as_that_item(world: World) -> None:
    world.add(2)
    world.plan.items[0].name, world.plan.items[1].name = "a", "a/b"
    for item in world.plan.items:
        item.etag = obstore.put(world.store.memory, f"p/{item.name}", b"x" * 1000)["e_tag"]
    world.plan.mini_batches = [[0, 1]]
    prefetcher = world.prefetcher(threads=1)
    prefetcher.want(0)
    assert "does not fit into a local folder" in world.ready(prefetcher, 1)[0][1]


def test_empty_and_large_objects_arrive_whole(world: World) -> None:
    world.add(1, size=0)
    world.add(1, size=3 * 1024 * 1024 + 17)
    prefetcher = world.prefetcher()
    prefetcher.want(0, 2)
    world.ready(prefetcher, 2)
    assert [len(world.content(n)) for n in range(2)] == [0, 3 * 1024 * 1024 + 17]


def test_local_items_need_no_fetching(world: World) -> None:
    world.add(2, per=2)
    world.plan.items[0].input = 1
    prefetcher = world.prefetcher()
    prefetcher.want(0)
    assert world.ready(prefetcher, 1) == {0: {}}
    assert len(world.store.asked) == 1


def test_a_slow_item_holds_up_only_its_own_mini_batch(world: World) -> None:
    world.add(6)
    world.store.held["p/d0/0.bin"] = threading.Event()
    prefetcher = world.prefetcher(threads=2)
    prefetcher.want(0, 6)
    assert set(world.ready(prefetcher, 5)) == {1, 2, 3, 4, 5}
    world.store.held["p/d0/0.bin"].set()
    assert set(world.ready(prefetcher, 1)) == {0}


def test_what_is_done_before_it_was_fetched_is_not_fetched(world: World) -> None:
    world.add(8)
    world.store.held["p/d0/0.bin"] = threading.Event()
    prefetcher = world.prefetcher(max_bytes=4 * 4096, threads=1)
    prefetcher.want(0, 8)
    world.until(lambda: bool(world.store.asked))
    for number in (0, 1, 4, 6):  # under way, in the queue, next in line, wanted later
        prefetcher.done(number)
    world.store.held["p/d0/0.bin"].set()
    assert set(world.ready(prefetcher, 4)) == {2, 3, 5, 7}
    assert {key.split("/")[-1] for key in world.store.asked} == {f"{n}.bin" for n in (0, 2, 3, 5, 7)}
    assert prefetcher.bytes_used <= 4 * 4096


def test_done_and_wanted_again_while_under_way(world: World) -> None:
    world.add(1)
    world.store.held["p/d0/0.bin"] = threading.Event()
    prefetcher = world.prefetcher()
    prefetcher.want(0)
    prefetcher.done(0)
    prefetcher.want(0)
    world.store.held["p/d0/0.bin"].set()
    assert world.ready(prefetcher, 1) == {0: {}}
    assert world.content(0) == bytes(1000)


def test_a_full_disk_stops_the_run_instead_of_failing_items(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(2)

    def full(_descriptor: int, _data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "_write_all", full)
    prefetcher = world.prefetcher()
    prefetcher.want(0, 2)
    assert world.told.wait(BOUND)
    with pytest.raises(DiskFullError, match="No space is left"):
        prefetcher.ready()


def test_closing_is_prompt_although_the_store_hangs(world: World) -> None:
    world.add(6)
    for number in range(4):
        world.store.held[f"p/d{number % 3}/{number}.bin"] = threading.Event()
    prefetcher = world.prefetcher(threads=4)
    prefetcher.want(0, 6)
    world.until(lambda: len(world.store.asked) == 4)
    began = time.monotonic()
    prefetcher.close()
    assert time.monotonic() - began < BOUND / 2
    for event in world.store.held.values():
        event.set()
    for thread in prefetcher._threads:
        thread.join(BOUND)
        assert not thread.is_alive()
    assert not world.folder.exists()
    prefetcher.want(0)
    prefetcher.done(0)
    prefetcher.close()


def test_what_a_killed_run_left_in_the_cache_is_removed(world: World) -> None:
    (world.folder / "0").mkdir(parents=True)
    (world.folder / "0" / "old.bin").write_bytes(b"old")
    (world.folder / "foreign").write_bytes(b"not ours")
    world.add(1)
    world.prefetcher().close()
    assert [path.name for path in world.folder.iterdir()] == ["foreign"]


def test_a_small_cache_lies_in_memory_and_a_large_one_on_disk(tmp_path: Path) -> None:
    assert choose_cache_folder("run", 1024, tmp_path / "disk", memory=str(tmp_path)).startswith(f"{tmp_path}/batchmill-")
    assert choose_cache_folder("run", 2**50, tmp_path / "disk", memory=str(tmp_path)) == str(tmp_path / "disk")
    assert choose_cache_folder("run", 1024, tmp_path / "disk", memory=str(tmp_path / "none")) == str(tmp_path / "disk")
    Path(choose_cache_folder("run", 1024, "/", memory=str(tmp_path))).symlink_to("/")
    assert choose_cache_folder("run", 1024, tmp_path / "disk", memory=str(tmp_path)) == str(tmp_path / "disk")
