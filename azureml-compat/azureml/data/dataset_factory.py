"""Factories of datasets."""

from batchmill.workspace.data_type import DataType as DataType
from batchmill.workspace.data_type import PromoteHeadersBehavior as PromoteHeadersBehavior
from batchmill.workspace.file_factory import FileDatasetFactory as FileDatasetFactory
from batchmill.workspace.tabular_factory import TabularDatasetFactory as TabularDatasetFactory
