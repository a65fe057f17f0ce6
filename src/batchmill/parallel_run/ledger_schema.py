"""The tables of a ledger, and every statement that changes them, by name: what a segment of a ledger repeats elsewhere."""

from __future__ import annotations

from typing import Any

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ranges (
    first INTEGER PRIMARY KEY, count INTEGER NOT NULL, part TEXT NOT NULL, offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    rows INTEGER NOT NULL, items INTEGER NOT NULL, ok INTEGER NOT NULL, short INTEGER NOT NULL,
    node TEXT NOT NULL, worker TEXT NOT NULL, header TEXT, packed BLOB NOT NULL, spans BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pieces (
    mini_batch INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, part TEXT, offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    rows INTEGER NOT NULL, ok INTEGER NOT NULL, crc INTEGER NOT NULL, header TEXT, worker TEXT NOT NULL,
    PRIMARY KEY (mini_batch, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS splits (mini_batch INTEGER PRIMARY KEY, items INTEGER NOT NULL, ok INTEGER NOT NULL, ended INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS failed (mini_batch INTEGER PRIMARY KEY, items INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tries (
    id INTEGER PRIMARY KEY, mini_batch INTEGER NOT NULL, piece_first INTEGER, piece_count INTEGER, attempt INTEGER NOT NULL,
    node TEXT NOT NULL, worker TEXT NOT NULL, started REAL NOT NULL, elapsed REAL NOT NULL, run_seconds REAL NOT NULL, status TEXT NOT NULL,
    items INTEGER, error_class TEXT NOT NULL, message TEXT NOT NULL, traceback TEXT, memory INTEGER NOT NULL, peak INTEGER, printed TEXT);
CREATE INDEX IF NOT EXISTS tries_of ON tries (mini_batch);
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY, mini_batch INTEGER NOT NULL, item TEXT, position INTEGER, items_failed INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    worker TEXT NOT NULL, error_class TEXT NOT NULL, message TEXT NOT NULL, traceback TEXT, peak INTEGER,
    replayed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS warnings (id INTEGER PRIMARY KEY, mini_batch INTEGER, worker TEXT, text TEXT NOT NULL);
COMMIT;
"""
"""All tables in one transaction: one sync instead of one a table."""

WRITES = {
    "meta": "INSERT OR REPLACE INTO meta VALUES (?,?)",
    "range": f"INSERT INTO ranges VALUES ({','.join('?' * 14)})",
    "piece": f"INSERT OR REPLACE INTO pieces VALUES ({','.join('?' * 11)})",
    "split": "INSERT OR REPLACE INTO splits VALUES (?,?,?,?)",
    "failed": "INSERT OR REPLACE INTO failed VALUES (?,?)",
    "try": f"INSERT INTO tries VALUES (NULL{',?' * 17})",
    "warning": "INSERT INTO warnings (mini_batch, worker, text) VALUES (?,?,?)",
    "letter": "INSERT INTO letters (mini_batch, item, position, items_failed, attempt, worker, error_class, message, traceback, peak)"
    f" VALUES ({','.join('?' * 10)})",
    "letter settled": "UPDATE letters SET replayed = 1 WHERE id = ?",
    "letter again": "UPDATE letters SET attempt = attempt + 1, items_failed = ?, worker = ?, error_class = ?, message = ?, traceback = ?,"
    " peak = ? WHERE id = ?",
    "no range": "DELETE FROM ranges WHERE first = ?",
    "no piece": "DELETE FROM pieces WHERE mini_batch = ? AND first = ?",
    "no pieces": "DELETE FROM pieces WHERE mini_batch = ?",
    "no split": "DELETE FROM splits WHERE mini_batch = ?",
    "no failed": "DELETE FROM failed WHERE mini_batch = ?",
}
"""Names are part of the format of segments: one that is added, or means something else, is a new version of it."""
TABLES = ("meta", "ranges", "pieces", "splits", "failed", "tries", "letters", "warnings")


def storable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values with every text valid UTF-8: names of files and messages of scripts need not be, and SQLite takes nothing else."""
    return tuple(value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for value in values)
