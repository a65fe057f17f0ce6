"""The shared slots tell what was in flight, also after everybody has died."""

from __future__ import annotations

from pathlib import Path

from batchmill.worker.slots import NONE, PID, READING, RUNNING, Slots, in_flight


def test_in_flight_after_death(tmp_path: Path) -> None:
    path = str(tmp_path / "slots")
    writer = Slots(path, 4, create=True)
    for slot in range(4):
        writer.clear(slot)
    for slot, pid, running, reading in ((0, 11, 7, 8), (1, 12, NONE, 3), (2, 0, 99, 99), (3, 14, 7, NONE)):
        writer.set(slot, PID, pid)
        writer.set(slot, RUNNING, running)
        writer.set(slot, READING, reading)
    reader = Slots(path, 4)
    assert reader.get(0, RUNNING) == 7
    reader.close()
    writer.close()
    assert in_flight(path) == [3, 7, 8]


def test_no_file_or_an_empty_one(tmp_path: Path) -> None:
    assert in_flight(str(tmp_path / "none")) == []
    (tmp_path / "empty").touch()
    assert in_flight(str(tmp_path / "empty")) == []
