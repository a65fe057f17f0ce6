"""Every setting of a run, declared once: name, type, default, meaning.

Command-line options, Python keywords, validation, the reference pages and the table of the quick check derive from `RunSettings`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from batchmill.errors import SettingError
from batchmill.settings.flag import Flag
from batchmill.settings.sizes import ROWS, SIZE

FORBIDDEN_IN_FILE_NAMES = '~"#%&*:<>?/\\{|}'


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, Path)) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _dashed(value: Any) -> Any:
    """Azure ML's words are written with underscores."""
    return value.lower().replace("_", "-") if isinstance(value, str) else value


INPUT, TABLE, WORK, OUTPUT, FAILURE, WORKSPACE, OTHER = "Input", "Tables", "Work", "Output", "Failures", "Workspace", "Other"


class RunSettings(BaseModel):
    """What a user may say about a parallel run."""

    model_config = ConfigDict(extra="forbid", validate_default=False, frozen=True)

    script: Annotated[str, Flag(metavar="SCRIPT")] = Field(description="The entry script: a Python file that defines run(mini_batch).")
    inputs: Annotated[list[str], BeforeValidator(_as_list), Flag("--input", metavar="I", group=INPUT)] = Field(
        default_factory=list,
        description="A folder, file, glob, @list.txt (one path a line), s3://, az://, gs:// URL, or dataset:NAME[:VERSION] and "
        "datastore://NAME/PATH of the workspace. Repeatable; each is cut by itself.",
    )
    format: Annotated[Literal["files", "csv", "tsv", "parquet", "jsonl"] | None, BeforeValidator(_lower), Flag(group=INPUT)] = Field(
        None, description="How to read the inputs; inferred from the file extension when all files agree."
    )
    include_hidden: Annotated[bool, Flag(group=INPUT)] = Field(
        False, description="Also take files and folders whose names begin with a dot."
    )
    partition_keys: Annotated[list[str], BeforeValidator(_as_list), Flag("--partition-key", metavar="K", group=INPUT)] = Field(
        default_factory=list, description="Make one mini-batch per distinct combination of these keys. Repeatable."
    )
    partition_format: Annotated[str | None, Flag(metavar="P", group=INPUT)] = Field(
        None, description="Take columns from the paths, for example '{user}/{date:yyyy/MM/dd}/data.csv'."
    )
    retry_timeout: Annotated[float, Flag(metavar="SECONDS", group=INPUT)] = Field(
        20.0, gt=0, description="How long to go on trying an object store that does not answer, in seconds."
    )
    separator: Annotated[str | None, Flag(group=TABLE)] = Field(
        None, min_length=1, description="The field separator of delimited text [default: , for csv, a tab for tsv]."
    )
    header: Annotated[
        Literal["all_files_have_same_headers", "only_first_file_has_headers", "no_headers", "combine_all_files_headers"], Flag(group=TABLE)
    ] = Field("all_files_have_same_headers", description="Which files begin with a line of column names; true and false are accepted too.")
    encoding: Annotated[
        Literal["utf8", "iso88591", "latin1", "ascii", "utf16", "utf32", "utf8bom", "windows1252"],
        BeforeValidator(_lower),
        Flag(group=TABLE),
    ] = Field("utf8", description="The encoding of text files.")
    infer_column_types: Annotated[bool, Flag(off="--no-infer-column-types", group=TABLE)] = Field(
        True, description="Find out column types from the data, once for the whole input; else every column is text."
    )
    support_multi_line: Annotated[bool, Flag(group=TABLE)] = Field(
        False, description="Quoted fields may hold line ends; then each file is one mini-batch."
    )
    empty_as_string: Annotated[bool, Flag(group=TABLE)] = Field(False, description="Empty cells of text columns are '' instead of null.")
    include_path: Annotated[bool, Flag(group=TABLE)] = Field(False, description="Add a first column Path with the source of each row.")
    unparsable: Annotated[Literal["null", "fail"], Flag(group=TABLE)] = Field(
        "fail", description="A cell that does not fit its column's type: make it null, or fail its row by name."
    )
    mini_batch_size: Annotated[str | None, Flag(metavar="SIZE", group=WORK)] = Field(
        None,
        description="Files per mini-batch (default 10), or for tables the bytes of text (1024, 10KB, 1MB; default 1MB) or rows (500rows).",
    )
    rank_mini_batch_count: Annotated[int, Flag(metavar="N", group=WORK)] = Field(
        0, ge=0, description="Make N mini-batches without any input; run() gets the number of its mini-batch, from 0. Inputs are ignored."
    )
    workers: Annotated[int | None, Flag(metavar="N", group=WORK)] = Field(
        None, ge=1, description="Worker processes per node [default: usable cores divided by nodes, or GPUs]."
    )
    gpus_per_process: Annotated[float | None, Flag(metavar="N", group=WORK)] = Field(
        None,
        ge=0,
        description="How much of a GPU each worker process gets: 0.5 puts two on each GPU, 2 gives each two, 0 none [default: one each "
        "while there are any].",
    )
    nodes: Annotated[int, Flag(metavar="N", group=WORK)] = Field(1, ge=1, description="Nodes; on one machine they share its cores.")
    source: Annotated[str | None, Flag(metavar="DIR", group=WORK)] = Field(
        None, description="The folder copied into the run as the script's source [default: the script's own folder]."
    )
    environment_variables: Annotated[dict[str, str], Flag("--env", metavar="K=V", group=WORK)] = Field(
        default_factory=dict, description="An environment variable of the worker processes. Repeatable."
    )
    arguments: Annotated[list[str], Flag("--", group=WORK)] = Field(
        default_factory=list, description="Arguments of the entry script (sys.argv), after --."
    )
    output: Annotated[str | None, Flag(metavar="DIR", group=OUTPUT)] = Field(
        None,
        description="The folder (or object-store URL, or datastore://NAME/PATH) of the results "
        "[default: a folder named after the run under the batchmill home].",
    )
    output_action: Annotated[Literal["append_row", "summary_only"], BeforeValidator(_lower), Flag(group=OUTPUT)] = Field(
        "append_row",
        description="append_row writes the rows that run() returns into one file, in input order; summary_only only counts them.",
    )
    append_row_file_name: Annotated[str, Flag(metavar="NAME", group=OUTPUT)] = Field(
        "parallel_run_step.txt", min_length=1, description="The name of the append_row file."
    )
    append_row_dataframe_header: Annotated[bool, Flag(group=OUTPUT)] = Field(
        False, description="Write the column names of the first data frame as the first line."
    )
    error_threshold: Annotated[int, Flag(metavar="N", group=FAILURE)] = Field(
        0, ge=-1, description="Failed items tolerated over the whole input; -1 tolerates all."
    )
    allowed_failed_count: Annotated[int | None, Flag(metavar="N", group=FAILURE)] = Field(
        None, ge=-1, description="Failed mini-batches tolerated; -1 tolerates all."
    )
    allowed_failed_percent: Annotated[float | None, Flag(metavar="PERCENT", group=FAILURE)] = Field(
        None, ge=0, le=100, description="Percentage of failed mini-batches tolerated."
    )
    run_invocation_timeout: Annotated[float, Flag(metavar="SECONDS", group=FAILURE)] = Field(
        60, gt=0, description="Time limit of one run() call, in seconds."
    )
    run_max_try: Annotated[int, Flag(metavar="N", group=FAILURE)] = Field(
        3, ge=1, description="Tries of a mini-batch before it is bisected or fails."
    )
    isolate_failures: Annotated[bool, Flag(off="--no-isolate-failures", group=FAILURE)] = Field(
        True, description="Bisect a mini-batch that failed all its tries, so that only its bad items fail."
    )
    task_overhead_timeout: Annotated[float, Flag(metavar="SECONDS", group=FAILURE)] = Field(
        600, gt=0, le=259200, description="Time limit for reading one mini-batch, in seconds."
    )
    progress_update_timeout: Annotated[float | None, Flag(metavar="SECONDS", group=FAILURE)] = Field(
        None,
        gt=0,
        le=259200,
        description="The run fails when no mini-batch ended for so long, in seconds [default: derived from the other limits].",
    )
    first_task_creation_timeout: Annotated[float | None, Flag(metavar="SECONDS", group=FAILURE)] = Field(
        None, gt=0, le=259200, description="The run fails when its plan is not made after so long, in seconds [default: no limit]."
    )
    reuse: Annotated[Literal["mini-batch"] | None, BeforeValidator(_dashed), Flag(group=WORK)] = Field(
        None,
        description="mini-batch takes the rows of every mini-batch that is unchanged since a completed run (its files, script, "
        "arguments, models, environment), and runs only the rest.",
    )
    workspace: Annotated[str | None, Flag(metavar="NAME", group=WORKSPACE)] = Field(
        None,
        min_length=1,
        description="The workspace whose names are meant [default: the config.json of this folder or one above it, BATCHMILL_WORKSPACE, "
        "else 'default'].",
    )
    models: Annotated[list[str], BeforeValidator(_as_list), Flag("--model", metavar="NAME", group=WORKSPACE)] = Field(
        default_factory=list,
        description="A registered model, NAME or NAME:VERSION, that is at hand when the workers start; Model.get_model_path(NAME) in the "
        "script is its path. Repeatable.",
    )
    environment: Annotated[str | None, Flag(metavar="NAME", group=WORKSPACE)] = Field(
        None, min_length=1, description="The registered environment, NAME or NAME:VERSION, that the workers run in [default: this one]."
    )
    environments: Annotated[Literal["build", "current"] | None, BeforeValidator(_lower), Flag(group=WORKSPACE)] = Field(
        None,
        description="build installs what the environment names into a cached one; current takes this interpreter and says what differs "
        "[default: the workspace's policy].",
    )
    compute: Annotated[str | None, Flag(metavar="NAME", group=WORKSPACE)] = Field(
        None,
        min_length=1,
        description="The compute target whose nodes the run takes; it waits while they are busy. ray:ADDRESS is the Ray cluster at an "
        "address as ray.init takes it: auto, head:6379, ray://head:10001 [default: this machine].",
    )
    logging_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v), Flag(group=OTHER)
    ] = Field("INFO", description="What goes into the logs.")
    name: Annotated[str | None, Flag(group=OTHER)] = Field(
        None, min_length=1, description="A name to find the run by [default: the script's name]."
    )
    resource_monitor_interval: Annotated[float, Flag(metavar="SECONDS", group=OTHER)] = Field(
        600, ge=0, description="Seconds between samples of the nodes' resources in the logs; 0 turns them off."
    )
    profiling_module: Annotated[Literal["cProfile", "profile"] | None, Flag(group=OTHER)] = Field(
        None, description="Profile each worker process and leave a .profile file in the logs."
    )

    @field_validator("header", mode="before")
    @classmethod
    def _header_words(cls, value: Any) -> Any:
        words = {"true": "all_files_have_same_headers", "false": "no_headers"}
        return words.get(str(value).lower(), str(value).lower())

    @field_validator("mini_batch_size", mode="before")
    @classmethod
    def _size_text(cls, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        text = str(value).strip()
        match = SIZE.match(text) or ROWS.match(text)
        if match is None:
            raise ValueError("must be a number of files, bytes (1024, 10KB, 1MB, 1GB) or rows (500rows)")
        if int(match[1]) == 0:
            raise ValueError("must be greater than 0: a mini-batch without items cannot be run")
        return text

    @field_validator("gpus_per_process")
    @classmethod
    def _part_or_whole(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value % 1:
            raise ValueError("must be a part of a GPU, up to 1, or a whole number of them")
        return value

    @field_validator("append_row_file_name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if any(c in FORBIDDEN_IN_FILE_NAMES for c in value) or value in (".", "..") or "\0" in value:
            raise ValueError("Parameter append_row_file_name must be a valid UNIX file name.")
        return value

    @field_validator("environment_variables", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            pairs = [str(pair).partition("=") for pair in value]
            bad = [key for key, equals, _ in pairs if not equals or not key]
            if bad:
                raise ValueError(f"'{bad[0]}' is not of the form K=V")
            return {key: text for key, _, text in pairs}
        return value

    @field_validator("arguments", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return [str(word) for word in value] if isinstance(value, (list, tuple)) else value

    @model_validator(mode="after")
    def _fit_together(self) -> RunSettings:
        if self.partition_keys and self.mini_batch_size is not None:
            raise ValueError(
                "Parameters mini_batch_size and partition_keys are mutually exclusive, because they specify different ways to "
                "partition the input datasets into mini-batches."
            )
        if self.reuse is not None and self.output_action != "append_row":
            raise ValueError(
                f"Setting 'reuse' has the value {self.reuse!r}: with output_action {self.output_action} a run keeps no rows that could be "
                "reused"
            )
        if len(set(self.partition_keys)) != len(self.partition_keys):
            raise ValueError("partition_keys cannot have duplicates")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> RunSettings:
        """Validate user-given values.

        Raises:
            SettingError: one line naming the setting, the value and the rule.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingError("; ".join(_sentence(problem) for problem in error.errors()), cure="Nothing was started.") from None

    def to_json(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        return cls(**json.loads(text))


def _sentence(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"There is no setting '{name}'."
    if problem["type"] == "missing":
        return f"Setting '{name}' is required."
    if not name:
        return message.rstrip(".") + "."
    rule = message if message.startswith("Parameter") else message[:1].lower() + message[1:]
    return f"Setting '{name}' has the value {problem['input']!r}: {rule}."
