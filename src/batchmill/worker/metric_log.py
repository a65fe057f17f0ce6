"""What a script logs as numbers and tables, and how it is read again (Azure ML: ``run.log*``, ``run.get_metrics``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

from batchmill.worker.sdk_errors import sdk_error

VALUE, LIST, ROW, TABLE, IMAGE = "value", "list", "row", "table", "image"
MOST_IN_LIST = 250
"""Values of one `log_list` (Azure ML)."""


class MetricLog:
    """What can be logged; `_keep` says where it goes."""

    def _keep(self, name: str, kind: str, value: Any) -> None:
        raise NotImplementedError

    def log(self, name: str, value: Any, description: str = "", step: Optional[int] = None) -> None:
        """Log one value; values logged again under a name become a list."""
        self._keep(_named(name), VALUE, plain(value))

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        """Log a list of values.

        Raises:
            UserErrorException: it holds more than `MOST_IN_LIST` values.
        """
        values = [plain(one) for one in value]
        if len(values) > MOST_IN_LIST:
            raise _wrong(f"List {name} has {len(values)} values, and may have {MOST_IN_LIST} at most. Upload it as a file.")
        self._keep(_named(name), LIST, values)

    def log_row(self, name: str, description: Optional[str] = None, **values: Any) -> None:
        """Log one row of a table: a value for each column."""
        self._keep(_named(name), ROW, {column: plain(value) for column, value in values.items()})

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Log a table: column -> its values."""
        if not isinstance(value, Mapping):
            raise _wrong(f"Table {name} is a dict of columns, not {type(value).__name__}.")
        self._keep(_named(name), TABLE, {str(column): _cells(cells) for column, cells in value.items()})

    def log_accuracy_table(self, name: str, value: Any, description: str = "") -> None:
        """Log an accuracy table: a dict, or its JSON."""
        self._keep(_named(name), "accuracy_table", _json(name, value))

    def log_confusion_matrix(self, name: str, value: Any, description: str = "") -> None:
        """Log a confusion matrix: a dict, or its JSON."""
        self._keep(_named(name), "confusion_matrix", _json(name, value))

    def log_predictions(self, name: str, value: Any, description: str = "") -> None:
        """Log a histogram of predictions: a dict, or its JSON."""
        self._keep(_named(name), "predictions", _json(name, value))

    def log_residuals(self, name: str, value: Any, description: str = "") -> None:
        """Log a histogram of residuals: a dict, or its JSON."""
        self._keep(_named(name), "residuals", _json(name, value))


def metrics_of(logged: Iterable[Any], name: Optional[str] = None) -> dict[str, Any]:
    """What a run has logged (objects or triples of name, kind and value) as Azure ML gives it: a value logged once alone, several of one
    name as a list; rows column by column.

    >>> metrics_of([("loss", "value", 0.5), ("loss", "value", 0.25), ("r", "row", {"x": 1})])
    {'loss': [0.5, 0.25], 'r': {'x': 1}}
    """
    found: dict[str, Any] = {}
    columns: dict[str, dict[str, list[Any]]] = {}
    values: dict[str, list[Any]] = {}
    for metric in logged:
        called, kind, value = metric if isinstance(metric, (tuple, list)) else (metric.name, metric.kind, metric.value)
        if name not in (None, called):
            continue
        if kind == ROW:
            table = columns.setdefault(called, {})
            for column, cell in value.items():
                table.setdefault(column, []).append(cell)
            found[called] = {column: _one_or_all(cells) for column, cells in table.items()}
        elif kind == LIST:
            values.setdefault(called, []).extend(value)
            found[called] = list(values[called])
        elif kind in (TABLE, IMAGE):
            found[called] = value
        else:
            values.setdefault(called, []).append(value)
            found[called] = _one_or_all(values[called])
    return found


def plain(value: Any) -> Any:
    """A number of numpy as one of Python; what JSON does not know as its text.

    >>> plain(True), plain(3), plain({1, }), plain("x")
    (True, 3, '{1}', 'x')
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    listed = getattr(value, "tolist", None)
    if callable(listed):
        return plain(listed())
    for kind in (bool, int, float, str):  # classes made of these, whose text may be another
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _cells(cells: Any) -> Any:
    made = plain(cells)
    return made if isinstance(made, list) else [made]


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise _wrong(f"The name of a metric is a text that is not empty, not {name!r}.")
    return name


def _json(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return plain(value)
    try:
        return json.loads(value)
    except ValueError as error:
        raise _wrong(f"What is logged as {name} is no JSON: {error}") from None


def _wrong(message: str) -> Exception:
    return sdk_error("UserErrorException", message)
