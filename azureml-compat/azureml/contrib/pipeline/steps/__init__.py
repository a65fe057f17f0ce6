"""Parallel runs as they were in the contrib package."""

from batchmill.pipeline.contrib_parallel_run import ParallelRunConfig as ParallelRunConfig
from batchmill.pipeline.contrib_parallel_run import ParallelRunStep as ParallelRunStep
