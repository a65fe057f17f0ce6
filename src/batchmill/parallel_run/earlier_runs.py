"""Earlier runs: which completed runs of the same name and script there are, for a run that would reuse their results.

Each completed run leaves a small file, ``reuse/<name and script>/<run id>`` below the batchmill home, with its inputs: no lock, no sync,
and safe whoever else completes at the same moment. All else that is to be known of a run lies in its folder, as long as that is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from batchmill.storage.home import home

KEPT = 64
"""Notes for one name and script; the oldest are removed beyond that."""


def _notes(description: Mapping[str, Any]) -> Path:
    subject = f"{description['name']}\0{Path(description['script']).name}".encode("utf-8", "surrogateescape")
    return home() / "reuse" / f"{crc32(subject):08x}"  # of two with the same number, each finds that the other is another script


def note(description: Mapping[str, Any]) -> None:
    """This run is completed. Without space or right for the note it is merely not found later."""
    folder = _notes(description)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / description["id"]).write_text(json.dumps(description["settings"]["inputs"]))
        names = os.listdir(folder)
        for name in sorted(names)[:-KEPT] if len(names) > KEPT else ():
            (folder / name).unlink(missing_ok=True)


def earlier_runs(description: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the completed runs of the same name and script, newest first; of some the folder may be gone."""
    try:
        names = os.listdir(_notes(description))
    except OSError:
        return
    yield from sorted((name for name in names if name != description["id"]), reverse=True)


def read_the_same(run: str, description: Mapping[str, Any]) -> bool:
    """Whether a run that was removed had an input in common with this one, as its note says."""
    return not set(noted_inputs(run, description)).isdisjoint(description["settings"]["inputs"])


def noted_inputs(run: str, description: Mapping[str, Any]) -> list[str]:
    """The inputs of a completed run, as its note says; of one that cannot be read none."""
    try:
        inputs: list[str] = json.loads((_notes(description) / run).read_text())
    except (OSError, ValueError):
        return []
    return inputs
