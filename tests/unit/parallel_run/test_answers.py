"""Answers are found beside the loop, shared by all who ask the same, and bound before anybody knows them."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from batchmill.errors import UsageError
from batchmill.parallel_run.answers import THREADS, Answers, answer_of
from batchmill.parallel_run.events import Asked


def asked(number: int, name: str = "mnist", worker: str = "process000") -> Asked:
    return Asked("node0", worker, number, {"kind": "model", "name": name, "version": None})


def gathered(answers: Answers, count: int) -> list[tuple[Asked, dict[str, Any]]]:
    """The next answers, at least so many."""
    found: list[tuple[Asked, dict[str, Any]]] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        found += answers.ready()
        assert time.monotonic() < deadline
    return found


def test_those_who_ask_the_same_share_one_search() -> None:
    gate, calls = threading.Event(), []

    def find(question: dict[str, Any]) -> dict[str, Any]:
        calls.append(question["name"])
        gate.wait(60)
        return {"folder": question["name"]}

    answers = Answers(find)
    for number in range(5):
        answers.ask(asked(number))
    answers.ask(asked(9, "other"))
    assert answers.pending
    assert answers.ready() == []
    gate.set()
    found = gathered(answers, 6)
    assert {one.number: answer["folder"] for one, answer in found} == {**dict.fromkeys(range(5), "mnist"), 9: "other"}
    assert sorted(calls) == ["mnist", "other"]
    assert not answers.pending


def test_a_slow_search_does_not_hold_up_the_others() -> None:
    gate = threading.Event()

    def find(question: dict[str, Any]) -> dict[str, Any]:
        if question["name"] == "slow":
            gate.wait(60)
        return {}

    answers = Answers(find)
    answers.ask(asked(0, "slow"))
    for number in range(1, 2 * THREADS):
        answers.ask(asked(number, f"m{number}"))
    assert {one.number for one, _ in gathered(answers, 2 * THREADS - 1)} == set(range(1, 2 * THREADS))
    gate.set()
    assert gathered(answers, 1)[0][0].number == 0


def test_a_later_question_is_looked_up_again() -> None:
    calls: list[int] = []
    answers = Answers(lambda question: {"n": calls.append(1) or len(calls)})  # type: ignore[func-returns-value]
    answers.ask(asked(0))
    gathered(answers, 1)
    answers.ask(asked(1))
    assert gathered(answers, 1)[0][1] == {"n": 2}


def test_an_answer_is_bound_before_it_is_given_and_a_refusal_is_not() -> None:
    bound = []

    def find(question: dict[str, Any]) -> dict[str, Any]:
        if question["name"] == "missing":
            raise UsageError("There is none.", cure="Register it.")
        return {"version": 1}

    answers = Answers(find, lambda question, answer: bound.append((question["name"], answer["version"])))
    answers.ask(asked(0, "missing"))
    assert gathered(answers, 1)[0][1] == {"error": {"class": "UsageError", "message": "There is none. Register it."}}
    answers.ask(asked(1))
    assert gathered(answers, 1)[0][1] == {"version": 1}
    assert bound == [("mnist", 1)]


def test_a_defect_becomes_a_refusal() -> None:
    def find(question: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("x")

    assert answer_of(find, {})["error"] == {"class": "KeyError", "message": "KeyError: 'x'"}


def test_waiting_is_an_excuse_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    answers = Answers(lambda question: {"waited": gate.wait(10)})
    assert not answers.excusing
    answers.ask(asked(0))
    assert answers.excusing
    monkeypatch.setattr("batchmill.parallel_run.answers.PATIENCE", 0.0)
    assert not answers.excusing
    assert answers.pending
    gate.set()
    gathered(answers, 1)


@pytest.mark.parametrize("found_later", [True, False])
def test_nobody_has_to_wait(found_later: bool) -> None:
    gate = threading.Event()

    def find(question: dict[str, Any]) -> dict[str, Any]:
        gate.wait(60)
        return {}

    answers = Answers(find)
    answers.ask(asked(0))
    answers.ask(asked(1))
    refused = answers.refuse("The run ends.")
    assert [(one.number, answer["error"]["message"]) for one, answer in refused] == [(0, "The run ends."), (1, "The run ends.")]
    assert not answers.pending
    gate.set()
    if found_later:
        answers.ask(asked(2, "other"))
        assert [one.number for one, _ in gathered(answers, 1)] == [2]
