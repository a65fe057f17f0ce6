"""The Workspace of the SDK, on SQLite and PostgreSQL: made, opened, found by config.json, set up, removed (specification A2)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.errors import BatchmillError
from batchmill.workspace.current import find_workspace
from batchmill.workspace.environment import Environment
from batchmill.workspace.exceptions import UserErrorException, WorkspaceException
from batchmill.workspace.registered_environment import shown_environment
from batchmill.workspace.workspace import Workspace
from tests.used_secrets import CLIENT_SECRET


@pytest.fixture(autouse=True)
def _here(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)


def message(caught: pytest.ExceptionInfo[BatchmillError]) -> str:
    assert "\n" not in caught.value.message
    return caught.value.message


def test_made_and_opened(capsys: pytest.CaptureFixture[str]) -> None:
    ws = Workspace.create("team", subscription_id="s", resource_group="g", location="westeurope", tags={"a": "b"}, friendly_name="Team")
    assert capsys.readouterr().out == f"Workspace team has been created: {ws.folder}\n"
    for opened in (Workspace.get("team"), Workspace("s", "g", "team"), Workspace.get("team", subscription_id="other")):
        assert opened == ws
        assert opened is not ws
        assert (opened.name, opened.subscription_id, opened.resource_group, opened.location) == ("team", "s", "g", "westeurope")
        assert (opened.tags, opened.friendly_name, opened.sku, opened.id) == ({"a": "b"}, "Team", "basic", ws.id)
    assert str(ws) == "Workspace.create(name='team', subscription_id='s', resource_group='g')"
    assert len({ws, Workspace.get("team")}) == 1


def test_made_as_b0_makes_it() -> None:
    """B0 leaves subscription, resource group and location to the user: empty texts."""
    made = Workspace.create(
        name="w", subscription_id="", resource_group="", location="", create_resource_group=True, sku="basic", exist_ok=True, auth=object()
    )
    again = Workspace.create(name="w", subscription_id="", resource_group="", location="", exist_ok=True, show_output=False)
    assert again == made
    made.write_config()
    assert Workspace.from_config() == made


def test_a_taken_name() -> None:
    Workspace.create("team", show_output=False)
    with pytest.raises(WorkspaceException) as caught:
        Workspace.create("team", show_output=False)
    assert message(caught).startswith("Workspace 'team' exists already.")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "ü", "a" * 64, "a b", "-a", None])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(WorkspaceException, match="A workspace cannot be called"):
        Workspace.create(name, show_output=False)


def test_a_workspace_whose_folder_cannot_be_made_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "workspaces").write_text("in the way")
    with pytest.raises(WorkspaceException) as refused:
        Workspace.create("team", show_output=False)
    folder = tmp_path / "home" / "workspaces" / "team"
    assert message(refused) == (
        f"The folder of workspace 'team', {folder}, cannot be made: Not a directory. Set BATCHMILL_HOME to a folder that can be written."
    )
    assert Workspace.list() == {}


def test_an_unknown_name() -> None:
    Workspace.create("team", show_output=False)
    with pytest.raises(WorkspaceException) as caught:
        Workspace.get("teem")
    assert (
        message(caught) == "There is no workspace 'teem' in the registry. Did you mean 'team'? Create it: batchmill workspace create teem"
    )
    with pytest.raises(UserErrorException, match="parameter workspace_name is missing"):
        Workspace("s", "g")


def test_details() -> None:
    ws = Workspace.create("team", subscription_id="s", resource_group="g", show_output=False)
    details = ws.get_details()
    assert {"id", "name", "location", "type", "workspaceid", "storageAccount", "provisioningState"} <= set(details)
    assert details["id"] == "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/team"
    assert (details["workspaceid"], details["provisioningState"]) == (ws.id, "Succeeded")
    assert json.dumps(details)
    changed = ws.update(friendly_name="Team", description="text", tags={"k": "v"})
    assert (changed["friendlyName"], changed["description"], changed["tags"]) == ("Team", "text", {"k": "v"})
    assert Workspace.get("team").get_details() == changed
    ws.update(description="other")
    assert Workspace.get("team").tags == {"k": "v"}


def test_changes_of_others_are_kept() -> None:
    mine, theirs = Workspace.create("team", show_output=False), Workspace.get("team")
    theirs.update(description="ours")
    mine.update(tags={"a": "b"})
    assert (mine.description, mine.tags) == ("ours", {"a": "b"})
    assert (Workspace.get("team").description, Workspace.get("team").tags) == ("ours", {"a": "b"})
    theirs.delete()
    with pytest.raises(WorkspaceException) as removed:
        mine.update(description="mine")
    assert message(removed) == "Workspace 'team' has been removed."


def test_list() -> None:
    ours = Workspace.create("a", subscription_id="s1", show_output=False)
    Workspace.create("b", subscription_id="s2", show_output=False)
    plain = Workspace.create("c", show_output=False)
    assert Workspace.list("s1") == {"a": [ours], "c": [plain]}
    assert list(Workspace.list()) == ["a", "b", "c"]


def test_config_is_written_and_found_upwards(tmp_path: Path) -> None:
    ws = Workspace.create("team", subscription_id="s", resource_group="g", show_output=False)
    ws.write_config(tmp_path / "project")
    written = tmp_path / "project" / ".azureml" / "config.json"
    assert json.loads(written.read_text()) == {"subscription_id": "s", "resource_group": "g", "workspace_name": "team"}
    assert Workspace.from_config() == ws
    assert Workspace.from_config(path=str(tmp_path / "project" / "notebooks")) == ws
    assert Workspace.from_config(path=str(written)) == ws
    assert find_workspace() == ws
    ws.write_config(file_name="other.json")
    assert Workspace.from_config(_file_name="other.json") == ws


def test_the_nearest_config_counts(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Workspace.create(name, show_output=False)
    project, here = tmp_path / "project", tmp_path / "project" / "notebooks"

    def write(path: Path, name: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"subscription_id": "", "resource_group": "", "workspace_name": name}))

    write(project / "config.json", "a")
    assert Workspace.from_config().name == "a"
    write(project / "aml_config" / "config.json", "b")
    assert Workspace.from_config().name == "b"
    write(project / ".azureml" / "config.json", "c")
    assert Workspace.from_config().name == "c"
    write(here / "config.json", "a")
    assert Workspace.from_config().name == "a"


def test_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserErrorException) as caught:
        Workspace.from_config(path=str(tmp_path))
    assert message(caught).startswith(
        f"The workspace configuration file config.json, could not be found in {tmp_path} or its parent directories."
    )
    assert Workspace.from_config().name == "default"
    Workspace.create("team", show_output=False)
    monkeypatch.setenv("BATCHMILL_WORKSPACE", "team")
    assert Workspace.from_config().name == "team"
    assert find_workspace().name == "team"
    assert find_workspace("default").name == "default"
    monkeypatch.setenv("BATCHMILL_WORKSPACE", "nothing")
    with pytest.raises(WorkspaceException, match="no workspace 'nothing'"):
        Workspace.from_config()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "it is not JSON"),
        ("[]", "does not name a workspace"),
        ("{}", "does not name a workspace"),
        ('{"workspace_name": 3}', "not name"),
    ],
)
def test_a_broken_config(content: str, cause: str) -> None:
    folder = Path(".azureml")
    folder.mkdir()
    (folder / "config.json").write_text(content)
    for opened in (Workspace.from_config, find_workspace):
        with pytest.raises(UserErrorException) as caught:
            opened()
        assert cause in message(caught)
        assert str((folder / "config.json").absolute()) in message(caught)


def test_a_foreign_config_json_is_passed_over() -> None:
    Path("config.json").write_text('{"model_type": "bert"}')
    assert Workspace.from_config().name == "default"
    with pytest.raises(UserErrorException, match="does not name a workspace"):
        Workspace.from_config(path="config.json")


def test_a_config_of_a_workspace_that_is_not_here() -> None:
    Path("config.json").write_text('{"subscription_id": "1", "resource_group": "2", "workspace_name": "cloud"}')
    with pytest.raises(WorkspaceException, match="Create it: batchmill workspace create cloud"):
        Workspace.from_config()


def test_default_datastores() -> None:
    ws = Workspace.create("team", show_output=False)
    assert list(ws.datastores) == ["workspaceblobstore", "workspacefilestore"]
    assert ws.get_default_datastore().name == "workspaceblobstore"
    assert (ws.folder / "workspaceblobstore").is_dir()
    ws.set_default_datastore("workspacefilestore")
    assert Workspace.get("team").get_default_datastore().name == "workspacefilestore"
    with pytest.raises(UserErrorException, match="There is no datastore 'nothing' in workspace team"):
        ws.set_default_datastore("nothing")


def test_views_are_like_dicts() -> None:
    ws = Workspace.create("team", show_output=False)
    for view in (ws.datasets, ws.models, ws.environments, ws.compute_targets, ws.experiments):
        assert "nothing" not in view
        assert list(view) == []
        assert dict(view) == {}
        with pytest.raises(KeyError):
            view["nothing"]


def test_experiments_come_from_runs() -> None:
    ws = Workspace.create("team", show_output=False)
    ws.registry.record_run("r1", name="score", status="Completed", folder="/r", experiment="digits")
    assert list(ws.experiments) == ["digits"]


def test_removed_with_its_folder(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    other = Workspace.create("other", show_output=False)
    for one in (ws, other):
        one.registry.add("model", "m", {})
    ws.delete()
    assert not ws.folder.exists()
    assert list(Workspace.list()) == ["other"]
    assert other.registry.names("model") == ["m"]
    again = Workspace.create("team", show_output=False)
    assert again.id != ws.id
    assert again.registry.names("model") == []


def test_a_folder_that_cannot_be_removed() -> None:
    ws = Workspace.create("team", show_output=False)
    shutil.rmtree(ws.folder)
    ws.folder.write_text("no folder at all")
    with pytest.raises(WorkspaceException) as refused:
        ws.delete()
    assert message(refused) == (
        f"Workspace 'team' has been removed, but its folder {ws.folder} cannot be: Not a directory. Remove it by hand."
    )
    assert Workspace.list() == {}


def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    elsewhere = tmp_path / "elsewhere"
    ws.folder.rename(elsewhere)
    ws.folder.symlink_to(elsewhere)
    ws.delete()
    assert not ws.folder.is_symlink()
    assert (elsewhere / "workspaceblobstore").is_dir()


def test_ten_processes_make_one_workspace() -> None:
    code = "from batchmill.workspace.workspace import Workspace as W; print(W.create('one', exist_ok=True, show_output=False).id)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(5)]
    assert len({process.communicate(timeout=60)[0] for process in processes}) == 1
    assert len(Workspace.get("one").datastores) == 2


def test_the_credentials_of_a_channel_are_sealed(tmp_path: Path) -> None:
    ws = Workspace.create("team", show_output=False)
    private = Environment("private")
    assert private.python.conda_dependencies is not None
    for channel in (f"https://ada:{CLIENT_SECRET}@host/one", f"https://host/t/{CLIENT_SECRET}/two"):
        private.python.conda_dependencies.add_channel(channel)
    kept = private.register(ws)
    assert private.register(ws).version == "1", "the same stays the same"
    assert kept.python.conda_dependencies is not None
    assert list(kept.python.conda_dependencies.conda_channels) == list(private.python.conda_dependencies.conda_channels)
    asset = ws.registry.get("environment", "private")
    assert asset is not None
    assert CLIENT_SECRET not in json.dumps(asset.definition)
    assert "https://host/t/***/two" in repr(shown_environment(asset))
    assert CLIENT_SECRET not in repr(shown_environment(asset)) + repr(kept)
