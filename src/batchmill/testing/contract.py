"""`check_contract`: does an entry script keep what it promises to a run?"""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from batchmill.errors import ContractError, EntryScriptError
from batchmill.testing.batches import Batch, Items
from batchmill.testing.in_process import Models, ScriptResult, Trial, prepared, result_of, settings_values
from batchmill.worker.foreground import Outcome
from batchmill.worker.results import WrongResultType

if TYPE_CHECKING:
    import pandas as pd

CHECKS = {
    "script": "the script can be imported and has a function run()",
    "signature": "run() takes a mini-batch, or a mini-batch and its context; init() and shutdown() take nothing",
    "init": "init() does not raise",
    "run": "run() does not raise",
    "exit": "nothing ends the process with sys.exit()",
    "result": "run() returns a list or a data frame",
    "rows": "there is one row for each item",
    "encoding": "every row can be written as UTF-8",
    "folder": "the working folder stays where it was",
    "deterministic": "a second call with the same items returns the same rows",
    "grouping": "a row does not depend on the items it shares a mini-batch with",
    "shutdown": "shutdown() does not raise",
}
"""The checks by name, in the order in which they are made."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContractReport:
    """A script that keeps the contract: the names of the checks that were made (see `CHECKS`), and what the script did."""

    script: str
    checks: tuple[str, ...]
    result: ScriptResult


def check_contract(
    script: str | os.PathLike[str],
    items: Items | pd.DataFrame | None = None,
    *,
    inputs: str | Sequence[str] | None = None,
    mini_batch_size: int | str | None = None,
    keys: Mapping[str, Any] | None = None,
    arguments: Sequence[object] = (),
    environment_variables: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    grouping: bool = False,
    models: Models | None = None,
    **settings: Any,
) -> ContractReport:
    """Run the script on a few items and check everything in `CHECKS`.

    Args:
        items, inputs, mini_batch_size, keys, arguments, environment_variables, models, settings: as for `run_script`.
        skip: names of checks to leave out, for a script that is not meant to be deterministic, say.
        grouping: also run every item alone and compare the rows.

    Raises:
        ContractError: the first broken promise in one line; ``facts["check"]`` is its name.
        UsageError: an item or a setting cannot be used.

    Example:
        >>> check_contract("score.py", ["a.png", "b.png"], grouping=True).result.rows  # doctest: +SKIP
        ['a.png: 7', 'b.png: 3']
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise ValueError(f"There is no check '{unknown[0]}'; the checks are {', '.join(CHECKS)}.")
    values = settings_values(script, inputs, mini_batch_size, arguments, environment_variables, settings)
    try:
        with prepared(values, items, keys, None, models) as trial:
            left_out = set(skip) if grouping and not _keyed(trial) else {*skip, "grouping"}
            checked = [name for name in CHECKS if name not in left_out]
            outcomes = _Contract(trial, checked, Path(script).name).check()
    except EntryScriptError as error:
        raise ContractError(error.message, cure=error.cure, check="script") from None
    return ContractReport(os.fspath(script), tuple(checked), result_of(outcomes))


def _keyed(trial: Trial) -> bool:
    return any(batch.read().keys for batch in trial.batches)


