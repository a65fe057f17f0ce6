"""Datastores, where the environment of the step holds what they need."""

from batchmill.worker.deferred import Deferred


class Datastore(metaclass=Deferred, home="batchmill.workspace.datastore"):
    """Stands for `batchmill.workspace.datastore.Datastore`."""
