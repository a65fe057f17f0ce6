"""Files that an answer names are there on the machine of the worker that asked."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import UsageError
from batchmill.nodes.side_content import SideContent, fetch_side, localize
from tests.memory_store import MemoryStore

Answer = dict[str, Any]


class Coordinator:
    """Answers from the files of one machine."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "model"
        (self.model / "sub").mkdir(parents=True)
        (self.model / "weights.bin").write_bytes(b"w")
        (self.model / "sub" / "labels.txt").write_text("a\nb\n")
        self.rows = folder / "rows.parquet"
        self.rows.write_bytes(b"PAR1")
        self.mounted: list[str] = []
        self.asked: list[Mapping[str, Any]] = []

    def find(self, question: Mapping[str, Any]) -> Answer:
        self.asked.append(question)
        if question["kind"] == "model":
            return {"name": question["name"], "version": 3, "id": "x", "folder": str(self.model)}
        if question["kind"] == "table":
            return {"path": str(self.rows)}
        if question["kind"] == "dataset":
            return {"id": "x", "alone": True}
        if question["action"] == "paths":
            return {"paths": ["/sub/labels.txt", "/weights.bin"]}
        if question["action"] == "unmount":
            self.mounted.remove(question["mount"])
            return {}
        assert question["target"] is None, "the place that a script names is on its own machine"
        self.mounted.append("token")
        return {"mount": "token", "path": str(self.model)}


class Machine:
    """Another machine: it sees the store, and nothing of the coordinator's files."""

    def __init__(self, folder: Path, store: MemoryStore) -> None:
        self.folder, self._store = folder, store
        self.fetched = 0

    def fetch(self, id: str) -> Path:
        folder = self.folder / id
        if not folder.exists():
            self.fetched += 1
            folder.mkdir(parents=True)
            fetch_side(self._store, id, folder)
        return folder

    def localize(self, answer: Answer) -> Answer:
        return localize(pickle.loads(pickle.dumps(answer)), self.fetch, self.folder / "room")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return Coordinator(tmp_path / "coordinator")


@pytest.fixture
def side(store: MemoryStore, coordinator: Coordinator) -> SideContent:
    return SideContent(store, coordinator.find)


@pytest.fixture
def machine(tmp_path: Path, store: MemoryStore) -> Machine:
    return Machine(tmp_path / "machine", store)


def files(folder: str) -> dict[str, bytes]:
    top = Path(folder)
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


FILES = {"weights.bin": b"w", "sub/labels.txt": b"a\nb\n"}


def test_a_model_travels_once_and_is_read_only_there(
    side: SideContent, coordinator: Coordinator, machine: Machine, store: MemoryStore
) -> None:
    answers = [side.answer({"kind": "model", "name": name, "version": None}) for name in ("m", "m", "same-files")]
    assert all(str(coordinator.model) not in str(answer) for answer in answers)
    local = [machine.localize(answer) for answer in answers]
    assert local[0] == {"name": "m", "version": 3, "id": "x", "folder": local[2]["folder"]}
    assert files(local[0]["folder"]) == FILES
    assert (Path(local[0]["folder"]) / "weights.bin").stat().st_mode & 0o222 == 0
    assert (len(store.objects), machine.fetched) == (1, 1)


def test_a_new_incarnation_finds_what_an_earlier_one_has_put(side: SideContent, coordinator: Coordinator, store: MemoryStore) -> None:
    first = side.answer({"kind": "model", "name": "m", "version": None})
    store.refusals = 1
    assert SideContent(store, coordinator.find).answer({"kind": "model", "name": "m", "version": None}) == first
    (coordinator.model / "weights.bin").write_bytes(b"other")
    store.refusals = 0
    assert side.answer({"kind": "model", "name": "m", "version": None}) != first


def test_rows_of_a_dataset_arrive_as_a_file(side: SideContent, machine: Machine) -> None:
    local = machine.localize(side.answer({"kind": "table", "dataset": "x", "format": "parquet"}))
    assert Path(local["path"]).read_bytes() == b"PAR1"
    assert Path(local["path"]).suffix == ".parquet"


def test_a_script_elsewhere_cannot_open_the_workspace(side: SideContent, machine: Machine) -> None:
    assert machine.localize(side.answer({"kind": "dataset", "name": "d", "version": None})) == {"id": "x", "alone": False}


def files_question(action: str, target: Path | None = None, **more: Any) -> dict[str, Any]:
    return {"kind": "files", "dataset": "x", "operations": [], "action": action, "target": target and str(target), **more}


def test_a_dataset_is_mounted_where_the_script_wants_it(side: SideContent, coordinator: Coordinator, machine: Machine) -> None:
    anywhere = machine.localize(side.answer(files_question("mount")))
    assert files(anywhere["path"]) == FILES
    empty, new = machine.folder / "empty", machine.folder / "new" / "place"
    empty.mkdir()
    for target in (empty, new):
        local = machine.localize(side.answer(files_question("mount", target)))
        assert local == {"mount": "token", "path": str(target)}
        assert files(str(target)) == FILES
    assert coordinator.mounted == [], "the coordinator's own mounts end at once"
    with pytest.raises(UsageError, match="it is there already and is no empty folder"):
        machine.localize(side.answer(files_question("mount", empty)))


def test_a_dataset_is_downloaded_there(side: SideContent, machine: Machine) -> None:
    told = machine.localize(side.answer(files_question("download")))["paths"]
    assert [Path(path).read_bytes() for path in told] == [b"a\nb\n", b"w"]
    target = machine.folder / "copies"
    assert machine.localize(side.answer(files_question("download", target)))["paths"] == [
        str(target / "sub/labels.txt"),
        str(target / "weights.bin"),
    ]
    (target / "weights.bin").write_bytes(b"the script may change its copy")
    with pytest.raises(UsageError, match=r"already exists\. Set overwrite=True"):
        machine.localize(side.answer(files_question("download", target)))
    machine.localize(side.answer(files_question("download", target, overwrite=True)))
    assert (target / "weights.bin").read_bytes() == b"w"


def test_answers_without_files_stay_as_they_are(side: SideContent, machine: Machine) -> None:
    assert machine.localize(side.answer(files_question("paths"))) == {"paths": ["/sub/labels.txt", "/weights.bin"]}
