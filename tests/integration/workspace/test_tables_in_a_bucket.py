"""Tabular datasets on an S3 server that only the registered datastore has the keys of: read, partitioned, run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from batchmill.data.expression import Expression
from batchmill.errors import StoreError
from batchmill.parallel_run.plan import make_plan
from batchmill.settings import RunSettings
from batchmill.storage import connections
from batchmill.worker.plan_file import PlanFile
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets

KEYS = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}


@pytest.fixture(scope="module")
def moto() -> Iterator[stores.Server]:
    try:
        with stores.s3_server() as server:
            server.create("tables")
            yield server
    except stores.StoreMissing as missing:
        pytest.skip(f"NOT TESTED against S3: {missing}")


@pytest.fixture
def store(moto: stores.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    ws = Workspace.create("team", show_output=False)
    found = Datastore.register_s3_bucket(ws, "bucket", "tables", **KEYS, endpoint=moto.url, prefix=tmp_path.name)
    folder = tmp_path / "local"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.csv").write_text("n,k\n" + "".join(f"{number * 10 + n},{'ab'[n % 2]}\n" for n in range(10)))
    found.upload(folder, "in", show_progress=False)
    return found


def test_rows_partitions_and_runs(store: Any, tmp_path: Path) -> None:
    dataset = Dataset.Tabular.from_delimited_files((store, "in/*.csv"))
    frame = dataset.to_pandas_dataframe()
    assert frame.n.tolist() == list(range(30))
    made = dataset.filter(Expression.column("n") >= 4).partition_by(["k"], (store, "parts"), name="parts", show_progress=False)
    again = made.to_pandas_dataframe()
    assert again.columns.tolist() == ["n", "k"]
    assert sorted(again.n) == list(range(4, 30))
    names = sorted(file.name.split("/", 2)[-1] for file in store.files("parts/"))
    assert names == ["_SUCCESS", "a/part-0.parquet", "b/part-0.parquet"]
    assert made.get_partition_key_values() == [{"k": "a"}, {"k": "b"}]
    settings = RunSettings.parse({"script": "x.py", "inputs": ["dataset:parts"], "partition_keys": ["k"]})
    summary = make_plan(settings, tmp_path / "plan", definitions={"dataset:parts": made.physical_definition()})
    assert summary.mini_batches == 2
    assert [PlanFile(tmp_path / "plan").mini_batch(k).rows for k in range(2)] == [13, 13]
    texts = [path.read_bytes() for path in (tmp_path / "plan").iterdir()]
    assert not any(KEYS["secret_access_key"].encode() in text for text in texts)


def test_a_frame_is_registered_there(store: Any) -> None:
    frame = pd.DataFrame({"x": [1.5, None], "s": ["a", "b"]})
    made = Dataset.Tabular.register_pandas_dataframe(frame, (store, "frames"), "frame", show_progress=False)
    pd.testing.assert_frame_equal(made.to_pandas_dataframe(), frame, check_dtype=False)


def test_without_the_datastore_nothing_is_read(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.Tabular.from_delimited_files((store, "in/*.csv"))
    physical = dataset.physical_definition()
    monkeypatch.setattr(connections, "_TABLE", {})
    monkeypatch.setattr(connections, "_FINDERS", [])
    from batchmill.data.table_rows import open_rows

    with pytest.raises(StoreError, match="Datastore 'bucket' of workspace 'team' is not connected"), open_rows(physical):
        pass
