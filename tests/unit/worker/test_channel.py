"""The pipe pair survives odd writes, and notices when a script takes its descriptors away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from batchmill.worker.channel import LIFTED, Channel, NotTheWorker, ProtocolLost


@pytest.fixture
def pipes() -> Iterator[tuple[Channel, int, int]]:
    """(the worker's end, where the node writes, where the node reads)"""
    to_worker, from_worker = os.pipe(), os.pipe()
    channel = Channel(to_worker[0], from_worker[1])
    yield channel, to_worker[1], from_worker[0]
    for descriptor in (to_worker[1], from_worker[0], channel._read, channel._write):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_messages_cross_in_pieces_and_in_bunches(pipes: tuple[Channel, int, int]) -> None:
    channel, node, _ = pipes
    os.write(node, b'{"m":"a"}\n{"m":')
    assert channel.receive() == {"m": "a"}
    os.write(node, b'"b"}\n')
    assert channel.receive() == {"m": "b"}
    os.close(node)
    assert channel.receive() is None


def test_descriptors_are_lifted_and_not_inherited(pipes: tuple[Channel, int, int]) -> None:
    channel, _, _ = pipes
    for descriptor in (channel._read, channel._write):
        assert descriptor >= LIFTED
        assert not os.get_inheritable(descriptor)


def test_any_text_can_be_sent(pipes: tuple[Channel, int, int]) -> None:
    channel, _, node = pipes
    channel.send({"m": "x", "text": "é\udcff\n"})
    assert json.loads(os.read(node, 1 << 16)) == {"m": "x", "text": "é\udcff\n"}


@pytest.mark.parametrize("which", ["_read", "_write"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_lost_descriptor_is_noticed(pipes: tuple[Channel, int, int], which: str, replaced: bool) -> None:
    channel, _, _ = pipes
    descriptor = getattr(channel, which)
    if replaced:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor)
        os.close(null)
    else:
        os.close(descriptor)
    with pytest.raises(ProtocolLost):
        channel.check()
    with pytest.raises(ProtocolLost):
        channel.send({"m": "x"})


class Node:
    """The other end: hears questions, gives answers."""

    def __init__(self, write: int, read: int) -> None:
        self._write = write
        self._lines = os.fdopen(read, "rb", closefd=False)

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._lines.readline())
        return message

    def tell(self, **message: Any) -> None:
        os.write(self._write, json.dumps(message).encode() + b"\n")

    def answer(self, asked: dict[str, Any], **answer: Any) -> None:
        self.tell(m="answer", id=asked["id"], answer=answer)


@pytest.fixture
def node(pipes: tuple[Channel, int, int]) -> Node:
    return Node(pipes[1], pipes[2])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def test_threads_ask_at_once_and_each_gets_its_own_answer(pipes: tuple[Channel, int, int], node: Node, pool: ThreadPoolExecutor) -> None:
    channel = pipes[0]
    waiting = [pool.submit(channel.ask, {"name": number}) for number in range(12)]
    heard = [node.hear() for _ in waiting]
    assert {one["question"]["name"] for one in heard} == set(range(12))
    for asked in reversed(heard):
        node.answer(asked, path=asked["question"]["name"])
    assert [one.result(10)["path"] for one in waiting] == list(range(12))


def test_messages_that_arrive_meanwhile_are_kept_in_order(pipes: tuple[Channel, int, int], node: Node, pool: ThreadPoolExecutor) -> None:
    channel = pipes[0]
    waiting = pool.submit(channel.ask, {})
    asked = node.hear()
    node.tell(m="lease", lease=1)
    node.tell(m="lease", lease=2)
    node.answer(asked, path="x")
    node.tell(m="stop")
    assert waiting.result(10) == {"path": "x"}
    assert [channel.receive() for _ in range(3)] == [{"m": "lease", "lease": 1}, {"m": "lease", "lease": 2}, {"m": "stop"}]


def test_the_main_thread_receives_while_others_wait(pipes: tuple[Channel, int, int], node: Node, pool: ThreadPoolExecutor) -> None:
    channel = pipes[0]
    asking = pool.submit(channel.ask, {})
    asked = node.hear()
    receiving = pool.submit(channel.receive)
    node.tell(m="lease", lease=1)
    assert receiving.result(10) == {"m": "lease", "lease": 1}
    receiving = pool.submit(channel.receive)
    node.answer(asked, path="x")
    assert asking.result(10) == {"path": "x"}
    node.tell(m="stop")
    assert receiving.result(10) == {"m": "stop"}


def test_nobody_waits_for_a_node_that_is_gone(pipes: tuple[Channel, int, int], node: Node, pool: ThreadPoolExecutor) -> None:
    channel = pipes[0]
    asking = [pool.submit(channel.ask, {}) for _ in range(3)]
    for _ in asking:
        node.hear()
    receiving = pool.submit(channel.receive)
    os.close(pipes[1])
    for one in asking:
        with pytest.raises(ProtocolLost, match="gone"):
            one.result(10)
    assert receiving.result(10) is None


def test_an_answer_that_nobody_waits_for_is_dropped(pipes: tuple[Channel, int, int], node: Node) -> None:
    channel = pipes[0]
    node.tell(m="answer", id=99, answer={})
    node.tell(m="stop")
    assert channel.receive() == {"m": "stop"}


def test_a_forked_child_cannot_ask(pipes: tuple[Channel, int, int], node: Node) -> None:
    channel = pipes[0]
    child = os.fork()
    if child == 0:
        try:
            channel.ask({})
        except NotTheWorker:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    channel.send({"m": "ready"})
    assert node.hear() == {"m": "ready"}
