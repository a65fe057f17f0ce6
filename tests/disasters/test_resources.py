"""Memory and disk run out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from batchmill.errors import DiskFullError
from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run.run import Run
from batchmill.records import RunStatus
from tests.disasters.conftest import Zoo, eventually, rows, survivors

# --- memory ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A control group with 200 MB of memory."""
    name = f"batchmill-zoo-{uuid.uuid4().hex[:8]}"
    for base, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(base, name)
        try:
            folder.mkdir()
            (folder / limit).write_text(str(200 << 20))
        except OSError:
            if folder.is_dir():
                folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("THE MEMORY TESTS DO NOT RUN: no control group with a memory limit can be made here (root and cgroups are needed)")


EATER = """
import os
GROUP = {group!r}
def run(mini_batch):
    for path in mini_batch:
        if {greedy}:
            with open(os.path.join(GROUP, "cgroup.procs"), "w") as file:
                file.write(str(os.getpid()))
            held = bytearray(400 << 20)
    return [os.path.basename(path) for path in mini_batch]
"""


def test_an_item_that_eats_memory_is_named(zoo: Zoo, small_cgroup: Path) -> None:
    names = zoo.files(12)
    ended = zoo.run(EATER.format(group=str(small_cgroup), greedy="path.endswith('007.txt')"), run_max_try=2)
    assert ended.status is RunStatus.COMPLETED
    assert ended.failed == {"007.txt": "OutOfMemory"}
    assert ended.output == rows(names, "007.txt")
    assert "the kernel stopped it for memory, in run()" in ended.letters[0].message
    assert (ended.letters[0].peak_memory or 0) > 5 << 20
    assert all(one["memory"] for one in ended.tries)


def test_a_mini_batch_that_fits_when_it_runs_alone(zoo: Zoo, small_cgroup: Path) -> None:
    """After a kill for memory the next try runs with nothing beside it on the node."""
    names = zoo.files(24)
    ended = zoo.run(
        f"""
        import os, time
        GROUP = {str(small_cgroup)!r}
        BUSY, TRIED = ("/".join([os.environ["AZ_BATCHAI_JOB_TEMP"], name]) for name in ("busy", "tried"))
        os.makedirs(BUSY, exist_ok=True)
        def run(mini_batch):
            mark = os.path.join(BUSY, str(os.getpid()))
            open(mark, "w").close()
            time.sleep(0.02)
            if mini_batch[0].endswith("010.txt"):
                if not os.path.exists(TRIED):
                    open(TRIED, "w").close()
                    with open(os.path.join(GROUP, "cgroup.procs"), "w") as file:
                        file.write(str(os.getpid()))
                    held = bytearray(400 << 20)
                for _ in range(20):
                    assert [pid for pid in os.listdir(BUSY) if os.path.exists("/proc/" + pid)] == [str(os.getpid())]
                    time.sleep(0.005)
            os.unlink(mark)
            return [os.path.basename(path) for path in mini_batch]
        """,
        run_max_try=2,
    )
    assert ended.tried == {"OutOfMemory"}, ended.tries
    assert ended.letters == []
    assert ended.output == rows(names)


# --- disk -----------------------------------------------------------------------------------------------------------------------------


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Mount a tmpfs of the size that is asked for."""
    mounted: list[Path] = []

    def mount(size: str) -> Disk:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        made = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True
        )
        if not made or made.returncode:
            pytest.skip("THE FULL-DISK TESTS DO NOT RUN: no tmpfs can be mounted here (root is needed)")
        mounted.append(folder)
        return Disk(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


WIDE = "import os\ndef run(mini_batch): return [os.path.basename(path) + ' ' + 'x' * 50_000 for path in mini_batch]"


def wide(names: list[str]) -> str:
    return "".join(f"{name} {'x' * 50_000}\n" for name in names)


def test_a_full_run_folder(zoo: Zoo, small_disk: Callable[[str], Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run fails, charges nobody, and is finished by a resume once there is space."""
    names = zoo.files(80)
    disk = small_disk("3m")
    monkeypatch.setenv("BATCHMILL_HOME", str(disk.folder / "home"))
    ended = zoo.run(WIDE)
    assert ended.status is RunStatus.FAILED
    assert "No space is left" in (ended.error or "")
    assert "batchmill resume" in (ended.error or "")
    assert 0 < ended.counts.items.succeeded < 80
    assert ended.counts.items.failed == 0
    assert ended.tries == []
    assert ended.output is None
    folder = ended.run._folder
    _resume_in_vain(zoo, ended.run)
    disk.resize("64m")
    resumed = zoo.carry_out(folder)
    assert resumed.status is RunStatus.COMPLETED
    assert resumed.output == wide(names)
    assert resumed.tries == []


