"""Environments."""

from batchmill.workspace.conda_dependencies import CondaDependencies as CondaDependencies
from batchmill.workspace.container_registry import ContainerRegistry as ContainerRegistry
from batchmill.workspace.docker_section import DEFAULT_CPU_IMAGE as DEFAULT_CPU_IMAGE
from batchmill.workspace.docker_section import DEFAULT_GPU_IMAGE as DEFAULT_GPU_IMAGE
from batchmill.workspace.docker_section import DockerSection as DockerSection
from batchmill.workspace.environment import Environment as Environment
from batchmill.workspace.python_section import PythonSection as PythonSection
from batchmill.workspace.spark_section import SparkSection as SparkSection
