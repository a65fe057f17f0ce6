"""Models of a workspace whose default datastore is a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from batchmill.errors import StoreError
from batchmill.storage.object_store import store_for
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import WebserviceException
from batchmill.workspace.model import Model, fetch_model
from batchmill.workspace.storage_datastore import StorageDatastore
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets

KEYS = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}


@pytest.fixture(scope="module")
def moto() -> Iterator[stores.Server]:
    with stores.s3_server() as server:
        server.create("team-models")
        yield server


@pytest.fixture
def store(moto: stores.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageDatastore:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    ws = Workspace.create("team", show_output=False)
    store = Datastore.register_s3_bucket(ws, "bucket", "team-models", **KEYS, endpoint=moto.url, prefix=tmp_path.name)
    ws.set_default_datastore("bucket")
    return store


def keys(store: StorageDatastore) -> list[str]:
    place = store.place()
    return sorted(one["path"].removeprefix(f"{place.prefix}/") for page in obstore.list(store_for(place)) for one in page)


def test_models_lie_in_the_bucket(store: StorageDatastore, tmp_path: Path) -> None:
    ws = store.workspace
    for number in range(40):
        path = tmp_path / "models" / f"{number % 4}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {number}")
    model = Model.register(ws, "models", "many")
    assert model._asset.definition["location"].startswith("datastore://bucket/batchmill/models/")
    there = [key for key in keys(store) if key.startswith("batchmill/models/")]
    assert len(there) == 40
    assert list((ws.folder / "models").iterdir()) == []
    folder = fetch_model(ws, model._asset)
    assert sorted(path.read_text() for path in folder.rglob("*.bin")) == sorted(f"content of {number}" for number in range(40))
    assert Path(model.download("got")) == tmp_path / "got" / "models"
    model.delete()
    assert [key for key in keys(store) if key in there] == []


def test_what_somebody_changed_in_the_bucket_is_noticed(store: StorageDatastore, tmp_path: Path) -> None:
    ws = store.workspace
    (tmp_path / "m.bin").write_text("content")
    model = Model.register(ws, "m.bin", "one")
    place = store.place(model._asset.definition["location"].removeprefix("datastore://bucket/"))
    obstore.put(store_for(place), place.key("m.bin"), b"CONTENT")
    with pytest.raises(WebserviceException, match="are not those that were registered"):
        fetch_model(ws, model._asset)
    obstore.delete(store_for(place), place.key("m.bin"))
    with pytest.raises(WebserviceException, match="are not all in the workspace"):
        fetch_model(ws, model._asset)


def test_a_bucket_that_is_gone(store: StorageDatastore, tmp_path: Path) -> None:
    ws = store.workspace
    (tmp_path / "m.bin").write_text("content")
    Datastore.register_s3_bucket(ws, "gone", "not-there", **KEYS, endpoint=store.connection.endpoint, skip_validation=True)
    ws.set_default_datastore("gone")
    with pytest.raises(StoreError, match=r"not-there|gone"):
        Model.register(ws, "m.bin", "one")
    assert "one" not in ws.models
    assert list((ws.folder / "models").iterdir()) == []
