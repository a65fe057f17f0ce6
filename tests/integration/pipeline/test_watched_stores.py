"""Schedules that look at real object stores: Azurite and moto. What comes, changes, lies below, is many or has an odd name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import obstore
import pytest

from batchmill.pipeline.parameter import PipelineParameter
from batchmill.pipeline.schedule import Schedule
from batchmill.storage.object_store import store_for
from batchmill.workspace.data_path import DataPath, DataPathComputeBinding
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.folder_marks import folder_marks
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets
from tests.scheduled import ServedWorkspace, end_runs, small_published, without_runners

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, stores.Server]]:
    with ExitStack() as stack:
        found = {"s3": stack.enter_context(stores.s3_server())}
        try:
            found["azure"] = stack.enter_context(stores.azure_server())
        except stores.StoreMissing as missing:
            print(f"NOT TESTED against Azurite: {missing}")
        yield found


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    without_runners(monkeypatch)
    return Workspace.create("team", show_output=False)


@pytest.fixture(params=["s3", "azure"])
def store(request: pytest.FixtureRequest, servers: dict[str, stores.Server], team: Workspace) -> Any:
    server, name = servers.get(request.param), f"incoming-{next(NUMBERS)}"
    if server is None:
        pytest.skip("NOT TESTED against Azurite: it is not here")
    if request.param == "s3":
        server.create(name)
        keys = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}
        return Datastore.register_s3_bucket(team, "incoming", name, **keys, endpoint=server.url)
    stores.create_container(server.port, name, used_secrets.ACCOUNT, used_secrets.ACCOUNT_KEY)
    return Datastore.register_azure_blob_container(
        team, "incoming", name, used_secrets.ACCOUNT, account_key=used_secrets.ACCOUNT_KEY, endpoint=server.url
    )


def put(store: Any, name: str, content: bytes = b"content") -> None:
    obstore.put(store_for(store.place()), name, content)


def test_only_what_lies_in_the_folder_counts(store: Any) -> None:
    assert folder_marks(store, "in") == {}
    names = ["in/a.csv", "in/sub/b.csv", "inside/c.csv", "d.csv", "in.csv", "in/.hidden", "in/with space + ü 100%.csv", "in/a=b&c#d?.csv"]
    for name in names:
        put(store, name)
    expected = {"a.csv", "with space + ü 100%.csv", "a=b&c#d?.csv"}
    for folder in ("in", "in/", "/in", "/in/"):
        assert set(folder_marks(store, folder)) == expected
    for root in (None, "", "/"):
        assert set(folder_marks(store, root)) == {"d.csv", "in.csv"}
    put(store, "in/sub", b"")  # how some programs write folders
    before = folder_marks(store, "in")
    assert set(before) == expected
    assert folder_marks(store, "in") == before
    put(store, "in/a.csv", b"other")
    changed = {name for name, mark in folder_marks(store, "in").items() if before[name] != mark}
    assert changed == {"a.csv"}


def test_a_file_in_the_bucket_starts_one_run_with_its_path(team: Workspace, store: Any, tmp_path: Path) -> None:
    bound = (PipelineParameter("input", DataPath(store, "in")), DataPathComputeBinding())
    published = small_published(team, tmp_path / "script", arguments=[bound], inputs=[bound])
    put(store, "in/old.csv")
    schedule = Schedule.create(
        team, "files", published.id, "e", datastore=store, path_on_datastore="in", data_path_parameter_name="input", polling_interval=1
    )
    served = ServedWorkspace(team)
    served.turn(minutes=1)
    put(store, "in/sub/below.csv")
    served.turn(minutes=1)
    assert schedule.fires() == []
    put(store, "in/new ü.csv")
    served.turn(minutes=1)
    served.turn(minutes=1)
    (fire,) = schedule.fires()
    assert (fire.path, fire.reason, fire.outcome) == ("in/new ü.csv", "new file", "Started")
    run = schedule.get_last_pipeline_run()
    assert run is not None
    assert run.row.details["parameters"]["input"] == {"datastore": "incoming", "path": "in/new ü.csv"}
    end_runs(team)
    put(store, "in/old.csv", b"other")
    served.turn(minutes=1)
    assert (schedule.fires()[0].path, schedule.fires()[0].reason) == ("in/old.csv", "changed file")


def test_more_files_than_one_page_lists(team: Workspace, store: Any, tmp_path: Path) -> None:
    for number in range(1_100):
        put(store, f"in/{number:04}.csv", b"")
    assert len(folder_marks(store, "in")) == 1_100


def test_a_bucket_that_is_gone_or_refuses_is_told_and_looked_at_again(team: Workspace, store: Any, tmp_path: Path) -> None:
    schedule = Schedule.create(team, "files", small_published(team, tmp_path / "script").id, "e", datastore=store, polling_interval=1)
    served = ServedWorkspace(team)
    with stores.closed_port() as port:
        options: dict[str, Any] = {"endpoint": f"http://127.0.0.1:{port}", "skip_validation": True, "overwrite": True}
        if "s3" in type(store).__name__.lower():
            keys = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}
            Datastore.register_s3_bucket(team, "incoming", "gone", **keys, **options)
        else:
            options |= {"account_key": used_secrets.ACCOUNT_KEY}
            Datastore.register_azure_blob_container(team, "incoming", "gone", used_secrets.ACCOUNT, **options)
        served.turn(minutes=1)
    assert f"Schedule files ({schedule.id}) cannot look at incoming: " in served.said[0]
    for secret in (used_secrets.ACCOUNT_KEY, used_secrets.S3_SECRET_ACCESS_KEY):
        assert secret not in served.said[0]
    assert schedule.fires() == []
