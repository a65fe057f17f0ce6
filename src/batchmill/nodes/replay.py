"""Replay: run only the dead letters again, with the script as it is now, and merge their rows into the output at their place.

Order of events, so that a kill at any moment loses nothing and the command may be repeated:
1. the output is verified against the ledger;
2. the letters' mini-batches (or single items of bisected ones) run; their outcomes go to a scratch ledger;
3. the merged output is written beside the old one and synced; the main ledger notes that the rows are merged;
4. the merged output is renamed over the old one, or uploaded over it;
5. one transaction takes the new outcomes into the main ledger, settles the letters and notes that;
6. dead letters and job logs are written anew, and the note is forgotten.
A repeat that finds the note looks at the output itself: is it the merged one, then step 5 is done; does the merged one still lie here, then
it is uploaded first; else everything begins anew.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from batchmill.errors import ReplayRefusedError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.job_rules import limits_of
from batchmill.nodes.local import LocalEngine
from batchmill.nodes.log_shipper import send_back
from batchmill.parallel_run.answers import Answers
from batchmill.parallel_run.cluster_run import bring_plan, open_ledger
from batchmill.parallel_run.dead_letters import write_dead_letters
from batchmill.parallel_run.fates import verify
from batchmill.parallel_run.item_names import item_name, items_of
from batchmill.parallel_run.job import NO_RESULT, Ending, Job
from batchmill.parallel_run.job_logs import write_job_logs
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.merge import merge
from batchmill.parallel_run.policy import Policy
from batchmill.parallel_run.progress import Progress
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_places import source_folder
from batchmill.parallel_run.scheduler import Scheduler
from batchmill.parallel_run.settlement import MERGED, Settlement, Targets, forget, noted
from batchmill.parallel_run.snapshot import check_script, take_snapshot
from batchmill.parallel_run.states import DONE, FRESH
from batchmill.records import DeadLetter, RunStatus
from batchmill.storage.files import fsync_folder
from batchmill.worker.plan_file import PlanFile


def replay(folder: RunFolder, progress: Progress) -> Ending:
    """Run the open dead letters of an ended run again.

    Raises:
        RunBusyError: the run is alive.
        ReplayRefusedError: it has mini-batches that were never run, or its output is not the one it wrote.
    """
    folder.lock()
    try:
        return _Replay(folder, progress).carry_out()
    finally:
        folder.unlock()


class _Replay:
    def __init__(self, folder: RunFolder, progress: Progress) -> None:
        self.folder = folder
        self.coordinator = Coordinator(folder, progress)
        self.settings = self.coordinator.settings
        self.scratch = folder.path / "replay"
        self.scratch_ledger = self.scratch / "ledger.sqlite"
        self.ledger = open_ledger(folder)

    def carry_out(self) -> Ending:
        try:
            self._refuse_unfinished()
            bring_plan(self.folder)
            self.plan = PlanFile(str(self.folder.plan))
            self.coordinator.target.claim(self.ledger.epoch + 1)
            try:
                self.epoch = self.ledger.claim(running=False)
                self._recover()
                ending = self._replay()
            finally:
                self.coordinator.give_nodes_back()
                self.coordinator.target.release()
        finally:
            self.ledger.close()
        self.coordinator.progress.ended(ending.status, ending.counts, ending.error)
        return ending

    def _refuse_unfinished(self) -> None:
        status, counts = self.ledger.status, self.ledger.counts().mini_batches
        if status is RunStatus.COMPLETED or (self.ledger.meta("error") == NO_RESULT and not counts.not_run):
            return
        error = self.ledger.meta("error")
        if status is RunStatus.FAILED:
            raise ReplayRefusedError(
                f"Run {self.folder.id} failed before its output was published: {error}",
                cure="Mend the cause and start it again; with an --error-threshold a run completes without its bad items.",
            )
        raise ReplayRefusedError(
            f"Run {self.folder.id} is {status} with {counts.not_run} mini-batches not run; "
            "replay works on runs in which everything has its fate.",
            cure=f"First: batchmill resume {self.folder.id}",
        )

    @property
    def _final(self) -> Path | None:
        if self.settings.output_action != "append_row":
            return None
        return self.coordinator.output / self.settings.append_row_file_name

    @property
    def _published(self) -> str:
        """What a user calls the output."""
        return f"{self.coordinator.description['output'].rstrip('/')}/{self.settings.append_row_file_name}"

    @property
    def _fresh(self) -> bool:
        """Every item had failed, so no output was published."""
        return self.ledger.counts().items.succeeded == 0 and self.ledger.status is not RunStatus.COMPLETED

    # --- running ----------------------------------------------------------------------------------------------------------------

    def _replay(self) -> Ending:
        letters = list(self.ledger.letters(open_only=True))
        if not letters:
            return Ending(self.ledger.status, None, self.ledger.counts())
        self.scratch.mkdir()
        old = None
        if self._final is not None and not self._fresh:
            old = self.coordinator.target.fetch(self._final.name, self.scratch / "published")
            verify(self.ledger, old, self._published)
        script = check_script(self.coordinator.description["script"])
        take_snapshot(script, source_folder(self.coordinator.description), self.scratch / "snapshot", self.coordinator.data_places())
        targets = self._targets(letters)
        scratch = Ledger(self.scratch_ledger, write=True)
        try:
            ending = self._run(targets, scratch)
            if ending.status is not RunStatus.COMPLETED:
                return ending
            settlement = Settlement(self.ledger, scratch, targets)
            if self._final is not None:
                self._merge(scratch, targets, settlement, old)
            self.coordinator.target.publish()
            return self._settle(settlement)
        finally:
            scratch.close()

    def _targets(self, letters: list[DeadLetter]) -> Targets:
        """Single items of bisected mini-batches run by themselves; everything else as a whole mini-batch."""
        split = {mini_batch for mini_batch, _, _, ended in self.ledger.splits() if ended}
        positions: dict[int, list[int | None]] = defaultdict(list)
        for letter in letters:
            positions[letter.mini_batch].append(letter.position if letter.items_failed == 1 else None)
        targets: dict[int, set[int] | None] = {}
        for mini_batch, found in positions.items():
            single = {one for one in found if one is not None}
            pieces = {first for first, count, *_ in self.ledger.piece_checksums(mini_batch) if count == 1}
            whole = mini_batch not in split or None in found or not single <= pieces
            targets[mini_batch] = None if whole else single
        return targets

    def _run(self, targets: Targets, scratch: Ledger) -> Ending:
        settings, coordinator, plan = self.settings, self.coordinator, self.plan
        scratch.begin(id=self.folder.id)
        scratch.claim()
        policy = Policy(settings.run_max_try, settings.isolate_failures, not plan.header.get("partition_keys"), error_threshold=-1)
        scheduler = Scheduler(plan.mini_batches, policy, items_of(plan))
        scheduler.state[:] = bytes((DONE,)) * plan.mini_batches
        scheduler.succeeded = plan.mini_batches - len(targets)
        sizes = {mini_batch: items for mini_batch, items, _, _ in self.ledger.splits()}
        for mini_batch, single in targets.items():
            scheduler.state[mini_batch] = FRESH
            if single is None:
                scheduler.restore_tries(mini_batch, 0, retried=False, memory=False)  # leased one by one, so each has a row of its own
            else:
                pieces = [(first, count, ok) for first, count, _, ok in self.ledger.pieces(mini_batch) if first not in single]
                ok = sum(piece[2] for piece in pieces)
                scratch.add_split(mini_batch, sizes[mini_batch], ok, ended=False)
                scheduler.restore_split(mini_batch, sizes[mini_batch], ok, ended=False, settled=[piece[:2] for piece in pieces])
        self.folder.parts.mkdir(exist_ok=True)
        coordinator.epoch, coordinator.plan, coordinator.ledger = self.epoch, plan, self.ledger
        coordinator.names.bind(self.ledger)
        coordinator.names.connect()
        coordinator.find_interpreter()
        lease = coordinator.hold_nodes()
        config = replace(coordinator.node_config(self.scratch / "snapshot"), accept_changed=True)
        job = Job(
            self.folder,
            scratch,
            scheduler,
            LocalEngine(config, granted=None if lease is None else lease.take_news()),
            None,
            None,
            limits_of(settings, config),
            coordinator.progress,
            proven=False,
            item_name=item_name(plan),
            answers=self._answers(),
            more_nodes=None if lease is None else lease.take_news,
        )
        return job.run()

    def _answers(self) -> Answers:
        """What the run has bound counts here too, and what the replay asks for the first time is bound for the run."""
        names = self.coordinator.names
        return Answers(names.answer, names.keep_answer)

    # --- merging ----------------------------------------------------------------------------------------------------------------

    def _merge(self, scratch: Ledger, targets: Targets, settlement: Settlement, old: Path | None) -> None:
        """Give the merged output its final name; from the note on, a repeat can tell how far this came."""
        assert self._final is not None
        partial = self._final.with_name(f"{self._partials}{self.epoch}.replay")
        merge(self.ledger, scratch, targets, old, settlement.header(), self.folder.parts, partial)
        for folder in (self._final.parent, self.scratch, self.folder.path):
            fsync_folder(folder)
        settlement.note()
        os.rename(partial, self._final)
        fsync_folder(self._final.parent)

    @property
    def _partials(self) -> str:
        return f"{self.settings.append_row_file_name}.partial.{self.folder.id}."

    def _settle(self, settlement: Settlement) -> Ending:
        ending = settlement.write_down(self.plan.mini_batches, append_row=self._final is not None)
        self._tell(ending)
        return ending

    def _tell(self, ending: Ending) -> None:
        """Write what people read from the ledger, and remove what was needed until then."""
        write_dead_letters(self.ledger, self.folder)
        write_job_logs(self.ledger, self.folder, self.plan, self.settings, ending)
        for spent in (self.scratch / "snapshot", self.scratch / "published", self.folder.parts, self.folder.path / "work"):
            shutil.rmtree(spent, ignore_errors=True)
        forget(self.ledger)
        send_back(self.folder)

    # --- after a kill -----------------------------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Take up what a killed replay left. Once its rows are merged it is brought to its end; of anything less nothing counts."""
        note = noted(self.ledger)
        if note is not None:
            state, targets = note
            if state != MERGED:
                self._tell(Ending(self.ledger.status, self.ledger.meta("error"), self.ledger.counts()))
            elif self.scratch_ledger.exists():
                self._take_up(targets)
        self.coordinator.output.mkdir(exist_ok=True)  # publishing to a URL removes it
        for path in self.coordinator.output.iterdir():
            if path.name.startswith(self._partials) and path.suffix == ".replay":
                path.unlink()
        forget(self.ledger)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _take_up(self, targets: Targets) -> None:
        """Publish the merged output, if that was not done, and settle; nothing, if there is no merged output."""
        assert self._final is not None
        scratch = Ledger(self.scratch_ledger, write=True)
        try:
            settlement = Settlement(self.ledger, scratch, targets)
            target = self.coordinator.target
            published = target.fetch(self._final.name, self.scratch / "published")
            if settlement.made(published):
                if published != self._final:
                    self._final.unlink(missing_ok=True)
            elif published != self._final and settlement.made(self._final):
                if not self._fresh:
                    verify(self.ledger, published, self._published)
            else:
                return
            target.publish()
            self._settle(settlement)
        finally:
            scratch.close()
