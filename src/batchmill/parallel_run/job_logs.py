"""The logs a run leaves at its end, in the layout users of Azure ML know (specification E1, E2); written from the ledger."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.merged_outcomes import shares
from batchmill.parallel_run.reuse_note import reuse_lines
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from batchmill.worker.delivery import RECORD
from batchmill.worker.plan_file import PlanFile

COLUMNS = (
    *("Mini-batch Id", "Picked Count", "Process", "Start Time", "Total", "Succeeded", "Failed"),
    *("Elapsed Seconds", "Process Seconds", "Run Method Seconds", "Status", "Error Category", "Error Message", "Mini-batch Detail"),
)

NEEDS_QUOTES = frozenset(',"\n\r')

WARNINGS = 100

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
    result = _result(folder, settings, ending, ledger.warnings(), reuse_lines(ledger))
    (logs / "job_result.txt").write_text(result, encoding="utf-8", errors="backslashreplace")
    error = logs / "job_error.txt"
    if ending.status is RunStatus.FAILED:
        error.write_text(_error(ledger, ending), encoding="utf-8", errors="backslashreplace")
    else:
        error.unlink(missing_ok=True)
    if not (logs / "user" / "error.txt").exists():
        (logs / "user").mkdir(exist_ok=True)
        (logs / "user" / "error.txt").touch()


def _result(
    folder: RunFolder, settings: RunSettings, ending: Ending, warnings: list[tuple[int | None, str | None, str]], reuse: Iterable[str]
) -> str:
    items, batches = ending.counts.items, ending.counts.mini_batches
    lines = [
        f"The job {folder.id} ended as {ending.status.value}.",
        *([ending.error] if ending.error else []),
        f"Mini batches: {batches.total} in all, {batches.succeeded} succeeded, {batches.failed} failed, "
        f"{batches.not_run} not run, {batches.retried} retried.",
        f"Items: {_known(items.total)} in all, {items.succeeded} succeeded, {items.failed} failed, {_known(items.not_run)} not run.",
        *reuse,
        f"Error threshold: {settings.error_threshold}.",
        "Read next: job_error.txt, user/error.txt, sys/job_report/processed_mini-batches.csv."
        if items.failed or ending.error
        else "Nothing failed.",
    ]
    lines += [
        f"Warning: {text if mini_batch is None else f'mini-batch {mini_batch}: {text}'}" for mini_batch, _, text in warnings[:WARNINGS]
    ]
    if len(warnings) > WARNINGS:
        lines.append(f"... and {len(warnings) - WARNINGS} more warnings, all in ledger.sqlite.")
    return "\n".join(lines) + "\n"


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _error(ledger: Ledger, ending: Ending) -> str:
    lines = [ending.error or "The job failed.", ""]
    for number, letter in enumerate(ledger.letters()):
        if number == 10:
            lines.append("More: see dead_letters.jsonl and user/error.txt.")
            break
        lines += [
            f"mini-batch {letter.mini_batch}, item {letter.item or 'unknown'}: {letter.error_class}: {letter.message}",
            letter.traceback or "",
        ]
    return "\n".join(lines) + "\n"


def _write_processed(ledger: Ledger, folder: Path, plan: PlanFile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    processes: defaultdict[tuple[str, ...], _Sum] = defaultdict(_Sum)
    tries = {mini_batch: count for mini_batch, count, _ in ledger.tries_of_whole()}
    with (folder / "processed_mini-batches.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file, lineterminator="\n").writerow(COLUMNS)
        for first, count, node, workers, packed, _ in ledger.records():
            at = 0
            for worker, times in shares(workers, count):
                records = packed[at * RECORD.size : (at + times) * RECORD.size]
                file.writelines(_done_lines(first + at, worker, records, tries, plan, processes[node, worker]))
                at += times
        csv.writer(file, lineterminator="\n").writerows(_exceptional_rows(ledger, plan, processes))
    _write_summary(folder / "process_summary.csv", ("Node", "Process"), processes)
    nodes: defaultdict[tuple[str, ...], _Sum] = defaultdict(_Sum)
    for (node, _), total in processes.items():
        into = nodes[(node,)]
        for name in _Sum.__slots__:
            setattr(into, name, getattr(into, name) + getattr(total, name))
    _write_summary(folder / "node_summary.csv", ("Node",), nodes)


def _done_lines(first: int, worker: str, packed: bytes, tries: Mapping[int, int], plan: PlanFile, total: _Sum) -> Iterator[str]:
    """Lines of successful mini-batches: there may be millions, so each costs a few microseconds and no object."""
    detail = plan.first_name if plan.header["kind"] == "files" and not plan.header.get("partition_keys") else partial(_detail, plan=plan)
    quoted = _quoted
    second, stamp = -1, ""
    for mini_batch, (_, _, items, ok, _, began, elapsed, run_seconds) in enumerate(RECORD.iter_unpack(packed), first):
        if int(began) != second:
            second = int(began)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        total.mini_batches += 1
        total.items += items
        total.succeeded += ok
        total.seconds += elapsed
        total.run_seconds += run_seconds
        picked = 1 + tries.get(mini_batch, 0)
        seconds = f"{elapsed:.6f}"
        yield (
            f"{mini_batch},{picked},{worker},{stamp}.{int(began % 1 * 1e6):06d}Z,"
            f"{items},{ok},{items - ok},{seconds},{seconds},{run_seconds:.6f},"
            f"{'RUN_DONE' if items else 'LOAD_DONE'},,,{quoted(detail(mini_batch))}\n"
        )
    total.failed = total.items - total.succeeded


def _quoted(text: str) -> str:
    return text if NEEDS_QUOTES.isdisjoint(text) else '"' + text.replace('"', '""') + '"'


def _write_summary(path: Path, keys: tuple[str, ...], sums: Mapping[tuple[str, ...], _Sum]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*keys, "Mini-batches", "Total Items", "Succeeded Items", "Failed Items", "Elapsed Seconds", "Run Method Seconds"))
        for key, one in sorted(sums.items()):
            writer.writerow((*key, one.mini_batches, one.items, one.succeeded, one.failed, f"{one.seconds:.6f}", f"{one.run_seconds:.6f}"))


def _exceptional_rows(ledger: Ledger, plan: PlanFile, processes: defaultdict[tuple[str, ...], _Sum]) -> Iterator[list[object]]:
    """Rows of mini-batches that were bisected or failed."""
    exceptional = [(k, items, ok) for k, items, ok, ended in ledger.splits() if ended] + [(k, items, 0) for k, items in ledger.failed()]
    for mini_batch, items, ok in sorted(exceptional):
        failures = list(ledger.tries(mini_batch))
        last = failures[-1]
        seconds, run_seconds = sum(one["elapsed"] for one in failures), sum(one["run_seconds"] for one in failures)
        total = processes[last["node"], last["worker"]]
        total.mini_batches += 1
        total.items += items
        total.succeeded += ok
        total.failed += items - ok
        total.seconds += seconds
        total.run_seconds += run_seconds
        began = failures[0]["started"]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(began)) + f".{int(began % 1 * 1e6):06d}Z"
        head: list[object] = [mini_batch, len(failures), last["worker"], stamp, items, ok, items - ok]
        times = [f"{seconds:.6f}", f"{seconds:.6f}", f"{run_seconds:.6f}"]
        category = "Driver" if last["error_class"] in ("ReadError", "LoadTimeout") else "User"
        yield [*head, *times, last["status"], category, f"{last['error_class']}: {last['message']}", _detail(mini_batch, plan)]


def _detail(mini_batch: int, plan: PlanFile) -> str:
    """The first item of the mini-batch, and its keys."""
    part = plan.mini_batch(mini_batch)
    if part.keys:
        return str(part.keys)
    return plan.item(part.items[0]).name if part.items else ""
