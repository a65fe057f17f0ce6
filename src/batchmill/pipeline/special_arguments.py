"""Arguments that are meant for the parallel run and not for its script (specification B5): found, checked and taken out.

A name may lack up to four of its last letters (samples of Azure ML write ``--resource_monitor_interva``); shorter ones are the script's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from batchmill.pipeline.parameter import PipelineParameter

MISSING_LETTERS = 4
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
LONGEST = 259_200
"""Seconds: three days."""
LARGEST = 2**31 - 1
OF_THE_PIPELINE = ("copy_logs_to_parent", "metrics_name_prefix", "push_metrics_to_parent")
"""What no setting of a parallel run says: the step itself looks after it."""


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= LONGEST:
        raise ValueError(text)
    return number


def _interval(text: str) -> float:
    number = float(text)
    if not 0 <= number <= LARGEST:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= LARGEST:
        raise ValueError(text)
    return number


def _profiler(text: str) -> str:
    if text not in ("cProfile", "profile"):
        raise ValueError(text)
    return text


Rule = tuple[Callable[[str], Any], str]
SECONDS: Rule = (_seconds, f"a number of seconds above 0, at most {LONGEST}")
TRUTH_VALUE: Rule = (lambda text: TRUTH[text.strip().lower()], "True or False")
TEXT: Rule = (str, "a text")
SPECIAL: dict[str, Rule] = {
    "progress_update_timeout": SECONDS,
    "first_task_creation_timeout": SECONDS,
    "task_overhead_timeout": SECONDS,
    "resource_monitor_interval": (_interval, "a number of seconds, 0 for never"),
    "profiling_module": (_profiler, "cProfile or profile"),
    "copy_logs_to_parent": TRUTH_VALUE,
    "metrics_name_prefix": TEXT,
    "push_metrics_to_parent": TRUTH_VALUE,
    "append_row_dataframe_header": TRUTH_VALUE,
    "rank_mini_batch_count": (_count, "a whole number of mini-batches"),
    "input_format": TEXT,
}


def split_arguments(arguments: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """What is meant for the run, by name, and the words of the script. A `PipelineParameter` stays what it is, to be checked later.

    >>> split_arguments(["--model", "iris", "--task_overhead_timeout=90", "--append_row_dataframe_header", "True"])
    ({'task_overhead_timeout': 90.0, 'append_row_dataframe_header': True}, ['--model', 'iris'])

    Raises:
        ValueError: a value is missing or is none.
    """
    found: dict[str, Any] = {}
    words: list[Any] = []
    left = iter(arguments)
    for word in left:
        name = special_name(word)
        if name is None:
            words.append(word)
            continue
        _, equals, value = word.partition("=")
        found[name] = checked_value(name, value if equals else next(left, None))
    found.pop("input_format", None)  # the inputs themselves say what they are
    return found, words


def special_name(word: Any) -> str | None:
    """The special argument that a word names, in full or nearly so."""
    if not isinstance(word, str) or not word.startswith("--"):
        return None
    given = word[2:].partition("=")[0]
    fitting = [name for name in SPECIAL if name.startswith(given) and len(name) - len(given) <= MISSING_LETTERS]
    return fitting[0] if len(fitting) == 1 else None


def checked_value(name: str, value: Any) -> Any:
    """The value of a special argument, as what it means.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, PipelineParameter):
        checked_value(name, value.default_value)
        return value
    if not isinstance(value, (str, int, float)):
        said = "no value" if value is None else f"the value {value!r}"
        raise ValueError(f"Argument --{name} of a ParallelRunStep has {said}. It must be a text or a number.")
    convert, rule = SPECIAL[name]
    try:
        return convert(str(value))
    except (ValueError, KeyError):
        raise ValueError(f"Argument --{name} of a ParallelRunStep has the value {value!r}: it must be {rule}.") from None
