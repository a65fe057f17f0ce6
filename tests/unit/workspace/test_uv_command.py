"""What uv says, in one line."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from batchmill.workspace.conda_command import conda_cause
from batchmill.workspace.uv_command import NOT_INHERITED, call, cause_of, tool_environment, without_secrets

NO_WHEEL = """error: No solution found when resolving dependencies
  cause: Because tensorflow==1.13.1 has no wheels with a matching Python ABI tag (e.g., `cp310`) and you require tensorflow==1.13.1, we can conclude that your requirements are unsatisfiable.

hint: You require CPython 3.10 (`cp310`), but we only found wheels for `tensorflow` (v1.13.1)
"""  # noqa: E501 # as it is printed
OLDER = """  × No solution found when resolving dependencies:
  ╰─▶ Because nosuch was not found in the package registry and you require nosuch, we can conclude that your
      requirements are unsatisfiable.
"""
CONFLICT = """error: No solution found when resolving dependencies
  cause: Because pandas==2.2.0 depends on numpy>=1.26.0,<2 and you require pandas==2.2.0, we can conclude that you require numpy>=1.26.0,<2.
      And because you require numpy==2.4.0, we can conclude that your requirements are unsatisfiable.
"""
BUILD = """error: Failed to build `bad @ file:///work/bad`
  cause: The build backend returned an error
  cause: Call to `backend.build_wheel` failed (exit status: 1)

         [stderr]
         Traceback (most recent call last):
           File "<string>", line 11, in <module>
         RuntimeError: gcc is not there

hint: This usually indicates a problem with the package or the build environment.
"""
UNREACHABLE = """error: Request failed after 3 retries in 10.2s
  cause: Failed to fetch: https://127.0.0.1:9/simple/six/
  cause: error sending request for url (https://127.0.0.1:9/simple/six/)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (NO_WHEEL, "tensorflow==1.13.1 has no wheels with a matching Python ABI tag (e.g., `cp310`)"),
        (OLDER, "nosuch was not found in the package registry"),
        (CONFLICT, "pandas==2.2.0 depends on numpy>=1.26.0,<2; the environment asks for numpy==2.4.0"),
        (
            BUILD,
            "Failed to build `bad @ file:///work/bad`: The build backend returned an error: "
            "Call to `backend.build_wheel` failed (exit status: 1): RuntimeError: gcc is not there",
        ),
        (
            UNREACHABLE,
            "Request failed after 3 retries in 10.2s: Failed to fetch: https://127.0.0.1:9/simple/six/: Connection refused (os error 111)",
        ),
        ("error: Distribution not found at: file:///lib.whl\n", "Distribution not found at: file:///lib.whl"),
        ("thread panicked\nat line 3\n", "at line 3"),
        ("", "it said nothing"),
        ("error: " + "x" * 2000, "x" * 497 + "..."),
    ],
)
def test_causes(output: str, cause: str) -> None:
    assert cause_of(output) == cause


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "Channels:\n - a\nPackagesNotFoundError: These are not available from current channels:\n\n  - nosuch=1\n\nMore:\n",
            "PackagesNotFoundError: These are not available from current channels: nosuch=1",
        ),
        (
            "error    libmamba Could not solve for environment specs\n",
            "error    libmamba Could not solve for environment specs",
        ),
        ("odd\nlast\n", "last"),
        ("", "it said nothing"),
    ],
)
def test_causes_of_conda(output: str, cause: str) -> None:
    assert conda_cause(output) == cause


def test_the_launcher_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NOT_INHERITED:
        monkeypatch.setenv(name, "x")
    found = tool_environment({"A": "b"})
    assert [name for name in NOT_INHERITED if name in found] == []
    assert (found["A"], found["UV_PYTHON_DOWNLOADS"]) == ("b", "never")


def test_values_of_credential_variables_are_hidden() -> None:
    assert without_secrets("token s3cret and https://u:p@h", {"BATCHMILL_URL_CREDENTIAL_0": "s3cret"}) == "token *** and https://***@h"


def test_what_a_tool_reads_and_is_called_with_is_logged_without_credentials(tmp_path: Path) -> None:
    log = io.StringIO()
    channel = "https://ada:t0ken@host/channel"
    call([shutil.which("true") or "", "--channel", channel], tmp_path, log, {}, "--constraint https://ada:t0ken@host/limits.txt")
    assert log.getvalue() == "$ true --channel https://***@host/channel\n--constraint https://***@host/limits.txt"


def test_packages_that_build_themselves_see_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_SECRET_KEY", "a secret of this team")
    monkeypatch.setenv("BATCHMILL_DATABASE_URL", "postgresql://ada:t0ken@host/team")
    monkeypatch.setenv("SEEN", "yes")
    said = call([shutil.which("env") or ""], tmp_path, io.StringIO(), {})
    assert "SEEN=yes" in said
    assert "a secret of this team" not in said
    assert "t0ken" not in said
