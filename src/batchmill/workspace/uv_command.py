"""uv, which builds environments: where it is, how it is called, and what its long explanations come down to in one line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.url_credentials import hide_credentials

BUILD_SECONDS = 3600
"""The longest that one call of a tool may take."""

NOT_INHERITED = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONSTARTUP",
    "__PYVENV_LAUNCHER__",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_REQUIREMENT",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_EXCLUDE",
    "BATCHMILL_SECRET_KEY",
    "BATCHMILL_DATABASE_URL",
)
"""What the launcher's own environment must not do to the one that is built, and what packages that build themselves must not see."""

CREDENTIAL = "BATCHMILL_URL_CREDENTIAL_"
"""Variables with such names carry what stood in the URLs of requirements: uv reads them, its files and its words hold only the names."""

TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
LINE_LIMIT = 500
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CAUSE = re.compile(r"(?:cause:|╰─▶|├─▶)\s*(.*?)(?=\n\s*(?:cause:|╰─▶|├─▶|hint:|error:|×)|\n\n|\Z)", re.DOTALL)
ERROR = re.compile(r"^(?:error:|\s*×)\s*(.*?)(?=\n\s*(?:cause:|╰─▶|├─▶|hint:)|\n\n|\Z)", re.MULTILINE | re.DOTALL)


class ToolFailed(Exception):
    """A tool that builds ended badly; ``output`` is what it said, credentials hidden."""

    def __init__(self, tool: str, code: int, output: str) -> None:
        super().__init__(f"{tool} ended with {code}")
        self.tool, self.code, self.output = tool, code, output


@lru_cache(maxsize=1)
def uv_path() -> str:
    """The binary that the uv package brings, else the one on PATH.

    Raises:
        EnvironmentBuildError: there is none.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise EnvironmentBuildError("Environments are built by uv, which is not there.", cure="Install it: pip install uv")
    return found


@lru_cache(maxsize=1)
def uv_version() -> str:
    """``uv 0.9.1``."""
    ended = subprocess.run([uv_path(), "--version"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return " ".join(ended.stdout.split()[:2])


def tool_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The variables that a tool is called with: the launcher's, without those of its own environment."""
    plain = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    fixed = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "PYTHONUNBUFFERED": "1"}
    return {**plain, **fixed, **more}


def call(words: Sequence[str | Path], folder: Path, log: IO[str], variables: Mapping[str, str], text: str | None = None) -> str:
    """Run a tool to its end in ``folder``; ``text`` is what it reads. What it says goes into the log, credentials hidden, and is returned.

    Raises:
        ToolFailed: it ended with anything but 0, or not within an hour.
    """
    command = [str(word) for word in words]
    tool = Path(command[0]).name
    log.write(without_secrets(f"$ {' '.join([tool, *command[1:]])}\n{text or ''}", variables))
    log.flush()
    process = subprocess.Popen(
        [*_ends_with_its_parent(), *command],
        cwd=folder,
        env=tool_environment(variables),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(text, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        said = f"error: {tool} had not ended after {BUILD_SECONDS} s"
        raise ToolFailed(tool, -signal.SIGKILL, said) from None
    finally:
        if process.returncode is None:  # too slow, or interrupted: nothing of it goes on
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = without_secrets(said, variables)
    log.write(said + ("" if said.endswith("\n") or not said else "\n"))
    log.flush()
    if process.returncode:
        raise ToolFailed(tool, process.returncode, said)
    return said


def _ends_with_its_parent() -> list[str]:
    """What starts a tool so that the kernel kills it when its builder dies: an orphan would go on, and hold the locks of uv's cache."""
    return [sys.executable, "-I", "-S", "-c", TIED, str(os.getpid())] if sys.platform == "linux" else []


def without_secrets(text: str, variables: Mapping[str, str]) -> str:
    """The text without credentials of URLs and without the values of the variables that carry some."""
    for name, value in variables.items():
        if name.startswith(CREDENTIAL) and len(value) > 2:
            text = text.replace(value, "***")
    return hide_credentials(text)


def cause_of(output: str) -> str:
    """One line that says which requirement, and why, taken from what uv (or a build that it called) said.

    >>> cause_of("error: No solution found\\n  cause: Because six==99 is not there and you require six==99, we can conclude that ...")
    'six==99 is not there'
    """
    text = ANSI.sub("", output)
    reasons = [_joined(reason) for reason in CAUSE.findall(text)]
    errors = [_joined(error) for error in ERROR.findall(text)]
    solver = next((reason for reason in reasons if reason.startswith("Because ")), None)
    if solver is not None:
        return _shortened(_unsolved(solver))
    said = _last_line_of_build(text)
    parts = list(dict.fromkeys(part.rstrip(".:") for part in [*errors[:1], *_telling(reasons), *([said] if said else [])] if part))
    if parts:
        return _shortened(": ".join(parts))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _shortened(lines[-1]) if lines else "it said nothing"


def _joined(text: str) -> str:
    return re.sub(r"\s*\^+$", "", " ".join(re.sub(r"[│├╰─▶]", " ", text).split()))


def _unsolved(reason: str) -> str:
    """``Because A and you require B, we can conclude that C. And because D, we can conclude that ...`` -> ``A; D``."""
    facts = [re.split(r", we can conclude that", part)[0] for part in re.split(r"(?:^|[.,]\s+[Aa]nd )[Bb]ecause ", reason) if part]
    short = [re.sub(r",? and you require [^,;]*$", "", fact) for fact in facts]
    return "; ".join(short).replace("you require", "the environment asks for")


def _telling(reasons: list[str]) -> list[str]:
    """The first reason, and the last where there are more: those between repeat the one in other words."""
    return [reasons[0], reasons[-1]] if len(reasons) > 1 else reasons


def _last_line_of_build(text: str) -> str | None:
    """What a package's own build said last on stderr."""
    if "[stderr]" not in text:
        return None
    said = text.rpartition("[stderr]")[2].split("\n\nhint:")[0]
    lines = [line.strip() for line in said.split("\nhint:")[0].splitlines() if line.strip()]
    return lines[-1] if lines else None


def _shortened(text: str) -> str:
    text = text.rstrip(". ")
    return text if len(text) <= LINE_LIMIT else text[: LINE_LIMIT - 3] + "..."
