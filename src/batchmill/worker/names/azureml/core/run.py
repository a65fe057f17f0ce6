"""The run that a script belongs to."""

from __future__ import annotations

from typing import Any, Union

from batchmill.worker.deferred import Deferred
from batchmill.worker.offline_run import OfflineRun
from batchmill.worker.script_run import ParentRun, ScriptRun, run_of_script


class _RunName(Deferred):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, (ScriptRun, ParentRun, OfflineRun)) or super().__instancecheck__(instance)


class Run(metaclass=_RunName, home="batchmill.pipeline.experiment_run"):
    """`get_context` needs nothing but the run; for everything else this stands for `batchmill.pipeline.experiment_run.Run`."""

    @staticmethod
    def get_context(allow_offline: bool = True, **azure: Any) -> Union[ScriptRun, OfflineRun]:
        """The run of this process; outside a run one that belongs to nothing, and prints what is logged.

        Raises:
            AzureMLException: ``allow_offline`` is False and this process belongs to no run.
        """
        return run_of_script(allow_offline)
