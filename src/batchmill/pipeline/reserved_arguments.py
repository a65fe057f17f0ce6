"""Which arguments a user may give to a parallel run: keywords, except those that the run itself puts before them (specification B4)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

RESERVED = frozenset(
    {
        "mini_batch_size",
        "error_threshold",
        "allowed_failed_count",
        "allowed_failed_percent",
        "output",
        "output_action",
        "logging_level",
        "process_count_per_node",
        "run_invocation_timeout",
        "run_max_try",
        "append_row_file_name",
        "partition_keys",
    }
)
NO_KEYWORD = "Found invalid argument '{}'. As your arguments will be merged with reserved argument, you can only use keyword argument."
TAKEN = "'{}' is a reserved argument in ParallelRunStep, please use another argument name instead."


def checked_arguments(arguments: Sequence[Any] | None) -> list[Any]:
    """The arguments as a list; a tuple is taken, too, with a warning, for Azure ML leaves it out.

    Raises:
        ValueError: the first is no keyword, or one is reserved.
        TypeError: they are no list.
        AttributeError: the first is no text.
    """
    if arguments is None:
        return []
    if isinstance(arguments, tuple):
        warnings.warn("The arguments of a ParallelRunStep are a list; Azure ML leaves a tuple out.", UserWarning, stacklevel=3)
    elif not isinstance(arguments, list):
        raise TypeError(f"The arguments of a ParallelRunStep are a list, not {type(arguments).__name__}: ['--size', 5]")
    words = list(arguments)
    if words and not words[0].startswith("-"):
        raise ValueError(NO_KEYWORD.format(words[0]))
    for word in words:
        name = word.partition("=")[0] if isinstance(word, str) and word.startswith("--") else ""
        if name[2:] in RESERVED:
            raise ValueError(TAKEN.format(name))
    return words
