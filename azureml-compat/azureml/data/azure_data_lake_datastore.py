"""Datastores over Azure Data Lake."""

from batchmill.workspace.azure_datastore import AzureDataLakeGen2Datastore as AzureDataLakeGen2Datastore
