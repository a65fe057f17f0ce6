"""One contract for shared stores: a folder, S3 (moto_server) and Azure Blob (Azurite)."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import ObjectMissingError, OutputError, StoreError
from batchmill.parallel_run.run_store import RunStore
from batchmill.storage.shared_store import SharedStore, shared_store
from tests import stores
from tests.integration.conftest import bucket_of

NAMES = ["B", "a", "a b%20c#d?e", "dir-x/b", "dir/.hidden/x", "dir/a", "dir/b/c/d", "dir/é", "dir0", "z", "\uff5e", "\U0001f600"]
LARGE = 20_000_000


@pytest.fixture(params=["folder", "s3", "az"])
def place(request: pytest.FixtureRequest, servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Somewhere to write: nothing is there yet, not even a folder."""
    if request.param == "folder":
        return str(tmp_path / "out" / "deep")
    return f"{bucket_of(request.param, servers, monkeypatch).url}/out/deep"


@pytest.fixture
def store(place: str) -> SharedStore:
    return shared_store(place)


def names(store: SharedStore, *args: Any) -> list[str]:
    return [entry.name for entry in store.list(*args)]


def test_what_was_put_is_read_whole_and_in_ranges(store: SharedStore) -> None:
    store.put("a/b", b"0123456789")
    assert store.read("a/b") == b"0123456789"
    assert store.read("a/b", 3) == b"3456789"
    assert store.read("a/b", 3, 4) == b"3456"
    assert store.read("a/b", 8, 4) == b"89"
    assert store.read("a/b", 3, 0) == b""
    assert store.read("a/b", 10, 5) == b""
    assert store.read("a/b", 99) == b""
    store.put("a/b", b"new")
    assert store.read("a/b") == b"new"
    store.put("empty", b"")
    assert store.read("empty") == b""


def test_nothing_of_that_name(store: SharedStore, tmp_path: Path) -> None:
    for ask in (lambda: store.read("no"), lambda: store.read("no", 2, 3), lambda: store.fetch("no", tmp_path / "x")):
        with pytest.raises(ObjectMissingError, match=r"Cannot read .*no: there is no such"):
            ask()
    store.put("folder/x", b"1")
    with pytest.raises(ObjectMissingError):
        store.read("folder")
    assert not (tmp_path / "x").exists()
    store.delete("no")
    store.delete("no/deeper")
    store.clear("no")
    assert names(store, "no") == []


def test_listing_is_in_byte_order_below_a_folder_and_after_a_name(store: SharedStore) -> None:
    for name in reversed(NAMES):
        store.put(name, name.encode())
    assert sorted(NAMES, key=str.encode) == NAMES
    assert names(store) == NAMES
    assert [entry.size for entry in store.list()] == [len(name.encode()) for name in NAMES]
    assert names(store, "dir") == names(store, "dir/") == ["dir/.hidden/x", "dir/a", "dir/b/c/d", "dir/é"]
    for after in [*NAMES, "dir", "dir/", "dir/b", "dir/b/c/", "dir/c", "~", "0"]:
        assert names(store, "", after) == [name for name in NAMES if name > after], after
        assert names(store, "dir", after) == [name for name in NAMES if name > after and name.startswith("dir/")], after


def test_a_mark_changes_with_the_content(store: SharedStore) -> None:
    store.put("a", b"1")
    (first,) = store.list()
    assert (first,) == tuple(store.list())
    store.put("a", b"2")
    (second,) = store.list()
    assert first.mark != second.mark


def test_create_happens_once(store: SharedStore) -> None:
    assert store.create("ledger/1", b"first")
    assert not store.create("ledger/1", b"second")
    assert store.read("ledger/1") == b"first"
    store.delete("ledger/1")
    assert store.create("ledger/1", b"third")


@pytest.mark.parametrize("threads", [2, 8])
def test_create_by_many_at_once_is_won_by_one(store: SharedStore, threads: int) -> None:
    for number in range(20):
        barrier = threading.Barrier(threads)

        def go(who: int, name: str = f"n/{number}", barrier: threading.Barrier = barrier) -> bool:
            barrier.wait()
            return store.create(name, str(who).encode())

        with ThreadPoolExecutor(threads) as pool:
            won = list(pool.map(go, range(threads)))
        assert won.count(True) == 1
        assert store.read(f"n/{number}") == str(won.index(True)).encode()
    assert len(names(store)) == 20


