"""Entry scripts that were written out of documents: which files they are, so that no file of a person's own is lost."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from batchmill.errors import DocumentError
from batchmill.storage.home import home

KEPT = ".before-exec"


def write_script(path: Path, code: str) -> Path | None:
    """Write a script, whole or not at all; returns where the file that a person had there was moved to, None where there was none.

    Raises:
        DocumentError: it cannot be written, or a person's file was moved away from there before.
    """
    content = code.encode("utf-8")
    try:
        before = path.read_bytes() if path.is_file() else None
        kept = None
        if before is not None and before != content and not _is_ours(path, before):
            kept = path.with_name(path.name + KEPT)
            if kept.exists():
                raise DocumentError(
                    f"The document's entry script would replace {path}, which somebody has written, and {kept.name} is taken.",
                    cure="Move both away, or let the document name another file.",
                )
            path.replace(kept)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remember(path, content)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_bytes(content)
        new.replace(path)
    except OSError as error:
        raise DocumentError(f"Cannot write the document's entry script {path}: {error.strerror}.") from None
    return kept


def _record(path: Path) -> Path:
    return home() / "cache" / "written_scripts" / hashlib.sha256(os.fsencode(path)).hexdigest()


def _is_ours(path: Path, content: bytes) -> bool:
    record = _record(path)
    return record.is_file() and record.read_text() == hashlib.sha256(content).hexdigest()


def _remember(path: Path, content: bytes) -> None:
    record = _record(path)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(hashlib.sha256(content).hexdigest())
