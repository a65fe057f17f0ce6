"""Names for several published pipelines."""

from batchmill.pipeline.pipeline_endpoint import PipelineEndpoint as PipelineEndpoint
from batchmill.pipeline.pipeline_endpoint import PipelineVersion as PipelineVersion
