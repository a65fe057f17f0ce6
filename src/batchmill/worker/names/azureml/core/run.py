"""The run that a script belongs to."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

from batchmill.worker.deferred import real
from batchmill.workspace.exceptions import AzureMLException


class Experiment:
    """What a run belongs to: ``name``, and the ``workspace`` where the environment of the step holds what that needs."""

    @property
    def name(self) -> str:
        return os.environ.get("AZUREML_ARM_PROJECT_NAME", "")

    @property
    def workspace(self) -> Any:
        return real("batchmill.workspace.current", "find_workspace")(os.environ.get("AZUREML_ARM_WORKSPACE_NAME"))


class Run:
    """The run that this process works for; what is logged is printed, and so kept with the output of the process."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.experiment = Experiment()

    @classmethod
    def get_context(cls, allow_offline: bool = True, **azure: Any) -> Run:
        """The run of this process; outside a run one that belongs to nothing.

        Raises:
            AzureMLException: ``allow_offline`` is False and this process belongs to no run.
        """
        run_id = os.environ.get("AZUREML_RUN_ID")
        if run_id is None and not allow_offline:
            raise AzureMLException("This process belongs to no run: Run.get_context(allow_offline=False) works in an entry script only.")
        return cls(run_id or f"OfflineRun_{uuid.uuid4()}")

    def log(self, name: str, value: Any, description: str = "") -> None:
        """Print one value of a metric."""
        sys.stdout.write(f"metric {name}: {value}\n")

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        """Print a list of values of a metric."""
        self.log(name, list(value))

    def log_row(self, name: str, description: str = "", **values: Any) -> None:
        """Print one row of a metric."""
        self.log(name, values)

    def __repr__(self) -> str:
        return f"Run(Id: {self.id})"
