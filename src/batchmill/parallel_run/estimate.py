"""From a few sampled mini-batches to a whole run: arithmetic only.

The model of one mini-batch is ``fixed + per_item * items`` seconds. Two lengths are needed to tell the two apart, so a trial runs some
mini-batches whole and a part of some others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

SYSTEM_SECONDS = 0.0002
"""What Batchmill itself takes for one mini-batch, in the worker and around it."""

OVERHEAD_SHARE = 0.05
"""A mini-batch size is large enough when this share of the time, at most, is spent per mini-batch and not per item."""

LONGEST = 10.0
"""Seconds of work that may be lost with a process, and that may be left to one worker at the end of a run."""

TIMEOUT_SHARE = 0.25
MINI_BATCHES_PER_WORKER = 4
MEMORY_SHARE = 0.8
WAITING = 0.5
MOST_WORKERS_PER_CORE = 4
KEEP = 1.25
ROOM_TO_ROUND = 2.5
"""The widest gap between two nice numbers: so much more than needed, rounded down, is still enough."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured mini-batch, or a part of one. ``first``: the first of its worker process, which may pay for lazy loading."""

    items: int
    elapsed: float
    run_seconds: float
    first: bool = False
    part: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What a trial saw. ``cpu_share``: cores that one working process kept busy; ``work_seconds``: wall time of the whole samples."""

    samples: Sequence[Sample]
    workers: int
    startup: float
    work_seconds: float
    memory_per_worker: int
    cpu_share: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """The run to come. ``size`` is the mini-batch size in ``unit`` ("files", "bytes" or "rows"; None where it cannot be chosen)."""

    mini_batches: int
    items: int | None
    workers: int
    size: int | None
    unit: str | None
    timeout: float
    remote: bool = False
    reads_items: bool = False
    """True for tables: reading takes time per row, not per mini-batch."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What the processes may use."""

    cores: int
    memory: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A value for a setting (None: nothing to propose), and why."""

    value: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A whole run, in seconds, items and bytes. ``overhead_share``: the part of the work that is spent per mini-batch."""

    wall: float
    wall_low: float
    wall_high: float
    items: int
    items_per_second: float
    mini_batch_seconds: float
    overhead_share: float
    memory_per_worker: int
    mini_batch_size: Proposal
    workers: Proposal


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a mini-batch: ``fixed + per_item * items``."""

    fixed: float
    per_item: float

    def share(self, items: float) -> float:
        """The fixed part of a mini-batch of so many items."""
        whole = self.fixed + self.per_item * items
        return self.fixed / whole if whole else 0.0


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``range(total)``, evenly: the middle of each of as many equal stretches.

    >>> spread(100, 4)
    [12, 37, 62, 87]
    """
    wanted = min(total, wanted)
    return [(2 * i + 1) * total // (2 * wanted) for i in range(wanted)]


def estimate(measured: Measured, work: Work, machine: Machine) -> Estimate:
    """The run that the samples promise.

    Raises:
        ValueError: there is no whole mini-batch among the samples.
    """
    wholes = [sample for sample in measured.samples if not sample.part]
    if not wholes:
        raise ValueError("no mini-batch was measured")
    steady = [sample for sample in wholes if not sample.first] or wholes
    seconds = fmean(sample.elapsed for sample in steady) + SYSTEM_SECONDS
    if work.remote:
        seconds = max(seconds, measured.work_seconds * measured.workers / len(wholes))
    error = 2 * stdev(sample.elapsed for sample in steady) / math.sqrt(len(steady)) if len(steady) > 1 else seconds / 2
    workers = min(work.workers, work.mini_batches)
    start = measured.startup + _warm_up(wholes)
    mean_items = fmean(sample.items for sample in wholes)
    items = work.items if work.items is not None else round(mean_items * work.mini_batches)
    wall = start + _wall(seconds, work.mini_batches, workers)
    cost = cost_of(measured.samples, reads_items=work.reads_items)
    return Estimate(
        wall=wall,
        wall_low=start + _wall(max(0.0, seconds - error), work.mini_batches, workers),
        wall_high=start + _wall(seconds + error, work.mini_batches, workers),
        items=items,
        items_per_second=items / wall,
        mini_batch_seconds=seconds,
        overhead_share=cost.share(mean_items),
        memory_per_worker=measured.memory_per_worker,
        mini_batch_size=propose_size(cost, mean_items, items, work),
        workers=propose_workers(measured, work, machine),
    )


def _wall(seconds: float, mini_batches: int, workers: int) -> float:
    """A run lasts at least as long as one mini-batch, and its last round may leave workers idle."""
    return seconds * max(math.ceil(mini_batches / workers) if mini_batches < 4 * workers else mini_batches / workers, 1)


def _warm_up(wholes: Sequence[Sample]) -> float:
    """What the first mini-batch of a process takes beyond the others."""
    first = [sample.elapsed for sample in wholes if sample.first]
    later = [sample.elapsed for sample in wholes if not sample.first]
    return max(0.0, median(first) - median(later)) if first and later else 0.0


def cost_of(samples: Sequence[Sample], *, reads_items: bool = False) -> Cost:
    """Split the time of a mini-batch. Without parts to compare with, all time in ``run()`` counts as time per item."""
    wholes = [sample for sample in samples if not sample.part]
    steady = [sample for sample in wholes if not sample.first] or wholes
    items, run = fmean(sample.items for sample in steady), fmean(sample.run_seconds for sample in steady)
    around = max(0.0, fmean(sample.elapsed - sample.run_seconds for sample in steady))
    per_item = run / items if items else 0.0
    parts = [sample for sample in samples if sample.part]
    if parts:
        fewer, shorter = fmean(sample.items for sample in parts), fmean(sample.run_seconds for sample in parts)
        if items > fewer:
            per_item = min(per_item, max(0.0, (run - shorter) / (items - fewer)))
    fixed = max(0.0, run - per_item * items) + SYSTEM_SECONDS
    if reads_items:
        return Cost(fixed, per_item + (around / items if items else 0.0))
    return Cost(fixed + around, per_item)


# --- proposals ------------------------------------------------------------------------------------------------------------------


def propose_size(cost: Cost, mean_items: float, items: int, work: Work) -> Proposal:
    """Large enough for the fixed cost, small enough for time limits and for every worker to get its part."""
    if work.size is None or work.unit is None or mean_items <= 0:
        return Proposal(None, "the mini-batches follow from the input")
    share = cost.share(mean_items)
    longest = min(LONGEST, work.timeout * TIMEOUT_SHARE)
    seconds = cost.fixed + cost.per_item * mean_items
    least = math.inf if not cost.per_item else cost.fixed * (1 - OVERHEAD_SHARE) / (OVERHEAD_SHARE * cost.per_item)
    by_time = math.inf if not cost.per_item else max(1.0, (longest - cost.fixed) / cost.per_item)
    by_balance = max(1.0, items / (MINI_BATCHES_PER_WORKER * work.workers))
    if cost.fixed > longest / 2:
        return Proposal(work.size, f"a mini-batch takes {_seconds(cost.fixed)} of its {_seconds(seconds)} whatever its size")
    if seconds > longest:
        wanted, reason = by_time, f"a mini-batch takes {seconds:.1f} s; shorter ones lose less with a process and stay clear of time limits"
    elif share > OVERHEAD_SHARE:
        wanted = min(ROOM_TO_ROUND * least, by_time, max(by_balance, mean_items))
        reason = f"{share:.0%} of the time is spent per mini-batch, not per item"
    elif mean_items > by_balance * KEEP and work.workers > 1:
        wanted, reason = by_balance, f"{work.mini_batches:,} mini-batches are too few to keep {work.workers} workers busy to the end"
    else:
        return Proposal(work.size, f"{share:.0%} of the time is spent per mini-batch, and one takes {_seconds(seconds)}")
    size = nice(work.size * wanted / mean_items)
    if work.size / KEEP <= size <= work.size * KEEP:
        return Proposal(work.size, f"{share:.0%} of the time is spent per mini-batch, and one takes {_seconds(seconds)}")
    return Proposal(size, reason)


def nice(size: float) -> int:
    """The nearest of 1, 2, 5, 10, 20, 50, ... below or at ``size``, at least 1.

    >>> nice(70.0), nice(0.3), nice(1e6)
    (50, 1, 1000000)
    """
    if size < 1:
        return 1
    power = 10 ** math.floor(math.log10(size) + 1e-9)
    return int(power * next(step for step in (5, 2, 1) if power * step <= size * (1 + 1e-9)))


def propose_workers(measured: Measured, work: Work, machine: Machine) -> Proposal:
    """One worker for each core that it keeps busy, as many as memory and GPUs take."""
    wanted, reason = _by_cores(measured, machine)
    if machine.gpus:
        wanted, reason = machine.gpus, f"one for each of the {machine.gpus} GPUs"
    room = int(machine.memory * MEMORY_SHARE / max(1, measured.memory_per_worker))
    if room < wanted:
        wanted = max(1, room)
        need = byte_text(measured.memory_per_worker)
        reason = f"each takes {need}, and {byte_text(machine.memory)} of memory are free"
        if room < 1:
            reason += ": not even one fits well"
    if work.mini_batches < wanted:
        wanted, reason = work.mini_batches, f"there are only {work.mini_batches} mini-batches"
    return Proposal(wanted, reason)


def _by_cores(measured: Measured, machine: Machine) -> tuple[int, str]:
    cores, share = machine.cores, measured.cpu_share
    word = "core" if cores == 1 else "cores"
    crowded = measured.workers > cores
    if share is None or (crowded and share * measured.workers > 0.9 * cores):
        return cores, f"{cores} {word} can be used"
    if share > 1.5 and not crowded:
        return max(1, round(cores / share)), f"each keeps {share:.1f} of {cores} {word} busy, with threads of its own"
    if share < WAITING:
        wanted = min(math.ceil(cores / max(share, 0.05)), MOST_WORKERS_PER_CORE * cores)
        return wanted, f"each waits {1 - share:.0%} of its time, so more than the {cores} {word} can be used"
    return cores, f"each keeps a core busy, and {cores} {word} can be used"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def byte_text(count: float) -> str:
    """``12.3 MB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if count >= 100 or unit == "bytes" else f"{count:.1f} {unit}"
