"""Data paths."""

from batchmill.workspace.data_path import DataPath as DataPath
from batchmill.workspace.data_path import DataPathComputeBinding as DataPathComputeBinding
