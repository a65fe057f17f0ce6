"""`SparkSection`: kept and given back, used by nothing here (Azure ML: ``environment.spark``)."""

from __future__ import annotations

from typing import Any


class SparkSection:
    """Packages of a Spark environment."""

    def __init__(self) -> None:
        self.precache_packages = True
        self.packages: list[Any] = []
        self.repositories: list[Any] = []

    def to_dict(self) -> dict[str, Any]:
        """The camelCase form."""
        packages = [package.to_dict() if isinstance(package, SparkPackage) else package for package in self.packages]
        return {"repositories": list(self.repositories), "packages": packages, "precachePackages": self.precache_packages}

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> SparkSection:
        """Read the camelCase form; what is not in it has its default."""
        section, values = cls(), values or {}
        section.precache_packages = bool(values.get("precachePackages", True))
        section.packages = list(values.get("packages") or [])
        section.repositories = list(values.get("repositories") or [])
        return section


class SparkPackage:
    """One Maven coordinate."""

    def __init__(self, group: str | None = None, artifact: str | None = None, version: str | None = None) -> None:
        self.group = group
        self.artifact = artifact
        self.version = version

    def to_dict(self) -> dict[str, Any]:
        return {"group": self.group, "artifact": self.artifact, "version": self.version}
