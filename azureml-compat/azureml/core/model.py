"""Models."""

from batchmill.workspace.model import Model as Model
