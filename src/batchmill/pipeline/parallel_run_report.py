"""What a parallel-run step tells of its run: counts as metrics, and for the run of the pipeline copies of the logs that sum it up."""

from __future__ import annotations

from contextlib import suppress

from batchmill.errors import BatchmillError, RegistryError
from batchmill.parallel_run.run import Run
from batchmill.pipeline.parallel_run_settings import pipeline_options
from batchmill.pipeline.step_work import StepWork
from batchmill.records import Counts

OVERVIEW = ("job_*.txt", "sys/job_report/processed_mini-batches.csv", "sys/metrics/*/progress.csv")


def metrics_of(counts: Counts) -> dict[str, int]:
    """The counts of a run by the names of Azure ML's metrics; what is not known yet is left out."""
    batches, items = counts.mini_batches, counts.items
    values = {
        "Total Mini Batches": batches.total,
        "Processed Mini Batches": batches.succeeded + batches.failed,
        "Remaining Mini Batches": batches.not_run,
        "Failed Mini Batches": batches.failed,
        "Total Items": items.total,
        "Processed Items": items.succeeded + items.failed,
        "Remaining Items": items.not_run,
        "Failed Items": items.failed,
    }
    return {name: value for name, value in values.items() if value is not None}


def log_counts(work: StepWork, counts: Counts) -> None:
    """Log the counts for the step run, and for that of the pipeline where the step asks for it (Azure ML: ``--push_metrics_to_parent``,
    ``--metrics_name_prefix``). A registry that is out of reach does not fail the step."""
    options = pipeline_options(work)
    prefix = options.get("metrics_name_prefix", "")
    runs = [work.step_run_id, *([work.pipeline_run_id] if options.get("push_metrics_to_parent") else [])]
    with suppress(RegistryError):
        for run_id in runs:
            for name, value in metrics_of(counts).items():
                work.workspace.registry.log_metric(run_id, f"{prefix}{name}", "value", value)


def copy_logs(work: StepWork, run: Run) -> None:
    """Copy the logs that sum the run up to those of the pipeline's run, where the step asks for it (``--copy_logs_to_parent``)."""
    if not pipeline_options(work).get("copy_logs_to_parent"):
        return
    from batchmill.pipeline.step_logs import keep_log

    logs = run.folder / "logs"
    try:
        for path in sorted({path for pattern in OVERVIEW for path in logs.glob(pattern)}):
            keep_log(work.workspace, work.pipeline_run_id, path, f"logs/{work.node.name}/{path.relative_to(logs).as_posix()}")
    except BatchmillError as error:
        work.announce(f"its logs could not be copied to the run of the pipeline: {error.line}")
