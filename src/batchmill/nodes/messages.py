"""What worker processes say, as events."""

from __future__ import annotations

import base64
import time
from typing import Any

from batchmill.nodes.process import WorkerProcess
from batchmill.parallel_run.events import Done, ErrorFacts, TryFailed


def done_of(node: str, worker: WorkerProcess, token: int, message: dict[str, Any]) -> Done:
    """Mini-batches, or a piece of one, that succeeded."""
    return Done(
        node=node,
        worker=worker.name,
        token=token,
        first=message["first"],
        count=message["count"],
        piece=piece_of(message),
        part=worker.part.name,
        offset=message["offset"],
        length=message["length"],
        rows=message["rows"],
        items=message["items"],
        ok=message["ok"],
        short=message["short"],
        packed=base64.b64decode(message["packed"]),
        spans=base64.b64decode(message.get("spans", "")),
        notes=message.get("notes", ()),
        header=message.get("header"),
    )


def try_of(
    node: str,
    worker: str,
    token: int,
    mini_batch: int,
    piece: tuple[int, int] | None,
    message: dict[str, Any],
    facts: ErrorFacts,
) -> TryFailed:
    """A try that failed; ``message`` is the worker's own, or what its node knows of one that died."""
    printed = message.get("printed")
    return TryFailed(
        node=node,
        worker=worker,
        token=token,
        mini_batch=mini_batch,
        piece=piece,
        items=message.get("items"),
        item=message.get("item"),
        status=message["status"],
        error=facts,
        started=time.time() - message["elapsed"],
        elapsed=message["elapsed"],
        run_seconds=message["run_seconds"],
        printed=(printed[0], printed[1], printed[2], printed[3]) if printed else None,
    )


def piece_of(message: dict[str, Any]) -> tuple[int, int] | None:
    """The piece that a message is about: first item, number of items."""
    piece = message.get("piece")
    return (piece[0], piece[1]) if piece else None


def facts_of(message: dict[str, Any]) -> ErrorFacts:
    """The error that a message describes."""
    return ErrorFacts(message["class"], message["message"], message.get("traceback"), bool(message.get("memory")), message.get("peak"))
