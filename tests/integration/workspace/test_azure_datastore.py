"""Datastores over Azurite: every way to be let in, every way to be refused, and nothing taken from the environment."""

from __future__ import annotations

import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from batchmill.data.listing import open_input, reaches
from batchmill.errors import StoreError
from batchmill.storage import connections
from batchmill.storage.files import open_binary
from batchmill.storage.location import parse_location
from batchmill.storage.object_store import store_for
from batchmill.storage.output_lock import OutputLock
from batchmill.storage.upload import OutputFolder
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.sources import physical
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets

NUMBERS = itertools.count()


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace, in an environment whose credentials are somebody else's."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebodyelse")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", used_secrets.WRONG_ACCOUNT_KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/somebodyelse")
    return Workspace.create("team", show_output=False)


@pytest.fixture(scope="module")
def azurite() -> Iterator[stores.Server]:
    try:
        with stores.azure_server() as server:
            yield server
    except stores.StoreMissing as missing:
        pytest.skip(f"NOT TESTED against Azurite: {missing}")


Make = Callable[..., dict[str, Any]]


@pytest.fixture
def container(azurite: stores.Server) -> Make:
    """Makes a container; returns the arguments that register it without credentials."""

    def make(*, public: bool = False, exists: bool = True) -> dict[str, Any]:
        name = f"container-{next(NUMBERS)}"
        if exists:
            stores.create_container(azurite.port, name, used_secrets.ACCOUNT, used_secrets.ACCOUNT_KEY, public=public)
        return {"container_name": name, "account_name": used_secrets.ACCOUNT, "endpoint": azurite.url}

    return make


def with_key(place: dict[str, Any]) -> dict[str, Any]:
    return {**place, "account_key": used_secrets.ACCOUNT_KEY}


def fill(ws: Workspace, place: dict[str, Any], names: list[str]) -> None:
    """Write files with a store of its own."""
    datastore = Datastore.register_azure_blob_container(ws, "filler", **with_key(place), overwrite=True)
    for name in names:
        obstore.put(store_for(datastore.place()), name, name.encode())


CREDENTIALS = {
    "key": {"account_key": used_secrets.ACCOUNT_KEY},
    "sas": {"sas_token": used_secrets.SAS_TOKEN},
    "sas with a question mark": {"sas_token": f"?{used_secrets.SAS_TOKEN}"},
    "key of a variable": {"account_key": "env:PHOTOS_KEY"},
}


