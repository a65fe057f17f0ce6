"""File datasets."""

from batchmill.workspace.file_dataset import FileDataset as FileDataset
