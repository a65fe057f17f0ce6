"""Workspaces, where the environment of the step holds what they need."""

from batchmill.worker.deferred import Deferred


class Workspace(metaclass=Deferred, home="batchmill.workspace.workspace"):
    """Stands for `batchmill.workspace.workspace.Workspace`."""
