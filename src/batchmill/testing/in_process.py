"""`run_script`: an entry script in the test process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.parallel_run.snapshot import check_script
from batchmill.records import Counts, ItemCounts, MiniBatchCounts
from batchmill.settings import RunSettings
from batchmill.testing.batches import Batch, Items, batches_of
from batchmill.testing.stand_in_models import stand_in
from batchmill.worker.foreground import Foreground, Outcome, Place
from batchmill.worker.questions import Ask
from batchmill.worker.script_run import IN_TEST

if TYPE_CHECKING:
    import pandas as pd

Models = Mapping[str, str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """What a script did with a few items.

    Attributes:
        results: what ``run()`` returned, one for each mini-batch.
        output: the exact bytes that a run would append to its file.
        rows: the lines of ``output``, without their line ends.
        counts: the fates of items and mini-batches.
        problems: why items failed, one sentence each.
    """

    results: tuple[Any, ...]
    output: bytes
    counts: Counts
    problems: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        """The lines of the append_row file."""
        return self.output.decode("utf-8").removesuffix("\n").split("\n") if self.output else []


@dataclass(frozen=True, slots=True)
class Trial:
    """Everything that is ready when a test begins."""

    process: Foreground
    batches: list[Batch]
    settings: RunSettings


def run_script(
    script: str | os.PathLike[str],
    items: Items | pd.DataFrame | None = None,
    *,
    inputs: str | Sequence[str] | None = None,
    mini_batch_size: int | str | None = None,
    keys: Mapping[str, Any] | None = None,
    arguments: Sequence[object] = (),
    environment_variables: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    models: Models | None = None,
    **settings: Any,
) -> ScriptResult:
    """Run ``init``, ``run`` for each mini-batch and ``shutdown`` in this process. What they raise passes through.

    Args:
        script: the entry script.
        items: the paths of files, or a data frame; one mini-batch, unless ``mini_batch_size`` says how many items each has.
        inputs: in place of ``items``: what ``batchmill.run(inputs=...)`` takes, cut as a run would cut it (local inputs only).
        keys: ``mini_batch_context.partition_key_value``.
        arguments: ``sys.argv[1:]`` of the script.
        folder: where ``EntryScript().output_dir`` (``output``), ``log_dir`` (``logs``) and the working folder (``work``) are made,
            and stay; else they are temporary.
        models: what ``Model.get_model_path(name)`` finds, as version 1: name -> file or folder.
        **settings: further settings of a run, such as ``format`` or ``append_row_dataframe_header``.

    Raises:
        UsageError: the script, an item or a setting cannot be used.

    Example:
        >>> result = run_script("score.py", ["a.png"], arguments=["--model", "m.joblib"])  # doctest: +SKIP
        >>> result.rows, result.counts.items.failed                                         # doctest: +SKIP
        (['a.png: 7'], 0)
    """
    values = settings_values(script, inputs, mini_batch_size, arguments, environment_variables, settings)
    with prepared(values, items, keys, folder, models) as trial:
        process, header = trial.process, trial.settings.append_row_dataframe_header
        process.load()
        process.init()
        try:
            outcomes = [process.run(batch.read(), number, with_header=header) for number, batch in enumerate(trial.batches)]
        finally:
            process.shutdown()
    return result_of(outcomes)


def settings_values(
    script: str | os.PathLike[str],
    inputs: str | Sequence[str] | None,
    mini_batch_size: int | str | None,
    arguments: Sequence[object],
    environment_variables: Mapping[str, str] | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The settings of a test, as `RunSettings.parse` takes them."""
    values = {
        "script": os.fspath(script),
        "inputs": [] if inputs is None else [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs),
        "mini_batch_size": mini_batch_size,
        "arguments": list(arguments),
        "environment_variables": dict(environment_variables or {}),
        **settings,
    }
    values["inputs"] = [os.fspath(one) for one in values["inputs"]]
    return values


@contextmanager
def prepared(
    values: dict[str, Any],
    items: Items | pd.DataFrame | None,
    keys: Mapping[str, Any] | None,
    folder: str | os.PathLike[str] | None,
    models: Models | None = None,
) -> Iterator[Trial]:
    """This process as a worker process, with the mini-batches it will be given.

    Raises:
        UsageError: the script, an item or a setting cannot be used.
    """
    settings = RunSettings.parse(values)
    script = check_script(settings.script)
    with tempfile.TemporaryDirectory(prefix="batchmill-test-") as temporary:
        batches = batches_of(items, settings, keys, Path(temporary))
        room = Path(temporary if folder is None else folder).absolute()
        for name in ("output", "logs", "work"):
            (room / name).mkdir(parents=True, exist_ok=True)
        ask = None if models is None else stand_in(models, Path(temporary) / "models")
        with Foreground(_place(settings, script, room, ask)) as process:
            yield Trial(process, batches, settings)


def _place(settings: RunSettings, script: Path, room: Path, ask: Ask | None) -> Place:
    environment = {
        **os.environ,
        "AZUREML_RUN_ID": IN_TEST,
        "BATCHMILL_RUN_ID": IN_TEST,
        "AZUREML_BI_OUTPUT_PATH": str(room / "output"),
        "AZUREML_NODE_COUNT": str(settings.nodes),
        "AZ_BATCHAI_JOB_TEMP": str(room / "work"),
        **settings.environment_variables,
    }
    return Place(
        str(script),
        str(Path(settings.source).absolute() if settings.source else script.parent),
        working_dir=str(room / "work"),
        log_dir=str(room / "logs"),
        output_dir=str(room / "output"),
        arguments=settings.arguments,
        environment=environment,
        level=settings.logging_level,
        ask=ask,
    )


def result_of(outcomes: Sequence[Outcome]) -> ScriptResult:
    """All mini-batches together."""
    items = sum(outcome.part.items for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    bad = sum(1 for outcome in outcomes if outcome.failed)
    header = next((outcome.rows.header for outcome in outcomes if outcome.rows.header is not None and outcome.rows.data), "") or ""
    return ScriptResult(
        results=tuple(outcome.result for outcome in outcomes),
        output=header.encode("utf-8") + b"".join(outcome.rows.data for outcome in outcomes),
        counts=Counts(ItemCounts(items, items - failed, failed, 0), MiniBatchCounts(len(outcomes), len(outcomes) - bad, bad, 0, 0)),
        problems=tuple(problem for outcome in outcomes for problem in outcome.problems()),
    )
