"""The mini-batches of a test: from a list of paths, a data frame, or inputs planned as a run would plan them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batchmill.errors import InputError
from batchmill.parallel_run.plan import make_plan
from batchmill.settings import RunSettings, parse_size
from batchmill.worker.foreground import Source, source_of
from batchmill.worker.plan_file import PlanFile
from batchmill.worker.source import Slice

if TYPE_CHECKING:
    import pandas as pd

Items = Sequence["str | os.PathLike[str]"]


class Batch(Protocol):
    """One mini-batch; every read gives a fresh value, so that a script may change what it gets."""

    def read(self, first: int = 0, count: int | None = None) -> Slice: ...


class FileBatch:
    """Paths."""

    def __init__(self, paths: list[str], keys: dict[str, Any]) -> None:
        self._paths, self._keys = paths, keys

    def read(self, first: int = 0, count: int | None = None) -> Slice:
        """Some of the paths."""
        paths = self._paths[first : None if count is None else first + count]
        return Slice(list(paths), len(paths), first, [], paths, lambda position: self._paths[position], self._keys)


class FrameBatch:
    """Rows of a data frame."""

    def __init__(self, frame: pd.DataFrame, keys: dict[str, Any]) -> None:
        self._frame, self._keys = frame, keys

    def read(self, first: int = 0, count: int | None = None) -> Slice:
        """Some of the rows, numbered from 0."""
        frame = self._frame.iloc[first : None if count is None else first + count].reset_index(drop=True)
        return Slice(frame.copy(), len(frame), first, [], [], lambda position: f"row {position}", self._keys)


class PlannedBatch:
    """A mini-batch of a plan."""

    def __init__(self, source: Source, number: int) -> None:
        self._source, self._number = source, number

    def read(self, first: int = 0, count: int | None = None) -> Slice:
        """Some of its items."""
        part = self._source.read(self._number, first, count)
        if hasattr(part.value, "copy"):
            part.value = part.value.copy()
        return part


def batches_of(items: Items | pd.DataFrame | None, settings: RunSettings, keys: Mapping[str, Any] | None, folder: Path) -> list[Batch]:
    """The mini-batches of ``items``, or of the settings' inputs; plans go to ``folder``.

    Raises:
        InputError: there is nothing to run, or a path does not exist.
    """
    if (items is None) == (not settings.inputs):
        raise InputError("A test needs either items or inputs.", cure="Give a list of paths, a data frame, or inputs='folder/'.")
    if items is None:
        return _planned(settings, folder)
    size = parse_size(settings.mini_batch_size)
    step = max(1, len(items)) if size is None else size[1]
    starts = range(0, len(items), step)
    if not len(items):
        raise InputError("The test has no items.", cure="Give at least one path or row.")
    if isinstance(items, (str, os.PathLike)):
        raise InputError(f"'{items}' is one path, not a list of paths.", cure=f"Say [{str(items)!r}], or inputs={str(items)!r}.")
    if hasattr(items, "iloc"):
        return [FrameBatch(items.iloc[start : start + step], dict(keys or {})) for start in starts]
    paths = [_existing(path) for path in items]
    return [FileBatch(paths[start : start + step], dict(keys or {})) for start in starts]


def _existing(path: str | os.PathLike[str]) -> str:
    absolute = os.path.abspath(path)
    if not os.path.exists(absolute):
        raise InputError(f"The item '{os.fspath(path)}' does not exist.", cure=f"It was looked for at {absolute}.")
    return absolute


def _planned(settings: RunSettings, folder: Path) -> list[Batch]:
    make_plan(settings, folder / "plan")
    plan = PlanFile(folder / "plan")
    if any(one["location"] != "local" for one in plan.header["inputs"]):
        raise InputError("A test takes local inputs only.", cure="Copy a few objects to a folder beside the test.")
    source = source_of(plan, unchecked=False)
    return [PlannedBatch(source, number) for number in range(plan.mini_batches)]
