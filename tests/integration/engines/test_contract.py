"""What every engine promises to the job, tried on nodes of this machine and on actors of a Ray cluster."""

from __future__ import annotations

import os
from pathlib import Path

from batchmill.parallel_run.events import Asked, Hungry, NodeGaveUp, NodeLost, TryFailed, WorkerReady
from tests.engine_stage import RAY, environment_of, stage

ASKS = """
from batchmill.worker import questions

def run(files):
    return [questions.ask({{"question": "colour", "of": "the sky"}})["colour"]]
"""


def test_nodes_start_and_ask_for_work(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", "b", "c", "d") as one:
        assert one.engine.nodes == ["node0", "node1"]
        one.start(ready=2)
        assert sorted(event.node for event in one.of(WorkerReady)) == ["node0", "node1"]
        one.until(lambda: {event.node for event in one.of(Hungry)} == {"node0", "node1"})
        assert all(event.want > 0 for event in one.of(Hungry))


def test_leases_end_as_outcomes_whose_rows_lie_where_others_find_them(kind: str, tmp_path: Path) -> None:
    items = [f"item{number:02d}" for number in range(20)]
    with stage(kind, tmp_path, *items) as one:
        one.start(ready=2)
        one.give("node1", 0, 7)
        one.give("node0", 7, 13)
        one.until(lambda: len(one.done()) == 20)
        assert one.done() == list(range(20))
        assert one.rows().decode().split() == items
        assert {event.node for event in one.told} == {"node0", "node1"}


def test_a_try_that_fails_says_why(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", "b-bad", "c", nodes=1) as one:
        one.start()
        token = one.give("node0", 0, 3)
        one.until(lambda: one.done() == [0, 2] and one.of(TryFailed))
        (failed,) = one.of(TryFailed)
        assert (failed.node, failed.token, failed.mini_batch, failed.error.error_class) == ("node0", token, 1, "ValueError")
        assert failed.error.message == "cannot do b-bad"
        assert "Traceback" in failed.error.traceback


def test_a_worker_that_dies_is_charged_with_what_it_was_on_and_replaced(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", "b-dies", "c", "d", nodes=1) as one:
        one.start()
        one.give("node0", 0, 4)
        one.until(lambda: one.of(TryFailed) and len(one.of(WorkerReady)) == 2)
        (failed,) = one.of(TryFailed)
        assert failed.mini_batch == 1
        assert "7" in failed.error.message
        one.until(lambda: sorted(one.done() + one.returned()) == [0, 2, 3])
        for mini_batch in one.returned():
            one.give("node0", mini_batch)
        one.until(lambda: one.done() == [0, 2, 3])


def test_questions_get_their_answers(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", script=ASKS, nodes=1) as one:
        one.start()
        one.give("node0", 0)
        one.until(lambda: one.of(Asked))
        (asked,) = one.of(Asked)
        assert asked.question == {"question": "colour", "of": "the sky"}
        one.engine.answer(asked, {"colour": "blue"})
        one.until(lambda: one.done() == [0])
        assert one.rows() == b"blue\n"


def test_nodes_that_come_later(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", "b", nodes=3, granted=1) as one:
        assert one.engine.nodes == ["node0"]
        one.start()
        assert one.engine.grow(1) == ["node1"]
        assert one.engine.grow(5) == ["node2"], "never more than the run asked for"
        assert one.engine.grow(1) == []
        one.until(lambda: {event.node for event in one.of(WorkerReady)} == {"node0", "node1", "node2"})
        one.give("node2", 0, 2)
        one.until(lambda: one.done() == [0, 1])


def test_a_revoked_lease_is_not_heard_of_again(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a-waits", "b", "c", nodes=1) as one:
        one.start()
        token = one.give("node0", 0)
        waiting = one.give("node0", 1)
        one.until(lambda: one.begun("a-waits"))
        one.engine.revoke("node0", waiting)
        one.engine.revoke("node0", token)
        one.give("node0", 2)
        one.until(lambda: one.done() == [2])
        assert len(one.of(WorkerReady)) == 2, "the worker that ran it was killed and replaced"
        assert not one.of(TryFailed)
        assert not one.returned()
        assert not one.begun("b")


def test_news_for_whoever_is_not_there_are_no_trouble(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", nodes=1) as one:
        one.start()
        one.engine.revoke("node0", 17)
        one.engine.answer(Asked("node0", "process042", 1, {}), {})
        one.give("node0", 0)
        one.until(lambda: one.done() == [0])


def test_the_end_runs_shutdown_and_leaves_no_process(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "a", "b") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.give("node1", 1)
        one.until(lambda: one.done() == [0, 1])
        one.finish()
        assert sorted(one.begun("shutdown")) == sorted(one.begun("init"))
        assert one.gone(one.begun("init"))
        assert not one.of(NodeLost)
        assert not one.of(NodeGaveUp)


def test_abort_leaves_no_process(kind: str, tmp_path: Path) -> None:
    with stage(kind, tmp_path, "wait1", "wait2") as one:
        one.start(ready=2)
        one.give("node0", 0)
        one.give("node1", 1)
        one.until(lambda: one.begun("wait1") and one.begun("wait2"))
        one.abort()
        assert one.gone(one.begun("init"))
        assert not one.begun("shutdown")


def test_a_node_whose_init_fails_gives_up(kind: str, tmp_path: Path) -> None:
    with stage(
        kind, tmp_path, "a", nodes=1, script="def init():\n    raise RuntimeError('no model')\ndef run(files):\n    return files\n"
    ) as one:
        one.engine.start()
        one.until(lambda: one.of(NodeGaveUp))
        (gave_up,) = one.of(NodeGaveUp)
        assert (gave_up.node, gave_up.error.error_class, gave_up.error.message) == ("node0", "RuntimeError", "no model")


def test_workers_see_the_variables_of_their_machine(kind: str, tmp_path: Path) -> None:
    """Ray limits the threads of its own workers, and puts a debugger into them."""
    with stage(kind, tmp_path, "a", nodes=1) as one:
        one.start()
        (pid,) = one.begun("init")
        of_ray = {"OMP_NUM_THREADS", "PYTHONBREAKPOINT", "PYTHONUNBUFFERED", "CUDA_VISIBLE_DEVICES"} - set(os.environ)
        assert of_ray
        assert not of_ray & set(environment_of(pid))
        assert kind != RAY or "RAY_AUTH_MODE" in environment_of(pid)
