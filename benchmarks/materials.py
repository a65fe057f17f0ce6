"""What the benchmarks read: made once below the data folder, kept for the next time."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

SIDE = 28
TREES = 90
FEATURES = 3


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """``folder``, filled by ``make`` if it is not there yet."""
    if not folder.exists():
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        make(temporary)
        temporary.rename(folder)
    return folder


def tiny_files(data: Path, count: int) -> Path:
    """``count`` files of a few bytes in one folder."""

    def make(folder: Path) -> None:
        for number in range(count):
            (folder / f"{number:07d}.txt").write_bytes(b"%d\n" % number)

    return made(data / f"files-{count}", make)


def images(data: Path, count: int) -> tuple[Path, Path]:
    """``count`` PNG files of handwritten digits (scikit-learn's, enlarged to 28 x 28 and shifted), and a forest that reads them."""

    def make(folder: Path) -> None:
        import joblib
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits
        from sklearn.ensemble import RandomForestClassifier

        digits = load_digits()
        small = [Image.fromarray(np.uint8(image * 255 / 16)).resize((24, 24), Image.Resampling.BICUBIC) for image in digits.images]
        (folder / "png").mkdir()
        pixels = []
        for number in range(max(count, len(small))):
            canvas = Image.new("L", (SIDE, SIDE))
            canvas.paste(small[number % len(small)], ((number // len(small)) % 5, (number // len(small)) // 5 % 5))
            if number < len(small):
                pixels.append(np.asarray(canvas, dtype=np.float32).reshape(-1) / 255)
            if number < count:
                canvas.save(folder / "png" / f"{number:05d}.png")
        forest = RandomForestClassifier(TREES, n_jobs=1, random_state=0).fit(np.stack(pixels), digits.target)
        joblib.dump(forest, folder / "model.joblib")

    folder = made(data / f"images-{count}", make)
    return folder / "png", folder / "model.joblib"


CSV_COLUMNS = (
    "range AS id, (random() * 1000)::INT AS device, (random() * 100000)::INT AS count, (random() * 10)::INT AS level, "
    "(range % 7)::INT AS day, (random() * 1e9)::BIGINT AS serial, "
    + ", ".join(f"round(random() * {10**power}, 4) AS value{power}" for power in range(1, 6))
    + ", random() AS share, random() * 100 AS percent, (random() * 40 - 20)::FLOAT AS degrees, "
    "chr(65 + (random() * 25)::INT) || (random() * 999)::INT AS code, "
    "['red', 'green', 'blue', 'yellow'][1 + (random() * 3)::INT] AS colour, "
    "['Berlin', 'Paris', 'London', 'Rome', 'New York'][1 + (random() * 4)::INT] AS city, "
    "'customer ' || (random() * 99999)::INT AS customer, random() < 0.5 AS active, "
    "TIMESTAMP '2026-01-01' + INTERVAL (range % 31536000) SECOND AS moment"
)


def csv_files(data: Path, size: int) -> tuple[Path, int]:
    """A folder with two CSV files of 20 columns, ``size`` bytes in all; and the bytes of a row."""

    def make(folder: Path) -> None:
        import duckdb

        connection = duckdb.connect()
        connection.execute("SELECT setseed(0.5)")

        def write(name: str, rows: int) -> int:
            connection.execute(f"COPY (SELECT {CSV_COLUMNS} FROM range({rows})) TO '{folder / name}' (FORMAT csv, HEADER)")
            return (folder / name).stat().st_size

        per_row = write("sample", 100_000) / 100_000
        (folder / "sample").unlink()
        for name in ("first.csv", "second.csv"):
            write(name, max(10, int(size / 2 / per_row)))

    folder = made(data / f"csv-{size}", make)
    first = folder / "first.csv"
    with first.open("rb") as file:
        head = file.read(1 << 20)
    return folder, len(head) // max(1, head.count(b"\n"))


def keyed_table(data: Path, keys: int, rows: int) -> tuple[Path, Path]:
    """A Parquet table of ``keys`` x ``rows`` rows in random order, and a folder with one small pickled model per key."""

    def make(folder: Path) -> None:
        import duckdb
        import numpy as np
        from sklearn.linear_model import LinearRegression

        columns = f"printf('device-%05d', (range % {keys})::INT) AS device, random() AS a, random() AS b, random() AS c"
        (folder / "table").mkdir()
        connection = duckdb.connect()
        connection.execute("SELECT setseed(0.5)")
        source = f"SELECT {columns}, range AS moment FROM range({keys * rows})"
        connection.execute(f"COPY (SELECT * FROM ({source}) ORDER BY hash(moment)) TO '{folder}/table/events.parquet' (FORMAT parquet)")
        (folder / "models").mkdir()
        random = np.random.default_rng(0)
        for number in range(keys):
            points = random.random((10, FEATURES))
            model = LinearRegression().fit(points, points @ random.random(FEATURES))
            (folder / "models" / f"device-{number:05d}.pickle").write_bytes(pickle.dumps(model))

    folder = made(data / f"keys-{keys}x{rows}", make)
    return folder / "table", folder / "models"


def many_files(data: Path, count: int) -> Path:
    """``count`` empty files, a thousand to a folder."""

    def make(folder: Path) -> None:
        for number in range(count):
            if number % 1000 == 0:
                (folder / f"{number // 1000:04d}").mkdir()
            os.close(os.open(folder / f"{number // 1000:04d}" / f"{number:07d}.txt", os.O_WRONLY | os.O_CREAT, 0o644))

    return made(data / f"tree-{count}", make)
