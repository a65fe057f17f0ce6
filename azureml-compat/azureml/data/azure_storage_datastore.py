"""Datastores over Azure Storage."""

from batchmill.workspace.azure_datastore import AzureBlobDatastore as AzureBlobDatastore
from batchmill.workspace.azure_datastore import AzureFileDatastore as AzureFileDatastore