@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=CREDENTIALS)
def test_files_go_up_and_come_down(
    ws: Workspace, container: Make, tmp_path: Path, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOS_KEY", used_secrets.ACCOUNT_KEY)
    datastore = Datastore.register_azure_blob_container(ws, "photos", **container(), **credentials)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b c.bin").write_bytes(bytes(range(256)) * 40_000)  # more than one part
    (source / "empty").touch()
    reference = datastore.upload(str(source), "2026/07", show_progress=False)
    assert reference.path_on_datastore == "2026/07"
    assert sorted(file.name for file in datastore.files()) == ["2026/07/a.txt", "2026/07/empty", "2026/07/sub/b c.bin"]
    assert datastore.download(tmp_path / "down", show_progress=False) == 3
    for name in ("a.txt", "sub/b c.bin", "empty"):
        assert (tmp_path / "down/2026/07" / name).read_bytes() == (source / name).read_bytes()


def test_what_is_there_is_skipped_unless_it_is_overwritten(ws: Workspace, container: Make, tmp_path: Path) -> None:
    datastore = Datastore.register_azure_blob_container(ws, "photos", **with_key(container()))
    files = [tmp_path / f"{number}.txt" for number in range(70)]  # more than are asked for one by one
    for file in files:
        file.write_text("new")
    obstore.put(store_for(datastore.place()), "t/3.txt", b"old")
    datastore.upload_files(files[:5], target_path="t", show_progress=False)
    datastore.upload_files(files, target_path="t", show_progress=False)
    read = {file.name: bytes(store_for(datastore.place()).get(file.name).bytes()) for file in datastore.files()}
    assert len(read) == 70
    assert {name for name, content in read.items() if content == b"old"} == {"t/3.txt"}
    datastore.upload_files(files, target_path="t", overwrite=True, show_progress=False)
    assert bytes(store_for(datastore.place()).get("t/3.txt").bytes()) == b"new"
    (tmp_path / "down/t").mkdir(parents=True)
    (tmp_path / "down/t/3.txt").write_text("mine")
    assert datastore.download(tmp_path / "down", show_progress=False) == 69
    assert (tmp_path / "down/t/3.txt").read_text() == "mine"
    assert datastore.download(tmp_path / "down", prefix="t/3.", overwrite=True, show_progress=False) == 1
    assert (tmp_path / "down/t/3.txt").read_text() == "new"


def test_a_prefix_is_the_beginning_of_a_name(ws: Workspace, container: Make, tmp_path: Path) -> None:
    place = container(public=True)
    fill(ws, place, ["iris.csv", "iris/a", "iris_model.pkl", "iris_models/b", "other/iris", "mnist/0.png", "mnist/1/x"])
    datastore = Datastore.register_azure_blob_container(ws, "iris_data", **place)

    def found(prefix: str) -> list[str]:
        return [file.name for file in datastore.files(prefix)]

    assert found("iris_m") == ["iris_model.pkl", "iris_models/b"]
    assert found("iris") == ["iris.csv", "iris/a", "iris_model.pkl", "iris_models/b"]
    assert found("mnist/") == ["mnist/0.png", "mnist/1/x"]
    assert found("mnist/1") == ["mnist/1/x"]
    assert found("nothing") == found("nothing/x") == []
    assert len(found("")) == 7
    # The iris notebook: the argument is the folder, whatever it looks like.
    assert datastore.download(str(tmp_path / "iris_model.pkl"), prefix="iris_model.pkl", show_progress=False) == 1
    assert (tmp_path / "iris_model.pkl" / "iris_model.pkl").read_text() == "iris_model.pkl"


def test_a_public_container_is_read_and_not_written(ws: Workspace, container: Make, tmp_path: Path) -> None:
    place = container(public=True)
    fill(ws, place, ["a/b.png"])
    datastore = Datastore.register_azure_blob_container(ws, "public", **place, overwrite=True)
    assert datastore.credential_type == "None"
    assert datastore.download(tmp_path / "down", show_progress=False) == 1
    with pytest.raises(UserErrorException, match="'public' has no access key"):
        datastore.upload(str(tmp_path), show_progress=False)


def test_a_token_that_only_reads_does_not_write(ws: Workspace, container: Make, tmp_path: Path) -> None:
    place = container()
    fill(ws, place, ["a"])
    datastore = Datastore.register_azure_blob_container(ws, "photos", **place, sas_token=used_secrets.READ_SAS_TOKEN)
    assert [file.name for file in datastore.files()] == ["a"]
    (tmp_path / "b").write_text("b")
    url = physical("datastore://photos/out", ws)
    for write in (
        lambda: datastore.upload_files([tmp_path / "b"], show_progress=False),
        lambda: OutputLock(url, "id", "name", 1).acquire(),
        lambda: OutputFolder(url).publish(tmp_path / "b", "b"),
    ):
        with pytest.raises(
            StoreError, match=r"access is denied \(Authorization.*\)\. Check the credentials of datastore 'photos'"
        ) as error:
            write()
        assert "\n" not in str(error.value)
        assert_no_secret(str(error.value))


def test_a_container_is_made_on_demand(ws: Workspace, container: Make) -> None:
    for number, credentials in enumerate(({"account_key": used_secrets.ACCOUNT_KEY}, {"sas_token": used_secrets.SAS_TOKEN})):
        place = container(exists=False)
        with pytest.raises(UserErrorException, match=f"there is no container '{place['container_name']}'"):
            Datastore.register_azure_blob_container(ws, f"new{number}", **place, **credentials)
        assert f"new{number}" not in ws.datastores
        for _ in range(2):
            datastore = Datastore.register_azure_blob_container(ws, f"new{number}", **place, **credentials, create_if_not_exists=True)
        assert list(datastore.files()) == []
    with pytest.raises(UserErrorException, match="that needs a key or a SAS token"):
        Datastore.register_azure_blob_container(ws, "other", **container(exists=False), create_if_not_exists=True)


REFUSED = {
    "wrong key": ({"account_key": used_secrets.WRONG_ACCOUNT_KEY}, r"access is denied \(AuthorizationFailure\)"),
    "no base64": ({"account_key": f"{used_secrets.MARK} is no key"}, "access is denied"),
    "wrong SAS": ({"sas_token": used_secrets.account_sas("rl", key=used_secrets.WRONG_ACCOUNT_KEY)}, "access is denied"),
    "variable not set": ({"account_key": "env:NO_SUCH_KEY"}, "NO_SUCH_KEY, which is not set"),
}
used_secrets.SECRETS.append(used_secrets.signature_of(REFUSED["wrong SAS"][0]["sas_token"]))


@pytest.mark.parametrize(("credentials", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("create", [False, True], ids=["found", "made"])
def test_who_is_not_let_in_is_told_why(ws: Workspace, container: Make, credentials: dict[str, str], words: str, create: bool) -> None:
    with pytest.raises(Exception, match=words if not create else "cannot be registered|not set") as error:
        Datastore.register_azure_blob_container(ws, "photos", **container(), **credentials, create_if_not_exists=create)
    assert_no_secret(str(error.value), *credentials.values())
    assert "\n" not in getattr(error.value, "line", "\n")
    assert "photos" not in ws.datastores


def assert_no_secret(text: str, *secrets: str) -> None:
    for secret in (*secrets, *used_secrets.SECRETS):
        assert secret.startswith("env:") or (secret not in text and secret[-20:] not in text)


def test_a_store_that_does_not_answer_ends_in_time(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with stores.black_hole() as hole:
        place = {"container_name": "photos", "account_name": used_secrets.ACCOUNT, "endpoint": hole.url}
        began = time.monotonic()
        with pytest.raises(UserErrorException, match="does not answer") as error:
            Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
        assert time.monotonic() - began < 20
        assert f"map '{used_secrets.ACCOUNT}/photos' to a folder or store: BATCHMILL_MIRRORS" in str(error.value)
        datastore = Datastore.register_azure_blob_container(ws, "photos", **with_key(place), skip_validation=True)
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"Cannot list datastore://team:photos: http://127\.0\.0\.1:.* does not answer"):
            list(datastore.files())
        assert time.monotonic() - began < 20
    with pytest.raises(UserErrorException, match=r"http://127.0.0.1:1/teamphotos does not answer \(.*refused"):
        Datastore.register_azure_blob_container(
            ws, "photos2", **with_key({**place, "endpoint": "http://127.0.0.1:1"}), create_if_not_exists=True
        )


def test_a_name_means_one_store(ws: Workspace, container: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = container()
    monkeypatch.setenv("PHOTOS_KEY", used_secrets.ACCOUNT_KEY)
    first = Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    again = Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    assert again.as_dict() == first.as_dict()
    for other in (with_key(container()), {**place, "sas_token": used_secrets.SAS_TOKEN}):
        with pytest.raises(UserErrorException, match="Another datastore with the same name already exists"):
            Datastore.register_azure_blob_container(ws, "photos", **other)
    Datastore.register_azure_blob_container(ws, "photos", **{**place, "sas_token": used_secrets.SAS_TOKEN}, overwrite=True)
    assert Datastore(ws, "photos").sas_token == used_secrets.SAS_TOKEN
    assert Datastore(ws, "photos").account_key is None
    Datastore.register_azure_blob_container(ws, "photos", **place, account_key="env:PHOTOS_KEY", overwrite=True)
    assert Datastore(ws, "photos").definition["secrets"] == {"account_key": "env:PHOTOS_KEY"}


def test_secrets_are_sealed_and_never_shown(ws: Workspace, container: Make, tmp_path: Path) -> None:
    place = container()
    datastore = Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    assert datastore.account_key == used_secrets.ACCOUNT_KEY
    shown = (str(datastore), repr(datastore), datastore._repr_html_(), json.dumps(datastore.as_dict()), repr(datastore.connection))
    for text in (*shown, repr(vars(datastore))):
        assert_no_secret(text)
    assert json.loads(str(datastore)) == {
        "name": "photos",
        "container_name": place["container_name"],
        "account_name": used_secrets.ACCOUNT,
        "protocol": "http",
        "endpoint": place["endpoint"],
    }
    with sqlite3.connect(tmp_path / "home" / "workspace.sqlite") as database:
        assert_no_secret("\n".join(database.iterdump()))
    database.close()


# --- as inputs and outputs --------------------------------------------------------------------------------------------------------


def listed(text: str) -> list[str]:
    return [(chunk.prefix + name).decode() for chunk in open_input(text).chunks() for name in chunk.names]


def test_a_datastore_is_an_input(ws: Workspace, container: Make) -> None:
    place = container()
    fill(ws, place, ["in/a.png", "in/b.png", "in/sub/c.png", "in/d.csv"])
    Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    assert physical("datastore://photos/in/", ws) == "datastore://team:photos/in/"
    assert listed(physical("datastore://photos/in/", ws)) == ["a.png", "b.png", "d.csv", "sub/c.png"]
    assert listed(physical("datastore://photos/in/**/*.png", ws)) == ["a.png", "b.png", "sub/c.png"]
    found = open_input(physical("datastore://photos/in/a.png", ws))
    assert (found.base, found.location) == ("datastore://team:photos/in", "az")
    with open_binary("datastore://team:photos/in/sub/c.png") as opened:
        assert opened.read() == b"in/sub/c.png"


def test_a_url_of_a_registered_container_is_read_with_its_credentials(ws: Workspace, container: Make) -> None:
    place = container()
    fill(ws, place, ["in/a b.png"])
    Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    name = place["container_name"]
    for url in (
        f"https://{used_secrets.ACCOUNT}.blob.core.windows.net/{name}/in/*.png",
        f"wasbs://{name}@{used_secrets.ACCOUNT}.blob.core.windows.net/in",
        f"https://{used_secrets.ACCOUNT}.blob.core.windows.net/{name}/in/a%20b.png",
    ):
        assert listed(physical(url, ws)) == ["a b.png"]


def test_a_datastore_is_an_output(ws: Workspace, container: Make, tmp_path: Path) -> None:
    Datastore.register_azure_blob_container(ws, "results", **with_key(container()))
    url = physical("datastore://results/monday", ws)
    (tmp_path / "rows.txt").write_text("rows")
    with OutputLock(url, "id", "name", 1) as lock:
        lock.check()
        with pytest.raises(Exception, match=r"Run name \(id\) writes to datastore://team:results/monday"):
            OutputLock(url, "other", "other", 1).acquire()
        OutputFolder(url).publish(tmp_path / "rows.txt", "rows.txt")
    assert [file.name for file in Datastore(ws, "results").files()] == ["monday/rows.txt"]


def test_an_output_inside_an_input_is_found_by_any_name(ws: Workspace, container: Make) -> None:
    place = container()
    Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    Datastore.register_azure_blob_container(ws, "same", **with_key(place))
    Datastore.register_azure_blob_container(ws, "other", **with_key(container()))
    photos, same, other = (physical(f"datastore://{name}/in", ws) for name in ("photos", "same", "other"))
    assert reaches(photos, f"{same}/deeper")
    assert not reaches(photos, other)
    assert not reaches(f"{photos}/a", f"{same}/b")
    url = physical(f"https://{used_secrets.ACCOUNT}.blob.core.windows.net/{place['container_name']}/in", ws)
    assert reaches(url, f"{same}/deeper")
    assert not reaches(f"az://{place['container_name']}/in", f"{same}/deeper")  # another account


def test_lists_hold_urls_of_one_datastore(ws: Workspace, container: Make, tmp_path: Path) -> None:
    place = container()
    fill(ws, place, ["in/a", "in/b"])
    Datastore.register_azure_blob_container(ws, "photos", **with_key(place))
    base = physical("datastore://photos", ws)
    (tmp_path / "list.txt").write_text(f"{base}in/b\n{base}in/a\n")
    found = open_input(f"@{tmp_path / 'list.txt'}")
    assert found.base == "datastore://team:photos/in"
    assert [name.decode() for chunk in found.chunks() for name in chunk.names] == ["a", "b"]
    (tmp_path / "list.txt").write_text(f"{base}in/b\naz://photos/in/a\n")
    with pytest.raises(Exception, match="mixes URLs of datastore://team:photos and URLs of az://photos"):
        open_input(f"@{tmp_path / 'list.txt'}")


def test_a_location_of_another_process_says_that_it_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_FINDERS", [])  # nobody in this process has opened a workspace
    with pytest.raises(StoreError, match="Datastore 'photos' of workspace 'nobody' is not connected"):
        parse_location("datastore://nobody:photos/x")
