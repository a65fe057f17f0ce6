"""Table inputs for tests: files written, planned, cut and read as a run does it, in one process."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from sklearn.datasets import load_iris

from batchmill.data.position_pass import positioned
from batchmill.data.row_operations import RowOperations
from batchmill.data.table_options import TableOptions
from batchmill.data.table_plan import UNKNOWN, TablePlan, plan_table
from batchmill.data.table_reader import TableReader
from batchmill.data.table_slice import TableSlice
from batchmill.worker.plan_file import Item, MiniBatchPlan


@dataclass(frozen=True)
class InputFile:
    path: str
    name: str
    size: int
    input: int = 0
    mtime_ns: int = 0
    etag: str | None = None


def listed(*paths: Path, root: Path | None = None, input: int = 0) -> list[InputFile]:
    root = root or paths[0].parent
    return [InputFile(str(path), str(path.relative_to(root)), path.stat().st_size, input) for path in paths]


class PlannedTable:
    """A planned input and its mini-batches, read through the worker's reader."""

    def __init__(
        self, files: list[InputFile], options: TableOptions, size: Any = None, operations: Any = (), *, joined: bool = False
    ) -> None:
        self.plan: TablePlan = plan_table(files, options, size, operations=operations, joined=joined)
        self._files = files
        header = self.plan.header
        count = RowOperations(operations).positional
        with TemporaryDirectory() as folder:
            if count:
                found = list(positioned(self.plan, 2))
                self.cuts = [cut for cut, _ in found]
                header = {**header, "positions": "positions-0.bin"}
                (Path(folder) / "positions-0.bin").write_bytes(b"".join(struct.pack(f"<{count}Q", *starts) for _, starts in found))
            else:
                self.cuts = list(self.plan.slices()) if self.plan.rule == "slices" else list(self._blocks())
            # What workers get has been written to a file and read again.
            self.reader = TableReader(json.loads(json.dumps(header)), folder)

    def _blocks(self) -> Any:
        for number, file in enumerate(self._files):
            for k in range(self.plan.blocks_of(file.size)):
                yield number, k * self.plan.size, min((k + 1) * self.plan.size, file.size), UNKNOWN

    def _item(self, number: int) -> Item:
        file = self._files[number]
        return Item(file.path, file.name, file.input, file.size, 0, None)

    def read(self, k: int) -> TableSlice:
        number, start, stop, rows = self.cuts[k]
        known = [None if value == UNKNOWN else value for value in (start, stop, rows)]
        return self.reader.read(MiniBatchPlan(k, self._files[number].input, (number,), *known), self._item)

    def slices(self) -> list[TableSlice]:
        return [self.read(k) for k in range(len(self.cuts))]

    def rows(self) -> list[int]:
        return [piece.rows for piece in self.slices()]

    def frame(self) -> pd.DataFrame:
        frames = [piece.frame() for piece in self.slices()]
        types = {tuple(map(str, frame.dtypes)) for frame in frames}
        assert len(types) <= 1, types
        filled = [frame for frame in frames if len(frame)]
        return pd.concat(filled, ignore_index=True) if filled else frames[0]

    def failed(self) -> list[tuple[int, int, str, str]]:
        return [(k, *entry) for k, piece in enumerate(self.slices()) for entry in piece.failed]


def table(tmp_path: Path, text: str | bytes, size: Any = None, name: str = "t.csv", operations: Any = (), **options: Any) -> PlannedTable:
    """One file of ``text``, planned."""
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    kind = {"l": "jsonl", "t": "parquet"}.get(path.name.removesuffix(".gz").removesuffix(".zst")[-1], "csv")
    return PlannedTable(listed(path), TableOptions(kind, **options), ("count", size) if isinstance(size, int) else size, operations)


def iris_csv() -> str:
    """The iris file of the reference notebooks: 4466 bytes, a header and 150 rows."""
    iris = load_iris()
    lines = ["sepal_length,sepal_width,petal_length,petal_width,species"]
    for row, kind in zip(iris.data, iris.target, strict=True):
        lines.append(",".join(f"{value:g}" for value in row) + f",Iris-{iris.target_names[kind]}")
    return "\n".join(lines) + "\n"
