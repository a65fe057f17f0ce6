"""Datastores."""

from batchmill.workspace.datastore import Datastore as Datastore
