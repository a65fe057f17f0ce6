"""Workspaces."""

from batchmill.workspace.workspace import Workspace as Workspace
