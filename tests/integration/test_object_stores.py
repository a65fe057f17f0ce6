"""The storage room against real servers: moto_server (S3), Azurite (Azure Blob), a static web server, and servers that misbehave."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import obstore
import pytest

from batchmill.errors import ItemChangedError, LedgerFencedError, OutputBusyError, ReadError, StoreError
from batchmill.storage.chunk import Chunk
from batchmill.storage.files import open_binary
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import list_objects, locate, store_for
from batchmill.storage.output_lock import LOCK_NAME, OutputLock
from batchmill.storage.prefetch import Prefetcher
from batchmill.storage.upload import OutputFolder, upload_file
from tests import stores
from tests.integration.conftest import Bucket, bucket_of

SECRETS = ("testing-secret", stores.KEY)
IN_TIME = 15.0
"""Seconds; without bounds of ours, a store that does not answer would be waited for three times as long, and more."""


def listed(url: str, **options: Any) -> list[str]:
    return [name.decode() for chunk in list_objects(locate(url), **options) for name in chunk.names]


# --- listing --------------------------------------------------------------------------------------------------------------------


def test_listing_is_in_byte_order_with_sizes_times_and_etags(bucket: Bucket) -> None:
    names = ["B", "a", "a b%20c#d?e", "dir-x/b", "dir/a", "dir/é", "dir0", "z", "\uff5e", "\U0001f600"]
    etags = {name: bucket.put(f"p/{name}", name.encode()) for name in reversed(names)}
    bucket.put("p-not/x", b"x")
    chunks = list(list_objects(parse_location(f"{bucket.url}/p")))
    assert [name.decode() for chunk in chunks for name in chunk.names] == names
    assert names == sorted(names, key=str.encode)
    (chunk,) = chunks
    assert isinstance(chunk, Chunk)
    assert list(chunk.sizes) == [len(name.encode()) for name in names]
    assert chunk.etags == [etags[name] for name in names]
    assert all(abs(mtime / 1e9 - time.time()) < 60 for mtime in chunk.mtimes)


def test_hidden_names_are_skipped_unless_asked_for(bucket: Bucket) -> None:
    for key in ("a", ".b", "x/.c/d", "x/e", "x.f"):
        bucket.put(key, b"1")
    assert listed(bucket.url) == ["a", "x.f", "x/e"]
    assert listed(bucket.url, include_hidden=True) == [".b", "a", "x.f", "x/.c/d", "x/e"]


def test_globs_and_single_objects(bucket: Bucket) -> None:
    for key in ("d/a.png", "d/b.csv", "d/e/c.png", "d/f"):
        bucket.put(key, b"1")
    assert listed(f"{bucket.url}/d/*.png") == ["a.png"]
    assert listed(f"{bucket.url}/d/**/*.png") == ["a.png", "e/c.png"]
    assert listed(f"{bucket.url}/d/b.csv") == ["b.csv"]
    assert locate(f"{bucket.url}/d/b.csv").base == f"{bucket.url}/d"
    assert locate(f"{bucket.url}/d").name is None
    assert listed(f"{bucket.url}/nothing") == []


def test_many_pages_come_as_chunks_and_report_progress(s3: Bucket) -> None:
    store = store_for(parse_location(s3.url))
    for number in range(1005):
        obstore.put(store, f"{number:05d}", b"1")
    seen: list[int] = []
    chunks = list(list_objects(parse_location(s3.url), progress=seen.append))
    assert [len(chunk) for chunk in chunks] == [1000, 5]
    assert seen == [1000, 1005]


def test_folder_markers_are_no_items_but_empty_objects_are(s3: Bucket) -> None:
    for key in ("empty-file", "dir/x"):
        s3.put(key, b"")
    name = s3.url.removeprefix("s3://")
    for marker in ("dir/", "lone/"):
        request(s3.server.port, "PUT", f"/{name}/{marker}")
    assert listed(s3.url) == ["dir/x", "empty-file"]


def test_a_key_that_no_path_can_hold_is_named(s3: Bucket) -> None:
    request(s3.server.port, "PUT", f"/{s3.url.removeprefix('s3://')}/a//b", b"1")
    with pytest.raises(StoreError, match="a//b") as error:
        listed(s3.url)
    assert_one_line(error.value)


def request(port: int, method: str, target: str, body: bytes = b"") -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, body=body)
        assert connection.getresponse().status < 300
    finally:
        connection.close()


# --- trouble --------------------------------------------------------------------------------------------------------------------


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 400
    assert not any(secret in str(error) for secret in SECRETS)


def test_an_unknown_bucket_is_named(bucket: Bucket) -> None:
    for action in (
        lambda: listed(f"{bucket.url}-not"),
        lambda: OutputFolder(f"{bucket.url}-not").write("x", b"x"),
        lambda: OutputLock(f"{bucket.url}-not", "id", "name", 1).acquire(),
    ):
        with pytest.raises(StoreError, match="there is no") as error:
            action()
        assert_one_line(error.value)


def test_a_wrong_azure_key_is_denied(servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of("az", servers, monkeypatch)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    with pytest.raises(StoreError, match=r"access is denied \(AuthorizationFailure\). Check AZURE_STORAGE_ACCOUNT_NAME") as error:
        listed(bucket.url)
    assert_one_line(error.value)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no base64")
    with pytest.raises(StoreError) as error:
        listed(bucket.url)
    assert "no base64" not in str(error.value)


def test_a_wrong_s3_key_is_denied(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    request(s3.server.port, "POST", "/moto-api/reset-auth", b"0")  # from now on the emulator checks keys
    try:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        with pytest.raises(StoreError, match=r"access is denied \(InvalidAccessKeyId\). Check AWS_ACCESS_KEY_ID") as error:
            listed(s3.url)
        assert_one_line(error.value)
    finally:
        request(s3.server.port, "POST", "/moto-api/reset-auth", b"inf")


def test_an_azure_connection_string_is_enough(servers: dict[str, stores.Server | str], monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of("az", servers, monkeypatch)
    bucket.put("a", b"1")
    text = f"DefaultEndpointsProtocol=http;AccountName={stores.ACCOUNT};AccountKey={stores.KEY};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{text}BlobEndpoint={os.environ['AZURE_STORAGE_ENDPOINT']};")
    for name in bucket.server.environment:
        monkeypatch.delenv(name)
    assert listed(bucket.url) == ["a"]


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]:
        monkeypatch.delenv(name)
    with stores.closed_port() as port:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{port}")  # no machine in a cloud is asked
        for url, words in (("s3://bucket", "AWS_ACCESS_KEY_ID"), ("az://container", "AZURE_STORAGE_ACCOUNT_NAME")):
            with pytest.raises(StoreError, match=f"no credentials were found. Set {words}"):
                list(list_objects(parse_location(url), retry_timeout=1))


@pytest.mark.parametrize("server", ["closed port", "black hole"])
@pytest.mark.parametrize("kind", ["s3", "az"])
def test_a_store_that_does_not_answer_is_given_up_in_time(server: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bound = 1.0
    with ExitStack() as stack:
        port = stack.enter_context(stores.black_hole()).port if server == "black hole" else stack.enter_context(stores.closed_port())
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{stores.ACCOUNT}",
            "AZURE_STORAGE_ACCOUNT_NAME": stores.ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": stores.KEY,
        }.items():
            monkeypatch.setenv(name, value)
        began = time.monotonic()
        with pytest.raises(StoreError, match=rf"http://127.0.0.1:{port} does not answer\. Check") as error:
            list(list_objects(parse_location(f"{kind}://bucket/p"), retry_timeout=bound))
        assert_one_line(error.value)
        assert error.value.facts["word"] == "unreachable"
        with pytest.raises(ReadError, match="does not answer"):
            open_binary(f"{kind}://bucket/p/x", retry_timeout=bound)
        assert time.monotonic() - began < IN_TIME


def test_a_plain_web_server_cannot_be_listed() -> None:
    with pytest.raises(StoreError, match=r"no listing.*@list.txt"):
        list(list_objects(parse_location("http://127.0.0.1:1/x")))


# --- reading --------------------------------------------------------------------------------------------------------------------


def test_an_object_reads_like_a_file(bucket: Bucket) -> None:
    data = os.urandom(700_001)
    bucket.put("d/a*b.bin", data)
    with open_binary(f"{bucket.url}/d/a*b.bin") as file:
        assert file.seekable()
        assert file.read(10) == data[:10]
        assert file.seek(-20, os.SEEK_END) == len(data) - 20
        assert file.read() == data[-20:]
        assert file.read() == b""
        file.seek(300_000)
        assert file.read(5) == data[300_000:300_005]
        file.seek(0)
        assert file.read() == data
    with pytest.raises(ItemChangedError, match="vanished"):
        open_binary(f"{bucket.url}/d/none")


def test_a_change_while_an_object_is_read_shows(bucket: Bucket) -> None:
    bucket.put("a", b"1" * 600_000)
    with open_binary(f"{bucket.url}/a") as file:
        file.read(10)
        bucket.put("a", b"2" * 600_000)
        file.seek(500_000)
        with pytest.raises(ItemChangedError, match="changed"):
            file.read(10)


class ListedPlan:
    """A plan over what a listing found, some items in a mini-batch."""

    def __init__(self, base: str, location: str, items: list[tuple[str, int, str | None]], per: int) -> None:
        self.header = {"inputs": [{"base": base, "location": location}]}
        self.items, self.per = items, per

    @classmethod
    def of(cls, url: str, per: int) -> ListedPlan:
        location = parse_location(url)
        chunks = list(list_objects(location))
        rows = [(n.decode(), s, e) for c in chunks for n, s, e in zip(c.names, c.sizes, c.etags or [], strict=True)]
        return cls(location.base, location.kind, rows, per)

    def item(self, number: int) -> Any:
        name, size, etag = self.items[number]
        return SimpleNamespace(name=name, input=0, size=size, etag=etag)

    def mini_batch(self, index: int) -> Any:
        return SimpleNamespace(items=range(index * self.per, min(len(self.items), (index + 1) * self.per)))


def fetched(plan: ListedPlan, folder: Path, count: int, **options: Any) -> dict[int, dict[int, str]]:
    told = threading.Event()
    prefetcher = Prefetcher(plan, folder, 10**8, wake=told.set, **options)
    found: dict[int, dict[int, str]] = {}
    try:
        prefetcher.want(0, count)
        deadline = time.monotonic() + 60
        while len(found) < count:
            assert told.wait(max(0.0, deadline - time.monotonic()))
            told.clear()
            found.update(prefetcher.ready())
        for index in found:
            for position, number in enumerate(plan.mini_batch(index).items):
                name, size, _ = plan.items[number]
                if position not in found[index]:
                    assert (folder / "0" / name).stat().st_size == size
    finally:
        prefetcher.close()
    return found


def test_prefetched_items_and_the_fates_of_bad_ones(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(12):
        bucket.put(f"in/d{number % 2}/{number:02d}", os.urandom(100 + number))
    bucket.put("in/large", os.urandom(2_500_000))
    plan = ListedPlan.of(f"{bucket.url}/in", per=5)
    names = [name for name, _, _ in plan.items]
    bucket.put("in/d0/02", b"other bytes")
    bucket.delete("in/d1/03")
    found = fetched(plan, tmp_path, 3)
    failures = {plan.items[index * 5 + position][0]: text for index, bad in found.items() for position, text in bad.items()}
    assert set(failures) == {"d0/02", "d1/03"}
    assert len(names) == 13
    assert "it changed after the plan was made" in failures["d0/02"]
    assert "it vanished after the plan was made" in failures["d1/03"]


def test_prefetching_from_a_web_server(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    (folder / "d").mkdir(parents=True)
    for number in range(20):
        (folder / "d" / f"{number} é.bin").write_bytes(os.urandom(1000))
    with stores.static_server(folder) as server:
        items: list[tuple[str, int, str | None]] = [(f"{n} é.bin", 1000, None) for n in range(20)] + [("none", 5, None)]
        found = fetched(ListedPlan(f"{server.url}/d", "http", items, per=7), tmp_path / "cache", 3)
    assert found == {0: {}, 1: {}, 2: {6: f"Cannot read {server.url}/d/none: it vanished after the plan was made."}}


def test_items_of_a_store_that_fell_silent_fail_in_time(tmp_path: Path) -> None:
    with stores.black_hole() as hole:
        began = time.monotonic()
        found = fetched(ListedPlan(hole.url, "http", [("a", 5, None), ("b", 5, None)], per=1), tmp_path, 2, retry_timeout=1.0)
        assert time.monotonic() - began < IN_TIME
    assert all("does not answer" in text for bad in found.values() for text in bad.values())


def test_closing_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    with stores.black_hole() as hole:
        prefetcher = Prefetcher(ListedPlan(hole.url, "http", [("a", 5, None)], per=1), tmp_path, 10**6, retry_timeout=2 * IN_TIME)
        prefetcher.want(0)
        began = time.monotonic()
        prefetcher.close()
        assert time.monotonic() - began < IN_TIME


# --- writing --------------------------------------------------------------------------------------------------------------------


def test_a_file_is_published_whole_in_one_or_many_parts(bucket: Bucket, tmp_path: Path) -> None:
    for size in (0, 1000, 17 * 1024 * 1024 + 3):
        path = tmp_path / "rows.txt"
        path.write_bytes(os.urandom(1000) * (size // 1000) + b"x" * (size % 1000))
        assert upload_file(path, f"{bucket.url}/out", "rows.txt") == size
        folder = OutputFolder(f"{bucket.url}/out")
        assert folder.size("rows.txt") == size
        assert folder.read("rows.txt") == path.read_bytes()


def test_results_can_be_looked_for_renamed_and_deleted(bucket: Bucket) -> None:
    folder = OutputFolder(f"{bucket.url}/out")
    assert not folder.exists("a")
    folder.write("a", b"1")
    folder.rename("a", "b")
    assert (folder.exists("a"), folder.read("b")) == (False, b"1")
    folder.delete("b")
    folder.delete("b")
    assert not folder.exists("b")
    with pytest.raises(StoreError, match="there is no such object"):
        folder.read("b")


# --- the lock of an output ------------------------------------------------------------------------------------------------------


def lock(bucket: Bucket, run: str = "one", epoch: int = 1, **options: Any) -> OutputLock:
    return OutputLock(f"{bucket.url}/out", f"id-{run}", run, epoch, **{"heartbeat": 3600.0, **options})


def test_one_run_at_a_time(bucket: Bucket) -> None:
    with lock(bucket) as first:
        with pytest.raises(OutputBusyError, match=r"Run one \(id-one\) writes to .*/out; its last sign of life is \d+ s old"):
            lock(bucket, "two").acquire()
        first.beat()
        first.check()
        assert listed(f"{bucket.url}/out", include_hidden=True) == [LOCK_NAME]
    assert listed(f"{bucket.url}/out", include_hidden=True) == []
    with lock(bucket, "two"):
        pass


def test_a_dead_run_is_taken_over_and_fenced(bucket: Bucket) -> None:
    dead = lock(bucket)
    dead.acquire()
    second = lock(bucket, "two", stale=-1.0 * 3600)
    second._renewed = float("inf")
    second.acquire()
    with pytest.raises(LedgerFencedError, match="another run took it over"):
        dead.beat()
    with pytest.raises(LedgerFencedError):
        dead.check()
    dead.release()
    assert json.loads(OutputFolder(f"{bucket.url}/out").read(LOCK_NAME))["run_id"] == "id-two"


def test_a_resumed_run_takes_its_own_lock_over_at_once_but_never_backwards(bucket: Bucket) -> None:
    lock(bucket, epoch=1).acquire()
    later = lock(bucket, epoch=2)
    later.acquire()
    with pytest.raises(LedgerFencedError, match="later incarnation"):
        lock(bucket, epoch=1).acquire()
    later.check()
    later.release()


def test_of_many_at_once_one_gets_the_lock(bucket: Bucket) -> None:
    locks = [lock(bucket, f"run{n}") for n in range(6)]
    barrier, won = threading.Barrier(len(locks)), list[OutputLock]()

    def attempt(mine: OutputLock) -> None:
        barrier.wait()
        try:
            mine.acquire()
        except OutputBusyError:
            return
        won.append(mine)

    threads = [threading.Thread(target=attempt, args=(mine,)) for mine in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].check()
    won[0].release()


def test_a_put_whose_answer_was_lost_is_recognized(bucket: Bucket) -> None:
    mine = lock(bucket)
    mine.acquire()
    before = dict(mine._version)
    mine.beat()
    mine._version = before  # as if the answer to the beat had never come
    mine.beat()
    mine.check()
    mine.release()


def test_a_lock_that_cannot_be_renewed_in_time_counts_as_lost(bucket: Bucket) -> None:
    now = [0.0]
    mine = lock(bucket, clock=lambda: now[0], stale=60.0)
    mine.acquire()
    now[0] = 59.0
    mine.check()
    now[0] = 61.0
    with pytest.raises(LedgerFencedError, match="could not be renewed in time"):
        mine.check()


def test_the_lock_beats_by_itself(s3: Bucket) -> None:
    with lock(s3, heartbeat=0.02):
        folder, deadline = OutputFolder(f"{s3.url}/out"), time.monotonic() + 60
        while json.loads(folder.read(LOCK_NAME))["beat"] < 3:
            assert time.monotonic() < deadline


def test_a_foreign_object_in_the_place_of_the_lock_is_left_alone(bucket: Bucket) -> None:
    bucket.put(f"out/{LOCK_NAME}", b"[1, 2]")
    with pytest.raises(StoreError, match="is no lock of Batchmill"):
        lock(bucket).acquire()
