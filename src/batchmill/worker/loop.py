"""The life of a worker process: ``init`` once, one mini-batch after the other, ``shutdown`` once."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
import traceback
import zlib
from typing import Any, Callable, Optional, Union

from batchmill.errors import BatchmillError
from batchmill.worker import slots as slot_fields
from batchmill.worker.channel import PROTOCOL_LOST, Channel, Identity, ProtocolLost, lift
from batchmill.worker.delivery import RECORD, SPAN, Delivery
from batchmill.worker.entry_script import EntryScript
from batchmill.worker.plan_file import PlanFile
from batchmill.worker.process import die_with_parent, dump_stacks_into, peak_memory, prefer_as_victim, prepare_streams
from batchmill.worker.questions import Questions, answer_with
from batchmill.worker.results import Rows, count_rows, to_rows
from batchmill.worker.script import MiniBatchContext, MiniBatchDataset, UserScript
from batchmill.worker.slots import Slots
from batchmill.worker.source import FileSource, Known, RankSource, Slice, TableSource

DELIVER_EVERY = 0.05
"""Seconds between two messages about finished mini-batches: the longest that a finished one can be lost with its process."""

DELIVER_BYTES = 1 << 16
FULL = (errno.ENOSPC, errno.EDQUOT)
LEAST_FREE = 1 << 20
TRACEBACK_LIMIT = 100_000
MESSAGE_LIMIT = 10_000
"""Characters of an exception's text that are kept: it goes into the ledger, the letters and the logs with every try."""


def work(read_descriptor: int, write_descriptor: int) -> None:
    """Body of the process; never returns."""
    code = 0
    try:
        channel = Channel(read_descriptor, write_descriptor)
        config = channel.receive()
        if config is not None:
            Worker(channel, config).live()
    except ProtocolLost:
        code = PROTOCOL_LOST
    except BaseException:
        traceback.print_exc()
        code = 1
    _leave(code)


def _leave(code: int) -> None:
    """End without waiting for threads that the script left behind."""
    import atexit

    try:
        if code == 0:
            atexit._run_exitfuncs()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 1
    os._exit(code)


