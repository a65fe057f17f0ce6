"""`Dataset`: making datasets and finding registered ones (Azure ML: ``azureml.core.Dataset``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.data.definition import FILE, Definition
from batchmill.errors import InputError
from batchmill.workspace.abstract_dataset import KIND, AbstractDataset
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.file_factory import FileDatasetFactory

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.tabular_factory import TabularDatasetFactory
    from batchmill.workspace.workspace import Workspace

LATEST = "latest"
BY_ID = "id:"
MOST_VERSIONS = 2**31 - 1
"""What a database can be asked for."""


class _Tabular:
    """Loads the tabular half when it is first asked for."""

    def __get__(self, instance: object, owner: type | None = None) -> type[TabularDatasetFactory]:
        from batchmill.workspace.tabular_factory import TabularDatasetFactory

        return TabularDatasetFactory


class Dataset:
    """The factories ``Dataset.File`` and ``Dataset.Tabular``, and the registered datasets of a workspace.

    >>> images = Dataset.File.from_files((datastore, "images"))              # doctest: +SKIP
    >>> images = images.register(ws, "images", create_new_version=True)      # doctest: +SKIP
    >>> Dataset.get_by_name(ws, "images", version=1).to_path()               # doctest: +SKIP
    """

    File = FileDatasetFactory
    Tabular = _Tabular()

    @staticmethod
    def get_by_name(workspace: Workspace, name: str, version: int | str = LATEST, **_azure: Any) -> Any:
        """A registered dataset; ``version`` is a number or "latest".

        Raises:
            UserErrorException: there is none of that name and version.
        """
        return from_asset(workspace, asset_by_name(workspace, name, version))

    @staticmethod
    def get_by_id(workspace: Workspace, id: str, **_azure: Any) -> Any:
        """The dataset with an id, registered or saved.

        Raises:
            UserErrorException: there is none.
        """
        return from_asset(workspace, _by_id(workspace, id))

    @staticmethod
    def get_all(workspace: Workspace) -> Mapping[str, Any]:
        """Name -> newest version of the dataset, live and dict-like."""
        return workspace.datasets


def from_asset(workspace: Workspace, asset: Asset) -> AbstractDataset:
    """The object of what the registry holds (what ``ws.datasets`` is made of).

    Raises:
        UserErrorException: the definition cannot be read.
    """
    definition = definition_of(asset)
    if definition.kind == FILE:
        from batchmill.workspace.file_dataset import FileDataset

        return FileDataset(definition, workspace, asset)
    from batchmill.workspace.tabular_dataset import TabularDataset

    return TabularDataset(definition, workspace, asset)


def definition_of(asset: Asset) -> Definition:
    """The definition of a registered dataset.

    Raises:
        UserErrorException: it cannot be read; says of which dataset.
    """
    try:
        return Definition.from_dict(asset.definition)
    except InputError as error:
        called = f'"{asset.name}" (version: {asset.version})' if asset.name is not None else f'with id "{asset.id}"'
        raise UserErrorException(f"Dataset {called} cannot be used. {error.line}", inner_exception=error) from error


def find_dataset(workspace: Workspace, text: str) -> tuple[Asset, Definition]:
    """What ``NAME``, ``NAME:VERSION``, ``NAME:latest`` or ``id:ID`` means: the asset and its definition.

    Raises:
        UserErrorException: there is none, or its definition cannot be read.
    """
    asset = find_asset(workspace, text)
    return asset, definition_of(asset)


def find_asset(workspace: Workspace, text: str) -> Asset:
    """As `find_dataset`, without a look at the definition.

    Raises:
        UserErrorException: there is none.
    """
    if text.startswith(BY_ID):
        return _by_id(workspace, text.removeprefix(BY_ID))
    name, colon, version = text.rpartition(":")
    if colon and (version.isdecimal() or version == LATEST):
        return asset_by_name(workspace, name, version)
    return asset_by_name(workspace, text, LATEST)


def asset_by_name(workspace: Workspace, name: str, version: int | str | None) -> Asset:
    """The registered dataset of that name; ``version`` is a number, None or "latest".

    Raises:
        UserErrorException: there is none.
    """
    number = _version(version)
    asset = workspace.registry.get(KIND, str(name), number) if number is None or number <= MOST_VERSIONS else None
    if asset is None:
        which = "" if number is None else f" (version: {number})"
        raise UserErrorException(
            f'Cannot find dataset registered with name "{name}"{which} in the workspace.{_hint(workspace, name, number)}'
        )
    return asset


def _by_id(workspace: Workspace, id: str) -> Asset:
    asset = workspace.registry.by_id(KIND, str(id))
    if asset is None:
        raise UserErrorException(f'Cannot find dataset with id "{id}" in the workspace.')
    return asset


def _version(version: Any) -> int | None:
    """None is the newest."""
    if version is None or version == LATEST:
        return None
    if isinstance(version, bool) or not (isinstance(version, int) or (isinstance(version, str) and version.isdecimal())):
        raise UserErrorException(f'Invalid value {version} for version. Version value must be number or "latest".')
    return int(version)


def _hint(workspace: Workspace, name: str, version: int | None) -> str:
    newest = workspace.registry.get(KIND, str(name)) if version is not None else None
    if newest is not None:
        return f" Its newest version is {newest.version}."
    import difflib

    near = difflib.get_close_matches(str(name), workspace.registry.names(KIND), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
