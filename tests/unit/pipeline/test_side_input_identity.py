"""What side inputs are compared by when mini-batches are reused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.pipeline import step_identity
from batchmill.pipeline.step_identity import beside_of
from batchmill.workspace.input_listing import QUERY


@pytest.mark.parametrize(("files", "same"), [("digest", True), (QUERY, False), (None, True)])
def test_the_answer_of_a_query_is_the_same_as_no_other(monkeypatch: pytest.MonkeyPatch, files: str | None, same: bool) -> None:
    monkeypatch.setattr(step_identity, "input_part", lambda *_: {"files": files})
    side, cut = (SimpleNamespace(port=SimpleNamespace(side=value)) for value in (True, False))
    node = SimpleNamespace(arguments=(), params={}, environment_variables={})
    work: Any = SimpleNamespace(node=node, workspace=None, inputs={"labels": side, "images": cut})
    first, second = (beside_of(work)["beside"] for _ in range(2))
    assert list(first) == ["side input 'labels'"]
    assert (first == second) is same
