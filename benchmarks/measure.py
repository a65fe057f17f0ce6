"""Paired measurements: commands take turns in fresh processes on the same files, so that a slow minute of the machine hits them all."""

from __future__ import annotations

import os
import select
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
SCRIPTS = ROOT / "benchmarks" / "scripts"
WORKERS = 2


@dataclass(frozen=True)
class Command:
    """A whole process to be timed; ``clean`` is removed, untimed, before and after it, ``look`` is called between its end and that."""

    words: Sequence[str]
    clean: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    look: Callable[[], float] | None = None


@dataclass(frozen=True)
class Spent:
    """What one process took: wall and CPU seconds (with its children), its own peak of resident memory in bytes, what ``look`` saw."""

    wall: float
    cpu: float
    peak: int
    seen: float = 0.0


def peer(name: str, *arguments: object, clean: Sequence[Path] = ()) -> Command:
    """A script of ``benchmarks/peers`` as a command."""
    return Command([sys.executable, str(PEERS / f"{name}.py"), *map(str, arguments)], clean)


def batchmill(data: Path, script: str, source: str | Path, *options: object, environment: Mapping[str, str] | None = None) -> Command:
    """``batchmill run`` as a user would type it, with a home and an output of its own below ``data``."""
    home, output = data / "home", data / "batchmill-output"
    words = [str(Path(sys.executable).with_name("batchmill")), "run", str(SCRIPTS / f"{script}.py"), "--input", str(source)]
    how = ["--workers", str(WORKERS), "--output", str(output), *map(str, options)]
    return Command([*words, *how], [home, output], {"BATCHMILL_HOME": str(home), **(environment or {})}, lambda: _planning(home))


def _planning(home: Path) -> float:
    """Seconds between the birth of the only run of a home and the end of its planning."""
    (run,) = (home / "runs").iterdir()
    return (run / "plan" / "plan.json").stat().st_mtime - (run / "settings.json").stat().st_mtime


def spend(command: Command) -> Spent:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message ends with what it printed.
    """
    _clean(command)
    os.sync()  # what the runs before have left to be written must not be paid by this one
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"batchmill-bench-{os.getpid()}.txt"
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            command.words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment | dict(command.environment), cwd=ROOT
        )
        peak = _watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")
    log.unlink()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command.words)} ended with {process.returncode}:\n{said[-2000:]}")
    seen = command.look() if command.look else 0.0
    _clean(command)
    return Spent(wall, usage.ru_utime + usage.ru_stime, peak, seen)


def _watch(pid: int) -> int:
    """Wait for the end of a process without reaping it; returns its peak of resident memory as seen twenty times a second."""
    descriptor = os.pidfd_open(pid)
    peak = 0
    try:
        while not select.select([descriptor], [], [], 0.05)[0]:
            peak = max(peak, _high_water(pid))
    finally:
        os.close(descriptor)
    return peak


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


def _clean(command: Command) -> None:
    for path in command.clean:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def pairs(commands: Mapping[str, Command], count: int, *, warm: bool = True) -> dict[str, list[Spent]]:
    """Run all commands ``count`` times, in alternating order; ``warm`` runs each once before, unmeasured (byte code, file cache)."""
    if warm:
        for command in commands.values():
            spend(command)
    spent: dict[str, list[Spent]] = {name: [] for name in commands}
    for turn in range(count):
        for name in list(commands)[:: -1 if turn % 2 else 1]:
            spent[name].append(spend(commands[name]))
    for name, taken in spent.items():
        walls, cpu = sorted(one.wall for one in taken), statistics.median([one.cpu for one in taken] or [0.0])
        told = f"{walls[0]:.3f} to {walls[-1]:.3f} s wall, {cpu:.3f} s of CPU" if walls else "made"
        print(f"  {name}: {told}", file=sys.stderr, flush=True)
    return spent


def wall(spent: Sequence[Spent]) -> float:
    """The median of the wall times."""
    return statistics.median(one.wall for one in spent)
