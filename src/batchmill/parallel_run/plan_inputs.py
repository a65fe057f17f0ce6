"""The inputs of a run as the planner takes them: plain texts are opened as they are, datasets from their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchmill.data.definition import FILE, SQL, TABULAR, Definition
from batchmill.data.definition_inputs import open_definition, require_files
from batchmill.data.formats import FILES, FormatVote
from batchmill.data.listing import open_input
from batchmill.data.partition_format import check_partition_keys
from batchmill.data.sql_query import query_input
from batchmill.data.walk import shown
from batchmill.errors import InputError
from batchmill.parallel_run.plan_groups import key_format
from batchmill.parallel_run.plan_writer import ItemsWriter
from batchmill.settings import RunSettings
from batchmill.worker.plan_file import HERE


class RunInputs:
    """The inputs of ``settings``; a text that is a key of ``definitions`` is that dataset."""

    def __init__(self, settings: RunSettings, definitions: Mapping[str, Definition] | None = None) -> None:
        self._settings = settings
        self._definitions = definitions or {}
        self.plain_format = FILES
        """How inputs that are no datasets are read; known when they have been listed."""
        self.format = FILES

    @property
    def patterns(self) -> list[str | None]:
        """The partition format of each input: the dataset's own, else the one in the settings."""
        own = [one.partition_format if one is not None else None for one in map(self._definitions.get, self._settings.inputs)]
        return [self._settings.partition_format if pattern is None else pattern for pattern in own]

    def check_partitions(self) -> None:
        """Refuse, before anything is listed, what cannot be partitioned as asked.

        Raises:
            PartitionFormatError: a partition format is not well formed, or has not the keys (Azure ML: of a dataset, keys must be among
                its partition keys; a plain table may be grouped by any column).
        """
        settings = self._settings
        for text, pattern in zip(settings.inputs, self.patterns, strict=True):
            one = self._definitions.get(text)
            if one is not None and one.partitioned is not None:
                check_partition_keys(settings.partition_keys, one.partition_keys)
                continue
            files = (settings.format or (one.format if one is not None else None)) == FILES
            keys = settings.partition_keys if files or (one is not None and one.kind == TABULAR) else ()
            if pattern is not None or keys:
                key_format(pattern, keys)

    def list_into(self, items: ItemsWriter, folder: Path) -> None:
        """List all inputs, and find the formats in which they are to be read; answers of queries are written to the plan ``folder``.

        Raises:
            InputError: an input is missing, empty or cannot be listed, or files are mixed with tables.
        """
        settings = self._settings
        vote = FormatVote() if settings.format is None else None
        for number, text in enumerate(settings.inputs):
            definition = self._definitions.get(text)
            if definition is None:
                one = open_input(text, include_hidden=settings.include_hidden, scratch=str(folder), retry_timeout=settings.retry_timeout)
                items.add_input(one, vote.add if vote is not None else None)
            else:
                self._list_dataset(items, number, definition, folder)
        if any(text not in self._definitions for text in settings.inputs):
            self.plain_format = vote.decide() if vote is not None else settings.format or FILES
        self.format = self._format()

    def _list_dataset(self, items: ItemsWriter, number: int, definition: Definition, folder: Path) -> None:
        settings = self._settings
        text = settings.inputs[number]
        if definition.format == SQL:
            places = [query_input(definition, folder, f"query-{number}.parquet", HERE)]
        else:
            places = open_definition(
                definition, include_hidden=settings.include_hidden, scratch=str(folder), retry_timeout=settings.retry_timeout
            )
        items.add_joined(places, None, lambda count: require_files(definition, f"Input {shown(text)}", count))

    def tables(self) -> list[tuple[Definition | None, list[int]]]:
        """The tables of the run: all plain inputs are one, each dataset is one; with the numbers of their inputs."""
        plain = [number for number, text in enumerate(self._settings.inputs) if text not in self._definitions]
        found: list[tuple[Definition | None, list[int]]] = [(None, plain)] if plain else []
        found += [(self._definitions[text], [n]) for n, text in enumerate(self._settings.inputs) if text in self._definitions]
        return sorted(found, key=lambda one: one[1])

    def _format(self) -> str:
        """One word for all inputs: ``files``, or the format of the tables ("csv and parquet")."""
        found: dict[str, str] = {}
        for text in self._settings.inputs:
            definition = self._definitions.get(text)
            if definition is None:
                found.setdefault(self.plain_format, text)
            else:  # files are read as the settings say, a table as it was defined
                found.setdefault(self._settings.format or FILES if definition.kind == FILE else definition.format, text)
        if FILES in found and len(found) > 1:
            first, second, *_ = (f"{shown(text)} as {form}" for form, text in found.items())
            raise InputError(
                f"The inputs of a run are all files or all tables: {first}, but {second}.", cure="Run them one by one, or set --format."
            )
        return " and ".join(sorted(found))