class _Contract:
    def __init__(self, trial: Trial, checks: Collection[str], name: str) -> None:
        self._process, self._batches = trial.process, trial.batches
        self._checks, self._name = checks, name
        self._folder = os.getcwd()

    def check(self) -> list[Outcome]:
        self._guarded("script", "importing the script", self._process.load)
        self._signatures()
        self._guarded("init", "init()", self._process.init)
        outcomes = [self._one(number, batch) for number, batch in enumerate(self._batches)]
        self._guarded("shutdown", "shutdown()", self._process.shutdown)
        return outcomes

    def _one(self, number: int, batch: Batch) -> Outcome:
        outcome = self._run(number, batch)
        where = _where(outcome)
        self._rows(outcome, where)
        self._compare("deterministic", self._run(number, batch).rows.data, outcome, where)
        if "grouping" in self._checks:
            alone = [self._run(number, batch, first, 1).rows.data for first in range(outcome.part.items)]
            self._compare("grouping", b"".join(alone), outcome, where)
        return outcome

    def _run(self, number: int, batch: Batch, first: int = 0, count: int | None = None) -> Outcome:
        part = batch.read(first, count)
        return self._guarded("run", f"run() on mini-batch {number}", lambda: self._process.run(part, number))

    # --- single checks ----------------------------------------------------------------------------------------------------------

    def _guarded(self, check: str, what: str, act: Callable[[], T]) -> T:
        """Call the script's code; whatever it raises, and wherever it goes, breaks the contract (also of a check that is left out:
        without this call there is nothing more to check)."""
        try:
            value = act()
        except WrongResultType as error:
            self._broken("result", f"{what}: {error}", "Return a list with one element for each item.")
        except SystemExit as error:
            self._broken("exit", f"{what} called sys.exit({error.code!r}){self._line(error)}.", "Raise an exception, or return.", error)
        except Exception as error:
            text = f"{what} raised {type(error).__name__}: {' '.join(str(error).split())}{self._line(error)}"
            cure = "Give the arguments and files it needs, or mend it." if check != "run" else "Catch what one bad item raises, or mend it."
            self._broken(check, text.rstrip(".") + ".", cure, error)
        if "folder" in self._checks and (now := _folder()) != self._folder:
            self._broken("folder", f"{what} left the working folder for {now}.", "Use absolute paths instead of os.chdir().")
        return value

    def _line(self, error: BaseException) -> str:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self._process.place.script]
        return f" ({self._name}, line {frames[-1].lineno})" if frames else ""

    def _signatures(self) -> None:
        script = self._process.script
        if "signature" not in self._checks:
            return
        example: tuple[Any, ...] = (None, None) if script.wants_context else (None,)
        for name, function, arguments in (
            ("run", script.run, example),
            ("init", getattr(script.module, "init", None), ()),
            ("shutdown", getattr(script.module, "shutdown", None), ()),
        ):
            if not callable(function):
                continue
            try:
                signature = inspect.signature(function)
            except (TypeError, ValueError):
                continue  # a built-in without a signature
            try:
                signature.bind(*arguments)
            except TypeError:
                wanted = "run(mini_batch) or run(mini_batch, mini_batch_context)" if name == "run" else f"{name}()"
                self._broken("signature", f"{name}{signature} cannot be called.", f"Define {wanted}.")

    def _rows(self, outcome: Outcome, where: str) -> None:
        rows, items = outcome.rows.count, outcome.part.given
        if "rows" in self._checks and rows != items:
            more = "items without a row count as failed" if rows < items else "nobody knows which rows belong together"
            text = f"run() returned {_plural(rows, 'row')} for {_plural(items, 'item')} ({where}), and {more}."
            self._broken("rows", text, "Return one element for each item, in the order of the items.")
        if "encoding" in self._checks and outcome.rows.unencodable:
            self._broken("encoding", f"{outcome.rows.unencodable[0][1]} ({where})", "Return text without lone surrogates.")

    def _compare(self, check: str, again: bytes, outcome: Outcome, where: str) -> None:
        if check not in self._checks or again == outcome.rows.data:
            return
        before, after = outcome.rows.data.split(b"\n"), again.split(b"\n")
        pairs = zip([*before, b""], [*after, b""], strict=False)
        old, new = next((old, new) for old, new in pairs if old != new)
        what = f"'{_short(old)}' became '{_short(new)}' ({where})"
        if check == "grouping":
            text, cure = "run() gives other rows when each item is alone", "Compute each row from its own item."
        else:
            text, cure = "run() gives other rows when it is called again", "Fix the random seed, and keep nothing from call to call."
        self._broken(check, f"{text}: {what}.", cure)

    def _broken(self, check: str, text: str, cure: str, cause: BaseException | None = None) -> NoReturn:
        raise ContractError(f"{self._name}: {text}", cure=cure, check=check) from cause


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "a folder that was removed"


def _where(outcome: Outcome) -> str:
    names = [outcome.part.name(position) for position in range(min(2, outcome.part.items))]
    return f"mini-batch {outcome.mini_batch}: {', '.join(names)}{', ...' if outcome.part.items > 2 else ''}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "..."
