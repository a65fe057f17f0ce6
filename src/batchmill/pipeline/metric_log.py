"""What a run logs as numbers and tables, and how it is read again (Azure ML: ``run.log*``, ``run.get_metrics``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchmill.workspace.exceptions import UserErrorException

if TYPE_CHECKING:
    from batchmill.workspace.registered_run import Metric

VALUE, LIST, ROW, TABLE, IMAGE = "value", "list", "row", "table", "image"
MOST_IN_LIST = 250
"""Values of one `log_list` (Azure ML)."""


class MetricLog:
    """What can be logged; `_keep` says where it goes."""

    def _keep(self, name: str, kind: str, value: Any) -> None:
        raise NotImplementedError

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log one value; values logged again under a name become a list."""
        self._keep(_named(name), VALUE, plain(value))

    def log_list(self, name: str, value: Sequence[Any], description: str = "") -> None:
        """Log a list of values.

        Raises:
            UserErrorException: it holds more than `MOST_IN_LIST` values.
        """
        values = [plain(one) for one in value]
        if len(values) > MOST_IN_LIST:
            raise UserErrorException(f"List {name} has {len(values)} values, and may have {MOST_IN_LIST} at most. Upload it as a file.")
        self._keep(_named(name), LIST, values)

    def log_row(self, name: str, description: str | None = None, **values: Any) -> None:
        """Log one row of a table: a value for each column."""
        self._keep(_named(name), ROW, {column: plain(value) for column, value in values.items()})

    def log_table(self, name: str, value: Mapping[str, Any], description: str = "") -> None:
        """Log a table: column -> its values."""
        if not isinstance(value, Mapping):
            raise UserErrorException(f"Table {name} is a dict of columns, not {type(value).__name__}.")
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


def metrics_of(logged: Iterable[Metric], name: str | None = None) -> dict[str, Any]:
    """What a run has logged as Azure ML gives it: a value logged once alone, several of one name as a list; rows column by column.

    >>> from datetime import datetime
    >>> from batchmill.workspace.registered_run import Metric
    >>> logged = [Metric("loss", "value", 0.5, datetime.min), Metric("loss", "value", 0.25, datetime.min)]
    >>> metrics_of(logged)
    {'loss': [0.5, 0.25]}
    """
    found: dict[str, Any] = {}
    columns: dict[str, dict[str, list[Any]]] = {}
    values: dict[str, list[Any]] = {}
    for metric in logged:
        if name not in (None, metric.name):
            continue
        if metric.kind == ROW:
            table = columns.setdefault(metric.name, {})
            for column, cell in metric.value.items():
                table.setdefault(column, []).append(cell)
            found[metric.name] = {column: _one_or_all(cells) for column, cells in table.items()}
        elif metric.kind == LIST:
            values.setdefault(metric.name, []).extend(metric.value)
            found[metric.name] = list(values[metric.name])
        elif metric.kind in (TABLE, IMAGE):
            found[metric.name] = metric.value
        else:
            values.setdefault(metric.name, []).append(metric.value)
            found[metric.name] = _one_or_all(values[metric.name])
    return found


def plain(value: Any) -> Any:
    """A number of numpy as one of Python; what JSON does not know as its text.

    >>> plain(True), plain(3), plain({1, }), plain("x")
    (True, 3, '{1}', 'x')
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    listed = getattr(value, "tolist", None)
    return plain(listed()) if callable(listed) else str(value)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _cells(cells: Any) -> Any:
    made = plain(cells)
    return made if isinstance(made, list) else [made]


def _named(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise UserErrorException(f"The name of a metric is a text that is not empty, not {name!r}.")
    return name


def _json(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return plain(value)
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserErrorException(f"What is logged as {name} is no JSON: {error}") from None
