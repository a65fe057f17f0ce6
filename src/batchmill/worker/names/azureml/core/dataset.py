"""Datasets in a script: by name or id through the run in every environment, all else where the environment holds what it needs."""

from __future__ import annotations

from typing import Any, Union

from batchmill.worker.deferred import Deferred, real
from batchmill.worker.questions import in_run
from batchmill.worker.script_dataset import dataset_of
from batchmill.worker.sdk_errors import asked


class Dataset(metaclass=Deferred, home="batchmill.workspace.dataset"):
    """`get_by_name` and `get_by_id` ask the run; for everything else this stands for `batchmill.workspace.dataset.Dataset`."""

    @staticmethod
    def get_by_name(workspace: Any, name: str, version: Union[int, str] = "latest", **azure: Any) -> Any:
        """A registered dataset. In a run the first answer for a name and version holds until the run ends.

        Raises:
            UserErrorException: there is none of that name and version.
        """
        if _of_run(workspace):
            return dataset_of(asked("dataset", name=name, version=None if version == "latest" else version))
        return real(Dataset.home, "Dataset").get_by_name(workspace, name, version, **azure)

    @staticmethod
    def get_by_id(workspace: Any, id: str, **azure: Any) -> Any:
        """The dataset with an id, registered or saved.

        Raises:
            UserErrorException: there is none.
        """
        if _of_run(workspace):
            return dataset_of(asked("dataset", id=id))
        return real(Dataset.home, "Dataset").get_by_id(workspace, id, **azure)


def _of_run(workspace: Any) -> bool:
    """Whether the run is asked: it answers for its own workspace only."""
    if not in_run():
        return False
    if workspace is None:
        return True
    of_run = (asked("run")["workspace"] or {}).get("name")
    return of_run is not None and getattr(workspace, "name", None) == of_run
