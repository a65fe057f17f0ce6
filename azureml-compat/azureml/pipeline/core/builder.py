"""Steps and the data between them."""

from batchmill.pipeline.pipeline_data import PipelineData as PipelineData
from batchmill.pipeline.step import PipelineStep as PipelineStep
from batchmill.pipeline.step_sequence import StepSequence as StepSequence
