"""A plan in blocks tells of the mini-batches that were asked for what the whole plan tells, and the rest is not fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import StoreError
from batchmill.nodes import plan_blocks, plan_mirror
from batchmill.nodes.node_order import PlanOrder
from batchmill.nodes.plan_blocks import PlanBlocks
from batchmill.nodes.plan_mirror import PlanMirror, fetch_plan, publish_plan, published_plan
from batchmill.nodes.scratch import Stopped
from batchmill.parallel_run.events import Task
from batchmill.parallel_run.plan import make_plan
from batchmill.parallel_run.run_store import PUBLISHED
from batchmill.settings import RunSettings
from batchmill.storage.folder_store import FolderStore
from batchmill.worker.plan_file import PlanFile

FILES = 400


@pytest.fixture(scope="module", autouse=True)
def _small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_blocks, "BLOCK", 64)
        patch.setattr(plan_blocks, "LINE", 8)
        patch.setattr(plan_mirror, "LARGE", 0)
        yield


class Published:
    """A plan in a folder, and in a store."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder / "plan"
        values = {"script": "score.py", "inputs": [str(folder / "in"), str(folder / "more")], "mini_batch_size": 3, **settings}
        make_plan(RunSettings.parse(values), self.folder)
        self.store = FolderStore(folder / "store")
        self.order = publish_plan(self.store, self.folder, "1")
        self.whole = PlanFile(self.folder)

    def mirrored(self, folder: Path) -> Path:
        folder.mkdir()
        fetch_plan(self.store, self.order, folder, whole=False)
        return folder


def write(folder: Path) -> None:
    for place, count in (("in", FILES), ("more", 7)):
        for number in range(count):
            path = folder / place / f"{number % 23:02d}" / f"{number:04d}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if number % 5 == 4 else path.write_text("x")


@pytest.fixture(scope="module", params=["count", "groups"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    write(folder)
    groups = {"mini_batch_size": None, "partition_format": "{kind}/{name}.txt", "partition_keys": ["kind"]}
    return Published(folder, **(groups if request.param == "groups" else {}))


def told(plan: PlanFile, k: int) -> object:
    part = plan.mini_batch(k)
    items = [plan.item(n) for n in part.items]
    return part.index, part.keys, [(item.path, item.size, item.mtime_ns) for item in items], plan.paths(k), plan.first_name(k)


@given(st.data())
def test_mini_batches_that_were_asked_for_are_as_in_the_whole_plan(
    published: Published, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = published.mirrored(tmp_path_factory.mktemp("mirror") / "plan")
    blocks, total = PlanBlocks(published.store, published.order, folder), published.whole.mini_batches
    try:
        for _ in range(data.draw(st.integers(1, 3))):
            first = data.draw(st.integers(0, total - 1))
            count = data.draw(st.integers(1, min(6, total - first)))
            blocks.need(first, count)
            mirror = PlanFile(folder)
            assert [told(mirror, k) for k in range(first, first + count)] == [told(published.whole, k) for k in range(first, first + count)]
    finally:
        blocks.close()


def test_what_nobody_asked_for_stays_away(tmp_path: Path) -> None:
    write(tmp_path)
    published = Published(tmp_path)
    folder = published.mirrored(tmp_path / "mirror")
    blocks = PlanBlocks(published.store, published.order, folder)
    blocks.need(0, 2)
    blocks.close()
    assert (folder / "items.index").stat().st_size == (published.folder / "items.index").stat().st_size
    assert not any((folder / "items.index").read_bytes()[2000:])
    assert not any((folder / "items.bin").read_bytes()[2000:])


def test_a_small_plan_and_one_of_tables_come_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("n\n1\n2\n")
    tables = Published(tmp_path, inputs=[str(tmp_path / "in")], mini_batch_size="1KB")
    folder = tables.mirrored(tmp_path / "tables")
    assert sorted(path.name for path in folder.iterdir()) == sorted(name for name, _ in tables.order.files)
    write(tmp_path)
    monkeypatch.setattr(plan_mirror, "LARGE", 1 << 20)
    (tmp_path / "small").mkdir()
    small = Published(tmp_path / "small", inputs=[str(tmp_path / "more")])
    folder = small.mirrored(tmp_path / "mirror")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {path.name: path.read_bytes() for path in small.folder.iterdir()}


def test_a_published_plan_is_found_again_only_when_it_is_complete(tmp_path: Path) -> None:
    write(tmp_path)
    published = Published(tmp_path)
    assert published_plan(published.store) == published.order
    assert published.order.files[-1][0] == "plan.json"
    published.store.delete(PUBLISHED)
    assert published_plan(published.store) is None


def test_of_two_who_publish_at_once_the_first_holds(tmp_path: Path) -> None:
    write(tmp_path)
    published = Published(tmp_path)
    published.store.delete(PUBLISHED)
    create = published.store.create

    def late(name: str, data: bytes) -> bool:
        assert create(PUBLISHED, b"plan/1")
        return create(name, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published.store, "create", late)
        assert publish_plan(published.store, published.folder, "2") == published.order


def test_fetching_ends_when_nobody_wants_the_plan_any_more(tmp_path: Path) -> None:
    write(tmp_path)
    published = Published(tmp_path)
    with pytest.raises(Stopped):
        fetch_plan(published.store, published.order, tmp_path / "nowhere", lambda: True)


# --- the mirror that leases ask -----------------------------------------------------------------------------------------------------


class Heard:
    """What a mirror tells."""

    def __init__(self) -> None:
        self.ready: list[tuple[Task, ...]] = []
        self.errors: list[Exception] = []
        self.changed = threading.Semaphore(0)

    def is_ready(self, tasks: tuple[Task, ...]) -> None:
        self.ready.append(tasks)
        self.changed.release()

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.changed.release()

    def mirror(self, published: Published, folder: Path, order: PlanOrder | None = None) -> PlanMirror:
        return PlanMirror(published.store, order or published.order, folder, self.is_ready, self.failed)


def test_leases_come_back_in_their_order_when_the_plan_tells_of_them(published: Published, tmp_path: Path) -> None:
    heard, folder = Heard(), published.mirrored(tmp_path / "mirror")
    mirror = heard.mirror(published, folder)
    given = [(Task(number, number, 1), Task(number + 10, number + 3, 2)) for number in range(5)]
    for tasks in given:
        mirror.need(tasks)
    for _ in given:
        assert heard.changed.acquire(timeout=60)
    mirror.close()
    assert heard.ready == given
    assert told(PlanFile(folder), 8) == told(published.whole, 8)


def test_a_whole_plan_makes_nobody_wait(published: Published) -> None:
    heard = Heard()
    mirror = heard.mirror(published, published.folder)
    mirror.need((Task(1, 0),))
    assert heard.ready == [(Task(1, 0),)]
    mirror.close()


def test_a_plan_that_is_gone_is_said(tmp_path: Path) -> None:
    write(tmp_path)
    published = Published(tmp_path)
    heard, folder = Heard(), published.mirrored(tmp_path / "mirror")
    published.store.clear("plan")
    mirror = heard.mirror(published, folder)
    mirror.need((Task(1, 0),))
    assert heard.changed.acquire(timeout=60)
    mirror.close()
    (error,) = heard.errors
    assert isinstance(error, StoreError)
