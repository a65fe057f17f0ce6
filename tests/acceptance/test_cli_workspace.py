"""``batchmill workspace`` as a user meets it."""

from __future__ import annotations

import json
import stat

import pytest

from tests.conftest import Project
from tests.postgres import PostgresServer


def test_create_list_show_update_remove(project: Project) -> None:
    made = project.batchmill("workspace", "create", "team", "--description", "ours", "--tag", "a=b")
    assert (made.returncode, made.stdout) == (0, "")
    assert made.stderr == f"Workspace team is ready: {project.home}/workspaces/team\n"
    project.batchmill("workspace", "create", "other")
    listed = project.batchmill("workspace", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "other", "team"]
    assert [ws["name"] for ws in json.loads(project.batchmill("workspace", "list", "--json").stdout)] == ["other", "team"]
    page = project.batchmill("workspace", "list", "--limit", "1")
    assert page.stderr == "1 are shown. More: --after other, or a larger --limit.\n"
    assert "team" in project.batchmill("workspace", "list", "--after", "other").stdout

    changed = project.batchmill("workspace", "update", "team", "--set", "environments=current", "--tag", "c=d")
    assert changed.returncode == 0, changed.stderr
    shown = json.loads(project.batchmill("workspace", "show", "team", "--json").stdout)
    assert (shown["description"], shown["tags"], shown["settings"]) == ("ours", {"a": "b", "c": "d"}, {"environments": "current"})
    assert shown["counts"] == {"datastore": 2}
    text = project.batchmill("workspace", "show", "team").stdout
    assert "registry" in text
    assert f"{project.home}/workspace.sqlite" in text
    project.batchmill("workspace", "update", "team", "--set", "environments=")
    assert json.loads(project.batchmill("workspace", "show", "team", "--json").stdout)["settings"] == {}

    assert project.batchmill("workspace", "remove", "team").returncode == 0
    assert not (project.home / "workspaces" / "team").exists()
    assert "no workspace 'team'" in project.batchmill("workspace", "show", "team").stderr


def test_no_workspaces(project: Project) -> None:
    assert json.loads(project.batchmill("workspace", "list", "--json").stdout) == []
    assert "There are no workspaces." in project.batchmill("workspace", "list").stderr


def test_the_default_workspace_is_made_when_needed(project: Project) -> None:
    assert json.loads(project.batchmill("workspace", "show", "--json").stdout)["name"] == "default"


def test_the_workspace_of_a_folder(project: Project) -> None:
    project.batchmill("workspace", "create", "team", "--write-config", "--subscription-id", "s", "--resource-group", "g")
    config = json.loads(project.read(".azureml/config.json"))
    assert config == {"subscription_id": "s", "resource_group": "g", "workspace_name": "team"}
    project.write({"config.json": '{"architectures": ["Bert"]}'})  # a file of that name that has nothing to do with it
    assert json.loads(project.batchmill("workspace", "show", "--json", env={"BATCHMILL_WORKSPACE": "other"}).stdout)["name"] == "team"


def test_the_workspace_of_the_environment(project: Project) -> None:
    project.batchmill("workspace", "create", "team")
    assert json.loads(project.batchmill("workspace", "show", "--json", env={"BATCHMILL_WORKSPACE": "team"}).stdout)["name"] == "team"
    missing = project.batchmill("workspace", "show", env={"BATCHMILL_WORKSPACE": "taem"})
    assert missing.returncode == 2
    assert missing.stderr == (
        "Error: There is no workspace 'taem' in the registry. Did you mean 'team'? Create it: batchmill workspace create taem\n"
    )


