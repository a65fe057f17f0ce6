"""Datasets."""

from batchmill.workspace.dataset import Dataset as Dataset
