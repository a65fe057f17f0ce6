"""Runs, plans and replays whose inputs and outputs have names, over Azurite; the credentials are in the registry alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests import stores, used_secrets
from tests.conftest import Project

SUM = """
def run(mini_batch):
    total = mini_batch["x"].sum()
    return [f"{row.key} {row.x} of {total}" for row in mini_batch.itertuples()]
"""
GUARDED = """
import os

def run(mini_batch):
    for path in mini_batch:
        with open(path) as file:
            if file.read() == "bad":
                raise ValueError(f"{os.path.basename(path)} is bad")
    return [os.path.basename(path) for path in mini_batch]
"""


@pytest.fixture(scope="module")
def azurite() -> Iterator[stores.Server]:
    try:
        with stores.azure_server() as server:
            yield server
    except stores.StoreMissing as missing:
        pytest.skip(f"NOT TESTED against Azurite: {missing}")


@pytest.fixture
def store(project: Project, azurite: stores.Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose datastore ``store`` is a new container, with the key in the registry."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    container = f"runs-{abs(hash(request.node.name)) % 10**8}"
    stores.create_container(azurite.port, container, used_secrets.ACCOUNT, used_secrets.ACCOUNT_KEY)
    place = ["--azure-blob", f"{used_secrets.ACCOUNT}/{container}", "--endpoint", azurite.url]
    ok(project, "datastore", "create", "store", *place, "--account-key", "env:KEY", env={"KEY": used_secrets.ACCOUNT_KEY})
    monkeypatch.setenv("KEY", used_secrets.ACCOUNT_KEY)
    return project


def ok(project: Project, *arguments: str, env: dict[str, str] | None = None) -> str:
    ended = project.batchmill(*arguments, env=env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def table(project: Project) -> Project:
    rows = "".join(f"{'abc'[number % 3]},{number}\n" for number in range(40) if number != 13)
    project.write({"sum.py": SUM, "in/1.csv": f"key,x\n{rows}", "in/2.csv": "key,x\na,100\nd,1\n"})
    ok(project, "datastore", "upload", "store", "in", "--to", "tables")
    return project


def test_tables_are_read_and_grouped(store: Project) -> None:
    table(store)
    ok(store, "run", "sum.py", "--input", "datastore://store/tables/", "--partition-key", "key", "--output", "out", "--quiet")
    lines = store.read("out/parallel_run_step.txt").splitlines()
    assert (lines[0], lines[14], lines[-1], len(lines)) == ("a 0 of 373", "a 100 of 373", "d 1 of 1", 41)
    ok(store, "run", "sum.py", "--input", "datastore://store/tables/*.csv", "--mini-batch-size", "100rows", "--output", "plain", "--quiet")
    lines = store.read("plain/parallel_run_step.txt").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("a 0 of 767", "d 1 of 101", 41)


def test_a_plan_is_made_and_tried(store: Project) -> None:
    table(store)
    told = json.loads(ok(store, "plan", "sum.py", "--input", "datastore://store/tables/", "--json"))
    assert told["plan"]["files"] == 2
    tried = store.batchmill("plan", "sum.py", "--input", "datastore://store/tables/", "--try", "2")
    assert tried.returncode == 0, tried.stderr


def test_letters_are_replayed(store: Project) -> None:
    store.write({"guarded.py": GUARDED, **{f"in/{number}.txt": "good" for number in range(6)}, "in/3.txt": "bad"})
    ok(store, "datastore", "upload", "store", "in", "--to", "in")
    run = ["run", "guarded.py", "--input", "datastore://store/in", "--output", "datastore://store/out", "--error-threshold", "1"]
    ok(store, *run, "--mini-batch-size", "2", "--run-max-try", "1", "--quiet")
    assert "3.txt is bad" in ok(store, "runs", "errors", "last", "--json")
    again = store.batchmill("runs", "replay", "last", "--mini-batch", "1")
    assert "3.txt is bad" in again.stdout + again.stderr
    store.write({"in/3.txt": "good"})
    ok(store, "datastore", "upload", "store", "in", "--to", "in", "--overwrite")
    assert "3.txt is bad" not in ok(store, "runs", "replay", "last", "--mini-batch", "1")
    ok(store, "runs", "replay", "last")  # with the object as it is now
    ok(store, "datastore", "download", "store", "out/parallel", "--into", "down")
    assert store.read("down/out/parallel_run_step.txt") == "".join(f"{number}.txt\n" for number in range(6))


def test_lists_name_files_of_datastores(store: Project) -> None:
    table(store).write({"list.txt": "datastore://store/tables/2.csv\ndatastore://store/tables/1.csv\n"})
    ok(store, "run", "sum.py", "--input", "@list.txt", "--output", "out", "--quiet")
    assert len(store.read("out/parallel_run_step.txt").splitlines()) == 41
    store.write({"list.txt": "datastore://stor/tables/2.csv\n"})
    ended = store.batchmill("run", "sum.py", "--input", "@list.txt", "--output", "out", "--quiet")
    assert ended.returncode == 2
    assert "There is no datastore 'stor' in workspace default. Did you mean 'store'?" in ended.stderr


def test_urls_are_read_from_their_mirrors(store: Project, azurite: stores.Server) -> None:
    table(store).write({"mirror/tables/1.csv": "key,x\nm,7\n"})
    url = "https://pipelinedata.blob.core.windows.net/sampledata/tables/"
    mirrors = {"BATCHMILL_MIRRORS": json.dumps({"pipelinedata/sampledata": f"{store.folder}/mirror"})}
    ok(store, "run", "sum.py", "--input", url, "--output", "out", "--quiet", env=mirrors)
    assert store.read("out/parallel_run_step.txt") == "m 7 of 7\n"
    ok(store, "workspace", "update", "--set", 'mirrors={"pipelinedata": "datastore://store"}')
    told = store.batchmill("run", "sum.py", "--input", url, "--output", "out", "--quiet").stderr
    assert "Input datastore://default:store/sampledata/tables/ holds no files" in told
    ok(store, "workspace", "update", "--set", 'mirrors={"pipelinedata/sampledata": "datastore://store"}')
    ok(store, "run", "sum.py", "--input", f"{url}*.csv", "--output", "mirrored", "--quiet")
    assert len(store.read("mirrored/parallel_run_step.txt").splitlines()) == 41
    container = json.loads(ok(store, "datastore", "show", "store", "--json"))["definition"]["container_name"]
    own = f"https://{used_secrets.ACCOUNT}.blob.core.windows.net/{container}/tables/2.csv"
    ok(store, "run", "sum.py", "--input", own, "--output", "url", "--quiet")
    assert store.read("url/parallel_run_step.txt") == "a 100 of 101\nd 1 of 101\n"


def test_nothing_of_the_run_holds_the_place_itself(store: Project, azurite: stores.Server) -> None:
    """What a run folder says of its input is the name: no address, no account, and of course no key."""
    table(store)
    ok(store, "run", "sum.py", "--input", "datastore://store/tables/", "--output", "datastore://store/out", "--quiet")
    files = [path for path in (store.home / "runs").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert azurite.url.encode() not in content, path
        assert used_secrets.ACCOUNT.encode() not in content, path
    assert any(b"datastore://default:store/tables" in path.read_bytes() for path in files)
