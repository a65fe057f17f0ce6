"""DuckDB: COPY (SELECT * ... ORDER BY key) of a table, to Parquet.

python sorted_copy.py SOURCE KEY TARGET
"""

from __future__ import annotations

import sys

import duckdb


def main() -> None:
    source, key, target = sys.argv[1:]
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute(f"COPY (SELECT * FROM '{source}' ORDER BY {key}) TO '{target}' (FORMAT parquet)")


if __name__ == "__main__":
    main()
