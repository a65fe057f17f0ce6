"""Command steps."""

from batchmill.pipeline.command_step import CommandStep as CommandStep
