"""Limits of containers, as the kernel shows them: cgroups of both versions, in files of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from batchmill.parallel_run import cgroup
from batchmill.parallel_run.cores import usable_cores
from batchmill.parallel_run.memory import usable_memory

MB = 1 << 20
Layout = Callable[[str, dict[str, str]], Path]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Takes the text of /proc/self/cgroup and ``{path below /sys/fs/cgroup: content}``; the machine has 8 cores and 4,000 MB free."""

    def make(membership: str, files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "cgroup").write_text(membership)
        return tmp_path / "fs"

    monkeypatch.setattr(cgroup, "MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "fs")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 4000 * MB}))
    return make


def memory(limit: str, use: int, cached: int = 0) -> dict[str, str]:
    return {"memory.max": limit, "memory.current": f"{use * MB}\n", "memory.stat": f"anon 1\ninactive_file {cached * MB}\n"}


def below(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def test_levels_go_up_to_the_root_and_not_beyond(layout: Layout) -> None:
    root = layout("12:cpu,cpuacct:/a/b\n5:memory:/c\n1:name=systemd:/d\n0::/e:f\n", {})
    assert list(cgroup.levels("cpu")) == [(1, root / "cpu/a/b"), (1, root / "cpu/a"), (1, root / "cpu"), (2, root / "e:f"), (2, root)]
    assert list(cgroup.levels("memory")) == [(1, root / "memory/c"), (1, root / "memory"), (2, root / "e:f"), (2, root)]


def test_the_root_itself_is_one_level(layout: Layout) -> None:
    root = layout("0::/\n", {})
    assert list(cgroup.levels("cpu")) == [(2, root)]


def test_without_cgroups_the_machine_counts(layout: Layout) -> None:
    assert list(cgroup.levels("cpu")) == []
    assert (usable_cores(), usable_memory()) == (8, 4000 * MB)


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"job": "max 100000"}, 8),
        ({"job": "250000 100000"}, 2),
        ({"job": "50000 100000"}, 1),
        ({"job": "1600000 100000"}, 8),
        ({"job": "max 100000", "": "300000 100000"}, 3),
        ({"job": "300000 100000", "": "200000 100000"}, 2),
        ({"job": "nonsense"}, 8),
    ],
)
def test_cores_of_version_2(layout: Layout, quotas: dict[str, str], cores: int) -> None:
    layout("0::/slice/job\n", {f"slice/{folder}/cpu.max": text + "\n" for folder, text in quotas.items()})
    assert usable_cores() == cores


def test_cores_of_version_1_where_the_container_sees_its_group_as_the_root(layout: Layout) -> None:
    layout("4:cpu,cpuacct:/docker/0123\n", {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert usable_cores() == 4


def test_memory_of_version_2(layout: Layout) -> None:
    files = below("pod/job", memory("max\n", 10)) | below("pod", memory(f"{1000 * MB}\n", 700, cached=200))
    layout("0::/pod/job\n", files)
    assert usable_memory() == 500 * MB


def test_memory_of_version_1(layout: Layout) -> None:
    names = {"memory.max": "memory.limit_in_bytes", "memory.current": "memory.usage_in_bytes"}
    limited = below("memory/job", {names.get(name, name): text for name, text in memory(f"{300 * MB}\n", 400).items()})
    layout("7:memory:/job\n", limited | {"memory/memory.limit_in_bytes": str((1 << 63) - 4096)})
    assert usable_memory() == 0, "more is in use than the limit allows: nothing is left, not less than nothing"
