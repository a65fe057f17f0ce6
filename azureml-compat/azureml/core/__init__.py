"""Workspace, data, models, environments and compute of SDK v1."""
