"""Can this interpreter run a worker? Asked by letting it load one."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors import EnvironmentBuildError
from batchmill.workspace.python_versions import NEWEST, OLDEST
from batchmill.workspace.uv_command import tool_environment

WORKER_MAIN = Path(__file__).resolve().parents[1] / "worker" / "__main__.py"
SECONDS = 120
SAID = 200
QUESTION = """
import sys
if sys.version_info[:2] < (3, 9):
    print('{"version": "%d.%d.%d"}' % sys.version_info[:3])
    sys.exit()
import json, runpy
from importlib.util import find_spec
answer = {"version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.prefix}
answer["tables"] = [name for name in ("pandas", "pyarrow") if find_spec(name) is not None]
try:
    runpy.run_path(sys.argv[1], run_name="check")["_load_package"]()
    import batchmill.worker.loop
except BaseException as error:
    answer["problem"] = type(error).__name__ + ": " + str(error)
print("\\n" + json.dumps(answer))
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """What an interpreter is: ``version`` 3.12.1, its prefix, which of pandas and pyarrow it has."""

    version: str
    prefix: str
    tables: tuple[str, ...]


def check_interpreter(python: str, who: str, *, plain: bool = False) -> Checked:
    """Let an interpreter load a worker.

    ``plain``: with the launcher's own variables, as a worker of a user's own interpreter is started.

    Raises:
        EnvironmentBuildError: it does not start, is no Python 3.9 to 3.14, or cannot load a worker.
    """
    import os

    environment = dict(os.environ) if plain else tool_environment({})
    try:
        ended = subprocess.run(
            [python, "-c", "import sys; exec(sys.stdin.read())", str(WORKER_MAIN)],
            input=QUESTION,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            env=environment,
        )
    except OSError as error:
        raise EnvironmentBuildError(f"The interpreter {python} of {_lower(who)} cannot be started: {error.strerror}.", cure=CURE) from None
    except subprocess.TimeoutExpired:
        raise EnvironmentBuildError(f"The interpreter {python} of {_lower(who)} did not answer within {SECONDS} s.", cure=CURE) from None
    try:
        answer = json.loads(ended.stdout.strip().splitlines()[-1])
        version = tuple(int(part) for part in answer["version"].split(".")[:2])
    except (ValueError, IndexError, KeyError, TypeError):
        said = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()[-1][-SAID:]
        raise EnvironmentBuildError(f"The interpreter {python} of {_lower(who)} does not answer as a Python: {said}.", cure=CURE) from None
    if not OLDEST <= version <= NEWEST:
        between = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        raise EnvironmentBuildError(
            f"The interpreter {python} of {_lower(who)} is Python {answer['version']}; scripts run on Python {between} here.", cure=CURE
        )
    if "problem" in answer:
        raise EnvironmentBuildError(f"The interpreter {python} of {_lower(who)} cannot load a worker: {answer['problem']}.", cure=CURE)
    return Checked(answer["version"], answer["prefix"], tuple(answer["tables"]))


CURE = "Give the path of a Python 3.9 to 3.14 as interpreter_path, or let the environment be built."


def _lower(who: str) -> str:
    return who[:1].lower() + who[1:]
