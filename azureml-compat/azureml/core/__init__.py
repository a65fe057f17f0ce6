"""Workspace, data, models, environments and compute of SDK v1."""

from batchmill.pipeline.experiment import Experiment as Experiment
from batchmill.pipeline.experiment_run import Run as Run
from batchmill.pipeline.script_run import ScriptRun as ScriptRun
from batchmill.workspace.compute import ComputeTarget as ComputeTarget
from batchmill.workspace.conda_dependencies import SDK_VERSION as VERSION
from batchmill.workspace.dataset import Dataset as Dataset
from batchmill.workspace.datastore import Datastore as Datastore
from batchmill.workspace.environment import Environment as Environment
from batchmill.workspace.model import Model as Model
from batchmill.workspace.run_configuration import RunConfiguration as RunConfiguration
from batchmill.workspace.run_configuration import ScriptRunConfig as ScriptRunConfig
from batchmill.workspace.workspace import Workspace as Workspace

__version__ = VERSION
