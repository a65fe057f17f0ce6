"""Datastores that hold files: what can be done with any of them, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from batchmill.workspace.abstract_datastore import AbstractDatastore
from batchmill.workspace.data_path import DataReference, relative_path
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.storage.connections import Connection
    from batchmill.storage.location import Location
    from batchmill.storage.transfer import Moved, StoreFile


class StorageDatastore(AbstractDatastore):
    """A datastore of files; `connection` says how it is reached."""

    @property
    def connection(self) -> Connection:
        """How it is reached, its credentials included; never printed.

        Raises:
            UserErrorException: this kind of store cannot be reached.
            SecretError: a secret cannot be read.
        """
        raise NotImplementedError

    @property
    def read_only(self) -> bool:
        """True for a public store that was registered without credentials."""
        return False

    @property
    def key(self) -> str:
        """What its connection is known under: ``WORKSPACE:NAME``."""
        return f"{self.workspace.name}:{self.name}"

    def place(self, path: str | None = None) -> Location:
        """Where ``path`` on this datastore lies; its connection is made in this process."""
        from batchmill.storage.location import parse_location

        return parse_location(self.physical(path))

    def physical(self, path: str | None = None) -> str:
        """``path`` on this datastore as `storage` takes it: a local path, or ``datastore://WORKSPACE:NAME/path``."""
        from batchmill.storage.connections import connection_of

        connection, relative = connection_of(self.connect()), relative_path(path)
        if connection.kind == "local":
            return os.path.join(connection.root, relative) if relative else connection.root
        return f"datastore://{self.key}/{relative}"

    def connect(self) -> str:
        """Make its connection in this process; returns the key that it is known under."""
        from batchmill.storage.connections import connect

        connect(self.key, self.connection)
        return self.key

    def _folder(self, path: str | None) -> Location:
        """As `place`, for a path that is no glob even if it looks like one."""
        from dataclasses import replace

        place = self.place()
        relative = relative_path(path).rstrip("/")
        if ".." in relative.split("/"):
            raise UserErrorException(f"'{path}' leads out of datastore '{self.name}'. Write the path without '..'.")
        if not place.remote:
            return replace(place, path=os.path.join(place.path, relative) if relative else place.path)
        return replace(place, prefix=relative)

    # --- references ---------------------------------------------------------------------------------------------------------------

    def path(self, path: str | None = None, data_reference_name: str | None = None) -> DataReference:
        """A reference to ``path`` on this datastore."""
        return DataReference(self, data_reference_name, path)

    def as_mount(self) -> DataReference:
        """A reference to the whole datastore, to be mounted."""
        return self.path().as_mount()

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """A reference to the whole datastore, to be downloaded."""
        return self.path().as_download(path_on_compute, overwrite)

    def as_upload(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """A reference to the whole datastore, to be filled."""
        return self.path().as_upload(path_on_compute, overwrite)

    # --- files --------------------------------------------------------------------------------------------------------------------

    def upload(
        self, src_dir: str | os.PathLike[str], target_path: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> DataReference:
        """Upload a folder with all below it to ``target_path``; what is there already is skipped unless ``overwrite``.

        Raises:
            UserErrorException: ``src_dir`` is no folder, or the datastore has no credentials.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.store_files import folder_to_upload

        self.send(folder_to_upload(src_dir), target_path, overwrite, show_progress)
        return self.path(target_path)

    def upload_files(
        self,
        files: Iterable[str | os.PathLike[str]],
        relative_root: str | os.PathLike[str] | None = None,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Upload single files to ``target_path``, under their paths relative to ``relative_root`` (default: the folder of them all).

        Raises:
            UserErrorException: one is no file or lies outside ``relative_root``, or the datastore has no credentials.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.store_files import files_to_upload

        self.send(files_to_upload(files, relative_root), target_path, overwrite, show_progress)
        return self.path(target_path)

    def send(self, files: Iterable[StoreFile], target_path: str | None, overwrite: bool, show_progress: bool) -> Moved:
        """Upload files under their names to ``target_path``; returns what was done.

        Raises:
            UserErrorException: the datastore has no credentials.
            StoreError: the store is unreachable or refuses.
        """
        from batchmill.workspace.store_files import upload
        from batchmill.workspace.transfer_line import TransferLine

        self.require_writable()
        with TransferLine("Uploaded", f"to {self.name}/{relative_path(target_path)}", show=show_progress) as line:
            moved = upload(files, self._folder(target_path), overwrite=overwrite, tell=line)
        if moved.skipped and not show_progress:
            import logging

            logging.getLogger("batchmill").warning(
                "Target already exists. Skipped %d files; overwrite=True replaces what is there.", moved.skipped
            )
        return moved

    def require_writable(self) -> None:
        """Refuse to write to a store that was registered without credentials.

        Raises:
            UserErrorException: it was.
        """
        if self.read_only:
            raise UserErrorException(
                f"Datastore '{self.name}' has no access key or other credentials and can only be read. Register it again with one, "
                "overwrite=True."
            )

    def download(
        self, target_path: str | os.PathLike[str], prefix: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> int:
        """Download the files whose names begin with ``prefix`` (any text) into the folder ``target_path``, under their whole names.

        Returns the number of files downloaded; those that are there already are skipped unless ``overwrite``.

        Raises:
            InputError: the store is unreachable, unknown or refuses.
        """
        return self.fetch(target_path, prefix or "", overwrite, show_progress).files

    def fetch(self, target_path: str | os.PathLike[str], prefix: str, overwrite: bool, show_progress: bool) -> Moved:
        """As `download`; returns what was done, skipped files as well."""
        from batchmill.workspace.store_files import download
        from batchmill.workspace.transfer_line import TransferLine

        with TransferLine("Downloaded", f"from {self.name}", show=show_progress) as line:
            return download(self._folder(None), prefix, target_path, overwrite=overwrite, tell=line)

    def files(self, prefix: str = "") -> Iterator[StoreFile]:
        """The files whose names begin with ``prefix``, with their sizes."""
        from batchmill.workspace.store_files import files_in

        return files_in(self._folder(None), prefix)


def no_connection(datastore: AbstractDatastore, cure: str) -> Any:
    """Refuse a kind of store that cannot be reached."""
    raise UserErrorException(f"Datastore '{datastore.name}' ({datastore.datastore_type}) cannot be reached. {cure}")
