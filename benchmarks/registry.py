"""A registry with 10,000 datasets, models and runs: the first page of a list and one show, in a process that has used it before."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.report import Result, at_most
from benchmarks.rows import Options
from tests.postgres import postgres_server
from tests.stores import StoreMissing

BAR = 0.3
PAGE = 100
ROUNDS = 20


def registry(options: Options) -> list[Result]:
    """The rows of the results table, one for each database."""
    count = 1_000 if options.small else 10_000
    results = []
    for kind, url in (("SQLite", _sqlite(options.data)), ("PostgreSQL", _postgres())):
        what = f"Registry of {count:,} datasets, models and runs on {kind}: first page, show"
        try:
            with url as database, _environment(options.data / "registry-home", database):
                results.append(_measured(what, database, count))
        except StoreMissing as missing:
            results.append(Result(what, "", str(missing), "", f"≤ {BAR} s", None))
    return results


@contextmanager
def _sqlite(data: Path) -> Iterator[str]:
    home = data / "registry-home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    yield f"sqlite:///{home / 'workspace.sqlite'}"
    shutil.rmtree(home)


@contextmanager
def _postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield server.fresh()


@contextmanager
def _environment(home: Path, url: str) -> Iterator[None]:
    from batchmill.workspace.database import close_databases

    with mock.patch.dict(os.environ, {"BATCHMILL_HOME": str(home), "BATCHMILL_DATABASE_URL": url}):
        yield
        close_databases()


def _measured(what: str, url: str, count: int) -> Result:
    from batchmill.workspace.workspace import Workspace

    ws = Workspace.create("bench", show_output=False)
    _fill(ws, count)
    known, middle = ws.registry, f"asset-{count // 2:06d}"
    questions: dict[str, Callable[[], Any]] = {
        "list datasets": lambda: known.list("dataset", limit=PAGE),
        "list models": lambda: known.list("model", limit=PAGE),
        "list runs": lambda: known.runs(limit=PAGE),
        "list a page in the middle": lambda: known.list("dataset", limit=PAGE, after=middle),
        "list by a tag that 100 have": lambda: known.list("dataset", limit=PAGE, tags={"team": "7"}),
        "show a dataset": lambda: known.get("dataset", middle),
        "show a model": lambda: known.get("model", middle),
        "show a run": lambda: known.run(f"run-{count // 2:06d}"),
        "counts": known.counts,
    }
    taken = {name: _seconds(ask) for name, ask in questions.items()}
    bare = _bare(url, ws.id)
    for name, value in taken.items():
        print(f"  {what.split(':')[0]}: {name} {value * 1000:.2f} ms", flush=True)
    page, slowest = taken["list datasets"], max(taken, key=lambda name: taken[name])
    ours = f"page {page * 1000:.1f} ms, show {taken['show a dataset'] * 1000:.1f} ms, slowest ({slowest}) {taken[slowest] * 1000:.0f} ms"
    return at_most(what, ours, f"bare query of the page {bare * 1000:.1f} ms (page {page / bare:.1f} ×)", taken[slowest], BAR, "s")


def _seconds(ask: Callable[[], Any]) -> float:
    """The median of a few times; the first call is not counted."""
    assert ask(), "the question has an answer"
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def _fill(ws: Any, count: int) -> None:
    """As many assets and runs as asked for, the models in two versions."""
    from batchmill.workspace.registry import new_asset
    from batchmill.workspace.schema import asset_names, assets, runs

    definition = {"kind": "file", "sources": [f"datastore://workspaceblobstore/folder/{n}" for n in range(5)], "options": {"a": [1] * 20}}
    began = datetime(2026, 1, 1, tzinfo=UTC)
    rows, names = [], []
    for n in range(count):
        for kind, version in (("dataset", 1), ("model", 1), ("model", 2)):
            tags = {"team": n % (count // 100), "stage": "test"}
            asset = new_asset(kind, f"asset-{n:06d}", {**definition, "n": n}, "what it is for", tags, {"source": "bench"})
            values = {name: getattr(asset, name) for name in asset.__slots__}
            rows.append({**values, "version": version, "workspace_id": ws.id, "newest": kind == "dataset" or version == 2})
        names += [{"workspace_id": ws.id, "kind": kind, "name": f"asset-{n:06d}", "last_version": 2} for kind in ("dataset", "model")]
    details = {"counts": {"items": {"total": 100, "succeeded": 100, "failed": 0, "not_run": 0}}}
    known = [
        {
            "workspace_id": ws.id, "id": f"run-{n:06d}", "name": "score", "experiment": f"e{n % 10}", "status": "Completed",
            "folder": f"/runs/{n}", "details": details, "created": began + timedelta(seconds=n), "modified": began,
        }
        for n in range(count)
    ]  # fmt: skip
    with ws.registry.database.write() as connection:
        for table, all_rows in ((asset_names, names), (assets, rows), (runs, known)):
            connection.execute(table.insert(), all_rows)


def _bare(url: str, workspace_id: str) -> float:
    """The query of the first page without SQLAlchemy, its JSON parsed."""
    mark = "?" if url.startswith("sqlite") else "%s"
    query = (
        "SELECT id, kind, name, version, definition, digest, description, tags, properties, created, modified FROM assets "
        f"WHERE workspace_id = {mark} AND kind = 'dataset' AND newest ORDER BY name LIMIT {PAGE}"
    )
    if url.startswith("sqlite"):
        import sqlite3

        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"))
        parse = json.loads
    else:
        import psycopg

        connection, parse = psycopg.connect(url), lambda value: value  # psycopg has parsed it

    def page() -> list[Any]:
        rows = connection.execute(query, (workspace_id,)).fetchall()
        return [(row, parse(row[4]), parse(row[7]), parse(row[8])) for row in rows]

    try:
        return _seconds(page)
    finally:
        connection.close()
