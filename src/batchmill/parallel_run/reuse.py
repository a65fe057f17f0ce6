"""Incremental scoring (setting ``reuse``): take the rows of mini-batches that are unchanged since a completed run, run only the rest.

The rows are copied from the output of the earlier run into a part of this one, and recorded in the ledger as ranges that are done, all in
one transaction; after that the run goes on as a resumed one does. Whatever speaks against it is said, and everything runs.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError
from batchmill.parallel_run.earlier_output import NONE, EarlierOutput, OutputGoneError, stretches
from batchmill.parallel_run.earlier_runs import earlier_runs, read_the_same
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.mini_batch_identity import Identities
from batchmill.parallel_run.mini_batch_match import CHANGED, FAILED, MOVED, NEW, account, failed_before, match
from batchmill.parallel_run.reuse_note import Reused
from batchmill.parallel_run.run_folder import RunFolder, runs_folder
from batchmill.parallel_run.run_identity import RunIdentity, differences
from batchmill.parallel_run.target import target_of
from batchmill.records import Counts, ItemCounts, MiniBatchCounts, RunStatus
from batchmill.storage.files import fsync_folder
from batchmill.worker.plan_file import PlanFile

if TYPE_CHECKING:
    from batchmill.parallel_run.names import Names

LOOKED_AT = 16
"""Earlier runs that are compared before everything runs."""
WORDS = {
    NEW: "new",
    CHANGED: "changed",
    MOVED: "moved (the same files in other groups: one was inserted or removed in front)",
    FAILED: "with failed items at the last time",
}


class Reuse:
    """Looks for what a new run can reuse, once it is planned and its names are bound.

    Args:
        folder: the run, which this process holds.
        description: its ``settings.json``.
        ledger: its ledger, claimed.
        names: its names, bound.
        plan: its plan.
        epoch: the incarnation.
    """

    def __init__(self, folder: RunFolder, description: Mapping[str, Any], ledger: Ledger, names: Names, plan: PlanFile, epoch: int) -> None:
        self._folder = folder
        self._description = description
        self._ledger = ledger
        self._names = names
        self._plan = plan
        self._part = folder.parts / f"reused.{epoch}"
        self._mine = Identities(plan)

    def take(self) -> Reused:
        """Take over what can be, durably, and write down what was done and why."""
        me = RunIdentity.of(self._folder, self._description, self._ledger)
        reasons: list[str] = []
        for name in islice(earlier_runs(self._description), LOOKED_AT):
            found = self._from(RunFolder(runs_folder() / name), me)
            if isinstance(found, Reused):
                return found
            if found is not None:
                reasons.append(found)
        what = reasons[0] if reasons else f"there is no completed run of {self._description['name']} over these inputs yet"
        return self._write_down(Reused(0, None, (f"Runs all again: {what}.",)))

    def _from(self, earlier: RunFolder, me: RunIdentity) -> Reused | str | None:
        """What was taken from an earlier run; or why nothing was; None where it read other inputs."""
        try:
            description = json.loads(earlier.settings.read_text())
            ledger, plan = Ledger(earlier.ledger), PlanFile(str(earlier.plan))
        except (OSError, ValueError):
            return f"run {earlier.id}, which completed before, was removed" if read_the_same(earlier.id, self._description) else None
        try:
            if ledger.status is not RunStatus.COMPLETED or ledger.meta("replay_pending") is not None:
                return f"run {earlier.id} is not completed any more"
            if not _places(plan) & _places(self._plan):
                return None
            you = RunIdentity.of(earlier, description, ledger)
            others = list(islice(differences(you, me, self._names.resolve_again), 4))
            if others:
                return ", ".join(others)
            self._names.take_over(you.bound)
            return self._take_from(earlier, description, EarlierOutput(ledger, plan.mini_batches, with_header=self._with_header), plan)
        except OSError as error:
            return f"run {earlier.id}, which completed before, cannot be read ({error.strerror})"
        except OutputGoneError as error:
            return f"of run {earlier.id} {error.message}"
        finally:
            ledger.close()

    @property
    def _with_header(self) -> bool:
        return bool(self._description["settings"]["append_row_dataframe_header"])

    def _take_from(self, earlier: RunFolder, description: Mapping[str, Any], output: EarlierOutput, plan: PlanFile) -> Reused:
        theirs = Identities(plan)
        new, old = self._mine.all(), theirs.all()
        found = match(new, old, output.usable)
        output.drop_unknown_headers(found)
        taken = sum(1 for one in found if one != NONE)
        told = account(self._plan, self._mine, theirs, found, failed_before(new, old, output.usable, found))
        told[CHANGED] += len(found) - taken - told.total()
        lines = self._lines(earlier.id, taken, told, theirs)
        if not taken:
            return self._write_down(Reused(0, earlier.id, lines))
        return self._copy(earlier, description, output, found, Reused(taken, earlier.id, lines))

    def _copy(self, earlier: RunFolder, description: Mapping[str, Any], output: EarlierOutput, found: array[int], told: Reused) -> Reused:
        scratch = self._folder.path / "earlier"
        settings = description["settings"]
        name = settings["append_row_file_name"]
        try:
            path = _fetched(self._names.place, earlier, description, scratch)
            self._folder.parts.mkdir(exist_ok=True)
            done = output.copy(path, f"{description['output'].rstrip('/')}/{name}", self._part, stretches(found))
            self._keep(self._part)
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        items, total = sum(one.items for one in done), self._plan.mini_batches
        whole = self._plan.items if self._plan.header["kind"] == "files" else None
        counts = Counts(
            ItemCounts(whole, items, 0, None if whole is None else whole - items),
            MiniBatchCounts(total, told.mini_batches, 0, total - told.mini_batches),
        )
        with self._ledger.transaction():
            for one in done:
                self._ledger.add_done(one)
            self._ledger.put(reuse=told.to_json(), counts=json.dumps(counts.as_dict()))
        return told

    def _keep(self, part: Path) -> None:
        """Make sure that the part is there before the ledger says so."""
        fsync_folder(part.parent)

    def _write_down(self, told: Reused) -> Reused:
        with self._ledger.transaction():
            self._ledger.put(reuse=told.to_json())
        return told

    # --- words ------------------------------------------------------------------------------------------------------------------

    def _lines(self, run: str, taken: int, told: Counter[str], theirs: Identities) -> tuple[str, ...]:
        total = self._plan.mini_batches
        same = ["script", "arguments", *(["models"] if self._names.models_bound else []), "environment"]
        lines = [f"Reused {taken:,} of {total:,} mini-batches of run {run}: same {', '.join(same)}."]
        if taken < total:
            lines.append(f"The others run: {', '.join(f'{told[kind]:,} {words}' for kind, words in WORDS.items() if told[kind])}.")
        if self._mine.nameless:
            lines.append("Answers of queries and numbers in place of files have no identity: what is made of them runs again.")
        if self._mine.tables and set(self._mine.tables).isdisjoint(theirs.tables):
            lines.append("The columns of the tables, their types or how they are read changed.")
        return tuple(lines)


def _places(plan: PlanFile) -> set[tuple[str, str]]:
    return {(one["location"], one["base"]) for one in plan.header["inputs"]}


def _fetched(place: Callable[[str], str], earlier: RunFolder, description: Mapping[str, Any], scratch: Path) -> Path:
    """The output of an earlier run, brought here where it lies elsewhere.

    Raises:
        OutputGoneError: it cannot be fetched.
    """
    settings, output = description["settings"], description["output"]
    try:
        target = target_of(place(output), earlier, settings["retry_timeout"])
        return target.fetch(settings["append_row_file_name"], scratch)
    except BatchmillError as error:
        raise OutputGoneError(f"its output in {output} cannot be read ({error.message})") from None
