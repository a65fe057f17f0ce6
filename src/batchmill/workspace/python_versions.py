"""The Pythons of this machine, and the one that an environment asks for.

Workers run on Python 3.9 to 3.14. Looked for, in this order: the interpreter that runs Batchmill, ``python3.X`` on PATH, pyenv's versions,
those that uv has installed. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.conda_dependencies import DEFAULT_PYTHON_VERSION

OLDEST, NEWEST = (3, 9), (3, 14)
SUPPORTED = [(3, minor) for minor in range(OLDEST[1], NEWEST[1] + 1)]
DEFAULTS = {DEFAULT_PYTHON_VERSION, "3.8.13", "3.6.2", "3.6.1", "3.6.5"}
"""What the SDK of its time wrote where a user asked for nothing."""

ANSWER_SECONDS = 20
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter that answered."""

    path: Path
    version: tuple[int, int, int]

    @property
    def minor(self) -> Version:
        return self.version[:2]

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.version))} ({self.path})"


def is_default(request: str | None) -> bool:
    """True where nobody asked for a version: there is none, or it is the one that the SDK writes by itself."""
    return request is None or request in DEFAULTS


def python_for(request: str | None, who: str) -> Python:
    """The interpreter that an environment is built with.

    ``request`` is a version (``3.12``, ``3.12.4``), a rule (``>=3.10,<3.12``), or None. Of a version, the first two numbers count. The
    SDK's own default counts where it is at hand; else, and without a request, it is the Python that runs Batchmill.

    Raises:
        EnvironmentBuildError: it is not one that workers run on, or is not installed; the cure names the nearest one.
    """
    asked = wanted_versions(request, who)
    for version in asked:
        found = installed(version)
        if found is not None:
            return found
    if is_default(request):
        return this_python()
    raise EnvironmentBuildError(f"{who} asks for Python {request}, which is not installed here.", cure=_nearest(asked[0]))


def wanted_versions(request: str | None, who: str) -> list[Version]:
    """The versions that satisfy a request, best first.

    Raises:
        EnvironmentBuildError: workers run on none of them.
    """
    if request is None:
        return [this_python().minor]
    text = request.strip().removesuffix(".*")
    exact = re.match(r"^(\d+)\.(\d+)(?:\.[\w*]+)*(?:=.*)?$", text) or re.match(r"^(\d+)()$", text)
    if exact:
        wanted = [version for version in SUPPORTED if not exact[2] or version == (int(exact[1]), int(exact[2]))]
        first = (int(exact[1]), int(exact[2] or 0))
    else:
        wanted, first = _by_rule(text, who), NEWEST
    if not wanted and is_default(request):
        return [this_python().minor]
    if not wanted or first[0] != 3:
        between = f"{_text(OLDEST)} to {_text(NEWEST)}"
        raise EnvironmentBuildError(f"{who} asks for Python {request}; scripts run on Python {between} here.", cure=_nearest(first))
    current = this_python().minor
    return sorted(wanted, key=lambda version: (version == current, version), reverse=True)


def _by_rule(text: str, who: str) -> list[Version]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        rule = SpecifierSet(re.sub(r"\s+", "", text))
    except InvalidSpecifier:
        raise EnvironmentBuildError(f"{who} asks for Python '{text}', which is no version.", cure="Write it like 3.12.") from None
    return [version for version in SUPPORTED if any(rule.contains(f"{_text(version)}.{patch}") for patch in range(40))]


def this_python() -> Python:
    """The interpreter that runs Batchmill (the one behind its virtual environment)."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Python(Path(base), sys.version_info[:3])


def installed(version: Version) -> Python | None:
    """The interpreter of this version that is found first."""
    if this_python().minor == version:
        return this_python()
    for path in _candidates(version):
        found = ask(path)
        if found is not None and found.minor == version:
            return found
    return None


def _candidates(version: Version) -> Iterator[Path]:
    name, numbers = f"python{_text(version)}", _text(version)
    for folder in os.get_exec_path():
        if folder and os.access(os.path.join(folder, name), os.X_OK):
            yield Path(folder) / name
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    managed = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for root, pattern in ((pyenv, f"{numbers}.*"), (managed, f"cpython-{numbers}.*")):
        yield from sorted((found / "bin" / name for found in root.glob(pattern) if os.access(found / "bin" / name, os.X_OK)), reverse=True)


def ask(path: Path | str) -> Python | None:
    """What version an interpreter says it is; None where it does not answer as one (a shim of a version that is not there)."""
    try:
        return _asked(os.fspath(path), os.stat(path).st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _asked(path: str, modified: int) -> Python | None:
    question = "import sys; print('batchmill', *sys.version_info[:3])"
    try:
        ended = subprocess.run(
            [path, "-I", "-c", question], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = ended.stdout.split()
    if ended.returncode or len(words) != 4 or words[0] != "batchmill":
        return None
    return Python(Path(path), (int(words[1]), int(words[2]), int(words[3])))


def _nearest(wanted: Version) -> str:
    """``The nearest one here is 3.10.13 (/usr/bin/python3.10): ask for that.``"""
    there = [found for found in map(installed, SUPPORTED) if found is not None]
    nearest = min(there, key=lambda one: (abs(one.minor[0] - wanted[0]), abs(one.minor[1] - wanted[1])), default=None)
    if nearest is None:
        return "Install one of them, so that python3.X is on PATH."
    as_it_is = ", or run in this interpreter as it is: BATCHMILL_ENVIRONMENTS=current"
    can_be_had = f", or install Python {_text(wanted)} so that python{_text(wanted)} is on PATH" if wanted in SUPPORTED else ""
    return f"The nearest one here is {nearest}: ask for {_text(nearest.minor)}{can_be_had}{as_it_is}."


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
