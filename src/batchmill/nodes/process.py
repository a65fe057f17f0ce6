"""One worker process as its node sees it: start, messages, leases it holds, how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill.nodes.guardian import process_start
from batchmill.worker.slots import PID, PID_START, Slots

WORKER_MAIN = str(Path(__file__).resolve().parents[1] / "worker" / "__main__.py")
NAMES = str(Path(__file__).resolve().parents[1] / "worker" / "names")


@dataclass(slots=True)
class Chunk:
    """A part of a task that one worker holds: what is left of it, and when the worker could have begun it."""

    serial: int
    token: int
    first: int
    count: int
    piece: tuple[int, int] | None = None

    @property
    def stop(self) -> int:
        return self.first + self.count


@dataclass(slots=True)
class WorkerProcess:
    """A started worker process."""

    name: str
    slot: int
    process: subprocess.Popen[bytes]
    pid_descriptor: int
    read_descriptor: int
    write_descriptor: int
    part: Path
    stacks: Path
    stdout: Path
    stderr: Path
    gpu: str | None = None
    chunks: list[Chunk] = field(default_factory=list)
    buffer: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)
    ready: bool = False
    stopping: bool = False
    retiring: bool = False
    failed: int = 0
    last_news: float = 0.0
    kill_reason: str | None = None
    kill_at: float | None = None
    condemned: tuple[int, int | None] | None = None
    """The mini-batch that took too long, and its items where they are known. What the worker says of it after that does not count:
    the signal that asks for the stacks may have broken the call off."""
    unheard: bool = False
    peak: int | None = None
    limited: float | None = None
    closed_pipe: float | None = None
    garbled: bool = False
    """Something that is no message came through the pipe: the script writes to descriptors that are not its own."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message and write as much as the pipe takes (never waits: a worker may not be reading)."""
        self.outgoing += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        try:
            while self.outgoing:
                written = os.write(self.write_descriptor, self.outgoing)
                del self.outgoing[:written]
        except (BlockingIOError, BrokenPipeError):
            return  # the rest is written at the next tick; a broken pipe is seen as the end of the process

    def receive(self) -> list[dict[str, Any]]:
        """All complete messages that are there; never waits."""
        while True:
            try:
                data = os.read(self.read_descriptor, 1 << 20)
            except BlockingIOError:
                break
            if not data:
                if self.closed_pipe is None:
                    self.closed_pipe = time.monotonic()
                break
            self.buffer += data
        end = self.buffer.rfind(b"\n")
        if end < 0:
            return []
        lines = bytes(self.buffer[:end]).split(b"\n")
        del self.buffer[: end + 1]
        messages: list[dict[str, Any]] = []
        for line in lines if not self.garbled else ():
            try:
                message = json.loads(line)
                message["m"]
            except (ValueError, TypeError, KeyError):
                self.garbled = True
                break
            messages.append(message)
        return messages

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # ended between look and signal
            os.killpg(self.pid, number)

    def await_end(self, seconds: float) -> None:
        """Wait until the process has ended, at most so long; not at all where the kernel does not tell."""
        if self.pid_descriptor >= 0:
            with selectors.DefaultSelector() as selector:
                selector.register(self.pid_descriptor, selectors.EVENT_READ)
                selector.select(seconds)

    def close(self) -> None:
        for descriptor in (self.pid_descriptor, self.read_descriptor, self.write_descriptor):
            if descriptor >= 0:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Booted:
    """A process that waits for its first message."""

    process: subprocess.Popen[bytes]
    read_descriptor: int
    write_descriptor: int

    def close(self) -> None:
        """End it: it has nothing to lose."""
        os.close(self.write_descriptor)
        os.close(self.read_descriptor)
        self.process.kill()
        self.process.wait()


def boot(python: str, environment: Mapping[str, str], logs: Mapping[str, Path], *, tables: bool = False) -> Booted:
    """Start an interpreter that loads the worker's modules (``tables``: and those that read tables) and then waits."""
    to_worker = os.pipe()
    from_worker = os.pipe()
    with logs["stdout"].open("ab") as out, logs["stderr"].open("ab") as err:
        process = subprocess.Popen(
            [python, WORKER_MAIN, str(to_worker[0]), str(from_worker[1]), *(["tables"] if tables else [])],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(to_worker[0], from_worker[1]),
            env=dict(environment),
            cwd=logs["working_dir"],
            start_new_session=True,
        )
    os.close(to_worker[0])
    os.close(from_worker[1])
    for descriptor in (to_worker[1], from_worker[0]):
        os.set_blocking(descriptor, False)
    return Booted(process, from_worker[0], to_worker[1])


def enlist(booted: Booted, config: dict[str, Any], slots: Slots, slot: int, logs: Mapping[str, Path], gpu: str | None) -> WorkerProcess:
    """Make a booted process a worker; its slot is filled before its first message is sent."""
    process = booted.process
    slots.clear(slot)
    slots.set(slot, PID_START, process_start(process.pid))
    slots.set(slot, PID, process.pid)
    pid_descriptor = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else -1
    worker = WorkerProcess(
        name=config["name"],
        slot=slot,
        process=process,
        pid_descriptor=pid_descriptor,
        read_descriptor=booted.read_descriptor,
        write_descriptor=booted.write_descriptor,
        part=Path(config["part"]),
        stacks=Path(config["stacks"]),
        stdout=logs["stdout"],
        stderr=logs["stderr"],
        gpu=gpu,
        last_news=time.monotonic(),
    )
    worker.send(config)
    return worker


def how_it_ended(name: str, returncode: int) -> str:
    """One sentence: ``process001 exits with returncode -9 (SIGKILL)``."""
    if returncode < 0:
        try:
            return f"{name} exits with returncode {returncode} ({signal.Signals(-returncode).name})"
        except ValueError:
            return f"{name} exits with returncode {returncode} (signal {-returncode})"
    return f"{name} exits with returncode {returncode}"
