"""Conda dependencies of an environment."""

from batchmill.workspace.conda_dependencies import CondaDependencies as CondaDependencies