def test_files_there_and_back(store: SharedStore, tmp_path: Path) -> None:
    for size in (0, 10, LARGE):
        content = os.urandom(size)
        (tmp_path / "here").write_bytes(content)
        store.put_file("x/there", tmp_path / "here")
        store.fetch("x/there", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["back", "here"]


def test_a_writer_publishes_at_its_end(store: SharedStore) -> None:
    store.put("x/out", b"before")
    content = os.urandom(LARGE)
    with store.writer("x/out", LARGE, "out.partial") as file:
        for start in range(0, LARGE, 3_000_000):
            file.write(content[start : start + 3_000_000])
        assert store.read("x/out") == b"before"
    assert store.read("x/out") == content
    assert names(store) == ["x/out"]
    with store.writer("empty"):
        pass
    assert store.read("empty") == b""


def fail_while_writing(store: SharedStore, name: str, size: int) -> None:
    with store.writer(name, None, "out.partial") as file:
        file.write(bytes(size))
        raise ZeroDivisionError


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_writer_that_fails_leaves_nothing(store: SharedStore, size: int) -> None:
    store.put("out", b"before")
    for name in ("out", "new"):
        with pytest.raises(ZeroDivisionError):
            fail_while_writing(store, name, size)
    assert store.read("out") == b"before"
    assert names(store) == ["out"]


def test_folders_of_a_store_are_stores(store: SharedStore) -> None:
    below = store.below("x/y/")
    assert below.place == f"{store.place}/x/y"
    below.put("z", b"1")
    assert names(below) == ["z"]
    assert names(store) == ["x/y/z"]
    assert shared_store(below.place).read("z") == b"1"


def test_clearing_takes_only_the_folder(store: SharedStore) -> None:
    for name in ("a/1", "a/b/2", "ab", "b"):
        store.put(name, b"1")
    store.clear("a")
    assert names(store) == ["ab", "b"]
    store.clear("")
    assert names(store) == []


def test_many_objects(store: SharedStore) -> None:
    expected = [f"many/{number:05d}" for number in range(1205)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"1"), expected))
    assert names(store, "many") == expected
    assert names(store, "many", "many/01200") == expected[1201:]
    store.clear("many")
    assert names(store) == []


def test_a_run_store(place: str) -> None:
    store = RunStore(place, "run-1")
    assert store.alive() is None
    store.beat(3, "Running", {"items": 1}, node="a")
    store.beat(3, "Running", {"items": 2})
    beat = store.alive()
    assert beat is not None
    assert (beat.epoch, beat.beat, beat.status, beat.counts) == (3, 2, "Running", {"items": 2})
    assert not store.cancel_requested()
    store.request_cancel()
    assert store.cancel_requested()
    store.withdraw_cancel()
    assert not store.cancel_requested()
    store.parts.put("1-node0-0", b"rows")
    store.files.put("side/x.zip", b"1")
    store.files.put("plan/header.json", b"{}")
    store.remove_spent()
    assert names(store.results) == [".batchmill/run-1/alive.json", ".batchmill/run-1/plan/header.json"]


# --- trouble --------------------------------------------------------------------------------------------------------------------


def test_places_that_cannot_be_written_to(servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="cannot be written to"):
        shared_store("https://example.org/x")
    bucket_of("s3", servers, monkeypatch)
    store = shared_store("s3://no-such-bucket/x")
    with pytest.raises(StoreError, match="there is no bucket 'no-such-bucket'") as caught:
        store.create("a", b"1")
    assert not isinstance(caught.value, ObjectMissingError)
    with pytest.raises(StoreError, match="there is no bucket"), store.writer("a") as file:
        file.write(b"1")
    with pytest.raises(StoreError, match="there is no bucket"):
        list(store.list())


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with stores.closed_port() as port:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        store = shared_store("s3://bucket/x", 1.0)
        for ask in (lambda: store.put("a", b"1"), lambda: store.create("a", b"1"), lambda: store.read("a"), lambda: store.clear("a")):
            with pytest.raises(StoreError, match="does not answer"):
                ask()


class LosesAnswers:
    """A proxy in front of a store: the answer to the next PUT is thrown away, after the store has done what it was asked."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.armed = False
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, contextlib.suppress(OSError):
            lose = threading.Event()
            answers = threading.Thread(target=self._answers, args=(server, client, lose), daemon=True)
            answers.start()
            while data := client.recv(65536):
                if self.armed and data.startswith(b"PUT "):
                    self.armed = False
                    lose.set()
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket, lose: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if lose.is_set() and b"HTTP/1.1 100" not in data[:20]:
                    self.lost += 1
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def losing(servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, LosesAnswers]]:
    bucket = bucket_of("s3", servers, monkeypatch)
    proxy = LosesAnswers(bucket.server.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield bucket.url, proxy
    proxy.close()


def test_a_create_whose_answer_is_lost_may_find_itself(losing: tuple[str, LosesAnswers]) -> None:
    url, proxy = losing
    store = shared_store(url)
    proxy.armed = True
    assert not store.create("x", b"mine")
    assert proxy.lost == 1
    assert store.read("x") == b"mine"


def test_a_lost_answer_does_not_fence_a_ledger_off(losing: tuple[str, LosesAnswers], tmp_path: Path) -> None:
    from batchmill.parallel_run.segmented_ledger import SegmentedLedger

    url, proxy = losing
    ledger = SegmentedLedger(tmp_path / "ledger.sqlite", shared_store(url))
    ledger.begin(id="run")
    proxy.armed = True
    assert ledger.claim() == 1
    proxy.armed = True
    with ledger.transaction():
        ledger.add_failed(7, 1)
    assert proxy.lost == 2
    with ledger.transaction():
        ledger.add_failed(8, 1)
    ledger.close()
    again = SegmentedLedger(tmp_path / "again.sqlite", shared_store(url))
    assert again.failed() == [(7, 1), (8, 1)]
    again.close()
