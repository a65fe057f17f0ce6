"""Data objects of SDK v1."""

from batchmill.pipeline.output_dataset import OutputFileDatasetConfig as OutputFileDatasetConfig
from batchmill.workspace.data_type import DataType as DataType
from batchmill.workspace.file_dataset import FileDataset as FileDataset
from batchmill.workspace.tabular_dataset import TabularDataset as TabularDataset
