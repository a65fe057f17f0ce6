"""Datastores over PostgreSQL."""

from batchmill.workspace.sql_datastore import AzurePostgreSqlDatastore as AzurePostgreSqlDatastore
