"""Matching the mini-batches of a plan with those of an earlier one by their identities, and saying what became of the others."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Container, Iterable

from batchmill.parallel_run.earlier_output import NONE
from batchmill.parallel_run.mini_batch_identity import SIZE, File, Identities
from batchmill.worker.plan_file import PlanFile

STEP = 4096
FEW = 100_000
"""Up to so many mini-batches are looked up one by one; NumPy is loaded for more."""
ITEMS_TOLD = 1_000_000
"""Of more files than this it is not found out what became of each."""
NEW, CHANGED, MOVED, FAILED = "new", "changed", "moved", "failed"


def match(new: bytearray, old: bytearray, usable: bytearray) -> array[int]:
    """For each mini-batch of ``new`` (`Identities.all`) the one of ``old`` that holds the same and is usable, or `NONE`."""
    found = array("q", [NONE]) * (len(new) // SIZE)
    same = _common(new, old)
    for k in range(same):
        if usable[k]:
            found[k] = k
    if same < min(len(new), len(old)) // SIZE or same < len(new) // SIZE:
        _match_rest(new, old, usable, same, found)
    return found


def _common(new: bytearray, old: bytearray) -> int:
    """How many mini-batches at the beginning are the same."""
    stop = min(len(new), len(old)) // SIZE
    at = 0
    while at < stop and new[at * SIZE : (at + STEP) * SIZE] == old[at * SIZE : (at + STEP) * SIZE]:
        at += STEP
    at = min(at, stop)
    while at < stop and new[at * SIZE : (at + 1) * SIZE] == old[at * SIZE : (at + 1) * SIZE]:
        at += 1
    return at


def _match_rest(new: bytearray, old: bytearray, usable: bytearray, first: int, found: array[int]) -> None:
    rest = range(first, len(usable))
    if len(rest) > FEW:
        _match_many(new, old, usable, first, found)
        return
    at = {bytes(old[k * SIZE : (k + 1) * SIZE]): k for k in rest if usable[k]}
    if at:
        for k in range(first, len(found)):
            found[k] = at.get(bytes(new[k * SIZE : (k + 1) * SIZE]), NONE)


def _match_many(new: bytearray, old: bytearray, usable: bytearray, first: int, found: array[int]) -> None:
    import numpy as np

    places = np.flatnonzero(np.frombuffer(usable, dtype=np.uint8)[first:]) + first
    if not len(places):
        return
    known = np.frombuffer(old, dtype="<u8").reshape(-1, 2)[places]
    order = np.argsort(known[:, 0], kind="stable")
    known, places = known[order], places[order]
    asked = np.frombuffer(new, dtype="<u8").reshape(-1, 2)[first:]
    at = np.minimum(np.searchsorted(known[:, 0], asked[:, 0]), len(known) - 1)
    hit = (known[at] == asked).all(axis=1)
    np.frombuffer(found, dtype=np.int64)[first:] = np.where(hit, places[at], NONE)


def account(plan: PlanFile, mine: Identities, theirs: Identities, found: array[int], failed: Container[int]) -> Counter[str]:
    """What the mini-batches are that run: with a new file, a changed one, the same files in other company, or failed at the last time.

    ``failed``: those that hold the same as one of the earlier run that is not usable.
    """
    told: Counter[str] = Counter()
    wanted: dict[bytes, File | None] = {}
    groups: list[list[tuple[bytes, File]]] = []
    for k in (k for k, earlier in enumerate(found) if earlier == NONE):
        if k in failed:
            told[FAILED] += 1
            continue
        items = plan.mini_batch(k).items
        if len(wanted) + len(items) > ITEMS_TOLD or not items:
            told[CHANGED] += 1
            continue
        files = [file for n in items for file in mine.files(n, n + 1)]
        wanted.update((name, None) for name, _ in files)
        groups.append(files)
    if groups:
        for name, facts in theirs.all_files():
            if name in wanted:
                wanted[name] = facts
    told.update(_verdicts(groups, wanted))
    return told


def failed_before(new: bytearray, old: bytearray, usable: bytearray, found: array[int]) -> set[int]:
    """The mini-batches that hold the same as one of the earlier run that is not usable."""
    known = {bytes(old[k * SIZE : (k + 1) * SIZE]) for k, one in enumerate(usable) if not one}
    return {k for k, earlier in enumerate(found) if earlier == NONE and bytes(new[k * SIZE : (k + 1) * SIZE]) in known} if known else set()


def _verdicts(groups: Iterable[list[tuple[bytes, File]]], before: dict[bytes, File | None]) -> Iterable[str]:
    for files in groups:
        if any(before[name] not in (None, facts) for name, facts in files):
            yield CHANGED
        else:
            yield NEW if any(before[name] is None for name, _ in files) else MOVED
