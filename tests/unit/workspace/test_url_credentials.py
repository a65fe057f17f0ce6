"""Credentials in URLs are found and hidden; references to variables are neither."""

from __future__ import annotations

import pytest

from batchmill.errors import UsageError
from batchmill.workspace.url_credentials import credentials_in, fill_references, hide_credentials


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("--index-url https://user:word@host/simple", "--index-url https://***@host/simple", ["user:word"]),
        ("https://token@host/simple", "https://***@host/simple", ["token"]),
        ("git+https://token@host/repo", "git+https://***@host/repo", ["token"]),
        ("git+ssh://git@host/repo", "git+ssh://git@host/repo", []),
        ("git+ssh://git:word@host/repo", "git+ssh://***@host/repo", ["git:word"]),
        ("https://${USER}:${TOKEN}@host", "https://${USER}:${TOKEN}@host", []),
        ("https://user:${TOKEN}@host", "https://***@host", ["user:${TOKEN}"]),
        ("https://host/x.whl?sv=1&sig=abc%2F&x=1", "https://host/x.whl?sv=1&sig=***&x=1", ["abc%2F"]),
        ("https://host/x.whl?sig=${SAS}", "https://host/x.whl?sig=${SAS}", []),
        ("https://conda.host/t/t0ken/channel", "https://conda.host/t/***/channel", ["t0ken"]),
        ("https://conda.host/t/${TOKEN}/channel", "https://conda.host/t/${TOKEN}/channel", []),
        ("six==1.0; python_version > '3'", "six==1.0; python_version > '3'", []),
        ("a https://u:1@h b https://v:2@h", "a https://***@h b https://***@h", ["u:1", "v:2"]),
    ],
)
def test_hiding(text: str, shown: str, found: list[str]) -> None:
    assert hide_credentials(text) == shown
    assert hide_credentials(shown) == shown
    assert credentials_in(text) == found


def test_references_become_values() -> None:
    assert fill_references("https://${A}:${B}@host", {"A": "1", "B": "2"}) == "https://1:2@host"
    with pytest.raises(UsageError, match="the environment variable B, which is not set"):
        fill_references("https://${A}:${B}@host", {"A": "1"})


def test_credentials_that_were_left_out_are_asked_for() -> None:
    with pytest.raises(UsageError, match=r"The credentials of https://\*\*\*@host/simple were left out"):
        fill_references("--index-url https://***@host/simple", {})
