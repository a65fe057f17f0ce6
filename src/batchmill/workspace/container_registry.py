"""`ContainerRegistry`: where a Docker image is fetched from (Azure ML: ``azureml.core.container_registry``)."""

from __future__ import annotations

from typing import Any


class ContainerRegistry:
    """Address and login of a container registry; the password is never shown and never exported."""

    def __init__(self, address: str | None = None, username: str | None = None, password: str | None = None) -> None:
        self.address = address
        self.username = username
        self.password = password
        self.registry_identity: Any = None

    def to_dict(self, *, secrets: bool = False) -> dict[str, Any]:
        """The camelCase form; with ``secrets`` the password is in it."""
        return {
            "address": self.address,
            "username": self.username,
            "password": self.password if secrets else None,
            "registryIdentity": self.registry_identity,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> ContainerRegistry:
        values = values or {}
        registry = cls(values.get("address"), values.get("username"), values.get("password"))
        registry.registry_identity = values.get("registryIdentity")
        return registry

    def __repr__(self) -> str:
        return f"ContainerRegistry(address={self.address!r}, username={self.username!r})"
