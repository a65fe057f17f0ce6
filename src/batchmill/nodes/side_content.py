"""Files that an answer names, on their way from the coordinator's machine to that of the worker that asked.

Models, rows of a dataset, and datasets that are mounted or downloaded lie on the machine that found the answer. `SideContent` puts them
into the run store once; `localize` fetches them, once a machine, and makes the answer true there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchmill.errors import UsageError
from batchmill.nodes.folder_zip import files_of, pack_folder, unpack_folder
from batchmill.parallel_run.run_store import SIDE
from batchmill.storage.shared_store import SharedStore

Question = Mapping[str, Any]
Answer = dict[str, Any]

KEY = "side"
"""The key of an answer that says what to fetch, and what to make of it."""


class SideContent:
    """Finds answers with ``find`` and makes them such that they can travel."""

    def __init__(self, files: SharedStore, find: Callable[[Question], Answer]) -> None:
        self._files = files
        self._find = find
        self._lock = threading.Lock()
        self._putting: dict[str, threading.Lock] = {}
        self._there: set[str] = set()

    def answer(self, question: Question) -> Answer:
        """The answer to a question of a worker on another machine; what it names lies in the run store.

        Raises:
            BatchmillError: there is none, or the store is out of reach.
        """
        if question["kind"] == "files" and question["action"] in ("download", "mount"):
            return self._dataset(question)
        answer = dict(self._find(question))
        if "alone" in answer:
            answer["alone"] = False  # the workspace is here, not there
        for key in ("folder", "path"):
            if question["kind"] in ("model", "table") and isinstance(answer.get(key), str):
                answer[KEY] = {"as": key, **self.put(Path(answer.pop(key)))}
        return answer

    def put(self, path: Path) -> dict[str, Any]:
        """Have a folder or file in the store: under which id, and the name of a single file in it."""
        named = _look_of(path)
        with self._lock:
            putting = self._putting.setdefault(named, threading.Lock())
        with putting:
            if named not in self._there:
                self._put(path, f"{SIDE}/{named}.zip")
                self._there.add(named)
        return {"id": named, "file": None if path.is_dir() else path.name}

    def _put(self, path: Path, name: str) -> None:
        if any(entry.name == name for entry in self._files.list(SIDE)):
            return  # an earlier incarnation did it
        with tempfile.TemporaryDirectory(prefix="batchmill-side-") as room:
            archive = Path(room, "side.zip")
            folder = path
            if not path.is_dir():
                folder = Path(room, "file")
                folder.mkdir()
                (folder / path.name).symlink_to(path.resolve())
            pack_folder(folder, archive, compress=False)
            self._files.put_file(name, archive)

    def _dataset(self, question: Question) -> Answer:
        """A dataset that is to be mounted or downloaded there: mounted here for as long as its files are packed."""
        told = self._find({**question, "action": "mount", "target": None})
        try:
            paths = self._find({**question, "action": "paths"})["paths"]
            side = self.put(Path(told["path"]))
        finally:
            self._find({"kind": "files", "action": "unmount", "mount": told["mount"]})
        wanted = {name: question.get(name) for name in ("target", "overwrite")}
        return {"mount": told["mount"], KEY: {"as": question["action"], "paths": paths, **wanted, **side}}


def fetch_side(files: SharedStore, id: str, folder: Path) -> None:
    """Bring what was put under ``id`` into an existing folder.

    Raises:
        StoreError: it cannot be read.
    """
    archive = folder.with_name(folder.name + ".zip")
    try:
        files.fetch(f"{SIDE}/{id}.zip", archive)
        unpack_folder(archive, folder)
    finally:
        archive.unlink(missing_ok=True)
    for _, path in files_of(folder):
        path.chmod(path.stat().st_mode & 0o555)  # all processes of this machine share them


def localize(answer: Mapping[str, Any], fetch: Callable[[str], Path], room: Path) -> Answer:
    """An answer as it holds on this machine: ``fetch`` has the folder of an id here, ``room`` takes copies that nobody said where to put.

    Raises:
        UsageError: the place that the script chose is taken.
        BatchmillError: what the answer names cannot be fetched.
    """
    local = {key: value for key, value in answer.items() if key != KEY}
    side = answer.get(KEY)
    if side is None:
        return local
    folder = fetch(side["id"])
    found = folder / side["file"] if side["file"] else folder
    if side["as"] == "mount":
        return local | {"path": _mount(found, side["target"])}
    if side["as"] == "download":
        return local | {"paths": _download(folder, side, room)}
    return local | {side["as"]: str(found)}


def _mount(found: Path, target: str | None) -> str:
    if target is None:
        return str(found)
    place = Path(target)
    if place.is_dir() and not place.is_symlink() and not any(place.iterdir()):
        for name, path in files_of(found):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to(path)
        return str(place)
    if os.path.lexists(place):
        raise UsageError(f"The dataset cannot be mounted at {place}: it is there already and is no empty folder.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(found)
    return str(place)


def _download(folder: Path, side: Mapping[str, Any], room: Path) -> list[str]:
    room.mkdir(parents=True, exist_ok=True)
    top = Path(side["target"] or tempfile.mkdtemp(prefix="download-", dir=room))
    pairs = [(folder / name.lstrip("/"), top / name.lstrip("/")) for name in side["paths"]]
    there = next((target for _, target in pairs if not side["overwrite"] and os.path.lexists(target)), None)
    if there is not None:
        raise UsageError(f'File "{there}" already exists. Set overwrite=True to overwrite it, or choose another target_path.')
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            target.unlink()
        shutil.copyfile(source, target)
    return [str(target) for _, target in pairs]


def _look_of(path: Path) -> str:
    """A hash of the files by their names, sizes and times, of a folder or a single file."""
    parts = []
    for name, file in files_of(path) if path.is_dir() else [(path.name, path)]:
        state = file.stat()
        parts.append(f"{name}\0{state.st_size}\0{state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
