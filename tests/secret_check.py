"""No secret turns up: at the end of a session every file below its temporary folders (logs, run folders, exports, databases) and every
report is searched for the secrets of `tests.used_secrets`. A find fails the session and names the file, never the secret.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.used_secrets import forms

NAME = "secret-check"


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and not config.pluginmanager.has_plugin(NAME):  # with xdist, the controller does it for all
        config.pluginmanager.register(SecretCheck(config), NAME)


class SecretCheck:
    """Looks at reports as they come and at files when all tests have ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.finds: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        texts = [report.longreprtext, *(content for _, content in report.sections)]
        if any(holds_secret(text.encode("utf-8", "surrogateescape")) for text in texts):
            self.finds.append(f"the {report.when} report of {report.nodeid}")

    @pytest.hookimpl(trylast=True)  # after the workers of xdist have ended
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        factory: Any = getattr(self._config, "_tmp_path_factory", None)
        base = getattr(factory, "_basetemp", None)  # None where no test asked for a temporary folder
        if base is not None:
            self.finds += [str(path) for path in files_with_secrets(Path(base))]
        if self.finds:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.finds:
            terminalreporter.section("secrets turned up", red=True)
            for find in self.finds:
                terminalreporter.line(f"a secret of tests/used_secrets.py stands in {find}")


def files_with_secrets(folder: Path) -> Iterator[Path]:
    """The files below a folder that hold a secret; links are not followed, so nothing is looked at twice or outside."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and _file_holds_secret(path):
                yield path


def _file_holds_secret(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return holds_secret(content)
    except (FileNotFoundError, PermissionError):
        return False  # gone again, or made unreadable by a test of just that


def holds_secret(content: bytes | mmap.mmap) -> bool:
    return any(content.find(form) >= 0 for form in forms())
