"""What reaches the stores travels, and is not shown."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from batchmill.nodes.credentials import Credentials, gather_credentials
from batchmill.storage.connections import Connection, connect, connection_of
from batchmill.storage.object_store import PREFIXES

SECRET = "c2VjcmV0LW9mLXRoaXMtdGVzdA"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)


def test_variables_files_and_connections_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "' + SECRET + '"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "of the workspace")
    connect("w:photos", Connection("az", "", "photos", credentials={"access_key": SECRET}))
    given = pickle.loads(pickle.dumps(gather_credentials()))
    key.unlink()
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_SECRET_ACCESS_KEY", "BATCHMILL_SECRET_KEY"):
        monkeypatch.setenv(name, "of the other machine")
    connect("w:photos", Connection("az"))
    given.take(tmp_path / "own")
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    there = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    assert SECRET in there.read_text()
    assert there.stat().st_mode & 0o777 == 0o600
    assert os.environ["BATCHMILL_SECRET_KEY"] == "of the other machine", "nodes need no key of the workspace"
    assert connection_of("w:photos").credentials == {"access_key": SECRET}
    given.take(tmp_path / "own")  # a second node in the same process


def test_the_coordinator_also_gets_what_opens_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "of the workspace")
    assert gather_credentials(workspace=True).variables["BATCHMILL_SECRET_KEY"] == "of the workspace"
    assert "BATCHMILL_SECRET_KEY" not in gather_credentials().variables


def test_nodes_get_what_the_coordinator_was_given_but_for_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "of the machine of the coordinator")
    given = Credentials({"AWS_ACCESS_KEY_ID": "k", "BATCHMILL_SECRET_KEY": "of the workspace"}, {"AWS_CA_BUNDLE": b"c"})
    connect("w:later", Connection("s3", "", "later", credentials={"access_key_id": SECRET}))
    there = given.for_nodes()
    assert (there.variables, there.files) == ({"AWS_ACCESS_KEY_ID": "k"}, {"AWS_CA_BUNDLE": b"c"})
    assert SECRET in there.connections


def test_nothing_secret_is_shown() -> None:
    shown = repr(Credentials({"AWS_SECRET_ACCESS_KEY": SECRET}, {"FILE": SECRET.encode()}, SECRET))
    assert SECRET not in shown


def test_who_signs_is_not_mixed_with_the_identity_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_REGION", "AZURE_CLIENT_ID"):
        monkeypatch.setenv(name, "of the machine")
    Credentials({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": SECRET}).take(tmp_path)
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" not in os.environ
    assert os.environ["AWS_REGION"] == os.environ["AZURE_CLIENT_ID"] == "of the machine"
    del os.environ["AWS_ACCESS_KEY_ID"]
    del os.environ["AWS_SECRET_ACCESS_KEY"]


def test_without_credentials_of_its_own_a_run_uses_those_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "of the machine")
    monkeypatch.setenv("AWS_REGION", "there")
    Credentials({"AWS_REGION": "here"}).take(tmp_path)
    assert os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"] == "of the machine"
    assert os.environ["AWS_REGION"] == "here"
