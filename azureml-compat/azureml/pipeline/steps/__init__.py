"""Steps of pipelines."""

from batchmill.pipeline.command_step import CommandStep as CommandStep
from batchmill.pipeline.python_script_step import PythonScriptStep as PythonScriptStep
