"""Experiments, where the environment of the step holds what they need."""

from batchmill.worker.deferred import Deferred


class Experiment(metaclass=Deferred, home="batchmill.pipeline.experiment"):
    """Stands for `batchmill.pipeline.experiment.Experiment`."""