def test_data_are_not_removed_without_a_word(project: Project) -> None:
    project.batchmill("workspace", "create", "team")
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("stays")
    folder = project.home / "workspaces" / "team" / "workspaceblobstore"
    (folder / "data.csv").write_text("a")
    (folder / "link").symlink_to(elsewhere)
    refused = project.batchmill("workspace", "remove", "team")
    assert refused.returncode == 2
    assert refused.stderr == "Error: Workspace team holds 2 files; all of it would be lost. Nothing was done: add --yes to do it.\n"
    assert (folder / "data.csv").exists()
    assert project.batchmill("workspace", "remove", "team", "--yes").returncode == 0
    assert not folder.parent.exists()
    assert (elsewhere / "file").read_text() == "stays"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "a b"], "A workspace cannot be called 'a b': a name has 1 to 63 letters"),
        (["create", "../up"], "A workspace cannot be called '../up'"),
        (["create", "team"], "Workspace 'team' exists already."),
        (["create", "new", "--tag", "a"], "Option --tag has the value 'a': it must be of the form KEY=VALUE."),
        (["show", "nothing"], "There is no workspace 'nothing' in the registry."),
        (["remove", "nothing"], "There is no workspace 'nothing' in the registry."),
        (["update", "team"], "Nothing to change was given."),
        (["update", "team", "--set", "enviroments=build"], "A workspace has no setting 'enviroments'. Did you mean 'environments'?"),
        (["update", "team", "--set", "colour=red"], "A workspace has no setting 'colour'. There are default_datastore,"),
        (["update", "team", "--set", "environments=docker"], "Setting 'environments' has the value 'docker': it must be build or current."),
        (["update", "team", "--set", "mirrors=x"], "Setting 'mirrors' is no JSON"),
        (["update", "team", "--set", "mirrors=[1]"], "Setting 'mirrors' must be a JSON object."),
        (["update", "team", "--set", 'mirrors={"https://a/": 3}'], "Setting 'mirrors' must be a JSON object of texts"),
        (["update", "team", "--set", 'vm_sizes={"big": {"cores": 0, "memory_gib": 1}}'], "The size 'big' of the setting vm_sizes is"),
        (["update", "team", "--set", "default_datastore=nothing"], "There is no datastore 'nothing' in workspace team."),
        (["update", "team", "--set", "default_cpu_compute=nothing"], "There is no compute target 'nothing' in workspace team."),
    ],
)
def test_what_cannot_be_done(project: Project, arguments: list[str], message: str) -> None:
    assert project.batchmill("workspace", "create", "team", "--exist-ok").returncode == 0
    ended = project.batchmill("workspace", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: {message}")
    assert ended.stderr.count("\n") == 1


def test_a_home_that_is_a_file(project: Project) -> None:
    project.home.write_text("")
    ended = project.batchmill("workspace", "list")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "Set BATCHMILL_HOME to a folder that can be written." in ended.stderr


def test_teams_use_postgresql(project: Project, postgres: PostgresServer) -> None:
    team = {"BATCHMILL_DATABASE_URL": postgres.fresh()}
    assert project.batchmill("workspace", "create", "team", env=team).returncode == 0
    shown = project.batchmill("workspace", "show", "team", env=team).stdout
    assert f"at 127.0.0.1:{postgres.port}" in shown
    assert postgres.password not in shown
    assert not (project.home / "workspace.sqlite").exists()
    wrong = project.batchmill("workspace", "list", env={"BATCHMILL_DATABASE_URL": postgres.url("postgres", "wrong-password-2")})
    assert wrong.returncode == 2
    assert "refuses the user name or password" in wrong.stderr
    assert "wrong-password-2" not in wrong.stderr + wrong.stdout


def test_files_of_the_home_that_hold_secrets_are_private(project: Project) -> None:
    code = "from batchmill.workspace.authentication import AzureCliAuthentication as A; print(A().get_authentication_header())"
    project.write({"login.py": code})
    import subprocess
    import sys

    ended = subprocess.run([sys.executable, "login.py"], cwd=project.folder, env=project.environment(), capture_output=True, text=True)
    token = ended.stdout.split("Bearer ")[1].split("'")[0]
    assert len(token) > 30
    for name in ("secret.key", "service.token"):
        path = project.home / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token not in path.read_text()
