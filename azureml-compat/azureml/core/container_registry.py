"""Container registries of an environment."""

from batchmill.workspace.container_registry import ContainerRegistry as ContainerRegistry
