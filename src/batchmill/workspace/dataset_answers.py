"""Answers about datasets, for scripts whose environment cannot open a workspace: rows as a file, files as paths, copies or a mount.

What is told holds names, versions and local paths; never a definition, a URL or a key.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    import pandas as pd

    from batchmill.workspace.asset import Asset
    from batchmill.workspace.mount import MountContext
    from batchmill.workspace.workspace import Workspace

OPERATIONS = ("take", "skip", "take_sample", "keep_columns", "drop_columns")
"""What a script may ask for before rows or files."""

SECRET_KEY = "BATCHMILL_SECRET_KEY"


class DatasetAnswers:
    """Datasets of one workspace, for the scripts of one run; ends their mounts when it is closed.

    ``workspace`` is called when it is first needed; ``folder`` takes the files that rows are written to, and is made then.
    """

    def __init__(self, workspace: Callable[[], Workspace], folder: Path) -> None:
        self._workspace = workspace
        self._folder = folder
        self._lock = threading.Lock()
        self._writing: dict[str, threading.Lock] = {}
        self._mounts: dict[str, MountContext] = {}

    def told(self, asset: Asset) -> dict[str, Any]:
        """What a script is told of a dataset. ``alone``: whether a script with Batchmill in its environment can read it by itself."""
        from batchmill.workspace.dataset import from_asset

        workspace = self._workspace()
        dataset = from_asset(workspace, asset)
        return {
            "id": asset.id,
            "name": asset.name,
            "version": None if asset.name is None else asset.version,
            "type": dataset.kind,
            "description": asset.description,
            "tags": dict(asset.tags),
            "partition_keys": dataset.partition_keys,
            "workspace": workspace.name,
            "alone": SECRET_KEY not in os.environ,
        }

    def by_id(self, id: str) -> Asset:
        """A dataset, registered or saved.

        Raises:
            UserErrorException: there is none.
        """
        from batchmill.workspace.dataset import find_asset

        return find_asset(self._workspace(), f"id:{id}")

    def table(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The rows of a tabular dataset in a file: ``format`` is "parquet", or "json" for a script without pyarrow.

        Raises:
            UserErrorException: it is no tabular dataset, or the operations cannot be applied.
            InputError: the data cannot be read.
        """
        dataset = self._dataset(question, "tabular")
        form = question["format"]
        if form not in ("parquet", "json"):
            raise UserErrorException(f"Rows are written as parquet or json, not as {form!r}.")
        asked = json.dumps([question["dataset"], question.get("operations")], sort_keys=True)
        path = self._folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.{form}"
        with self._lock:
            writing = self._writing.setdefault(path.name, threading.Lock())
        with writing:
            if not path.exists():
                _write(dataset.to_pandas_dataframe(), path, form)
        return {"path": str(path)}

    def files(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """``action``: "paths" (`FileDataset.to_path`), "download" into the folder ``target``, "mount" at ``target`` or anywhere, "unmount".

        Raises:
            UserErrorException: it is no file dataset, or the target cannot be used.
            BatchmillError: the files cannot be listed or read.
        """
        action = question["action"]
        if action == "unmount":
            return self._unmount(question["mount"])
        dataset = self._dataset(question, "file")
        if action == "paths":
            return {"paths": dataset.to_path()}
        if action == "download":
            overwrite, missing = bool(question.get("overwrite")), bool(question.get("ignore_not_found"))
            return {"paths": dataset.download(question.get("target"), overwrite=overwrite, ignore_not_found=missing)}
        if action == "mount":
            return self._mount(dataset.mount(question.get("target")))
        raise UserErrorException(f"Nothing is known of the action {action!r} with files.")

    def _mount(self, mount: MountContext) -> dict[str, Any]:
        mount.start()
        token = uuid.uuid4().hex
        with self._lock:
            self._mounts[token] = mount
        return {"mount": token, "path": mount.mount_point}

    def _unmount(self, token: str) -> dict[str, Any]:
        with self._lock:
            mount = self._mounts.pop(token, None)
        if mount is not None:
            mount.stop()
        return {}

    def _dataset(self, question: Mapping[str, Any], kind: str) -> Any:
        from batchmill.workspace.dataset import from_asset

        dataset: Any = from_asset(self._workspace(), self.by_id(question["dataset"]))
        if dataset.kind != kind:
            raise UserErrorException(
                f"Dataset {dataset.name or dataset.id} is a {dataset.kind} dataset, and the script wants a {kind} dataset."
            )
        for name, arguments in question.get("operations") or ():
            if name not in OPERATIONS or not hasattr(dataset, name):
                raise UserErrorException(f"A script in this environment cannot do {name!r} with a {kind} dataset.")
            dataset = getattr(dataset, name)(**arguments)
        return dataset

    def close(self) -> None:
        """End all mounts, and remove the files that rows were written to."""
        with self._lock:
            mounts, self._mounts = self._mounts, {}
        with ExitStack() as stack:
            for mount in mounts.values():
                stack.callback(mount.stop)
        for name in self._writing:
            (self._folder / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write(frame: pd.DataFrame, path: Path, form: str) -> None:
    """Write rows for a script; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        if form == "parquet":
            frame.to_parquet(part)
        else:
            part.write_text(json.dumps(_columns(frame)), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Rows as JSON: for each column its name, its type and its values; moments count from 1970 in the unit of the type."""
    columns = [{"name": str(name), "type": str(frame.dtypes.iloc[n]), "values": _values(frame.iloc[:, n])} for n, name in enumerate(frame)]
    index = None if frame.index.equals(_range(frame)) else {"type": str(frame.index.dtype), "values": _values(frame.index.to_series())}
    return {"rows": len(frame), "columns": columns, "index": index}


def _range(frame: pd.DataFrame) -> pd.Index[Any]:
    import pandas as pd

    return pd.RangeIndex(len(frame))


def _values(column: pd.Series[Any]) -> list[Any]:
    import pandas as pd

    missing = column.isna()
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        plain = column.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(column.dtype, "tz", None) is not None else column
        values: list[Any] = plain.astype("int64").tolist()
    else:
        values = column.tolist()
    told = (None if gone else value for value, gone in zip(values, missing, strict=True))
    return [value if value is None or isinstance(value, (bool, int, float, str)) else str(value) for value in told]
