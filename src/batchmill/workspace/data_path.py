"""A path on a datastore: `DataPath`, `DataReference` and how a step is given it, `DataPathComputeBinding`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.abstract_datastore import AbstractDatastore

MODES = ("mount", "download", "upload")
LEADING = re.compile(r"^(?:\.{0,2}/)+|^\.{1,2}$")


def relative_path(path: str | None) -> str:
    """A path as it lies below a datastore's root; ``None``, ``/``, ``.`` and ``./`` are the root, which is empty.

    Azure ML: groups of ``/``, ``./`` and ``../`` at the beginning are stripped.

    >>> relative_path("/images/"), relative_path("../../a/b"), relative_path("./")
    ('images/', 'a/b', '')
    """
    return LEADING.sub("", path or "")


class DataPath:
    """A path on a datastore, for example as the default of a pipeline parameter (Azure ML: ``azureml.data.datapath.DataPath``)."""

    def __init__(
        self, datastore: AbstractDatastore | None = None, path_on_datastore: str | None = None, name: str | None = None, **_azure: Any
    ) -> None:
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore
        self._name = name

    @property
    def datastore_name(self) -> str | None:
        """The name of its datastore."""
        return None if self.datastore is None else self.datastore.name

    @property
    def name(self) -> str | None:
        """The name it was given."""
        return self._name

    @staticmethod
    def create_from_data_reference(data_reference: DataReference) -> DataPath:
        """The path that a reference points to."""
        return DataPath(data_reference.datastore, data_reference.path_on_datastore, data_reference.data_reference_name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataPath) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def _facts(self) -> tuple[str | None, str]:
        return self.datastore_name, relative_path(self.path_on_datastore)

    def __repr__(self) -> str:
        return f"DataPath(datastore={self.datastore_name!r}, path_on_datastore={self.path_on_datastore!r})"


class DataPathComputeBinding:
    """How the path of a `DataPath` parameter is brought to a step (Azure ML: the same name and arguments)."""

    def __init__(self, mode: str = "mount", path_on_compute: str | None = None, overwrite: bool = False) -> None:
        self.mode = _checked(mode)
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    def create_data_reference(self, data_reference_name: str, datapath: DataPath) -> DataReference:
        """The reference to ``datapath`` that is consumed in this way."""
        return DataReference(
            datapath.datastore, data_reference_name, datapath.path_on_datastore, self.mode, self.path_on_compute, self.overwrite
        )

    def __repr__(self) -> str:
        return f"DataPathComputeBinding(mode={self.mode!r}, path_on_compute={self.path_on_compute!r}, overwrite={self.overwrite!r})"


class DataReference:
    """A path on a datastore together with how a step sees it (Azure ML: ``azureml.data.data_reference.DataReference``).

    Among the arguments of a step it becomes a path; as a text it is the name of the variable that holds this path.
    """

    def __init__(
        self,
        datastore: AbstractDatastore | None,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        if datastore is None:
            raise UserErrorException("A DataReference needs a datastore.")
        self.datastore: AbstractDatastore = datastore
        path = relative_path(path_on_datastore)
        self.data_reference_name = data_reference_name or (uuid.uuid4().hex if path else datastore.name)
        self.path_on_datastore: str | None = path or None
        self.mode = _checked(mode)
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    @staticmethod
    def create(
        data_reference_name: str | None = None,
        datastore: AbstractDatastore | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> DataReference:
        """The constructor with its arguments in another order (Azure ML)."""
        return DataReference(datastore, data_reference_name, path_on_datastore, mode, path_on_compute, overwrite)

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """A reference to what lies at ``path`` below this one."""
        parts = [part.rstrip("/") for part in (self.path_on_datastore or "",) if part]
        joined = "/".join([*parts, relative_path(path)]) if relative_path(path) else self.path_on_datastore
        return DataReference(self.datastore, data_reference_name, joined, self.mode, self.path_on_compute, self.overwrite)

    def as_mount(self) -> DataReference:
        """The same path, to be mounted."""
        return self._as("mount", None, False)

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """The same path, to be downloaded before the step begins."""
        return self._as("download", path_on_compute, overwrite)

    def as_upload(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """The same path, to be filled with what the step leaves."""
        return self._as("upload", path_on_compute, overwrite)

    def _as(self, mode: str, path_on_compute: str | None, overwrite: bool) -> DataReference:
        return DataReference(self.datastore, self.data_reference_name, self.path_on_datastore, mode, path_on_compute, overwrite)

    def __str__(self) -> str:
        return f"$AZUREML_DATAREFERENCE_{self.data_reference_name}"

    __repr__ = __str__


def _checked(mode: Any, modes: Sequence[str] = MODES) -> str:
    if not isinstance(mode, str) or mode not in modes:
        raise UserErrorException(f"Invalid mode '{mode}'. Mode can only be {', '.join(modes[:-1])}, or {modes[-1]}")
    return mode
