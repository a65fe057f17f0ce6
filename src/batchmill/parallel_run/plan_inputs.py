"""The inputs of a run as the planner takes them: plain texts are opened as they are, datasets from their definitions."""

from __future__ import annotations

from collections.abc import Mapping

from batchmill.data.definition import FILE, Definition
from batchmill.data.definition_inputs import open_definition, require_files
from batchmill.data.formats import FILES, FormatVote
from batchmill.data.listing import open_input
from batchmill.data.walk import shown
from batchmill.errors import InputError
from batchmill.parallel_run.plan_groups import key_format
from batchmill.parallel_run.plan_writer import ItemsWriter
from batchmill.settings import RunSettings


class RunInputs:
    """The inputs of ``settings``; a text that is a key of ``definitions`` is that dataset."""

    def __init__(self, settings: RunSettings, definitions: Mapping[str, Definition] | None = None) -> None:
        self._settings = settings
        self._definitions = definitions or {}

    @property
    def patterns(self) -> list[str | None]:
        """The partition format of each input: the dataset's own, else the one in the settings."""
        own = [one.partition_format if one is not None else None for one in map(self._definitions.get, self._settings.inputs)]
        return [self._settings.partition_format if pattern is None else pattern for pattern in own]

    def check_partitions(self) -> None:
        """Refuse, before anything is listed, what cannot be partitioned as asked.

        Raises:
            PartitionFormatError: a partition format is not well formed, or has not the keys.
        """
        for text, pattern in zip(self._settings.inputs, self.patterns, strict=True):
            one = self._definitions.get(text)
            files = (self._settings.format or (one.format if one is not None else None)) == FILES
            keys = self._settings.partition_keys if files else ()
            if pattern is not None or keys:
                key_format(pattern, keys)

    def list_into(self, items: ItemsWriter, scratch: str) -> str:
        """List all inputs; returns the format in which they are to be read.

        Raises:
            InputError: an input is missing, empty or cannot be listed, or they are of several formats.
        """
        settings = self._settings
        vote = FormatVote() if settings.format is None else None
        for text in settings.inputs:
            definition = self._definitions.get(text)
            if definition is None:
                one = open_input(text, include_hidden=settings.include_hidden, scratch=scratch, retry_timeout=settings.retry_timeout)
                items.add_input(one, vote.add if vote is not None else None)
            else:
                self._list_dataset(items, text, definition, scratch)
        return self._format(vote)

    def _list_dataset(self, items: ItemsWriter, text: str, definition: Definition, scratch: str) -> None:
        settings = self._settings
        places = open_definition(definition, include_hidden=settings.include_hidden, scratch=scratch, retry_timeout=settings.retry_timeout)
        items.add_joined(places, None, lambda count: require_files(definition, f"Input {shown(text)}", count))

    def _format(self, vote: FormatVote | None) -> str:
        settings = self._settings
        found: dict[str, str] = {}
        for text in settings.inputs:
            definition = self._definitions.get(text)
            if definition is None:
                found.setdefault(vote.decide() if vote is not None else settings.format or FILES, text)
            else:  # files are read as the settings say, a table as it was defined
                found.setdefault(settings.format or FILES if definition.kind == FILE else definition.format, text)
        if len(found) > 1:
            first, second, *_ = (f"{shown(text)} as {form}" for form, text in found.items())
            raise InputError(
                f"The inputs of a run are read in one way: {first}, but {second}.", cure="Run them one by one, or set --format."
            )
        return next(iter(found))
