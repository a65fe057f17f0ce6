"""Secrets: sealed where they are kept, hidden where they are printed."""

from __future__ import annotations

import copy
import json
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from batchmill.errors import SecretError
from batchmill.workspace.authentication import (
    AzureCliAuthentication,
    InteractiveLoginAuthentication,
    MsiAuthentication,
    ServicePrincipalAuthentication,
    TokenAuthentication,
)
from batchmill.workspace.secret import Secret, seal, unseal

TEXT = "correct-horse-battery-staple"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    monkeypatch.delenv("BATCHMILL_SECRET_KEY", raising=False)
    return tmp_path


def test_sealed_and_unsealed(home: Path) -> None:
    sealed = seal(TEXT)
    assert TEXT not in sealed
    assert sealed != seal(TEXT)
    assert unseal(sealed) == TEXT
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret.key"]


@pytest.mark.parametrize("key", [Fernet.generate_key().decode(), "a phrase that all of the team know"], ids=["key", "phrase"])
def test_the_key_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", key)
    assert unseal(seal(TEXT)) == TEXT
    assert not (home / "secret.key").exists()


def test_another_key_does_not_open_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal(TEXT)
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "another phrase of the team")
    with pytest.raises(SecretError, match="sealed with another key"):
        unseal(sealed)


def test_a_short_phrase_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "short")
    with pytest.raises(SecretError, match="neither a Fernet key nor a text of at least 16") as caught:
        seal(TEXT)
    assert "short" not in str(caught.value)


def test_a_key_file_that_others_can_read(home: Path) -> None:
    seal(TEXT)
    (home / "secret.key").chmod(0o644)
    with pytest.raises(SecretError, match="chmod 600"):
        seal(TEXT)


def test_a_damaged_key_file(home: Path) -> None:
    seal(TEXT)
    (home / "secret.key").write_text("nonsense")
    with pytest.raises(SecretError, match="is damaged"):
        seal(TEXT)


def test_a_key_that_cannot_be_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("BATCHMILL_HOME", str(home / "file"))
    with pytest.raises(SecretError, match="cannot be used: File exists"):
        seal(TEXT)


def test_processes_agree_on_one_key(home: Path) -> None:
    code = f"from batchmill.workspace.secret import seal; print(seal({TEXT!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [unseal(process.communicate(timeout=60)[0].strip()) for process in processes] == [TEXT] * 6


def test_nothing_prints_a_secret() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    shown = f"{secret} {secret!r} {secret:>9} {[secret]} {vars(Secret)}"
    assert TEXT not in shown
    assert TEXT not in secret.stored()
    assert Secret(secret.stored()).reveal() == TEXT
    with pytest.raises(TypeError):
        json.dumps(secret)
    for copied in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not pickled"):
            copied(secret)


def test_a_reference_is_read_at_use(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret("env:TEAM_KEY")
    assert secret.stored() == "env:TEAM_KEY"
    with pytest.raises(SecretError, match="TEAM_KEY, which is not set"):
        secret.reveal()
    monkeypatch.setenv("TEAM_KEY", TEXT)
    assert secret.reveal() == TEXT
    assert secret == Secret(TEXT)


def test_every_login_is_accepted() -> None:
    logins = [
        InteractiveLoginAuthentication(force=True, tenant_id="t"),
        AzureCliAuthentication(),
        MsiAuthentication(),
        ServicePrincipalAuthentication("tenant", "id", TEXT),
    ]
    headers = [login.get_authentication_header() for login in logins]
    assert {tuple(header) for header in headers} == {("Authorization",)}
    assert len({header["Authorization"] for header in headers}) == 1
    assert headers[0]["Authorization"].startswith("Bearer ")
    assert TEXT not in "".join(map(repr, logins))
    assert repr(logins[3]) == "ServicePrincipalAuthentication(tenant_id='tenant', service_principal_id='id', cloud='AzureCloud')"


def test_a_token_of_the_caller() -> None:
    login = TokenAuthentication(lambda audience: f"for {audience}")
    assert login.get_authentication_header() == {"Authorization": "Bearer for https://management.azure.com/"}
