"""Pipelines."""

from batchmill.pipeline.pipeline import Pipeline as Pipeline
