"""How tables are to be read: the table settings of a run, in the form that plan and workers share.

Read by worker processes: standard library only, Python 3.9.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from batchmill.errors import SettingError

FORMATS = ("csv", "tsv", "parquet", "jsonl")
ALL_SAME, FIRST_ONLY, NO_HEADERS, COMBINE = (
    "all_files_have_same_headers",
    "only_first_file_has_headers",
    "no_headers",
    "combine_all_files_headers",
)


class TableOptions:
    """The table options of one run (Azure ML: the arguments of ``from_delimited_files`` and its siblings).

    >>> TableOptions("tsv").separator
    '\\t'

    Raises:
        SettingError: the separator holds a quote or a line end.
    """

    __slots__ = (
        "column_types",
        "empty_as_string",
        "encoding",
        "format",
        "header",
        "include_path",
        "infer_column_types",
        "invalid_lines",
        "partition_format",
        "partitioned",
        "separator",
        "support_multi_line",
        "unparsable",
    )

    def __init__(
        self,
        format: str,
        *,
        separator: Optional[str] = None,
        header: str = ALL_SAME,
        encoding: str = "utf8",
        infer_column_types: bool = True,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        include_path: bool = False,
        unparsable: str = "fail",
        partition_format: Optional[str] = None,
        column_types: Optional[Mapping[str, Mapping[str, Any]]] = None,
        invalid_lines: str = "error",
        partitioned: Optional[Mapping[str, Any]] = None,
    ) -> None:
        if separator is None:
            separator = "\t" if format == "tsv" else ","
        separator = separator.replace("\\t", "\t")  # a tab is hard to type in a shell
        if not separator or any(character in separator for character in '"\r\n'):
            raise SettingError(f"Setting 'separator' has the value {separator!r}: it cannot be empty or hold a quote or a line end.")
        self.format = format
        self.separator = separator
        self.header = header
        self.encoding = encoding
        self.infer_column_types = infer_column_types
        self.support_multi_line = support_multi_line
        self.empty_as_string = empty_as_string
        self.include_path = include_path
        self.unparsable = unparsable
        self.partition_format = partition_format
        self.column_types = column_types or {}
        """The columns whose types the user chose, see `data.chosen_types`."""
        self.invalid_lines = invalid_lines
        """Of JSON lines that are no objects: ``error`` fails them by name, ``drop`` leaves them out."""
        self.partitioned = partitioned
        """What `data.partition_folder` says about folders that stand for key columns."""

    @property
    def delimited(self) -> bool:
        """True for csv and tsv."""
        return self.format in ("csv", "tsv")

    @property
    def multi_line(self) -> bool:
        """True where a row may span lines: only delimited text has quotes."""
        return self.delimited and self.support_multi_line

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TableOptions:
        return cls(**values)

    @classmethod
    def from_settings(cls, settings: Any, format: Optional[str] = None) -> TableOptions:
        """Options from anything that has the settings of a run; ``format`` stands in where the settings leave it to be inferred."""
        values = {name: getattr(settings, name) for name in cls.__slots__ if hasattr(settings, name)}
        values["format"] = format or settings.format
        return cls(**values)
