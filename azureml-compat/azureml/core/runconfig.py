"""Run configurations."""

from batchmill.workspace.conda_dependencies import CondaDependencies as CondaDependencies
from batchmill.workspace.container_registry import ContainerRegistry as ContainerRegistry
from batchmill.workspace.docker_section import DEFAULT_CPU_IMAGE as DEFAULT_CPU_IMAGE
from batchmill.workspace.docker_section import DEFAULT_GPU_IMAGE as DEFAULT_GPU_IMAGE
from batchmill.workspace.environment import Environment as Environment
from batchmill.workspace.run_configuration import RunConfiguration as RunConfiguration
from batchmill.workspace.run_sections import DataReferenceConfiguration as DataReferenceConfiguration
from batchmill.workspace.run_sections import DockerConfiguration as DockerConfiguration
from batchmill.workspace.run_sections import HistoryConfiguration as HistoryConfiguration
