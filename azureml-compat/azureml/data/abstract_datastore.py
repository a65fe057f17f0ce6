"""What all datastores share."""

from batchmill.workspace.abstract_datastore import AbstractDatastore as AbstractDatastore
