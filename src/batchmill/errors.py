"""Every error Batchmill raises on purpose.

BatchmillError
├── UsageError                 what was asked for cannot be done as asked; nothing was started (exit code 2)
│   ├── SettingError           a setting has a value it may not have
│   ├── InputError             an input is missing, empty, mixed, unreadable or of the wrong form
│   │   ├── StoreError         an object store is unknown, unreachable or refuses
│   │   │   └── ObjectMissingError     a store has nothing of that name
│   │   └── PartitionFormatError   a partition format or partition key does not fit
│   ├── EntryScriptError       the entry script cannot be used (missing, no run(), syntax error)
│   ├── SnapshotError          the script's folder cannot be copied into the run folder
│   ├── DocumentError          a document cannot be executed (missing, no Python in it, not Python)
│   ├── OutputError            the output folder cannot be used
│   │   └── OutputBusyError    another run holds the output folder
│   ├── EnvironmentBuildError  the environment of the script cannot be built, or not as it is asked for
│   ├── RegistryError          the database of the workspaces cannot be used
│   ├── SecretError            a secret cannot be sealed or read
│   ├── AssetNotFoundError     the workspace has nothing of that kind and name
│   └── AssetExistsError       the workspace has something else of that kind and name
├── RunNotFoundError           no run has that id, prefix or name (exit code 2)
├── RunBusyError               the run is held by a living coordinator
├── RunFailedError             a run ended as Failed; its message is the cause (exit code 1)
├── DocumentFailedError        a block of a document raised; its traceback was shown (exit code 1)
├── LedgerInconsistentError    the counts of a run do not add up: a defect of Batchmill, never of the script
├── LedgerFencedError          a newer incarnation of the coordinator has taken the run over
├── DiskFullError              no space left where the run writes; the run can be resumed
├── ReplayRefusedError         the run or its output is not in a state that replay may touch
├── ReadError                  one slice of the input cannot be read; fails that item, not the run
│   └── ItemChangedError       a file changed or vanished after the plan was made
├── ContractError              a user's script broke the contract of an entry script (batchmill.testing)
└── AzureMLException           the errors of the SDK v1 surface: drawn in batchmill.workspace.exceptions

Messages are one line: what happened, to what, the cause, the cure.
This module is read by worker processes too: standard library only, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Optional


class BatchmillError(Exception):
    """Base of all errors; ``facts`` holds what a program may want to know, ``cure`` what a person may do."""

    exit_code = 1

    def __init__(self, message: str, *, cure: Optional[str] = None, **facts: Any) -> None:
        self.message = message
        self.cure = cure
        self.facts = facts
        super().__init__(message if cure is None else f"{message} {cure}")

    @property
    def line(self) -> str:
        """Message and cure in one line, as the command line shows them."""
        return self.message if self.cure is None else f"{self.message} {self.cure}"


def line_of(error: BaseException) -> str:
    """What any error says, in one line."""
    return error.line if isinstance(error, BatchmillError) else " ".join(f"{type(error).__name__}: {error}".split())


class UsageError(BatchmillError):
    """What was asked for cannot be done as asked; nothing was started."""

    exit_code = 2


class SettingError(UsageError):
    """A setting has a value it may not have."""


class InputError(UsageError):
    """An input is missing, empty, mixed, unreadable or of the wrong form."""


class StoreError(InputError):
    """An object store is unknown, unreachable or refuses."""


class ObjectMissingError(StoreError):
    """A store has nothing of that name."""


class PartitionFormatError(InputError, ValueError):
    """A partition format or a partition key does not fit the input."""


class EntryScriptError(UsageError):
    """The entry script cannot be used."""


class SnapshotError(UsageError):
    """The folder of the script cannot be copied into the run folder."""


class DocumentError(UsageError):
    """A document cannot be executed."""


class OutputError(UsageError):
    """The output folder cannot be used."""


class OutputBusyError(OutputError):
    """Another run holds the output folder."""


class EnvironmentBuildError(UsageError):
    """The environment of the script cannot be built, or not as it is asked for."""


class RegistryError(UsageError):
    """The database of the workspaces cannot be reached, opened or brought up to date."""


class SecretError(UsageError):
    """A secret cannot be sealed or read: its key, or the variable it refers to, is missing or another one."""


class AssetNotFoundError(UsageError):
    """The workspace has nothing of that kind and name."""


class AssetExistsError(UsageError):
    """The workspace has something else of that kind and name; ``facts["asset"]`` is what it has."""


class RunNotFoundError(UsageError):
    """No run has that id, prefix or name."""


class RunBusyError(BatchmillError):
    """The run is held by a living coordinator."""


class RunFailedError(BatchmillError):
    """A run ended as Failed."""


class DocumentFailedError(BatchmillError):
    """A block of a document raised."""


class LedgerInconsistentError(BatchmillError):
    """The counts of a run do not add up."""


class LedgerFencedError(BatchmillError):
    """A newer incarnation of the coordinator has taken the run over."""


class DiskFullError(BatchmillError):
    """No space is left where the run writes."""


class ReplayRefusedError(UsageError):
    """The run or its output is not in a state that replay may touch."""


class ReadError(BatchmillError):
    """One slice of the input cannot be read."""


class ItemChangedError(ReadError):
    """A file changed or vanished after the plan was made."""


class ContractError(BatchmillError):
    """A user's script broke the contract of an entry script."""
