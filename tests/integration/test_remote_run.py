"""Whole runs whose inputs and outputs lie in object stores."""

from __future__ import annotations

from pathlib import Path

import obstore
import pytest

from batchmill.errors import InputError, OutputBusyError, StoreError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.replay import replay
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import store_for
from batchmill.storage.output_lock import OutputLock
from tests.integration.conftest import Bucket

SIZES = """
import os
def run(files):
    return [f"{os.path.basename(path)} {os.path.getsize(path)}" for path in files]
"""
ROWS = "def run(frame):\n    return frame\n"


def carry_out(tmp_path: Path, script: str, **settings: object) -> RunFolder:
    (tmp_path / "src").mkdir(exist_ok=True)
    path = tmp_path / "src" / "score.py"
    path.write_text(script)
    folder = create_run(RunSettings.parse({"script": str(path), "workers": 2, "retry_timeout": 5, **settings}))
    coordinator = Coordinator(folder)
    coordinator.prepare()
    coordinator.carry_out()
    return folder


def read(url: str) -> str:
    location = parse_location(url)
    return bytes(obstore.get(store_for(location), location.prefix).bytes()).decode()


def keys(bucket: Bucket, prefix: str) -> list[str]:
    return [meta["path"] for page in obstore.list(store_for(parse_location(bucket.url)), prefix) for meta in page]


def test_files_come_from_a_store_and_rows_go_to_one(bucket: Bucket, tmp_path: Path) -> None:
    for number in range(25):
        bucket.put(f"in/{number % 3}/{number:02d}.bin", b"x" * number)
    folder = carry_out(tmp_path, SIZES, inputs=f"{bucket.url}/in/", mini_batch_size=4, output=f"{bucket.url}/out")
    expected = "".join(f"{number:02d}.bin {number}\n" for number in sorted(range(25), key=lambda n: (n % 3, n)))
    assert Run(folder).status is RunStatus.COMPLETED
    assert read(f"{bucket.url}/out/parallel_run_step.txt") == expected
    assert keys(bucket, "out") == ["out/parallel_run_step.txt"], "the lock is gone"
    assert not (folder.path / "cache").exists()


def test_an_object_that_vanishes_fails_by_name_and_the_rest_succeeds(s3: Bucket, tmp_path: Path) -> None:
    for number in range(10):
        s3.put(f"in/{number}.bin", b"x")
    values = {"inputs": f"{s3.url}/in/", "mini_batch_size": 3, "output": str(tmp_path / "out"), "error_threshold": 1, "workers": 1}
    (tmp_path / "score.py").write_text(SIZES)
    folder = create_run(RunSettings.parse({"script": str(tmp_path / "score.py"), **values}))
    coordinator = Coordinator(folder)
    coordinator.prepare()
    s3.delete("in/4.bin")
    ending = coordinator.carry_out()
    assert ending.status is RunStatus.COMPLETED
    (letter,) = Run(folder).errors()
    assert letter.item is not None
    assert letter.item.endswith("4.bin")
    assert letter.error_class == "ItemChangedError"
    assert (ending.counts.items.succeeded, ending.counts.items.failed) == (9, 1)
    assert (tmp_path / "out" / "parallel_run_step.txt").read_text() == "".join(f"{n}.bin 1\n" for n in range(10) if n != 4)


def test_a_table_is_cut_into_blocks(bucket: Bucket, tmp_path: Path) -> None:
    lines = [f"{number},{number * number}" for number in range(1000)]
    bucket.put("in/table.csv", ("a,b\n" + "\n".join(lines) + "\n").encode())
    folder = carry_out(tmp_path, ROWS, inputs=f"{bucket.url}/in/table.csv", mini_batch_size="1KB", output=str(tmp_path / "out"))
    assert Run(folder).counts.mini_batches.total > 5
    assert (tmp_path / "out" / "parallel_run_step.txt").read_text() == "".join(line.replace(",", " ") + "\n" for line in lines)


def test_two_runs_into_one_folder(s3: Bucket, tmp_path: Path) -> None:
    s3.put("in/a.bin", b"x")
    with (
        OutputLock(f"{s3.url}/out", "other", "the other run", 1),
        pytest.raises(OutputBusyError, match="the other run"),
    ):
        carry_out(tmp_path, SIZES, inputs=f"{s3.url}/in/", output=f"{s3.url}/out")


def test_a_bad_store_stops_before_anything_starts(s3: Bucket, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no bucket 'nowhere'"):
        carry_out(tmp_path, SIZES, inputs="s3://nowhere/in/")
    with pytest.raises(InputError):
        carry_out(tmp_path, SIZES, inputs=f"{s3.url}/empty/")


def test_replay_merges_into_the_object(s3: Bucket, tmp_path: Path) -> None:
    for number in range(6):
        s3.put(f"in/{number}.bin", b"x" * number)
    bad = SIZES.replace("for path in files]", "for path in files if not path.endswith('3.bin') or 1 / 0]")
    folder = carry_out(tmp_path, bad, inputs=f"{s3.url}/in/", mini_batch_size=2, output=f"{s3.url}/out", error_threshold=-1)
    assert read(f"{s3.url}/out/parallel_run_step.txt") == "0.bin 0\n1.bin 1\n2.bin 2\n4.bin 4\n5.bin 5\n"
    (tmp_path / "src" / "score.py").write_text(SIZES)
    assert replay(folder, Silent()).counts.items.failed == 0
    assert read(f"{s3.url}/out/parallel_run_step.txt") == "".join(f"{n}.bin {n}\n" for n in range(6))


def test_inputs_of_this_machine_and_of_a_store_in_one_run(s3: Bucket, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(4):
        s3.put(f"in/{number}.bin", b"x" * number)
        (tmp_path / "in" / f"local-{number}.bin").write_bytes(b"y" * number)
    inputs = [str(tmp_path / "in"), f"{s3.url}/in/", str(tmp_path / "in/local-2.bin")]
    folder = carry_out(tmp_path, SIZES, inputs=inputs, mini_batch_size=3, output=str(tmp_path / "out"))
    assert Run(folder).status is RunStatus.COMPLETED, Run(folder).errors()
    expected = [*(f"local-{n}.bin {n}" for n in range(4)), *(f"{n}.bin {n}" for n in range(4)), "local-2.bin 2"]
    assert (tmp_path / "out" / "parallel_run_step.txt").read_text().splitlines() == expected
