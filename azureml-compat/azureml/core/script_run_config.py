"""Configurations of script runs."""

from batchmill.workspace.run_configuration import ScriptRunConfig as ScriptRunConfig