def _resume_in_vain(zoo: Zoo, run: Run) -> None:
    """While the disk is still full: an error in words, and still resumable."""
    with suppress(DiskFullError):
        zoo.carry_out(run._folder)
    assert run.status is RunStatus.FAILED
    assert "Free some space" in (run.error or "")
    assert run.counts.items.failed == 0


def test_a_full_output_folder(zoo: Zoo, small_disk: Callable[[str], Disk]) -> None:
    names = zoo.files(80)
    disk = small_disk("2m")
    ended = zoo.run(WIDE, output=str(disk.folder / "out"))
    assert ended.status is RunStatus.FAILED
    assert "No space is left for the output" in (ended.error or "")
    assert ended.tries == []
    disk.resize("64m")
    resumed = zoo.carry_out(ended.run._folder)
    assert resumed.status is RunStatus.COMPLETED
    assert resumed.output == wide(names)


def test_a_disk_that_a_script_fills(zoo: Zoo, small_disk: Callable[[str], Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's own write fails with ENOSPC where the run lives: that is the disk's fault, not the item's."""
    names = zoo.files(12)
    disk = small_disk("8m")
    monkeypatch.setenv("BATCHMILL_HOME", str(disk.folder / "home"))
    script = """
        import os
        def run(mini_batch):
            with open("scratch", "wb") as file:
                file.write(b"x" * (20 << 20))
            os.unlink("scratch")
            return [os.path.basename(path) for path in mini_batch]
    """
    ended = zoo.run(script)
    assert ended.status is RunStatus.FAILED
    assert "No space is left" in (ended.error or "")
    assert ended.tries == []
    for path in (ended.run.folder / "work").glob("*/*/scratch"):
        path.unlink()
    disk.resize("100m")
    assert zoo.carry_out(ended.run._folder).output == rows(names)


def test_a_disk_of_its_own_that_is_full_is_the_items_fault(zoo: Zoo, small_disk: Callable[[str], Disk]) -> None:
    names = zoo.files(6)
    disk = small_disk("1m")
    ended = zoo.run(
        f"""
        import os
        def run(mini_batch):
            if mini_batch[0].endswith("002.txt"):
                with open({str(disk.folder / "file")!r}, "wb") as file:
                    file.write(b"x" * (2 << 20))
            return [os.path.basename(path) for path in mini_batch]
        """,
        mini_batch_size=1,
    )
    assert ended.failed == {"002.txt": "OSError"}
    assert ended.output == rows(names, "002.txt")


def test_the_disk_is_full_from_the_start(zoo: Zoo, small_disk: Callable[[str], Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    names = zoo.files(6)
    disk = small_disk("1m")
    monkeypatch.setenv("BATCHMILL_HOME", str(disk.folder / "home"))
    folder = zoo.create(WIDE)
    (disk.folder / "filler").write_bytes(b"x" * (_free(disk.folder) - 100_000))
    with pytest.raises(DiskFullError, match="Free some space"):
        Coordinator(folder).prepare()
    (disk.folder / "filler").unlink()
    disk.resize("16m")
    assert zoo.carry_out(folder).output == wide(names)


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_few_descriptors(zoo: Zoo) -> None:
    """A coordinator that may open few files says so, or gets by."""
    names = zoo.files(12)
    folder = zoo.create("import os\ndef run(mini_batch): return [os.path.basename(path) for path in mini_batch]")
    command = f"ulimit -n 24; exec {sys.executable} -m batchmill.nodes.coordinator_process {folder.id}"
    subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    eventually(lambda: not survivors(folder.id))
    if Run(folder).status is not RunStatus.COMPLETED:
        zoo.carry_out(folder)
    assert zoo.ended(folder).output == rows(names)
