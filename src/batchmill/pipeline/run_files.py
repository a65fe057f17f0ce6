"""What a run's files can be asked for (Azure ML: ``run.upload_*``, ``run.download_*``, ``run.get_file_names``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from batchmill.pipeline.run_artifacts import RunArtifacts, is_log
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.model import Model
    from batchmill.workspace.workspace import Workspace

PathText = str | os.PathLike[str]


class RunFiles:
    """The files of a run; see `batchmill.pipeline.run_artifacts` for where they lie."""

    @property
    def id(self) -> str:
        raise NotImplementedError

    @property
    def workspace(self) -> Workspace:
        raise NotImplementedError

    @property
    def artifacts(self) -> RunArtifacts:
        """Its files."""
        raise NotImplementedError

    def get_file_names(self) -> list[str]:
        """The names of all files, logs among them."""
        return self.artifacts.names()

    def download_file(self, name: str, output_file_path: PathText | None = None, _validate_checksum: bool = False) -> None:
        """Copy one file to ``output_file_path`` (a path or a folder), by default to its own name in the current folder.

        Raises:
            UserErrorException: there is none of that name.
        """
        self.artifacts.download(name, output_file_path)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: PathText | None = None,
        output_paths: Sequence[PathText] | None = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: int | None = None,
    ) -> None:
        """Copy the files whose names begin with ``prefix`` into a folder, under their whole names; ``output_paths``: one for each instead.

        Raises:
            UserErrorException: both places are given, or not as many paths as there are files.
        """
        if output_paths is None:
            self.artifacts.download_all(prefix, output_directory, append_prefix=append_prefix)
            return
        names = [name for name in self.get_file_names() if name.startswith(prefix or "")]
        if output_directory is not None or len(names) != len(output_paths):
            raise UserErrorException(f"Give output_directory, or output_paths with one path for each of the {len(names)} files.")
        for name, path in zip(names, output_paths, strict=True):
            self.artifacts.download(name, path)

    def upload_file(self, name: str, path_or_stream: PathText | IO[Any], datastore_name: str | None = None) -> list[str]:
        """Upload a file, or what a stream holds, as ``name``.

        Raises:
            UserErrorException: it is no file, or the run has a file of that name.
        """
        read = getattr(path_or_stream, "read", None)
        if read is None:
            return self.artifacts.upload([(name, path_or_stream)])  # type: ignore[list-item]
        import tempfile

        data = read()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stream"
            path.write_bytes(data if isinstance(data, bytes) else str(data).encode())
            return self.artifacts.upload([(name, path)])

    def upload_files(
        self,
        names: Sequence[str],
        paths: Sequence[PathText],
        return_artifacts: bool = False,
        timeout_seconds: int | None = None,
        datastore_name: str | None = None,
    ) -> list[str]:
        """Upload several files, each under its name.

        Raises:
            UserErrorException: one is no file or is there already, or there are not as many names as paths.
        """
        if len(names) != len(paths):
            raise UserErrorException(f"There are {len(names)} names for {len(paths)} paths.")
        return self.artifacts.upload(zip(names, paths, strict=True))

    def upload_folder(self, name: str, path: PathText, datastore_name: str | None = None) -> list[str]:
        """Upload all files below a folder, under ``name/`` and their paths in it."""
        from batchmill.workspace.store_files import folder_to_upload

        lead = f"{name.strip('/')}/" if name.strip("/") else ""
        return self.artifacts.upload([(lead + file.name, file.path) for file in folder_to_upload(path)])

    def get_all_logs(self, destination: PathText | None = None) -> list[str]:
        """Copy all log files into a folder, by default a new temporary one; returns their paths."""
        import tempfile

        folder = Path(destination) if destination is not None else Path(tempfile.mkdtemp(prefix="batchmill-logs-"))
        return [str(self.artifacts.download(name, folder / name)) for name in self.get_file_names() if is_log(name)]

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        tags: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        description: str | None = None,
        datasets: Sequence[tuple[str, Any]] | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
        **azure: Any,
    ) -> Model:
        """Register a file or folder of the run (default: the one called ``model_name``) as the next version of a model.

        Raises:
            UserErrorException: the run has no such file.
        """
        import tempfile

        from batchmill.workspace.model import from_asset
        from batchmill.workspace.model_facts import ModelFacts, Resources
        from batchmill.workspace.model_registration import register_model

        wanted = (model_path or model_name).strip("/")
        facts = ModelFacts(
            model_framework=model_framework,
            model_framework_version=model_framework_version,
            resource_configuration=Resources.of(resource_configuration),
            datasets=[[str(purpose), dataset.save(self.workspace)] for purpose, dataset in datasets or ()],
            sample_input_dataset_id=None if sample_input_dataset is None else sample_input_dataset.save(self.workspace),
            sample_output_dataset_id=None if sample_output_dataset is None else sample_output_dataset.save(self.workspace),
            run_id=self.id,
        )
        with tempfile.TemporaryDirectory() as folder:
            self._bring(wanted, Path(folder))
            asset = register_model(
                self.workspace,
                Path(folder) / wanted,
                model_name,
                tags=tags,
                properties=properties,
                description=description,
                facts=facts,
            )
        return from_asset(self.workspace, asset)

    def _bring(self, wanted: str, folder: Path) -> None:
        """Copy a file or folder of the run, under its whole name."""
        names = [name for name in self.get_file_names() if name == wanted or name.startswith(f"{wanted}/")]
        if not names:
            raise UserErrorException(
                f"Could not locate the provided model_path {wanted} in the set of files uploaded to the run: {self.get_file_names()}"
            )
        for name in names:
            self.artifacts.download(name, folder / name)
