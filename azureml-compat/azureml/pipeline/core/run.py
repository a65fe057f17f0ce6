"""Runs of pipelines and of their steps."""

from batchmill.pipeline.pipeline_run import PipelineRun as PipelineRun
from batchmill.pipeline.port import StepRunOutput as StepRunOutput
from batchmill.pipeline.step_run import StepRun as StepRun
