"""The rules that a job goes by, as they follow from the settings of its run."""

from __future__ import annotations

from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.job import Limits
from batchmill.parallel_run.policy import Policy
from batchmill.settings import RunSettings

LEAST_NO_PROGRESS, LEAST_FIRST_PROGRESS = 270.0, 600.0


def limits_of(settings: RunSettings, config: NodeConfig) -> Limits:
    """The bounds of the whole job that follow from the bounds of its parts."""
    init = config.init_timeout
    no_progress = settings.progress_update_timeout or max(LEAST_NO_PROGRESS, init + 2 * (config.run_timeout + config.read_timeout))
    return Limits(no_progress=no_progress, first_progress=max(LEAST_FIRST_PROGRESS, 4 * init, no_progress))


def policy_of(settings: RunSettings, *, splittable: bool, speculates: bool) -> Policy:
    """When what is tried again, and when the run fails."""
    return Policy(
        run_max_try=settings.run_max_try,
        isolate_failures=settings.isolate_failures,
        splittable=splittable,
        error_threshold=settings.error_threshold,
        allowed_failed_count=settings.allowed_failed_count,
        allowed_failed_percent=settings.allowed_failed_percent,
        speculative=speculates and settings.output_action == "append_row",
    )
