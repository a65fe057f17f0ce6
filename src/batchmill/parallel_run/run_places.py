"""Places of a run on the machine where it was begun: its local inputs, and the folder that its script comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchmill.data.globs import is_glob, split_base
from batchmill.parallel_run.named_things import DATASET
from batchmill.parallel_run.names import Names
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_identity import COMPLETE, source_list
from batchmill.parallel_run.snapshot import take_snapshot


def input_places(description: Mapping[str, Any], names: Names) -> list[Path]:
    """Local inputs, and the folders in which local patterns look; ``description`` is the ``settings.json`` of the run."""
    folder = Path(description["folder"])
    texts = [*names.inputs(), *(text for one in names.definitions().values() for text in one.sources)]
    local = [text.removeprefix("@").removeprefix("file://") for text in texts if not text.startswith(DATASET)]
    return [folder / (split_base(text)[0] if is_glob(text) else text) for text in local if "://" not in text]


def source_folder(description: Mapping[str, Any]) -> str | None:
    """The folder that was named as that of the script; None: the script's own."""
    source = description["settings"]["source"]
    return None if source is None else str(Path(description["folder"]) / source)


def script_in_source(description: Mapping[str, Any]) -> Path:
    """The script, relative to its folder and to each copy of that."""
    script = Path(description["script"])
    return script.relative_to(source_folder(description) or script.parent)


def copy_script(description: Mapping[str, Any], folder: RunFolder, data: Iterable[Path]) -> None:
    """Take the snapshot of a new run; ``data`` may lie beside the script, but is no part of it.

    Raises:
        SnapshotError: the folder is too large, or does not hold the script.
    """
    take_snapshot(Path(description["script"]), source_folder(description), folder.snapshot, data)
    (folder.snapshot / COMPLETE).write_text(source_list(folder.snapshot))
