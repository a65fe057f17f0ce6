"""Runs."""

from batchmill.pipeline.experiment_run import Run as Run
