"""The check of the whole suite for secrets, checked itself: a session that leaves one fails and names the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The inner session has a secret of its own, which the outer one does not look for.
LEAKY = """
from tests import used_secrets

used_secrets.SECRETS.append("inner-" + "secret")


def test_keeps_it():
    pass


def test_writes_it(tmp_path):
    (tmp_path / "run.log").write_text("key: inner-secret")


def test_says_it():
    print("the key is inner-secret")
"""


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    ("test", "found"), [("keeps_it", None), ("writes_it", "run.log"), ("says_it", "the call report of")], ids=lambda value: str(value)
)
def test_a_session_that_leaves_a_secret_fails(tmp_path: Path, workers: tuple[str, ...], test: str, found: str | None) -> None:
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    # An xdist worker hands on reports, and a controller that ran no test has to know the secret as well.
    (tmp_path / "conftest.py").write_text("from tests import used_secrets\nused_secrets.SECRETS.append('inner-' + 'secret')\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.secret_check", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    command += ["--basetemp", str(tmp_path / "base"), "-p", "no:cacheprovider", *workers, "-k", test, str(tmp_path / "test_leaky.py")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == (0 if found is None else 1), ended.stdout
    assert ("secrets turned up" in ended.stdout) == (found is not None)
    if found is not None:
        assert found in ended.stdout.partition("secrets turned up")[2]
    assert "1 passed" in ended.stdout
