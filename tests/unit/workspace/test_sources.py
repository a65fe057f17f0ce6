from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import SettingError
from batchmill.storage.connections import connection_of
from batchmill.workspace.data_path import DataPath
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.sources import physical, source_texts, workspace_of
from batchmill.workspace.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Workspace.create("team", show_output=False)


def test_whatever_names_a_place_becomes_a_text(ws: Workspace, tmp_path: Path) -> None:
    store = Datastore(ws)
    (tmp_path / "images").mkdir()
    one = "datastore://workspaceblobstore"
    assert source_texts(store.path("/a/")) == [f"{one}/a/"]
    assert source_texts(store.path()) == [f"{one}/"]
    assert source_texts(DataPath(store, "./a/*.png")) == [f"{one}/a/*.png"]
    assert source_texts((store, "a")) == [f"{one}/a"]
    assert source_texts((store, ["b", "a/**"])) == [f"{one}/b", f"{one}/a/**"]
    url = "https://pipelinedata.blob.core.windows.net/sampledata/mnist"
    assert source_texts([url, (store, "a"), "wasbs://c@acc.blob.core.windows.net/x", "s3://b/x"]) == [
        *(url, f"{one}/a", "wasbs://c@acc.blob.core.windows.net/x", "s3://b/x")
    ]
    assert source_texts("images") == [str(tmp_path / "images")]
    assert source_texts(Path("images")) == [str(tmp_path / "images")]
    assert source_texts("images/") == [f"{tmp_path}/images/"]
    assert source_texts("images/**/*.png") == [f"{tmp_path}/images/**/*.png"]
    assert source_texts("./*.png") == [f"{tmp_path}/*.png"]


INVALID = r"Invalid argument type for `path`\. It can be single value or a list of: "


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, INVALID),
        ([], INVALID),
        (5, INVALID + ".*A int was given"),
        ("", INVALID),
        ("no/such/file.csv", INVALID + ".*'no/such/file.csv' is neither, and there is no such local path"),
        ("nowhere/*.csv", INVALID),
        (["s3://b/x", None], INVALID + ".*A NoneType was given"),
        ("ftp://host/x", INVALID + ".*unknown scheme 'ftp'"),
        ("https://acc.blob.core.windows.net/c/x.csv?sv=2020&sig=abc", INVALID + ".*x.csv' carries a SAS token"),
        ("https://user:pass@host/x.csv", INVALID + ".*'https://host/x.csv' is not a plain address"),
        ("s3://KEY:sig=SECRET@bucket/x", INVALID + ".*'s3://bucket/x' was given with credentials in front of '@'"),
        (("a", "b"), "Invalid tuple for path. Please make sure the tuple consists of a datastore and a path/SQL query"),
        ((), "Invalid tuple for path"),
        (DataPath(), INVALID),
    ],
)
def test_anything_else_is_refused(ws: Workspace, path: Any, words: str) -> None:
    with pytest.raises(UserErrorException, match=words) as error:
        source_texts(path)
    assert "\n" not in error.value.line
    assert "sig=" not in error.value.line


@pytest.mark.parametrize("rest", [(), (1,), ([],), (["a", 1],), ("a", "b")])
def test_tuples_are_a_store_and_a_path(ws: Workspace, rest: tuple[Any, ...]) -> None:
    with pytest.raises(UserErrorException, match="Invalid tuple for path"):
        source_texts((Datastore(ws), *rest))


def test_the_workspace_of_sources_is_that_of_their_stores(ws: Workspace) -> None:
    other = Workspace.create("other", show_output=False)
    assert workspace_of("s3://b/x") is None
    assert workspace_of(["s3://b/x", (Datastore(ws), "a")]) == ws
    with pytest.raises(UserErrorException, match="several workspaces"):
        workspace_of([(Datastore(ws), "a"), (Datastore(other), "a")])


def test_places_are_found(ws: Workspace, tmp_path: Path) -> None:
    root = ws.folder / "workspaceblobstore"
    assert physical("datastore://workspaceblobstore/a/*.png", ws) == f"{root}/a/*.png"
    assert physical("datastore://workspaceblobstore/", ws) == physical("datastore://workspaceblobstore", ws) == str(root)
    assert physical("datastore://team:workspaceblobstore/a", None) == f"{root}/a"
    assert physical("/data/x", ws) == "/data/x"
    assert physical("relative/*.csv", None) == "relative/*.csv"
    assert physical("s3://b/x", ws) == "s3://b/x"


def test_a_store_of_another_workspace_is_found_by_its_whole_name(ws: Workspace) -> None:
    other = Workspace.create("other", show_output=False)
    assert physical("datastore://other:workspaceblobstore/a", ws) == f"{other.folder}/workspaceblobstore/a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "datastore://workspaceblobstor/a",
            "There is no datastore 'workspaceblobstor' in workspace team. Did you mean 'workspaceblobstore'",
        ),
        ("datastore://workspaceblobstore/a/../../x", "leads out of its datastore"),
        ("datastore://sales/x", "is a database and holds no files: use Dataset.Tabular.from_sql_query"),
        ("adl://lake.azuredatalakestore.net/x", "Gen1 was shut down"),
    ],
)
def test_places_that_are_none_are_refused(ws: Workspace, text: str, words: str) -> None:
    Datastore.register_sql_database(ws, "sales", "sqlite:////data/sales.db", skip_validation=True)
    with pytest.raises(UserErrorException, match=words):
        physical(text, ws)


def test_mirrors_of_the_environment_come_before_those_of_the_workspace(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://pipelinedata.blob.core.windows.net/sampledata/mnist/"
    assert physical(url, ws) == url
    ws.registry.set_setting("mirrors", {"pipelinedata/sampledata": "/second", "https://example.org": "datastore://workspaceblobstore/web"})
    assert physical(url, ws) == "/second/mnist/"
    assert physical("https://example.org/a.csv", ws) == f"{ws.folder}/workspaceblobstore/web/a.csv"
    monkeypatch.setenv("BATCHMILL_MIRRORS", '{"pipelinedata/sampledata": "/first"}')
    assert physical(url, ws) == physical(url, None) == "/first/mnist/"
    monkeypatch.setenv("BATCHMILL_MIRRORS", "broken")
    with pytest.raises(SettingError, match="BATCHMILL_MIRRORS is not a JSON object"):
        physical(url, ws)


def test_a_url_of_a_container_is_read_with_its_credentials(ws: Workspace) -> None:
    for name, key in (("a_public", None), ("b_private", "c2VjcmV0c2VjcmV0")):
        Datastore.register_azure_blob_container(ws, name, "photos", "teamaccount", account_key=key, skip_validation=True)
    physical("https://teamaccount.blob.core.windows.net/photos/x", ws)
    assert connection_of("teamaccount/photos").title == "datastore 'b_private'"
