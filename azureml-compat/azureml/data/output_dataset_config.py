"""Folders that steps fill."""

from batchmill.pipeline.output_dataset import OutputDatasetConfig as OutputDatasetConfig
from batchmill.pipeline.output_dataset import OutputFileDatasetConfig as OutputFileDatasetConfig
from batchmill.pipeline.output_dataset import OutputTabularDatasetConfig as OutputTabularDatasetConfig
