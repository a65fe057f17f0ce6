"""Experiments."""

from batchmill.pipeline.experiment import Experiment as Experiment
