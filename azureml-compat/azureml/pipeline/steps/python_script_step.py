"""Python script steps."""

from batchmill.pipeline.python_script_step import PythonScriptStep as PythonScriptStep
