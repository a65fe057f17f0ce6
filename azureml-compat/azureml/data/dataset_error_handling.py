"""Errors of datasets."""

from batchmill.workspace.exceptions import DatasetTimestampMissingError as DatasetTimestampMissingError
from batchmill.workspace.exceptions import DatasetValidationError as DatasetValidationError
