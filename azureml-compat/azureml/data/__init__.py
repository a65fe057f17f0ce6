"""Data objects of SDK v1."""
