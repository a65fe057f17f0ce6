"""`DockerSection`: the Docker half of an environment (Azure ML: ``environment.docker``)."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from batchmill.workspace.container_registry import ContainerRegistry
from batchmill.workspace.exceptions import UserErrorException

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20251130.v1"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:20251130.v1"
PLAIN_BASE_IMAGE = re.compile(
    r"^mcr\.microsoft\.com/azureml/(?:base|base-gpu|(?:open|intel)mpi[\w.-]*)(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?$"
)
"""Azure ML's base images of all times: an operating system with MPI (and CUDA), into which the environment itself is then put."""

LOG = logging.getLogger("azureml.core.environment")


class DockerSection:
    """Image, Dockerfile and container settings; ``base_image`` and ``base_dockerfile`` are mutually exclusive."""

    def __init__(self) -> None:
        self._enabled = False
        self.base_image: str | None = DEFAULT_CPU_IMAGE
        self.base_dockerfile: str | None = None
        self.base_image_registry = ContainerRegistry()
        self.build_context: Any = None
        self.shm_size: str | None = "2g"
        self.arguments: list[str] = []
        self.platform: Any = DockerImagePlatform()
        self.shared_volumes = True

    @property
    def enabled(self) -> bool:
        """Deprecated in Azure ML: whether the run takes place in a container."""
        return self._enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        LOG.warning(
            "'enabled' is deprecated. Please use the azureml.core.runconfig.DockerConfiguration object with the 'use_docker' param instead."
        )
        self._enabled = value

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UserErrorException: both an image and a Dockerfile are given.
        """
        if self.base_dockerfile is not None and self.base_image not in (None, DEFAULT_CPU_IMAGE):
            raise UserErrorException(
                f"base_image and base_dockerfile are mutually exclusive, and base_image is '{self.base_image}'. Set one of them to None."
            )

    @property
    def own_image(self) -> str | None:
        """What it wants to run in beyond Azure ML's plain base images: ``image NAME`` or ``a Dockerfile``; None for nothing."""
        if self.base_dockerfile is not None or self.build_context is not None:
            return "a Dockerfile"
        if self.base_image is None or PLAIN_BASE_IMAGE.match(self.base_image):
            return None
        return f"image {self.base_image}"

    def dockerfile_text(self) -> str | None:
        """``base_dockerfile`` may be the text itself or the path of a file."""
        text = self.base_dockerfile
        if text is None or "\n" in text or " " in text.strip():
            return text
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text

    def to_dict(self, *, secrets: bool = False) -> dict[str, Any]:
        """The camelCase form."""
        image = None if self.base_dockerfile is not None and self.base_image == DEFAULT_CPU_IMAGE else self.base_image
        return {
            "enabled": self._enabled,
            "baseImage": image,
            "baseDockerfile": self.dockerfile_text(),
            "buildContext": self.build_context,
            "sharedVolumes": self.shared_volumes,
            "shmSize": self.shm_size,
            "arguments": list(self.arguments),
            "baseImageRegistry": self.base_image_registry.to_dict(secrets=secrets),
            "platform": {"os": self.platform.os, "architecture": self.platform.architecture},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> DockerSection:
        """Read the camelCase form; what is not in it has its default."""
        section, values = cls(), values or {}
        section._enabled = bool(values.get("enabled", False))
        section.base_image = values.get("baseImage", section.base_image)
        section.base_dockerfile = values.get("baseDockerfile")
        section.build_context = values.get("buildContext")
        section.shared_volumes = values.get("sharedVolumes", True)
        section.shm_size = values.get("shmSize", section.shm_size)
        section.arguments = list(values.get("arguments") or [])
        section.base_image_registry = ContainerRegistry.from_dict(values.get("baseImageRegistry"))
        platform = values.get("platform") or {}
        section.platform = DockerImagePlatform(platform.get("os") or "Linux", platform.get("architecture") or "amd64")
        return section


class DockerImagePlatform:
    """Operating system and processor of an image."""

    def __init__(self, os: str = "Linux", architecture: str = "amd64") -> None:
        self.os = os
        self.architecture = architecture
