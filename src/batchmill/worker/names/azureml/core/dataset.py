"""Datasets, where the environment of the step holds what they need."""

from batchmill.worker.deferred import Deferred


class Dataset(metaclass=Deferred, home="batchmill.workspace.dataset"):
    """Stands for `batchmill.workspace.dataset.Dataset`."""
