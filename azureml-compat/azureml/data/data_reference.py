"""Data references."""

from batchmill.workspace.data_path import DataReference as DataReference
