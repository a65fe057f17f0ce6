"""What a how-to document leaves to its reader: a workspace, a folder for the entry script, and names that it uses without importing them.

batchmill exec DOCUMENT --prelude examples/howto/prelude.py
"""

import os

from azureml.core import Workspace
from azureml.core.runconfig import DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE  # noqa: F401 - for documents
from azureml.pipeline.core import PipelineData  # noqa: F401 - for documents

# Documents open the workspace that the config.json of the current folder names.
Workspace.create("howto", exist_ok=True, show_output=False).write_config()
scripts_folder = "scripts"
os.makedirs(scripts_folder, exist_ok=True)
