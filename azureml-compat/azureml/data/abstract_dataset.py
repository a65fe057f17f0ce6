"""What all datasets share."""

from batchmill.workspace.abstract_dataset import AbstractDataset as AbstractDataset
