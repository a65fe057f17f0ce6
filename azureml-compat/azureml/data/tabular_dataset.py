"""Tabular datasets."""

from batchmill.workspace.tabular_dataset import TabularDataset as TabularDataset
