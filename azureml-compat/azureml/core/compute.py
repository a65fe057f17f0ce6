"""Compute targets."""

from batchmill.workspace.compute import AmlCompute as AmlCompute
from batchmill.workspace.compute import ComputeTarget as ComputeTarget
