"""The exceptions of SDK v1."""

from batchmill.workspace.exceptions import *  # noqa: F403
