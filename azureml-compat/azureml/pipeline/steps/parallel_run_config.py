"""Settings of parallel runs."""

from batchmill.pipeline.parallel_run_config import ParallelRunConfig as ParallelRunConfig
