"""Worker processes started ahead of their node: an interpreter and the worker's modules load while the plan is made.

They have run nothing of the user's: the entry script is named by the first message of their node. A process that gets none ends when
its pipe closes, so nothing is left behind however the coordinator ends.
"""

from __future__ import annotations

from batchmill.nodes.gpus import gpu_count
from batchmill.nodes.process import Booted, boot
from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.run_folder import NodeLogs


class Reserve:
    """The first processes of one node; none where they would have to differ (GPUs). ``tables``: they will probably read tables."""

    def __init__(self, config: NodeConfig, node: str, environment: dict[str, str], *, tables: bool = False) -> None:
        logs = NodeLogs(config.run_folder, node)
        self.first_number = logs.next_process_number()
        self._booted: dict[str, Booted] = {}
        if gpu_count(environment) or config.gpus_per_process is not None:
            return
        try:
            for number in range(self.first_number, self.first_number + config.workers):
                name = f"process{number:03d}"
                self._booted[name] = boot(config.python, environment, logs.prepare(name), tables=tables)
        except OSError:
            self.close()
            raise

    def take(self, name: str) -> Booted | None:
        """The process of that name, if it was started."""
        return self._booted.pop(name, None)

    def close(self) -> None:
        """End those that nobody took."""
        for booted in self._booted.values():
            booted.close()
        self._booted.clear()
