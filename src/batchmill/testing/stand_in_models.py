"""Files and folders that stand in for registered models while a script is tested: no workspace is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchmill.errors import SettingError
from batchmill.parallel_run.answers import answer_of
from batchmill.worker.questions import Ask

VERSION = 1


def stand_in(models: Mapping[str, str | os.PathLike[str]], folder: Path) -> Ask:
    """Answers questions about models: name -> file or folder. ``folder`` is used for links to their files, as a registration lays them out.

    Raises:
        SettingError: it is no mapping.
        WebserviceException: one of them could not be registered (a FileNotFoundError, too, where it is missing).
    """
    from batchmill.workspace.model_files import find_files
    from batchmill.workspace.model_registration import check_name

    if not isinstance(models, Mapping):
        raise SettingError(f"In a test, models is {{name: path}}, and {models!r} is not.")
    for name, path in models.items():
        check_name(name)
        for file in find_files(path):
            link = folder / name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.path)

    def find(question: dict[str, Any]) -> dict[str, Any]:
        from batchmill.workspace.exceptions import ModelNotFoundException, UserErrorException

        if question["kind"] != "model":
            raise UserErrorException(f"In a test a script has models, and no run that it could ask about '{question['kind']}'.")
        name, version = question["name"], question["version"]
        if name not in models or version not in (None, VERSION):
            raise ModelNotFoundException(
                f"Model/Version {name}/{version} not found in workspace. In a test, models={{{name!r}: PATH}} is version {VERSION} of it."
            )
        return {"name": name, "version": VERSION, "folder": str(folder / name)}

    return lambda question: answer_of(find, question)
