"""The user's entry script: import it, find ``init``, ``run`` and ``shutdown``, and the context ``run`` may ask for."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from typing import Any, Callable, Optional


class MissingRunFunction(AttributeError):
    """The entry script defines no function ``run``."""


class MiniBatchContext:
    """The second argument of ``run(mini_batch, mini_batch_context)``.

    Attributes:
        minibatch_index: the number of the mini-batch as text.
        partition_key_value: key -> value of a partitioned run, else an empty dict.
        dataset: what this mini-batch was cut from; its ``paths`` are the files.
    """

    __slots__ = ("dataset", "minibatch_index", "partition_key_value")

    def __init__(self, minibatch_index: str, partition_key_value: dict[str, Any], dataset: MiniBatchDataset) -> None:
        self.minibatch_index = minibatch_index
        self.partition_key_value = partition_key_value
        self.dataset = dataset

    def __repr__(self) -> str:
        keys = f"partition_key_value={self.partition_key_value!r}"
        return f"MiniBatchContext(minibatch_index={self.minibatch_index!r}, {keys}, dataset={self.dataset!r})"


class MiniBatchDataset:
    """The part of the input that one mini-batch holds."""

    __slots__ = ("paths", "value")

    def __init__(self, paths: list[str], value: Any) -> None:
        self.paths = paths
        self.value = value

    def to_path(self) -> list[str]:
        """The files of this mini-batch."""
        return list(self.paths)

    def to_pandas_dataframe(self) -> Any:
        """The rows of this mini-batch (tables)."""
        return self.value

    def __repr__(self) -> str:
        return f"MiniBatchDataset({len(self.paths)} paths: {', '.join(self.paths[:3])}{', ...' if len(self.paths) > 3 else ''})"


class UserScript:
    """The imported entry script."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.module = _import(path)
        run = getattr(self.module, "run", None)
        if not callable(run):
            raise MissingRunFunction(
                f"Entry script '{os.path.basename(path)}' has no function run(). Define run(mini_batch) at its top level."
            )
        self.run: Callable[..., Any] = run
        self.wants_context = _takes_second_argument(run)

    def init(self) -> None:
        self._call("init")

    def shutdown(self) -> None:
        self._call("shutdown")

    def _call(self, name: str) -> None:
        function: Optional[Callable[[], None]] = getattr(self.module, name, None)
        if callable(function):
            function()


def _import(path: str) -> Any:
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or name in getattr(sys, "stdlib_module_names", ()):
        name = "entry_script_" + name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Entry script '{path}' is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _takes_second_argument(run: Callable[..., Any]) -> bool:
    if type(run) is types.FunctionType and not run.__dict__:
        return run.__code__.co_argcount >= 2
    import inspect  # only for what is no plain function: it takes longer to load than the rest of a worker's start

    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2
