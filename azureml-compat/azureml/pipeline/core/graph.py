"""Parameters of pipelines, and what joins data and steps."""

from batchmill.pipeline.parameter import PipelineParameter as PipelineParameter
from batchmill.pipeline.pipeline_data import PipelineData as PipelineData
from batchmill.pipeline.pipeline_dataset import PipelineDataset as PipelineDataset
from batchmill.pipeline.port import InputPortBinding as InputPortBinding
from batchmill.pipeline.port import OutputPortBinding as OutputPortBinding
from batchmill.pipeline.port import PortDataReference as PortDataReference
from batchmill.pipeline.published_pipeline import PublishedPipeline as PublishedPipeline
