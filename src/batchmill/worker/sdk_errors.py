"""Questions whose refusals the script sees as the errors of the SDK that it was written for."""

from __future__ import annotations

import importlib
from typing import Any

from batchmill.worker.channel import NotTheWorker, ProtocolLost
from batchmill.worker.questions import Refusal, ask
from batchmill.worker.step_questions import RunnerLost

HOME = "batchmill.workspace.exceptions"
"""Where the errors lie, on a floor above: loaded by its name, and in every environment."""


def asked(kind: str, **facts: Any) -> dict[str, Any]:
    """The answer to a question.

    Raises:
        AzureMLException: the run says no (of the class that it names), or cannot be asked.
    """
    try:
        return ask({"kind": kind, **facts})
    except Refusal as refusal:
        raise sdk_error(refusal.kind, refusal.message) from None
    except NotTheWorker:
        raise sdk_error(
            "UserErrorException",
            "A child process of the worker asked its run, and only the worker itself can. Ask in init(), and hand on what the child needs.",
        ) from None
    except (RunnerLost, ProtocolLost) as error:
        raise sdk_error("AzureMLException", str(error)) from error


def sdk_error(kind: str, message: str) -> Exception:
    """An error of the SDK by the name of its class; of other names the base class of all.

    >>> type(sdk_error("UserErrorException", "no")).__name__, type(sdk_error("KeyError", "no")).__name__
    ('UserErrorException', 'AzureMLException')
    """
    known = importlib.import_module(HOME)
    base: type[Exception] = known.AzureMLException
    found = getattr(known, kind, None)
    return found(message) if isinstance(found, type) and issubclass(found, base) else base(message)
