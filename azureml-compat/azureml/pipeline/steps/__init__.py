"""Steps of pipelines."""

from batchmill.pipeline.command_step import CommandStep as CommandStep
from batchmill.pipeline.parallel_run_config import ParallelRunConfig as ParallelRunConfig
from batchmill.pipeline.parallel_run_step import ParallelRunStep as ParallelRunStep
from batchmill.pipeline.python_script_step import PythonScriptStep as PythonScriptStep
