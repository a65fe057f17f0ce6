"""`EntryScript`: what a user's script may ask about the process it runs in (Azure ML: ``azureml_user.parallel_run.EntryScript``)."""

from __future__ import annotations

import logging
import os
from typing import Optional


class EntryScript:
    """A singleton: every ``EntryScript()`` is the same object.

    Attributes:
        logger: writes to ``logs/user/entry_script_log/<node>/<process>.log.txt``.
        log_dir: the folder of that log; a script may write files there.
        output_dir: an existing, writable folder: the output of the run.
        working_dir: the working directory of this process.
        agent_name: the name of this process, such as ``process000``; ``agent000`` outside a run.
        logging_level: the level of the logger.

    Example:
        >>> EntryScript() is EntryScript()
        True
        >>> EntryScript().agent_name
        'agent000'
    """

    _instance: Optional[EntryScript] = None

    agent_name: str
    logging_level: str
    log_dir: str
    output_dir: str
    working_dir: str

    def __new__(cls) -> EntryScript:
        if cls._instance is None:
            instance = super().__new__(cls)
            cls._instance = instance
            instance.agent_name = "agent000"
            instance.logging_level = "INFO"
            instance.working_dir = os.getcwd()
            instance.log_dir = instance.working_dir
            instance.output_dir = instance.working_dir
            instance._configured = False
        return cls._instance

    _configured: bool

    def configure(self, *, agent_name: str, logging_level: str, log_dir: str, output_dir: str, working_dir: str) -> None:
        """Called by the worker process before the user's script is imported."""
        self.agent_name = agent_name
        self.logging_level = logging_level
        self.log_dir = log_dir
        self.output_dir = output_dir
        self.working_dir = working_dir
        self._configured = False
        self.config_log()

    def config_log(self) -> None:
        """Attach the log file to the logger; called by the worker process, harmless when called again."""
        if self._configured:
            return
        logger = logging.getLogger("batchmill.entry_script")
        logger.setLevel(self.logging_level)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        if self.agent_name != "agent000":
            handler = logging.FileHandler(os.path.join(self.log_dir, self.agent_name + ".log.txt"), delay=True, encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(process)d|%(message)s"))
            logger.addHandler(handler)
            logger.propagate = False
        self._configured = True

    @property
    def logger(self) -> logging.Logger:
        """The logger of the entry script."""
        self.config_log()
        return logging.getLogger("batchmill.entry_script")

    def __repr__(self) -> str:
        return f"EntryScript(agent_name={self.agent_name!r}, working_dir={self.working_dir!r}, output_dir={self.output_dir!r})"
