"""What must be known about all files of a table before one is opened: found in a single pass, for there may be millions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from batchmill.data.compressed import WHOLE_LIMIT, is_compressed


@dataclass
class InputSurvey:
    """Bytes, number of files that hold any; for each input the first such file and the base of its names; compressed files."""

    size: int = 0
    filled: int = 0
    first: list[Any] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)
    compressed: bool = False
    long_archive: str | None = None
    """The path of a compressed file that cannot be one mini-batch: longer as it is than its text may be."""
    joined: bool = False
    """All inputs are places of one dataset: the first file of all that holds anything is the only first one."""

    places: Collection[int] | None = None
    """The inputs of this table, where a plan has others."""

    @classmethod
    def of(cls, files: Iterable[Any], *, joined: bool = False, places: Collection[int] | None = None) -> InputSurvey:
        survey = cls(joined=joined, places=places)
        for file in files:
            while len(survey.first) <= file.input:
                survey.first.append(None)
                survey.bases.append(file.path[: len(file.path) - len(file.name)] if file.path.endswith(file.name) else "")
            if not file.size:
                continue
            survey.size += file.size
            survey.filled += 1
            if survey.first[file.input] is None and not (joined and survey.filled > 1):
                survey.first[file.input] = file
            if is_compressed(file.name):
                survey.compressed = True
                if file.size > WHOLE_LIMIT:
                    survey.long_archive = file.path
        return survey

    @property
    def first_names(self) -> list[str | None]:
        """The name of the first file of each input that holds anything."""
        return [None if file is None else file.name for file in self.first]
