"""The pipe pair survives odd writes, and notices when a script takes its descriptors away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from batchmill.worker.channel import LIFTED, Channel, ProtocolLost


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
