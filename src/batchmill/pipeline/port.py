"""What joins data and steps: `InputPortBinding`, `OutputPortBinding`; and the data of a step that has run: `PortDataReference`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from batchmill.pipeline.graph import PathSource
from batchmill.pipeline.pipeline_data import PipelineData
from batchmill.pipeline.pipeline_dataset import PipelineDataset, PipelineOutputAbstractDataset
from batchmill.pipeline.port_name import check_data_name
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataReference, relative_path
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.abstract_datastore import AbstractDatastore
    from batchmill.workspace.workspace import Workspace

INPUT_MODES = ("mount", "download", "upload", "direct")


class OutputPortBinding(PipelineData):
    """An output of a step under a name (Azure ML: ``azureml.pipeline.core.OutputPortBinding``); all else is as of `PipelineData`.

    Raises:
        ValueError: a name or the mode may not be used.
    """

    def __init__(
        self,
        name: str,
        datastore: AbstractDatastore | None = None,
        output_name: str | None = None,
        bind_mode: str = "mount",
        path_on_compute: str | None = None,
        is_directory: bool | None = None,
        overwrite: bool | None = None,
        data_type: Any = None,
        pipeline_output_name: str | None = None,
        **_azure: Any,
    ) -> None:
        super().__init__(
            name,
            datastore,
            output_name,
            bind_mode,
            path_on_compute,
            overwrite,
            data_type,
            is_directory=is_directory,
            pipeline_output_name=pipeline_output_name,
        )

    @property
    def bind_mode(self) -> str:
        """How it reaches its datastore: mount or upload."""
        return self.output_mode

    @property
    def path_on_compute(self) -> str | None:
        return self.output_path_on_compute


class InputPortBinding:
    """Data as an input of a step under a name (Azure ML: ``azureml.pipeline.core.InputPortBinding``).

    ``bind_object`` is a `PipelineData`, an output as a dataset, a `DataReference`, a `PortDataReference` or a `DatasetConsumptionConfig`.

    Raises:
        ValueError: the name, the mode or the object may not be used.
    """

    def __init__(
        self,
        name: str,
        bind_object: Any = None,
        bind_mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool | None = None,
        **_azure: Any,
    ) -> None:
        self._name = check_data_name(name, "InputPortBinding name")
        if bind_mode not in INPUT_MODES:
            raise ValueError(f"Invalid bind mode [{bind_mode}]")
        if not isinstance(bind_object, (*BOUND, PortDataReference)):
            raise ValueError(
                f"Input {name} cannot be bound to {type(bind_object).__name__}: give a PipelineData, a DataReference or a dataset."
            )
        self._bound = bind_object
        self._mode = bind_mode
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite

    @property
    def name(self) -> str:
        """The name of the input."""
        return self._name

    @property
    def bind_object(self) -> Any:
        """The data, as it was given."""
        return self._bound

    @property
    def bind_mode(self) -> str:
        """How a step sees it: mount, download, upload or direct."""
        return self._mode

    @property
    def key(self) -> str | None:
        """Which pipeline data it is; None for what no step makes."""
        return getattr(self._bound, "key", None)

    @property
    def data_reference_name(self) -> str | None:
        """The name of the data behind it."""
        found = self._bound
        name: str | None = found.data_reference_name if isinstance(found, (DataReference, PortDataReference)) else found.name
        return name

    def get_env_variable_name(self) -> str:
        """The variable in which scripts find its path."""
        return f"AZUREML_DATAREFERENCE_{self._name}"

    def __str__(self) -> str:
        return f"${self.get_env_variable_name()}"

    def __repr__(self) -> str:
        return f"InputPortBinding(name={self._name!r}, bind_mode={self._mode!r}, bind_object={self._bound!r})"


BOUND = (PipelineData, PipelineOutputAbstractDataset, PipelineDataset, DataReference, DatasetConsumptionConfig)
"""What an `InputPortBinding` may bind, besides a `PortDataReference`."""


class PortDataReference:
    """Where the data of an output of a step run lies (Azure ML: ``azureml.pipeline.core.PortDataReference``).

    It may be an input of a step of another pipeline.
    """

    def __init__(self, workspace: Workspace, name: str, datastore_name: str, path_on_datastore: str) -> None:
        self._workspace = workspace
        self._name = name
        self._datastore_name = datastore_name
        self._path = relative_path(path_on_datastore).rstrip("/")

    @property
    def name(self) -> str:
        """The name of the output."""
        return self._name

    @property
    def data_reference_name(self) -> str:
        """The name of the output, as an input is called by default."""
        return self._name

    @property
    def datastore_name(self) -> str:
        """The datastore by name."""
        return self._datastore_name

    @property
    def datastore(self) -> Any:
        """The datastore.

        Raises:
            UserErrorException: it is not registered any more.
        """
        from batchmill.workspace.datastore import Datastore

        return Datastore.get(self._workspace, self._datastore_name)

    @property
    def path_on_datastore(self) -> str:
        """The path on the datastore, of a folder or of a single file; without a slash in front."""
        return self._path

    @property
    def source(self) -> PathSource:
        """The same place as an input of a graph."""
        return PathSource(self._datastore_name, self._path)

    def as_mount(self) -> InputPortBinding:
        """The same place as an input, mounted."""
        return InputPortBinding(self._name, self, "mount")

    def as_download(
        self, input_name: str | None = None, path_on_compute: str | None = None, overwrite: bool | None = None
    ) -> InputPortBinding:
        """The same place as an input, copied before the step begins."""
        return InputPortBinding(input_name or self._name, self, "download", path_on_compute, overwrite)

    def download(self, local_path: str | os.PathLike[str], overwrite: bool | None = None, show_progress: bool | None = None) -> int:
        """Copy the data to ``<local_path>/<path_on_datastore>``; returns the number of files copied.

        Files that are there already are skipped unless ``overwrite``.

        Raises:
            UserErrorException: the datastore is not registered any more, or holds no files.
            InputError: the store is unreachable or refuses.
        """
        from batchmill.workspace.storage_datastore import StorageDatastore

        datastore = self.datastore
        if not isinstance(datastore, StorageDatastore):
            raise UserErrorException(f"Datastore '{self._datastore_name}' is a database and holds no files to download.")
        below = f"{self._path}/" if self._path and not self._is_file(datastore) else self._path
        return datastore.download(local_path, below, bool(overwrite), show_progress is not False)

    def _is_file(self, datastore: Any) -> bool:
        """The first name that begins with the path is the path itself: no other sorts before it."""
        first = next(iter(datastore.files(self._path)), None)
        return first is not None and first.name == self._path

    def get_env_variable_name(self) -> str:
        """The variable in which scripts find its path."""
        return f"AZUREML_DATAREFERENCE_{self._name}"

    def __repr__(self) -> str:
        return f"PortDataReference(name={self._name!r}, datastore_name={self._datastore_name!r}, path_on_datastore={self._path!r})"


class StepRunOutput:
    """An output of a step run (Azure ML: ``azureml.pipeline.core.StepRunOutput``)."""

    def __init__(self, workspace: Workspace, name: str, datastore_name: str, path_on_datastore: str) -> None:
        self.name = name
        self._reference = PortDataReference(workspace, name, datastore_name, path_on_datastore)

    def get_port_data_reference(self) -> PortDataReference:
        """Where its data lies."""
        return self._reference

    def __repr__(self) -> str:
        return f"StepRunOutput(name={self.name!r}, path_on_datastore={self._reference.path_on_datastore!r})"
