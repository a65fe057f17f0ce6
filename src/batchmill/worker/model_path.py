"""Where a script finds the files of a model: in a run by asking it, elsewhere in the folders that Azure ML looks into.

The path that is returned follows one rule (specification C8): the common path of the model's files. For a single file that is the file,
also when it was registered as a folder.
"""

from __future__ import annotations

import operator
import os
import threading
from typing import Any, Iterator, Optional

from batchmill.worker.channel import NotTheWorker
from batchmill.worker.entry_script import EntryScript
from batchmill.worker.questions import Refusal, ask, in_run, known

MODELS = "azureml-models"
ROOT_VARIABLE = "AML_APP_ROOT"

_placing = threading.Lock()


def model_path(name: str, version: Any = None) -> str:
    """The path of a registered model, the newest one unless ``version`` is given.

    In a run the files appear below ``azureml-models/<name>/<version>`` in the working folder of the process, as links to read-only files
    that all processes of this machine share.

    Raises:
        Refusal: of the kind ``WebserviceException`` (the version is no int, the model cannot be fetched) or ``ModelNotFoundException``.
    """
    if not isinstance(name, str) or not name:
        raise Refusal("WebserviceException", f"model_name should be a str, and {name!r} is none.")
    number = _number(version)
    if not in_run():
        return _outside(name, number)
    placed = known()
    path: Optional[str] = placed.get((name, number))
    if path is not None and os.path.lexists(path):
        return path
    try:
        answer = ask({"kind": "model", "name": name, "version": number})
    except NotTheWorker:
        raise Refusal(
            "WebserviceException",
            f"A child process of the worker asked for model {name}, and only the worker itself can ask its run. "
            "Call Model.get_model_path in init(), and hand the path on to the child.",
        ) from None
    with _placing:
        path = place(answer["folder"], answer["name"], answer["version"], EntryScript().working_dir)
        placed[(name, number)] = path
    return path


def _number(version: Any) -> Optional[int]:
    if version is None:
        return None
    try:
        return operator.index(version)
    except TypeError:
        raise Refusal("WebserviceException", "version should be an int") from None


def place(source: str, name: str, version: int, below: str) -> str:
    """Link the files of a model, which lie in the folder ``source``, into its own folder below ``below``; returns its path."""
    target = os.path.join(below, MODELS, name, str(version))
    links = []
    for folder, _, names in os.walk(source):
        inside = os.path.join(target, os.path.relpath(folder, source)) if folder != source else target
        if names:
            os.makedirs(inside, exist_ok=True)
        for name in names:
            links.append(os.path.join(inside, name))
            _link(os.path.join(folder, name), links[-1])
    return _common(links, source)


def _link(path: str, link: str) -> None:
    try:
        os.symlink(path, link)
    except FileExistsError:
        if os.path.islink(link) and os.readlink(link) != path:  # of an earlier use of this folder; a file is the script's own
            os.unlink(link)
            os.symlink(path, link)


def path_of(folder: str) -> str:
    """The path of the model whose files lie in ``folder``.

    Raises:
        FileNotFoundError: there is no file.
    """
    return _common(list(files_below(folder)), folder)


def _common(files: list[str], folder: str) -> str:
    if not files:
        raise FileNotFoundError(f"Folder {folder} holds no file.")
    return os.path.commonpath(files)


def files_below(folder: str) -> Iterator[str]:
    """The paths of all files below a folder."""
    for place_, _, names in os.walk(folder):
        for name in names:
            yield os.path.join(place_, name)


def _outside(name: str, version: Optional[int]) -> str:
    cache = os.path.join(os.environ.get(ROOT_VARIABLE) or os.getcwd(), MODELS)
    found = _version_folder(os.path.join(cache, name), version)
    if found is not None:
        return path_of(found)
    here = os.path.join(os.getcwd(), name)
    if os.path.exists(here):
        return here
    label = name if version is None else f"{name}:{version}"
    raise Refusal(
        "ModelNotFoundException",
        f"Model {name} not found in cache at {cache} or in current working directory {os.getcwd()}. "
        f"A run finds it in its workspace; elsewhere, get it there first: batchmill model download {label}",
    )


def _version_folder(folder: str, version: Optional[int]) -> Optional[str]:
    """The folder of one version that holds files, the newest by default."""
    try:
        numbers = sorted((int(entry) for entry in os.listdir(folder) if entry.isdigit()), reverse=True)
    except OSError:
        return None
    for number in numbers if version is None else [version]:
        candidate = os.path.join(folder, str(number))
        if next(files_below(candidate), None) is not None:
            return candidate
    return None
