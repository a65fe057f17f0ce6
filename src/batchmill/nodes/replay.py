"""Replay: run only the dead letters again, with the script as it is now, and merge their rows into the output at their place.

Order of events, so that a kill at any moment loses nothing and the command may be repeated:
1. the output is verified against the ledger;
2. the letters' mini-batches (or single items of bisected ones) run; their outcomes go to a scratch ledger;
3. the merged output is written beside the old one and synced; the main ledger notes that a merge is pending;
4. the merged output is renamed over the old one;
5. one transaction takes the new outcomes into the main ledger, settles the letters and forgets the pending merge.
A repeat finds the pending merge: if the rename had happened, step 5 is done; if not, everything begins anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from batchmill.errors import ReplayRefusedError
from batchmill.nodes.coordinator import Coordinator, item_name, items_of
from batchmill.nodes.local import LocalEngine
from batchmill.parallel_run.dead_letters import write_dead_letters
from batchmill.parallel_run.fates import recount, verify
from batchmill.parallel_run.job import NO_RESULT, Ending, Job
from batchmill.parallel_run.job_logs import write_job_logs
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.merge import merge
from batchmill.parallel_run.progress import Progress
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.scheduler import DONE, FRESH, Policy, Scheduler
from batchmill.parallel_run.snapshot import check_script, take_snapshot
from batchmill.records import DeadLetter, RunStatus
from batchmill.storage.files import fsync_folder
from batchmill.worker.plan_file import PlanFile

Targets = dict[int, set[int] | None]
"""Mini-batch -> the positions of the items to run again, or None for the whole mini-batch."""


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
        self.ledger = Ledger(folder.ledger, write=True)

    def carry_out(self) -> Ending:
        self._refuse_unfinished()
        self.coordinator.target.claim(self.ledger.epoch + 1)
        try:
            self.epoch = self.ledger.claim(running=False)
            self._recover()
            return self._replay()
        finally:
            self.ledger.close()
            self.coordinator.target.release()

    def _refuse_unfinished(self) -> None:
        status, counts = self.ledger.status, self.ledger.counts().mini_batches
        if status is RunStatus.COMPLETED or (self.ledger.meta("error") == NO_RESULT and not counts.not_run):
            return
        error = self.ledger.meta("error")
        self.ledger.close()
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

    # --- running ----------------------------------------------------------------------------------------------------------------

    def _replay(self) -> Ending:
        letters = list(self.ledger.letters(open_only=True))
        plan = PlanFile(str(self.folder.plan))
        if not letters:
            return Ending(self.ledger.status, None, self.ledger.counts())
        fresh = self.ledger.counts().items.succeeded == 0 and self.ledger.status is not RunStatus.COMPLETED
        header = 0
        if self._final is not None and not fresh:
            self.coordinator.target.fetch(self._final.name)
            header = verify(self.ledger, self._final)
        script = check_script(self.coordinator.description["script"])
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        take_snapshot(script, self.coordinator.source_folder(), self.scratch / "snapshot", self.coordinator.data_places())
        targets = self._targets(letters)
        scratch = Ledger(self.scratch / "ledger.sqlite", write=True)
        try:
            ending = self._run(plan, targets, scratch)
            if ending.status is not RunStatus.COMPLETED:
                return ending
            if self._final is not None:
                self._merge(scratch, targets, header, None if fresh else self._final)
            return self._settle(scratch, letters, targets, plan)
        finally:
            scratch.close()

    def _targets(self, letters: list[DeadLetter]) -> Targets:
        """Single items of bisected mini-batches run by themselves; everything else as a whole mini-batch."""
        split = {mini_batch for mini_batch, _, _, ended in self.ledger.splits() if ended}
        positions: dict[int, list[int | None]] = defaultdict(list)
        for letter in letters:
            positions[letter.mini_batch].append(letter.position if letter.items_failed == 1 else None)
        targets: Targets = {}
        for mini_batch, found in positions.items():
            single = {one for one in found if one is not None}
            pieces = {first for first, count, *_ in self.ledger.piece_checksums(mini_batch) if count == 1}
            whole = mini_batch not in split or None in found or not single <= pieces
            targets[mini_batch] = None if whole else single
        return targets

    def _run(self, plan: PlanFile, targets: Targets, scratch: Ledger) -> Ending:
        settings, coordinator = self.settings, self.coordinator
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
        coordinator.epoch, coordinator.plan = self.epoch, plan
        config = replace(coordinator.node_config(self.scratch / "snapshot"), accept_changed=True)
        job = Job(
            self.folder,
            scratch,
            scheduler,
            LocalEngine(config),
            None,
            None,
            coordinator.limits(config),
            coordinator.progress,
            proven=False,
            item_name=item_name(plan),
        )
        return job.run()

    # --- merging ----------------------------------------------------------------------------------------------------------------

    @property
    def _partial(self) -> Path:
        assert self._final is not None
        return self._final.with_name(f"{self._final.name}.partial.{self.epoch}")

    def _merge(self, scratch: Ledger, targets: Targets, header: int, old: Path | None) -> None:
        assert self._final is not None
        merge(self.ledger, scratch, targets, old, header, self.folder.parts, self._partial)
        with self.ledger.transaction():
            self.ledger.put(
                replay_pending=json.dumps(
                    {"partial": self._partial.name, "targets": [[k, sorted(v) if v else None] for k, v in targets.items()]}
                )
            )
        os.rename(self._partial, self._final)
        fsync_folder(self._final.parent)
        self.coordinator.target.publish()

    def _recover(self) -> None:
        """A replay was killed after it had prepared its merge."""
        final = self._final
        if final is not None:
            pending = json.loads(self.ledger.meta("replay_pending") or "null")
            if pending is not None and not final.with_name(pending["partial"]).exists():
                scratch = Ledger(self.scratch / "ledger.sqlite", write=True)
                targets = {k: set(v) if v else None for k, v in pending["targets"]}
                self._settle(scratch, list(self.ledger.letters(open_only=True)), targets, PlanFile(str(self.folder.plan)))
                scratch.close()
            for path in final.parent.glob(final.name + ".partial.*"):
                path.unlink()
        with self.ledger.transaction():
            self.ledger.put(replay_pending=None)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _settle(self, scratch: Ledger, letters: list[DeadLetter], targets: Targets, plan: PlanFile) -> Ending:
        """The transaction that makes the replay true."""
        again = {
            (letter.mini_batch, letter.position if targets[letter.mini_batch] else letter.item): letter for letter in scratch.letters()
        }
        used = set()
        with self.ledger.transaction():
            for mini_batch, single in targets.items():
                self.ledger.adopt(scratch, mini_batch, single)
            for letter in letters:
                key = (letter.mini_batch, letter.position if targets[letter.mini_batch] else letter.item)
                used.add(key)
                self.ledger.settle_letter(letter, again.get(key))
            attempts = {letter.mini_batch: letter.attempt for letter in letters}
            for key, letter in again.items():
                if key not in used:
                    self._new_letter(letter, attempts[letter.mini_batch] + 1)
            counts = recount(self.ledger, plan.mini_batches)
            status = RunStatus.COMPLETED if counts.items.succeeded or self._final is None else self.ledger.status
            error = None if status is RunStatus.COMPLETED else self.ledger.meta("error")
            self.ledger.put(counts=json.dumps(counts.as_dict()), status=status, error=error, replay_pending=None)
        write_dead_letters(self.ledger, self.folder)
        ending = Ending(status, error, counts)
        write_job_logs(self.ledger, self.folder, plan, self.settings, ending)
        shutil.rmtree(self.scratch / "snapshot", ignore_errors=True)
        shutil.rmtree(self.folder.parts, ignore_errors=True)
        shutil.rmtree(self.folder.path / "work", ignore_errors=True)
        self.coordinator.progress.ended(status, counts, error)
        return ending

    def _new_letter(self, letter: DeadLetter, attempt: int) -> None:
        self.ledger.add_letter(
            letter.mini_batch,
            letter.item,
            letter.position,
            letter.items_failed,
            attempt,
            letter.worker,
            letter.error_class,
            letter.message,
            letter.traceback,
            letter.peak_memory,
        )
