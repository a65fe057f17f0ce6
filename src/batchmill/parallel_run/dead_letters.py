"""``dead_letters.jsonl``: one line for every item that failed for good, in the run folder; written from the ledger."""

from __future__ import annotations

import json
import os

from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import DeadLetter


def line(letter: DeadLetter) -> str:
    """One letter as one line of JSON."""
    return json.dumps(letter.as_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def write_dead_letters(ledger: Ledger, folder: RunFolder) -> int:
    """Write the open letters anew, atomically; returns their number. Letters that a replay settled stay in the ledger only."""
    temporary = folder.path / ".letters.tmp"
    count = 0
    with temporary.open("w", encoding="utf-8") as file:
        for letter in ledger.letters(open_only=True):
            file.write(line(letter) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(folder.dead_letters)
    return count
