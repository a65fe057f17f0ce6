"""`PipelineData`: a folder that one step fills and others read."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Literal

from batchmill.pipeline.graph import OutputPort
from batchmill.pipeline.port_name import check_data_name

if TYPE_CHECKING:
    from batchmill.pipeline.pipeline_dataset import PipelineOutputFileDataset
    from batchmill.pipeline.port import InputPortBinding
    from batchmill.workspace.abstract_datastore import AbstractDatastore

OUTPUT_MODES = ("mount", "upload")


class PipelineData:
    """Data between steps (Azure ML: ``azureml.pipeline.core.PipelineData``).

    It lies at ``azureml/<step run id>/<output name>`` on its datastore (default: that of the pipeline). Among the arguments of a step it
    becomes a path whose parent exists; the folder itself is the script's to make. ``output_path_on_compute`` changes only that path.

    >>> PipelineData("preds").output_name
    'preds'

    Raises:
        ValueError: a name or the mode may not be used.
    """

    def __init__(
        self,
        name: str,
        datastore: AbstractDatastore | None = None,
        output_name: str | None = None,
        output_mode: str = "mount",
        output_path_on_compute: str | None = None,
        output_overwrite: bool | None = None,
        data_type: Any = None,
        is_directory: bool | None = None,
        pipeline_output_name: str | None = None,
        training_output: Any = None,
    ) -> None:
        self._name = check_data_name(name)
        self._output_name = check_data_name(output_name or name, "PipelineData output_name")
        self._mode = checked_output_mode(output_mode)
        self.datastore = datastore
        self.output_path_on_compute = output_path_on_compute
        self.output_overwrite = output_overwrite
        self.is_directory = is_directory
        self.pipeline_output_name = pipeline_output_name
        self.training_output = training_output
        self._data_type = data_type
        self._key = uuid.uuid4().hex

    @property
    def name(self) -> str:
        """The name of the data, and of the input of a step that reads it."""
        return self._name

    @property
    def output_name(self) -> str:
        """The name of the output of the step that makes it."""
        return self._output_name

    @property
    def output_mode(self) -> str:
        """How it reaches its datastore: mount or upload."""
        return self._mode

    @property
    def data_type(self) -> Any:
        """What it is said to hold."""
        return self._data_type

    @property
    def key(self) -> str:
        """Which data it is: shared by everything that is derived from it."""
        return self._key

    @property
    def port(self) -> OutputPort:
        """The output of the step that makes it."""
        return OutputPort(
            self._output_name,
            "" if self.datastore is None else self.datastore.name,
            mode=self._mode,
            path_on_compute=self.output_path_on_compute,
            overwrite=bool(self.output_overwrite),
            pipeline_output=self.pipeline_output_name,
            data_type=None if self._data_type is None else str(self._data_type),
        )

    # --- as an input ----------------------------------------------------------------------------------------------------------------

    def as_dataset(self) -> PipelineOutputFileDataset:
        """The same data as a dataset: of its files, or with ``parse_delimited_files`` and the like of their rows."""
        from batchmill.pipeline.pipeline_dataset import PipelineOutputFileDataset

        return PipelineOutputFileDataset(self)

    def as_input(self, input_name: str | None = None) -> InputPortBinding:
        """The same data as an input of that name (default: its own), mounted."""
        return self.create_input_binding(input_name)

    def as_mount(
        self, input_name: str | None = None, path_on_compute: str | None = None, overwrite: bool | None = None
    ) -> InputPortBinding:
        """The same data as an input, mounted at ``path_on_compute``."""
        return self.create_input_binding(input_name, "mount", path_on_compute, overwrite)

    def as_download(
        self, input_name: str | None = None, path_on_compute: str | None = None, overwrite: bool | None = None
    ) -> InputPortBinding:
        """The same data as an input, copied to ``path_on_compute`` before the step begins."""
        return self.create_input_binding(input_name, "download", path_on_compute, overwrite)

    def create_input_binding(
        self,
        input_name: str | None = None,
        mode: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool | None = None,
    ) -> InputPortBinding:
        """The same data as an input.

        Raises:
            ValueError: the name or the mode may not be used.
        """
        from batchmill.pipeline.port import InputPortBinding

        return InputPortBinding(input_name or self._name, self, mode or "mount", path_on_compute, overwrite)

    def get_env_variable_name(self) -> str:
        """The variable in which scripts find its path."""
        return f"AZUREML_DATAREFERENCE_{self._name}"

    def __str__(self) -> str:
        return f"${self.get_env_variable_name()}"

    def __repr__(self) -> str:
        return self.__str__()


def checked_output_mode(mode: Any) -> Literal["mount", "upload"]:
    """How an output reaches its datastore.

    Raises:
        ValueError: neither "mount" nor "upload"; with Azure ML's words.
    """
    if mode not in OUTPUT_MODES:
        raise ValueError(f"Invalid output mode [{mode}]")
    return "upload" if mode == "upload" else "mount"
