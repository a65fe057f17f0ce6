"""The settings of a run that decide about failures, and when failures end it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decide about failures.

    ``speculative``: what a straggler holds may be run a second time (its result must then be the rows alone).
    """

    run_max_try: int = 3
    isolate_failures: bool = True
    splittable: bool = True
    error_threshold: int = 0
    allowed_failed_count: int | None = None
    allowed_failed_percent: float | None = None
    speculative: bool = False

    def exceeded(self, items_failed: int, failed: int, total: int) -> str | None:
        """Which threshold is exceeded, in words (specification C6); None while all are kept."""
        if 0 <= self.error_threshold < items_failed:
            return f"The number of failed items is {items_failed}, which exceeds error threshold {self.error_threshold}."
        if self.allowed_failed_count is not None and 0 <= self.allowed_failed_count < failed:
            return f"The number of failed mini batches is {failed}, which exceeds allowed_failed_count {self.allowed_failed_count}."
        if self.allowed_failed_percent is not None and failed * 100 > self.allowed_failed_percent * total:
            return (
                f"{failed} of {total} mini batches failed ({100 * failed / total:g} %), "
                f"which exceeds allowed_failed_percent {self.allowed_failed_percent:g}."
            )
        return None
