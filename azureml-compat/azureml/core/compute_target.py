"""Compute targets and their errors."""

from batchmill.workspace.compute import AmlCompute as AmlCompute
from batchmill.workspace.compute import ComputeTarget as ComputeTarget
from batchmill.workspace.exceptions import ComputeTargetException as ComputeTargetException
