"""Work of a step that cannot be interrupted, but need not be waited for once the step is canceled: building, downloading."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK = 0.1  # seconds between looks at whether the step is canceled; the end of the work itself is an event


class StepCanceled(Exception):
    """The step was canceled before the work was done."""


def unless_canceled(work: Callable[[], T], canceled: Callable[[], bool]) -> T:
    """What ``work`` returns. It is done in a thread of its own, which is left to itself when the step is canceled.

    Raises:
        StepCanceled: the step was canceled, before the work began or while it lasted.
        BaseException: what the work raised.
    """
    found: list[T] = []
    raised: list[BaseException] = []
    ended = threading.Event()

    def body() -> None:
        try:
            found.append(work())
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    if canceled():
        raise StepCanceled
    threading.Thread(target=body, name="batchmill-step-work", daemon=True).start()
    while not ended.wait(LOOK):
        if canceled():
            raise StepCanceled
    if raised:
        raise raised[0]
    return found[0]
