"""What the scheduler tells the job to do."""

from __future__ import annotations

from dataclasses import dataclass

from batchmill.parallel_run.events import Done, Task, TryFailed


@dataclass(frozen=True, slots=True)
class Grant:
    """Give these leases to a node."""

    node: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Revoke:
    """Take a lease back from a node: another one was faster."""

    node: str
    token: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Commit an outcome; ``attempt`` is the number of the try that succeeded."""

    done: Done
    attempt: int


@dataclass(frozen=True, slots=True)
class RecordTry:
    """Record a failed try; ``attempt`` counts from 1."""

    event: TryFailed
    attempt: int


@dataclass(frozen=True, slots=True)
class BeginSplit:
    """The mini-batch is being bisected from now on."""

    mini_batch: int
    items: int


@dataclass(frozen=True, slots=True)
class FailPiece:
    """A single item failed for good."""

    event: TryFailed
    piece: tuple[int, int]
    attempt: int


@dataclass(frozen=True, slots=True)
class EndSplit:
    """Every item of a bisected mini-batch has its fate."""

    mini_batch: int
    items: int
    ok: int


@dataclass(frozen=True, slots=True)
class FailWhole:
    """A mini-batch failed for good, with all its items."""

    event: TryFailed
    items: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run as Failed."""

    message: str


Instruction = Grant | Revoke | Accept | RecordTry | BeginSplit | FailPiece | EndSplit | FailWhole | Stop
