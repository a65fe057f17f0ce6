"""What file and tabular datasets have in common: a lazy definition, operations that give new datasets, and registration."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from batchmill.data.definition import Definition
from batchmill.data.expression import Expression
from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from datetime import datetime

    from batchmill.workspace.asset import Asset
    from batchmill.workspace.consumption import DatasetConsumptionConfig
    from batchmill.workspace.workspace import Workspace

KIND = "dataset"
AMBIGUOUS = re.compile(r"^id:|:(?:\d+|latest)$")
"""What `find_dataset` would take for an id, or for a version of another name."""
OTHER_DEFINITION = (
    'There is already a dataset registered under name "{}". Specify `create_new_version=True` to register the dataset as a new version. '
    "To use the registered one instead, get it with `Dataset.get_by_name`."
)


class DatasetExistsError(UserErrorException):
    """The name of a dataset is taken by another definition."""


class AbstractDataset:
    """A dataset (Azure ML: ``azureml.data.abstract_dataset.AbstractDataset``); made by the factories of `Dataset`.

    Nothing is read before something is asked for. ``workspace`` is the one whose datastores the definition names, None where it names
    none; ``asset`` what the registry holds, None where the dataset was not registered.
    """

    kind: ClassVar[str]

    def __init__(self, definition: Definition, workspace: Workspace | None = None, asset: Asset | None = None) -> None:
        self._definition = definition
        self._workspace = workspace
        self._asset = asset
        self._saved_id: str | None = None

    # --- what it is ---------------------------------------------------------------------------------------------------------------

    @property
    def definition(self) -> Definition:
        """Sources as they were named, and the operations."""
        return self._definition

    @property
    def workspace(self) -> Workspace | None:
        return self._workspace

    def physical_definition(self) -> Definition:
        """The definition over places that can be read: mirrors applied, datastores connected.

        Raises:
            UserErrorException: a datastore is not there.
        """
        from batchmill.workspace.current import find_workspace
        from batchmill.workspace.sources import physical_definition

        workspace = self._workspace
        if workspace is None and any("://" in source for source in self._definition.sources):
            workspace = find_workspace()  # its mirrors and containers count for URLs, too
        return physical_definition(self._definition, workspace)

    @property
    def id(self) -> str | None:
        """The id under which the dataset is kept in its workspace; None until it is registered or saved (`save`)."""
        return self._asset.id if self._asset is not None else self._saved_id

    @property
    def name(self) -> str | None:
        """The registered name; None where it is not registered."""
        return None if self._asset is None else self._asset.name

    @property
    def version(self) -> int | None:
        """The registered version, counted from 1; None where it is not registered."""
        return None if self._asset is None or self._asset.name is None else self._asset.version

    @property
    def description(self) -> str | None:
        return None if self._asset is None else self._asset.description

    @property
    def tags(self) -> dict[str, str]:
        return {} if self._asset is None else dict(self._asset.tags)

    @property
    def partition_keys(self) -> list[str]:
        """The columns that partitions are made of, in the order of the partition format, the date last; ``[]`` without partitions."""
        return self._definition.partition_keys

    @property
    def data_changed_time(self) -> datetime | None:
        """When the newest of the files was last changed (UTC); None where that cannot be known, as of a query. Lists all files."""
        from batchmill.data.definition_inputs import open_definition
        from batchmill.data.file_operations import EPOCH, file_metadata

        if self._definition.format == "sql":
            return None
        latest = max((max(chunk.mtimes) for one in open_definition(self.physical_definition()) for chunk in one.chunks()), default=0)
        return None if latest == 0 else file_metadata("", 0, latest).get("LastModifiedTime", EPOCH)

    # --- operations ---------------------------------------------------------------------------------------------------------------

    def __getitem__(self, column: str) -> Expression:
        """A column in a filter expression: ``dataset.filter(dataset['user'] == 'ann')``.

        Raises:
            UserErrorException: the name is no text.
        """
        if not isinstance(column, str):
            raise UserErrorException(f"A column is named by a text, not by {column!r}.")
        return Expression.column(column)

    def __iter__(self) -> Any:
        raise TypeError(f"A {type(self).__name__} is not iterable: use to_path() or to_pandas_dataframe().")

    def take(self, count: int) -> Self:
        """The first ``count`` files or rows."""
        return self._with(op="take", count=_count(count))

    def skip(self, count: int) -> Self:
        """All but the first ``count`` files or rows."""
        return self._with(op="skip", count=_count(count))

    def take_sample(self, probability: float, seed: int | None = None) -> Self:
        """Each file or row with that probability; the same ones for the same seed and data. Without a seed one is drawn now."""
        return self._with(op="sample", probability=_fraction("probability", probability), seed=_seed(seed))

    def random_split(self, percentage: float, seed: int | None = None) -> tuple[Self, Self]:
        """Two datasets without a file or row in common, which together are this one; the first holds about ``percentage`` (0 to 1)."""
        first, second = split_operations(percentage, seed)
        return self._with(**first), self._with(**second)

    def filter(self, expression: Expression) -> Self:
        """The files or rows for which ``expression`` is true.

        Raises:
            UserErrorException: it is no expression.
        """
        if not isinstance(expression, Expression):
            raise UserErrorException(f"A filter is an expression like dataset['column'] > 3, not {expression!r}.")
        self._check_expression(expression)
        return self._with(op="filter", expression=expression.tree)

    def _check_expression(self, expression: Expression) -> None:
        """Refuse what this kind of dataset cannot filter by."""

    def _with(self, **operation: Any) -> Self:
        return self._derived(self._definition.with_operation(**operation))

    def _derived(self, definition: Definition) -> Self:
        """A dataset of the same workspace that is not registered."""
        return type(self)(definition, self._workspace)

    # --- registration ---------------------------------------------------------------------------------------------------------------

    def register(
        self,
        workspace: Workspace,
        name: str,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        create_new_version: bool = False,
    ) -> Self:
        """Register the dataset; returns the registered one, and keeps this one as it is, but saved.

        The first version of a name is 1. What is registered already with the same definition is returned unchanged.

        Raises:
            UserErrorException: the name holds another definition and ``create_new_version`` is off; or the dataset lies in datastores
                of another workspace.
        """
        from batchmill.errors import AssetExistsError

        if not isinstance(name, str) or not name.strip() or "/" in name or AMBIGUOUS.search(name):
            raise UserErrorException(
                f"A dataset cannot be registered as {name!r}: the name is a text without '/', not empty, not like NAME:VERSION or id:ID."
            )
        self.save(workspace)
        try:
            asset = workspace.registry.add(
                KIND,
                name,
                self._definition.to_dict(),
                description=description,
                tags=tags,
                same="existing",
                different="new_version" if create_new_version else "refuse",
            )
        except AssetExistsError:
            raise DatasetExistsError(OTHER_DEFINITION.format(name)) from None
        return type(self)(self._definition, workspace, asset)

    def save(self, workspace: Workspace) -> str:
        """Keep the definition in the workspace without a name; returns its id, which stays the same for the same definition.

        Raises:
            UserErrorException: the dataset lies in datastores of another workspace.
        """
        of_here = self._workspace is not None and self._workspace.id == workspace.id
        if self._workspace is not None and not of_here and self._reads_datastores():
            raise UserErrorException(
                f"The dataset reads from datastores of workspace {self._workspace.name} and cannot be kept in workspace {workspace.name}."
            )
        if self._asset is not None and of_here:
            return self._asset.id
        saved = workspace.registry.save(KIND, self._definition.to_dict()).id  # the same one for the same definition
        self._saved_id = saved
        return saved

    def _reads_datastores(self) -> bool:
        return any(source.startswith("datastore://") for source in self._definition.sources)

    @staticmethod
    def get_by_name(workspace: Workspace, name: str, version: int | str = "latest", **_azure: Any) -> Any:
        """As `Dataset.get_by_name`."""
        from batchmill.workspace.dataset import Dataset

        return Dataset.get_by_name(workspace, name, version)

    @staticmethod
    def get_by_id(workspace: Workspace, id: str, **_azure: Any) -> Any:
        """As `Dataset.get_by_id`."""
        from batchmill.workspace.dataset import Dataset

        return Dataset.get_by_id(workspace, id)

    @staticmethod
    def get_all(workspace: Workspace) -> Mapping[str, Any]:
        """As `Dataset.get_all`."""
        return workspace.datasets

    def update(self, description: str | None = None, tags: Mapping[str, str] | None = None) -> Self:
        """Change description and tags of the registered dataset (None: keep); returns it.

        Raises:
            UserErrorException: it is not registered, or not any more.
        """
        return self._changed("update", description=description, tags=tags)

    def add_tags(self, tags: Mapping[str, str] | None = None) -> Self:
        """Add tags, or give those that are there other values; returns the dataset.

        Raises:
            UserErrorException: it is not registered, or not any more.
        """
        return self._changed("add tags to", tags=lambda there: {**there, **(tags or {})})

    def remove_tags(self, tags: Iterable[str] | None = None) -> Self:
        """Take tags away, by their names; returns the dataset.

        Raises:
            UserErrorException: it is not registered, or not any more.
        """
        gone = {tags} if isinstance(tags, str) else set(tags or ())
        return self._changed("remove tags from", tags=lambda there: {key: there[key] for key in there if key not in gone})

    def unregister_all_versions(self) -> None:
        """Take all versions of the dataset's name out of the workspace; the data stays where it is.

        Raises:
            UserErrorException: it is not registered.
        """
        asset, workspace = self._registered("unregister")
        workspace.registry.remove(KIND, str(asset.name))
        self._saved_id, self._asset = None, None

    def _changed(self, action: str, **values: Any) -> Self:
        from batchmill.errors import AssetNotFoundError

        asset, workspace = self._registered(action)
        try:
            self._asset = workspace.registry.update(asset, **values)
        except AssetNotFoundError as error:
            raise UserErrorException(error.line) from None
        return self

    def _registered(self, action: str) -> tuple[Asset, Workspace]:
        if self._asset is None or self._asset.name is None or self._workspace is None:
            raise UserErrorException(
                f"Cannot {action} a dataset that is not registered. Register it first: dataset.register(workspace, name)."
            )
        return self._asset, self._workspace

    # --- consumption ----------------------------------------------------------------------------------------------------------------

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """This dataset as an input of a run, under a name.

        Raises:
            UserErrorException: the name may not be used.
        """
        from batchmill.workspace.consumption import DatasetConsumptionConfig

        return DatasetConsumptionConfig(name, self)

    # --- showing ------------------------------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: what the registry knows, and the definition."""
        registered = None if self._asset is None else self._asset.as_dict()
        return {
            **(registered or {"id": self.id, "name": None, "version": None}),
            "type": self.kind,
            "definition": self._definition.to_dict(),
        }

    def __repr__(self) -> str:
        facts: dict[str, Any] = {"source": list(self._definition.sources)}
        if self._definition.partition_format is not None:
            facts["partition_format"] = self._definition.partition_format
        if self._definition.operations:
            facts["operations"] = shown_operations(self._definition)
        if self._asset is not None and self._workspace is not None:
            known = {"id": self.id, "name": self.name, "version": self.version, "description": self.description, "tags": self.tags}
            facts["registration"] = {key: value for key, value in known.items() if value} | {"workspace": self._workspace.name}
        return f"{type(self).__name__}\n{json.dumps(facts, indent=2, ensure_ascii=False)}"

    def _repr_html_(self) -> str:
        from html import escape

        rows = {
            "Name": self.name,
            "Version": self.version,
            "Source": "\n".join(self._definition.sources),
            "Partitions": ", ".join(self.partition_keys),
            "Operations": "\n".join(shown_operations(self._definition)),
            "Description": self.description,
            "Tags": ", ".join(f"{key}={value}" for key, value in self.tags.items()),
        }
        cells = "".join(
            f"<tr><th>{name}</th><td>{escape(str(value)).replace(chr(10), '<br>')}</td></tr>" for name, value in rows.items() if value
        )
        return f"<table><tr><th>Type</th><td>{type(self).__name__}</td></tr>{cells}</table>"


