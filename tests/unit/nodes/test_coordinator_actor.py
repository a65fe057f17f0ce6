"""The actor of a coordinator begins by itself."""

from __future__ import annotations

import pickle
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.nodes import coordinator_actor
from batchmill.nodes.coordinator_actor import CoordinatorActor
from batchmill.records import RunStatus


class Refusing:
    """The handle of an actor as Ray gives it to one that it starts again: the first calls are refused."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.body: CoordinatorActor | None = None
        self.made = threading.Event()
        self.carry_out = SimpleNamespace(remote=self._call)

    def _call(self) -> Any:
        assert self.made.wait(10)
        assert self.body is not None
        if self.refusals:
            self.refusals -= 1
            return "a call that failed"
        return self.body.carry_out()


@pytest.mark.parametrize("refusals", [0, 3])
def test_it_calls_itself_until_it_has_begun(monkeypatch: pytest.MonkeyPatch, refusals: int) -> None:
    handle, begun, left = Refusing(refusals), threading.Event(), threading.Event()
    context = SimpleNamespace(current_actor=handle)
    ray = SimpleNamespace(get_runtime_context=lambda: context, wait=lambda calls, timeout: (calls, []))

    def work(order: object) -> RunStatus:
        begun.set()
        return RunStatus.COMPLETED

    monkeypatch.setattr(coordinator_actor, "import_ray", lambda: ray)
    monkeypatch.setattr(coordinator_actor, "_carry_out", work)
    monkeypatch.setattr(coordinator_actor, "_leave", lambda actor: left.set())
    handle.body = CoordinatorActor(pickle.dumps("the order"))
    handle.made.set()
    assert begun.wait(10)
    assert left.wait(10)
    assert handle.refusals == 0
    assert handle.body.carry_out() == {"status": "Completed"}
