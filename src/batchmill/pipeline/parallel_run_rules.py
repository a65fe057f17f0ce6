"""What the settings of a `ParallelRunConfig` must be: each rule with the text that Azure ML gives (specification B1)."""

from __future__ import annotations

import json
import re
from typing import Any

from batchmill.pipeline.parameter import PipelineParameter
from batchmill.workspace.compute import AmlCompute
from batchmill.workspace.environment import Environment

SUMMARY_ONLY, APPEND_ROW = "summary_only", "append_row"
FORBIDDEN_IN_FILE_NAMES = '~"#%&*:<>?/\\{|}'
SIZE = re.compile(r"^\d+([kKmMgG][bB])*$")
ROWS = re.compile(r"^[1-9]\d* *rows$", re.IGNORECASE)
UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
NO_ENVIRONMENT = "Parameter environment is required. It should be instance of azureml.core.Environment."
NOT_AN_ENVIRONMENT = "Parameter environment must be an instance of azureml.core.Environment. The actual value is {0}."
OUTPUT_ACTION = "Parameter output_action must be summary_only or append_row."
AT_LEAST_MINUS_ONE = "{} '{}' is not an int value greater than or equal to -1."
EXCLUSIVE = (
    "Parameters mini_batch_size and partition_keys are mutually exclusive, because they specify different ways to partition the input "
    "datasets into mini-batches."
)
SIZE_TYPE = "Parameter mini_batch_size must be of type int or str."
SIZE_TEXT = r"Parameter mini_batch_size must follow regex rule ^\d+([kKmMgG][bB])*$."
KEYS_DEFAULT = "default_value of PipelineParameter partition_keys must be json dump result of a list of str"


def default_of(value: Any) -> Any:
    """The value itself; of a pipeline parameter its default."""
    return value.default_value if isinstance(value, PipelineParameter) else value


def check_environment(environment: Any) -> Environment:
    """Raises: ValueError: it is none."""
    if not environment:
        raise ValueError(NO_ENVIRONMENT)
    if not isinstance(environment, Environment):
        raise ValueError(NOT_AN_ENVIRONMENT.format(environment))
    return environment


def check_output_action(output_action: str) -> str:
    """Raises: ValueError: it is none of the two, in whatever case."""
    if output_action.lower() not in (SUMMARY_ONLY, APPEND_ROW):
        raise ValueError(OUTPUT_ACTION)
    return output_action


def check_threshold(name: str, value: Any) -> None:
    """Raises: ValueError: it is no whole number from -1."""
    if not isinstance(value, int) or value < -1:
        raise ValueError(AT_LEAST_MINUS_ONE.format(name, value))


def check_percent(value: Any) -> None:
    """Raises: ValueError: it is no number from 0 to 100."""
    if not isinstance(value, (int, float)):
        raise ValueError(f"allowed_failed_percent '{value}' is not an int or float.")
    if not 0 <= value <= 100:
        raise ValueError(f"allowed_failed_percent '{value}' is not between 0 and 100.")


def checked_gpu_share(value: Any) -> float | None:
    """A part of a GPU, up to 1, or a whole number of them; None stays.

    Raises:
        ValueError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or (value > 1 and value % 1):
        raise ValueError(f"gpus_per_process '{value}' is not a part of a GPU, up to 1, nor a whole number of them.")
    return float(value)


def checked_size(value: Any) -> Any:
    """A mini-batch size as a number of files or bytes; ``500rows`` stays a text, a pipeline parameter what it is.

    Raises:
        ValueError: it is no size.

    >>> [checked_size(size) for size in ("5", "1KB", "10mb", 7)]
    [5, 1024, 10485760, 7]
    """
    given = default_of(value)
    if given is None:
        return value
    if not isinstance(given, (int, str)):
        raise ValueError(SIZE_TYPE)
    text = str(given)
    if ROWS.match(text):
        return value
    if SIZE.match(text) is None:
        raise ValueError(SIZE_TEXT)
    number = int(text) if text[-1:].isdecimal() or text != text.rstrip() else int(text[:-2]) * UNITS[text[-2:].lower()]
    return value if isinstance(value, PipelineParameter) else number


def check_partition_keys(value: Any) -> None:
    """Raises: ValueError: it is no list of texts, nor a pipeline parameter with the JSON text of one."""
    if value is None:
        return
    if isinstance(value, PipelineParameter):
        _check_keys_text(value.default_value)
        return
    if not isinstance(value, list):
        raise ValueError("Parameter partition_keys must be of type list.")
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"Element {key} in partition_keys is not a str.")


def _check_keys_text(text: Any) -> None:
    try:
        keys = json.loads(text)
    except (TypeError, ValueError):
        raise ValueError(f"{KEYS_DEFAULT}, try json.loads the value to validate.") from None
    if not isinstance(keys, list):
        raise ValueError(f"{KEYS_DEFAULT}.")
    for key in keys:
        if not isinstance(key, str):
            raise ValueError(f"Element {key} in default_value of PipelineParameter partition_keys is not a str.")


def whole_number(name: str, value: Any) -> Any:
    """A number, or the digits of one as they come from ``os.environ``; pipeline parameters and None stay.

    Raises:
        TypeError: it is something else.
    """
    given = default_of(value)
    if given is None or isinstance(given, int):
        return value
    if isinstance(given, str) and given.strip().isdecimal():
        return value if isinstance(value, PipelineParameter) else int(given)
    raise TypeError(f"Parameter {name} must be an integer, not {type(given).__name__} {given!r}.")


def positive(name: str, value: Any, default: int | None = None) -> Any:
    """A whole number above 0; ``default`` where None is given.

    Raises:
        ValueError: it is not above 0.
        TypeError: it is no whole number.
    """
    number = whole_number(name, value)
    given = default_of(number)
    if given is not None and int(given) <= 0:
        raise ValueError(f"Parameter {name} must be an integer greater than 0.")
    return default if number is None else number


def checked_node_count(value: Any, compute_target: Any) -> Any:
    """A number of nodes, compared with the maximum of a compute target where that is an object.

    Raises:
        ValueError: it is not between 1 and the maximum.
        TypeError: it is no whole number.
    """
    number = whole_number("node_count", value)
    if isinstance(compute_target, AmlCompute):
        given, most = default_of(number), compute_target.scale_settings.maximum_node_count
        if given is None:
            raise TypeError("Parameter node_count must be an integer, not None.")
        if not 1 <= int(given) <= most:
            raise ValueError(f"node_count '{given}' is not between 1 and max_nodes {most}.")
    return number


def check_file_name(name: str | None) -> None:
    """Raises: ValueError: it holds a character that no file of Azure ML may have."""
    if name is not None and any(character in FORBIDDEN_IN_FILE_NAMES for character in name):
        raise ValueError("Parameter append_row_file_name must be a valid UNIX file name.")
