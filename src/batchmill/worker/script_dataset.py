"""Datasets in a script whose environment cannot open a workspace: the run reads them, and the script gets files.

Where the environment holds Batchmill, the full classes are used instead (`dataset_of`).
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Optional, TypeVar, Union

from batchmill.worker.deferred import real
from batchmill.worker.sdk_errors import asked, sdk_error

Given = TypeVar("Given", bound="ScriptDataset")


def dataset_of(told: dict[str, Any]) -> Any:
    """The dataset that the run has told of (`batchmill.workspace.dataset_answers.DatasetAnswers.told`)."""
    if told["alone"]:
        try:
            workspace = real("batchmill.workspace.current", "find_workspace")(told["workspace"])
            return real("batchmill.workspace.dataset", "Dataset").get_by_id(workspace, told["id"])
        except ImportError:
            pass  # the usual case in an environment of its own: the run reads for the script
    return ScriptFileDataset(told) if told["type"] == "file" else ScriptTabularDataset(told)


class ScriptDataset:
    """What file and tabular datasets have in common here: facts of the registered dataset, and operations that give new ones."""

    def __init__(self, told: dict[str, Any], operations: tuple[tuple[str, dict[str, Any]], ...] = ()) -> None:
        self._told = told
        self._operations = operations

    @property
    def id(self) -> Optional[str]:
        """The id in the workspace; None where an operation made another dataset of it."""
        return None if self._operations else str(self._told["id"])

    @property
    def name(self) -> Optional[str]:
        return None if self._operations else self._told["name"]

    @property
    def version(self) -> Optional[int]:
        return None if self._operations else self._told["version"]

    @property
    def description(self) -> Optional[str]:
        return None if self._operations else self._told["description"]

    @property
    def tags(self) -> dict[str, str]:
        return {} if self._operations else dict(self._told["tags"])

    @property
    def partition_keys(self) -> list[str]:
        return list(self._told["partition_keys"])

    def take(self: Given, count: int) -> Given:
        """The first ``count`` files or rows."""
        return self._with("take", count=count)

    def skip(self: Given, count: int) -> Given:
        """All but the first ``count`` files or rows."""
        return self._with("skip", count=count)

    def take_sample(self: Given, probability: float, seed: Optional[int] = None) -> Given:
        """Each file or row with that probability; the same ones for the same seed. Without a seed one is drawn now."""
        drawn = int.from_bytes(os.urandom(3), "little") if seed is None else seed
        return self._with("take_sample", probability=probability, seed=drawn)

    def _with(self: Given, operation: str, **arguments: Any) -> Given:
        return type(self)(self._told, (*self._operations, (operation, arguments)))

    def _ask(self, kind: str, **facts: Any) -> dict[str, Any]:
        return asked(kind, dataset=self._told["id"], operations=[list(one) for one in self._operations], **facts)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(
            f"{name} of a dataset cannot be used in this environment, which has no Batchmill: put azureml-core among its pip packages. "
            "What works everywhere: to_pandas_dataframe, to_path, download, mount, take, skip, take_sample, keep_columns, drop_columns."
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__[len('Script') :]}(name={self.name!r}, version={self.version!r}, id={self.id!r})"


class ScriptFileDataset(ScriptDataset):
    """Files (Azure ML: ``FileDataset``)."""

    def to_path(self) -> list[str]:
        """The path of each file below the place where the dataset is mounted or downloaded, beginning with ``/``."""
        return list(self._ask("files", action="paths")["paths"])

    def download(self, target_path: Any = None, overwrite: bool = False, ignore_not_found: bool = False) -> list[str]:
        """Copy the files into a folder (default: a new temporary one); returns their paths there.

        Raises:
            UserErrorException: a file is there already and ``overwrite`` is off.
        """
        target = None if target_path is None else os.path.abspath(os.fspath(target_path))
        told = self._ask("files", action="download", target=target, overwrite=overwrite, ignore_not_found=ignore_not_found)
        return list(told["paths"])

    def mount(self, mount_point: Any = None) -> ScriptMount:
        """The files as a read-only folder: ``with dataset.mount() as mounted: os.listdir(mounted.mount_point)``."""
        return ScriptMount(self, None if mount_point is None else os.path.abspath(os.fspath(mount_point)))

    def _mount(self, place: Optional[str]) -> dict[str, Any]:
        return self._ask("files", action="mount", target=place)


class ScriptMount:
    """A mount, begun by ``start()`` or ``with``, ended by ``stop()``, the end of the block or of the step."""

    def __init__(self, dataset: ScriptFileDataset, place: Optional[str]) -> None:
        self._dataset = dataset
        self._place = place
        self._told: Optional[dict[str, Any]] = None

    @property
    def mount_point(self) -> str:
        """The folder, or for a dataset of one file the file.

        Raises:
            UserErrorException: the mount has not begun, and its place was not given.
        """
        point = self._place if self._told is None else self._told["path"]
        if point is None:
            raise sdk_error("UserErrorException", "The dataset is not mounted yet: use start(), or `with dataset.mount() as mounted:`.")
        return str(point)

    def start(self) -> None:
        """Begin; a second time changes nothing."""
        if self._told is None:
            self._told = self._dataset._mount(self._place)

    def stop(self) -> None:
        """End; the files stay where they are."""
        told, self._told = self._told, None
        if told is not None:
            asked("files", action="unmount", mount=told["mount"])

    def __enter__(self) -> ScriptMount:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ScriptTabularDataset(ScriptDataset):
    """Rows (Azure ML: ``TabularDataset``)."""

    def keep_columns(self, columns: Union[str, list[str]], validate: bool = False) -> ScriptTabularDataset:
        """Only these columns, in the order of the table."""
        return self._with("keep_columns", columns=columns, validate=validate)

    def drop_columns(self, columns: Union[str, list[str]]) -> ScriptTabularDataset:
        """All columns but these."""
        return self._with("drop_columns", columns=columns)

    def to_pandas_dataframe(self, on_error: str = "null", out_of_range_datetime: str = "null") -> Any:
        """All rows, as the run reads them.

        Raises:
            ImportError: this environment has no pandas.
        """
        if find_spec("pandas") is None:
            raise ImportError(
                "to_pandas_dataframe needs pandas, which this environment lacks: put it among the packages of the step's environment.",
                name="pandas",
            )
        import pandas as pd

        if find_spec("pyarrow") is not None:
            return pd.read_parquet(self._ask("table", format="parquet")["path"])
        return _frame(self._ask("table", format="json")["path"])


def _frame(path: str) -> Any:
    """Rows from a file of `batchmill.workspace.dataset_answers`."""
    import json

    import pandas as pd

    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    index = pd.RangeIndex(told["rows"]) if told["index"] is None else pd.Index(_series(told["index"], None))
    columns = [_series(column, index) for column in told["columns"]]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
    frame.columns = pd.Index([column["name"] for column in told["columns"]])
    return frame


def _series(column: dict[str, Any], index: Any) -> Any:
    import pandas as pd

    kind, values, major = column["type"], column["values"], int(pd.__version__.split(".")[0])
    if not kind.startswith("datetime64["):
        return pd.Series(values, index=index, dtype="object" if kind == "str" and major < 3 else kind)
    unit, _, zone = kind[len("datetime64[") : -1].partition(", ")
    moments: Any = pd.Series(pd.to_datetime(values, unit=unit), index=index)
    if major > 1:  # before, all moments were nanoseconds
        moments = moments.astype(f"datetime64[{unit}]")
    return moments if not zone else moments.dt.tz_localize("UTC").dt.tz_convert(zone)
