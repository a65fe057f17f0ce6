"""Parallel-run steps."""

from batchmill.pipeline.parallel_run_step import ParallelRunStep as ParallelRunStep
