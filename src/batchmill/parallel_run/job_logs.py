"""The logs a run leaves at its end, in the layout users of Azure ML know (specification E1, E2); written from the ledger."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.worker.delivery import RECORD
from batchmill.worker.plan_file import PlanFile

COLUMNS = (
    "Mini-batch Id,Picked Count,Process,Start Time,Total,Succeeded,Failed,Elapsed Seconds,Process Seconds,"
    "Run Method Seconds,Status,Error Category,Error Message,Mini-batch Detail"
).split(",")

README = """What lies here
  job_progress_overview.<hour>.txt          progress, a line now and then
  job_result.txt                            how the job ended, with its counts
  job_error.txt                             what ended a job that failed
  user/error.txt, user/error/<node>/        exceptions of init(), run() and shutdown(), with tracebacks
  user/stdout, user/stderr/<node>/          what the processes of the entry script printed
  user/entry_script_log/<node>/             what the entry script logged with EntryScript().logger
  sys/job_report/processed_mini-batches.csv one line for every mini-batch
  sys/job_report/process_summary.csv        the same, added up by process; node_summary.csv: by node
  sys/metrics/<run>/progress.csv            progress as numbers
  sys/node/<node>/                          stacks of processes that crashed or were stopped, profiles
"""


@dataclass(slots=True)
class _Sum:
    mini_batches: int = 0
    items: int = 0
    succeeded: int = 0
    failed: int = 0
    seconds: float = 0.0
    run_seconds: float = 0.0


def write_job_logs(ledger: Ledger, folder: RunFolder, plan: PlanFile, settings: RunSettings, ending: Ending) -> None:
    """Write everything that is known only at the end of an incarnation."""
    logs = folder.logs
    (logs / "readme.txt").write_text(README)
    _write_processed(ledger, logs / "sys" / "job_report", plan)
    (logs / "job_result.txt").write_text(_result(folder, settings, ending))
    error = logs / "job_error.txt"
    if ending.status is RunStatus.FAILED:
        error.write_text(_error(ledger, ending))
    else:
        error.unlink(missing_ok=True)
    if not (logs / "user" / "error.txt").exists():
        (logs / "user").mkdir(exist_ok=True)
        (logs / "user" / "error.txt").touch()


def _result(folder: RunFolder, settings: RunSettings, ending: Ending) -> str:
    items, batches = ending.counts.items, ending.counts.mini_batches
    lines = [
        f"The job {folder.id} ended as {ending.status.value}.",
        *([ending.error] if ending.error else []),
        f"Mini batches: {batches.total} in all, {batches.succeeded} succeeded, {batches.failed} failed, {batches.not_run} not run, {batches.retried} retried.",
        f"Items: {_known(items.total)} in all, {items.succeeded} succeeded, {items.failed} failed, {_known(items.not_run)} not run.",
        f"Error threshold: {settings.error_threshold}.",
        "Read next: job_error.txt, user/error.txt, sys/job_report/processed_mini-batches.csv." if items.failed or ending.error else "Nothing failed.",
    ]
    return "\n".join(lines) + "\n"


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _error(ledger: Ledger, ending: Ending) -> str:
    lines = [ending.error or "The job failed.", ""]
    for number, letter in enumerate(ledger.letters()):
        if number == 10:
            lines.append("More: see dead_letters.jsonl and user/error.txt.")
            break
        lines += [f"mini-batch {letter.mini_batch}, item {letter.item or 'unknown'}: {letter.error_class}: {letter.message}", letter.traceback or ""]
    return "\n".join(lines) + "\n"


def _write_processed(ledger: Ledger, folder: Path, plan: PlanFile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    processes: defaultdict[tuple[str, str], _Sum] = defaultdict(_Sum)
    with (folder / "processed_mini-batches.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row, node, process in _rows(ledger, plan):
            writer.writerow(row)
            total = processes[node, process]
            total.mini_batches += 1
            total.items += int(row[4])
            total.succeeded += int(row[5])
            total.failed += int(row[6])
            total.seconds += float(row[7])
            total.run_seconds += float(row[9])
    _write_summary(folder / "process_summary.csv", ("Node", "Process"), processes)
    nodes: defaultdict[tuple[str], _Sum] = defaultdict(_Sum)
    for (node, _), total in processes.items():
        into = nodes[(node,)]
        for name in _Sum.__slots__:
            setattr(into, name, getattr(into, name) + getattr(total, name))
    _write_summary(folder / "node_summary.csv", ("Node",), nodes)


def _write_summary(path: Path, keys: tuple[str, ...], sums: dict[tuple[str, ...], _Sum] | defaultdict[tuple[str, str], _Sum] | defaultdict[tuple[str], _Sum]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*keys, "Mini-batches", "Total Items", "Succeeded Items", "Failed Items", "Elapsed Seconds", "Run Method Seconds"))
        for key, one in sorted(sums.items()):
            writer.writerow((*key, one.mini_batches, one.items, one.succeeded, one.failed, f"{one.seconds:.6f}", f"{one.run_seconds:.6f}"))


def _rows(ledger: Ledger, plan: PlanFile) -> Iterator[tuple[list[object], str, str]]:
    """One row for every mini-batch that has a fate, in the order of their numbers within each group: done, then exceptional ones."""
    tries: defaultdict[int, list[dict[str, object]]] = defaultdict(list)
    for one in ledger.tries():
        tries[int(one["mini_batch"])].append(one)
    for first, _, node, worker, packed, _ in ledger.records():
        for mini_batch, record in enumerate(RECORD.iter_unpack(packed), first):
            _, _, items, ok, _, began, elapsed, run_seconds = record
            picked = 1 + len(tries.get(mini_batch, ()))
            yield _row(mini_batch, picked, worker, began, items, ok, elapsed, run_seconds, "RUN_DONE" if items else "LOAD_DONE", "", "", plan), node, worker
    exceptional = [(k, items, ok) for k, items, ok, ended in ledger.splits() if ended] + [(k, items, 0) for k, items in ledger.failed()]
    for mini_batch, items, ok in sorted(exceptional):
        last = tries[mini_batch][-1] if tries.get(mini_batch) else None
        node, worker = (str(last["node"]), str(last["worker"])) if last else ("", "")
        seconds = sum(float(str(one["elapsed"])) for one in tries.get(mini_batch, ()))
        run_seconds = sum(float(str(one["run_seconds"])) for one in tries.get(mini_batch, ()))
        status = str(last["status"]) if last else "RUN_EXCEPTION"
        message = f"{last['error_class']}: {last['message']}" if last else ""
        began = float(str(tries[mini_batch][0]["started"])) if last else 0.0
        row = _row(mini_batch, max(1, len(tries.get(mini_batch, ()))), worker, began, items, ok, seconds, run_seconds, status, "User", message, plan)
        yield row, node, worker


def _row(
    mini_batch: int,
    picked: int,
    process: str,
    began: float,
    items: int,
    ok: int,
    elapsed: float,
    run_seconds: float,
    status: str,
    category: str,
    message: str,
    plan: PlanFile,
) -> list[object]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began)) + f".{int(began % 1 * 1e6):06d}Z"
    detail = _detail(mini_batch, plan)
    return [mini_batch, picked, process, stamp, items, ok, items - ok, f"{elapsed:.6f}", f"{elapsed:.6f}", f"{run_seconds:.6f}"] + [
        status,
        category,
        message,
        detail,
    ]


def _detail(mini_batch: int, plan: PlanFile) -> str:
    """The first item of the mini-batch, and its keys."""
    part = plan.mini_batch(mini_batch)
    if part.keys:
        return str(part.keys)
    return plan.item(part.items[0]).name if len(part.items) else ""
