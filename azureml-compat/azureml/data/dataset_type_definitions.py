"""What the parts of a dataset factory are called."""

from batchmill.workspace.data_type import DataType as DataType
from batchmill.workspace.data_type import PromoteHeadersBehavior as PromoteHeadersBehavior
