"""Runs of scripts."""

from batchmill.pipeline.script_run import ScriptRun as ScriptRun
