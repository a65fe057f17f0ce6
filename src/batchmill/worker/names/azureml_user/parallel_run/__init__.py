"""`azureml_user.parallel_run`: what entry scripts written for Azure ML import at run time."""

from batchmill.worker.entry_script import EntryScript

__all__ = ["EntryScript"]
