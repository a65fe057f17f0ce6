"""What notebooks show of runs."""

from batchmill.pipeline.run_details import ParallelRunStepDetails as ParallelRunStepDetails
from batchmill.pipeline.run_details import RunDetails as RunDetails