def shown_operations(definition: Definition) -> list[str]:
    """``["take(count=3)", "filter(dataset['x'] > 3)"]``"""
    shown = []
    for operation in definition.operations:
        if operation["op"] == "filter":
            shown.append(f"filter({Expression(operation['expression'])!r})")
        else:
            shown.append(f"{operation['op']}({', '.join(f'{key}={value!r}' for key, value in operation.items() if key != 'op')})")
    return shown


def split_operations(percentage: float, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operations of the two halves of `AbstractDataset.random_split`.

    Raises:
        UserErrorException: the percentage is not between 0 and 1, or the seed is no whole number.
    """
    share = _fraction("percentage", percentage)
    first = {"op": "split", "from": 0.0, "to": share, "seed": _seed(seed)}
    return first, {**first, "from": share, "to": 1.0}


def _count(count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise UserErrorException(f"The count {count!r} is not a whole number of 0 or more.")
    return count


def _fraction(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UserErrorException(f"The {name} {value!r} is not a number from 0 to 1.")
    return float(value)


def _seed(seed: Any) -> int:
    """A seed; drawn once where none is given, so that the dataset stays what it is."""
    if seed is None:
        import secrets

        return secrets.randbelow(2**31)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise UserErrorException(f"The seed {seed!r} is not a whole number.")
    return int(seed)
