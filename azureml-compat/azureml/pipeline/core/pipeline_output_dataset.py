"""What a step leaves, as a dataset."""

from batchmill.pipeline.pipeline_dataset import PipelineOutputAbstractDataset as PipelineOutputAbstractDataset
from batchmill.pipeline.pipeline_dataset import PipelineOutputFileDataset as PipelineOutputFileDataset
from batchmill.pipeline.pipeline_dataset import PipelineOutputTabularDataset as PipelineOutputTabularDataset
