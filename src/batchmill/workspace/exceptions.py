"""The errors of the SDK v1 surface: names, texts and the way they print are Azure ML's (specification F2).

AzureMLException
├── UserErrorException                what the user asked for cannot be done (exit code 2)
│   ├── DatasetValidationError        the data of a dataset cannot be loaded
│   └── DatasetTimestampMissingError  a time filter on a dataset without timestamp columns
├── AuthenticationException
├── WorkspaceException
├── ComputeTargetException            also: no compute target of that name
├── RunConfigurationException
├── SnapshotException
├── ExperimentExecutionException
├── ActivityFailedException           a run that was waited for has failed
├── ParallelRunException
└── WebserviceException
    └── ModelNotFoundException        no model of that name and version

They are part of the one tree under `BatchmillError`; the command line prints their message alone.
"""

from __future__ import annotations

import json
from typing import Any

from batchmill.errors import BatchmillError


class AzureMLException(BatchmillError):
    """Base of the errors of the SDK v1 surface; prints its message, the inner exception and an error response as JSON."""

    code = "System"

    def __init__(self, exception_message: str = "", inner_exception: BaseException | None = None, **facts: Any) -> None:
        super().__init__(exception_message, **facts)
        self.inner_exception = inner_exception

    def __str__(self) -> str:
        response = json.dumps({"error": {"code": self.code, "message": self.message}}, indent=4)
        inner = self.inner_exception
        return f"{type(self).__name__}:\n\tMessage: {self.message}\n\tInnerException {inner}\n\tErrorResponse \n{response}"

    __repr__ = __str__


class UserErrorException(AzureMLException):
    """What the user asked for cannot be done as asked."""

    code = "UserError"
    exit_code = 2


class DatasetValidationError(UserErrorException):
    """The data of a dataset cannot be loaded."""


class DatasetTimestampMissingError(UserErrorException):
    """A time filter on a dataset without timestamp columns."""


class AuthenticationException(AzureMLException):
    """A login failed."""

    code = "UserError"


class WorkspaceException(AzureMLException):
    """A workspace cannot be created or found."""

    exit_code = 2


class ComputeTargetException(AzureMLException):
    """A compute target cannot be created, found or changed."""

    exit_code = 2


class RunConfigurationException(AzureMLException):
    """A run configuration cannot be used."""

    code = "UserError"
    exit_code = 2


class SnapshotException(AzureMLException):
    """The folder of a script cannot be copied into the run."""

    exit_code = 2


class ExperimentExecutionException(AzureMLException):
    """A run cannot be started or followed."""


class ActivityFailedException(AzureMLException):
    """A run that was waited for has failed; ``error_details`` is the error of the run as JSON."""

    def __init__(self, exception_message: str = "", inner_exception: BaseException | None = None, error_details: str | None = None) -> None:
        super().__init__(exception_message, inner_exception)
        self.error_details = error_details if error_details is not None else exception_message


class ParallelRunException(AzureMLException):
    """A parallel run step cannot be made."""


class WebserviceException(AzureMLException):
    """A question about models was refused."""

    exit_code = 2

    def __init__(
        self, exception_message: str = "", status_code: int | None = None, inner_exception: BaseException | None = None, **facts: Any
    ) -> None:
        super().__init__(exception_message, inner_exception, **facts)
        self.status_code = status_code


class ModelNotFoundException(WebserviceException):
    """No model of that name and version."""


def by_name(kind: str) -> type[WebserviceException]:
    """The class of an error that crossed a process border by its name; a `WebserviceException` where it is none of those about models."""
    return ModelNotFoundException if kind == "ModelNotFoundException" else WebserviceException