class Worker:
    """One worker process."""

    def __init__(self, channel: Channel, config: dict[str, Any]) -> None:
        self._channel = channel
        self._config = config
        die_with_parent(config["parent"])
        prefer_as_victim()
        dump_stacks_into(config["stacks"])
        prepare_streams(config["level"])
        self._slots = Slots(config["slots"], config["slot_count"])
        self._base = config["slot"] * slot_fields.WIDTH
        self._view = self._slots.values
        answer_with(Questions(channel, self._slots, config["slot"]).ask)
        self._open_part(config["part"])
        self._logs = [lift(os.dup(1)), lift(os.dup(2))]
        self._printed_so_far = (0, 0)
        """How far the last mini-batch of the lease had printed: the next one begins there."""
        self._append = config["output_action"] == "append_row"
        self._header = bool(config["with_header"])
        self._pid = os.getpid()
        self._profiler: Any = None
        self._script: UserScript
        self._source: Union[FileSource, TableSource, RankSource]

    def _open_part(self, path: str) -> None:
        self._part = lift(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644))
        self._part_identity = Identity(self._part)
        self._offset = 0

    def _mark(self, field: int, value: int) -> None:
        self._view[self._base + field] = value

    # --- life -------------------------------------------------------------------------------------------------------------------

    def live(self) -> None:
        if not self._start():
            return
        while True:
            self._mark(slot_fields.PHASE, slot_fields.IDLE)
            message = self._channel.receive()
            if message is None:
                return
            kind = message["m"]
            if kind == "lease":
                self._lease(message)
            elif kind == "piece":
                self._piece(message)
            elif kind == "stop":
                self._stop()
                return

    def _start(self) -> bool:
        self._mark(slot_fields.PHASE, slot_fields.INIT)
        self._mark(slot_fields.RUNNING_SINCE, time.monotonic_ns())
        began = time.monotonic()
        config = self._config
        try:
            os.chdir(config["working_dir"])
            EntryScript().configure(
                agent_name=config["name"],
                logging_level=config["level"],
                log_dir=config["log_dir"],
                output_dir=config["output_dir"],
                working_dir=config["working_dir"],
            )
            self._source = self._make_source()
            sys.argv = [config["script"], *config["arguments"]]
            sys.path.insert(0, config["names"])
            sys.path.insert(0, config["source"])
            self._script = self._own(UserScript, config["script"])
            self._own(self._script.init)
            self._start_profiler()
        except BaseException as error:
            self._channel.send({"m": "init_failed", **self._describe(error)})
            return False
        self._channel.send({"m": "ready", "seconds": time.monotonic() - began})
        return True

    def _make_source(self) -> Union[FileSource, TableSource, RankSource]:
        plan = PlanFile(self._config["plan"], self._config["mounts"])
        kind = plan.header["kind"]
        if kind == "files":
            unchecked = self._config["mounts"] is not None or self._config["accept_changed"]
            return FileSource(plan, unchecked=unchecked)
        if kind == "rank":
            return RankSource()
        return TableSource(plan, self._reading, self._read, lambda ident: self._mark(slot_fields.READER_THREAD, ident % 2**63))

    def _reading(self, mini_batch: int) -> None:
        self._mark(slot_fields.READING_SINCE, time.monotonic_ns())
        self._mark(slot_fields.READING, mini_batch)

    def _read(self) -> None:
        self._mark(slot_fields.READING, slot_fields.NONE)

    def _start_profiler(self) -> None:
        module = self._config["profiling_module"]
        if module is None:
            return
        import importlib

        self._profiler = importlib.import_module(module).Profile()
        plain = self._script.run
        self._script.run = lambda *arguments: self._profiler.runcall(plain, *arguments)

    def _stop(self) -> None:
        self._mark(slot_fields.RUNNING_SINCE, time.monotonic_ns())
        self._mark(slot_fields.PHASE, slot_fields.SHUTDOWN)
        problem = None
        try:
            self._own(self._script.shutdown)
            if self._profiler is not None:
                self._profiler.dump_stats(self._config["profile"])
            self._flush_streams()
        except BaseException as error:
            problem = self._describe(error)
        self._channel.send({"m": "stopped", "problem": problem, "peak": peak_memory()})

    # --- mini-batches -----------------------------------------------------------------------------------------------------------

    def _lease(self, message: dict[str, Any]) -> None:
        """Run consecutive mini-batches, telling the node about finished ones now and then."""
        lease, first, count = message["lease"], message["first"], message["count"]
        known = message.get("unreadable") or {}
        delivery = Delivery(lease, first, self._offset)
        told = time.monotonic()
        self._printed_so_far = self._printed()
        void = self._base + slot_fields.VOID
        view = self._view
        for mini_batch in range(first, first + count):
            view[self._base + slot_fields.RUNNING] = mini_batch
            if lease <= view[void]:
                self._mark(slot_fields.RUNNING, slot_fields.NONE)
                self._deliver(delivery)
                self._channel.send({"m": "returned", "lease": lease, "first": mini_batch, "count": first + count - mini_batch})
                return
            following = mini_batch + 1 if mini_batch + 1 < first + count else None
            if not self._one(delivery, mini_batch, None, known.get(str(mini_batch)), following):
                delivery = Delivery(lease, mini_batch + 1, self._offset)
                told = time.monotonic()
                continue
            now = time.monotonic()
            if now - told > DELIVER_EVERY or delivery.notes or len(delivery.packed) > DELIVER_BYTES:
                self._deliver(delivery)
                delivery = Delivery(lease, mini_batch + 1, self._offset)
                told = now
        self._deliver(delivery)

    def _piece(self, message: dict[str, Any]) -> None:
        """Run some items of one mini-batch (bisection)."""
        piece = (message["first"], message["count"])
        if message["lease"] <= self._view[self._base + slot_fields.VOID]:
            self._channel.send({"m": "returned", "lease": message["lease"], "first": message["mb"], "count": 1})
            return
        delivery = Delivery(message["lease"], message["mb"], self._offset, piece)
        self._printed_so_far = self._printed()
        self._mark(slot_fields.PIECE_COUNT, piece[1])
        self._mark(slot_fields.PIECE_FIRST, piece[0])
        try:
            if self._one(delivery, message["mb"], piece, message.get("unreadable"), None):
                self._deliver(delivery)
        finally:
            self._mark(slot_fields.PIECE_FIRST, slot_fields.NONE)

    def _one(
        self,
        delivery: Delivery,
        mini_batch: int,
        piece: Optional[tuple[int, int]],
        known: Optional[Known],
        following: Optional[int],
    ) -> bool:
        """Read, run and append one mini-batch or piece; False when this try failed (and was reported)."""
        view, base = self._view, self._base
        began = time.time()
        clock = time.monotonic()
        called = returned = clock
        part: Optional[Slice] = None
        status = "LOAD_EXCEPTION"
        outs, errs = self._printed_so_far
        try:
            part = self._source.read(mini_batch, piece[0], piece[1], known) if piece else self._source.read(mini_batch, 0, None, known)
            if following is not None:
                self._source.ahead(following)
            rows = None
            if part.given:
                status = "RUN_EXCEPTION"
                now = time.monotonic_ns()
                view[base + slot_fields.RUNNING_ITEMS] = part.items
                view[base + slot_fields.RUNNING_SINCE] = now
                view[base + slot_fields.RUNNING] = mini_batch
                view[base + slot_fields.PHASE] = slot_fields.RUN
                called = now / 1e9
                result = self._own(self._call, part, mini_batch)
                returned = time.monotonic()
                rows = to_rows(result, with_header=self._header) if self._append else None
                count = rows.count if rows else count_rows(result)
            else:
                count = 0
            self._flush_streams()
            self._check_descriptors()
            view[base + slot_fields.PHASE] = slot_fields.IDLE
        except ProtocolLost:
            raise
        except BaseException as error:
            self._failed(delivery, mini_batch, piece, part, status, error, (clock, called), (outs, errs))
            return False
        self._succeeded(delivery, mini_batch, piece, part, count, rows, began, clock, returned - called)
        outs_now, errs_now = self._printed_so_far = self._printed()
        if outs_now > outs or errs_now > errs:
            delivery.spans += SPAN.pack(mini_batch, outs, outs_now, errs, errs_now)
        return True

    def _succeeded(
        self,
        delivery: Delivery,
        mini_batch: int,
        piece: Optional[tuple[int, int]],
        part: Slice,
        count: int,
        rows: Optional[Rows],
        began: float,
        clock: float,
        run_seconds: float,
    ) -> None:
        """Append the rows of a try that succeeded and count it in; ``began`` and ``clock`` are when it began, in both times."""
        data = rows.data if rows else b""
        if data:
            self._write(delivery, data)
        view, base = self._view, self._base
        view[base + slot_fields.RUNNING] = slot_fields.NONE
        view[base + slot_fields.FINISHED] += 1
        if count == part.items == part.given and not part.nulled and not part.dropped and (rows is None or not rows.unencodable):
            ok = count
        else:
            ok = self._notes(delivery, mini_batch, piece, part, count, rows)
        if rows is not None and rows.header is not None and delivery.bytes == 0 and data:
            delivery.header = rows.header
        delivery.count += 1
        delivery.bytes += len(data)
        delivery.rows += count
        delivery.items += part.items
        delivery.ok += ok
        delivery.short += ok < part.items
        delivery.packed += RECORD.pack(
            len(data), min(count, 0xFFFFFFFF), part.items, ok, zlib.crc32(data), began, time.monotonic() - clock, run_seconds
        )

    def _check_descriptors(self) -> None:
        """A script that closed or replaced our descriptors is found out while the slot still names its mini-batch."""
        self._channel.check()
        self._part_identity.check()

    def _own(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the user's code; a child it forked off ends where it comes back out of it, instead of working as a second worker."""
        try:
            return function(*arguments)
        finally:
            if os.getpid() != self._pid:
                os._exit(0 if sys.exc_info()[0] is None else 1)

    def _printed(self) -> tuple[int, int]:
        """How far the files of stdout and stderr have been written."""
        return os.lseek(self._logs[0], 0, os.SEEK_CUR), os.lseek(self._logs[1], 0, os.SEEK_CUR)

    def _call(self, part: Slice, mini_batch: int) -> Any:
        if self._script.wants_context:
            context = MiniBatchContext(str(mini_batch), part.keys or {}, MiniBatchDataset(part.paths, part.value))
            return self._script.run(part.value, context)
        return self._script.run(part.value)

    def _notes(
        self, delivery: Delivery, mini_batch: int, piece: Optional[tuple[int, int]], part: Slice, count: int, rows: Optional[Rows]
    ) -> int:
        """Say which items failed without failing the try; returns the number of items that succeeded."""
        for position, error_class, message in part.unreadable:
            delivery.notes.append(_note(mini_batch, piece, part.name(position), position, 1, error_class, message))
        refused = rows.unencodable if rows else []
        for row, message in refused:
            name = part.name(part.first + row) if count == part.items else None
            delivery.notes.append(_note(mini_batch, piece, name, part.first + row if name else None, 1, "OutputEncodingError", message))
        if part.nulled:
            text = f"{part.nulled} cells did not fit the type of their column and were made null."
            delivery.notes.append({"mb": mini_batch, "warning": text})
        if part.dropped:
            delivery.notes.append({"mb": mini_batch, "warning": f"{part.dropped} lines are no JSON objects and were left out."})
        if count > part.given:
            text = f"run() returned {count} rows for {part.given} items; all are written and every item counts as succeeded."
            delivery.notes.append({"mb": mini_batch, "warning": text})
        missing = part.given - min(count, part.given)
        if missing:
            text = f"run() returned {count} rows for {part.given} items, so {missing} items have no result."
            delivery.notes.append(_note(mini_batch, piece, None, None, missing, "ShortResult", text))
        return max(0, part.given - missing - len(refused))

    # --- bytes ------------------------------------------------------------------------------------------------------------------

    def _write(self, delivery: Delivery, data: bytes) -> None:
        try:
            written = os.write(self._part, data)
            while written < len(data):
                written += os.write(self._part, memoryview(data)[written:])
        except OSError as error:
            if error.errno in FULL:
                os.ftruncate(self._part, self._offset)
                self._give_up_full(delivery)
            raise ProtocolLost(f"part file: {error}") from error
        self._offset += len(data)

    def _deliver(self, delivery: Delivery) -> None:
        if delivery.count:
            self._part_identity.check()
            self._channel.send(delivery.message())
        delivery.count = 0

    def _flush_streams(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (ValueError, AttributeError, OSError) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                continue  # closed or replaced by the script: nothing of ours to flush

    def _is_disk_full(self, error: BaseException) -> bool:
        """An ENOSPC counts as the run's own full disk only when the run's folder is really full."""
        cause: Optional[BaseException] = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in FULL and self._no_space():
                return True
            cause = cause.__cause__ or cause.__context__
        return False

    def _no_space(self) -> bool:
        for folder in (os.path.dirname(self._config["part"]), self._config["output_dir"]):
            try:
                status = os.statvfs(folder)
            except OSError:
                continue
            if status.f_bavail * status.f_frsize < LEAST_FREE:
                return True
        return False

    def _give_up_full(self, delivery: Delivery) -> None:
        """Deliver what is safe, say that the disk is full, and wait to be stopped."""
        self._deliver(delivery)
        self._channel.send({"m": "full", "folder": os.path.dirname(self._config["part"])})
        signal.pause()

    # --- errors -----------------------------------------------------------------------------------------------------------------

    def _failed(
        self,
        delivery: Delivery,
        mini_batch: int,
        piece: Optional[tuple[int, int]],
        part: Optional[Slice],
        status: str,
        error: BaseException,
        since: tuple[float, float],
        printed: tuple[int, int],
    ) -> None:
        """Report a try that failed, after what succeeded before it.

        Args:
            part: what was read; None when reading it failed.
            since: the monotonic times when the try began and when ``run()`` was called.
            printed: what `_printed` said when the try began.
        """
        facts = self._describe(error)  # asks the script's own exception for its text: within the bound of run()
        self._flush_streams()
        self._check_descriptors()
        outs, errs = printed
        outs_now, errs_now = self._printed_so_far = self._printed()
        if outs_now > outs or errs_now > errs:
            facts["printed"] = (outs, outs_now, errs, errs_now)
        self._mark(slot_fields.PHASE, slot_fields.IDLE)
        self._mark(slot_fields.RUNNING, slot_fields.NONE)
        if self._is_disk_full(error):
            self._give_up_full(delivery)
        self._deliver(delivery)
        now = time.monotonic()
        message = {
            "m": "failed",
            "lease": delivery.lease,
            "mb": mini_batch,
            "items": part.items if part else None,
            "status": status,
            "elapsed": now - since[0],
            "run_seconds": max(0.0, now - since[1]) if status == "RUN_EXCEPTION" else 0.0,
            **facts,
        }
        if part is not None and part.items == 1:
            message["item"] = part.name(part.first)
        if piece is not None:
            message["piece"] = piece
        self._channel.send(message)

    def _describe(self, error: BaseException) -> dict[str, Any]:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return {
            "class": type(error).__name__,
            "message": _shortened(_text(error), MESSAGE_LIMIT),
            "traceback": _shortened(trace, TRACEBACK_LIMIT),
            "memory": isinstance(error, MemoryError),
            "peak": peak_memory(),
        }


def _text(error: BaseException) -> str:
    try:
        return (error.line if isinstance(error, BatchmillError) else str(error)) or type(error).__name__
    except BaseException as second:
        return f"{type(error).__name__} (its text cannot be shown: {type(second).__name__})"


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _note(
    mini_batch: int,
    piece: Optional[tuple[int, int]],
    item: Optional[str],
    position: Optional[int],
    items_failed: int,
    error_class: str,
    message: str,
) -> dict[str, Any]:
    return {
        "mb": mini_batch,
        "piece": piece,
        "item": item,
        "position": position,
        "items_failed": items_failed,
        "class": error_class,
        "message": message,
    }
