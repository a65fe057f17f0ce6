"""Environments built by uv, for real: from packages made on the spot, so that no package index is needed."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from batchmill.errors import EnvironmentBuildError, UsageError
from batchmill.workspace.built_environment import BuildFolder, all_builds, build_of
from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_preparation import Interpreter, prepare_environment
from batchmill.workspace.environment_pruning import prune_environments
from batchmill.workspace.environment_recipe import recipe_of
from batchmill.workspace.python_versions import SUPPORTED, installed
from batchmill.workspace.workspace import Workspace
from tests import used_secrets
from tests.packages import DEADLINE, Gate, make_project, make_wheel

THIS = sys.version_info[:2]
PREPARE = """
import json, sys
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_preparation import prepare_environment
environment = Environment.load_from_directory(sys.argv[1])
try:
    found = prepare_environment(None, environment, "build", announce=lambda text: print(text, flush=True))
    print(json.dumps({"python": found.python}), flush=True)
    sys.stdin.readline()
except Exception as error:
    print(json.dumps({"error": str(error)}), flush=True)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a cache of uv for each test: builds are kept in the one, packages that were built in the other."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("BATCHMILL_ENVIRONMENTS", "BATCHMILL_DOCKER_IMAGES", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder of wheels that stands for the index."""
    folder = tmp_path / "wheels"
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0", requires=["beta>=1"])
    make_wheel(folder, "beta", "1.5")
    return folder


@pytest.fixture
def environment(wheels: Path) -> Callable[..., Environment]:
    """Make an environment whose packages come from the folder of wheels alone."""

    def make(*pip: str, name: str = "scoring", python: str = f"{THIS[0]}.{THIS[1]}") -> Environment:
        made = Environment(name)
        packages = CondaDependencies.create(pip_packages=["azureml-defaults"], python_version=python)
        packages.set_pip_requirements(["--no-index", f"--find-links {wheels}", *pip])
        made.python.conda_dependencies = packages
        return made

    return make


Make = Callable[..., Environment]


def build(made: Environment, **more: object) -> tuple[Interpreter, list[str]]:
    said: list[str] = []
    return prepare_environment(None, made, "build", announce=said.append, **more), said  # type: ignore[arg-type]


def ask(found: Interpreter, code: str, **more: str) -> str:
    """What the interpreter prints, started as a worker is."""
    variables = {**os.environ, **more, **found.variables}
    plain = {name: value for name, value in variables.items() if value or name not in found.variables}
    return subprocess.run([found.python, "-c", code], env=plain, capture_output=True, text=True, check=True).stdout.strip()


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} within {DEADLINE} s"
        time.sleep(0.02)


# --- what is built --------------------------------------------------------------------------------------------------------------------


def test_built_once_locked_and_compiled(environment: Make) -> None:
    found, said = build(environment("alpha", "azureml-core"))
    assert said[0].startswith("Building environment 'scoring': alpha.")
    assert said[1].startswith("Environment 'scoring' is built: 2 packages, Python")
    assert ask(found, "import alpha, beta; print(alpha.VERSION, beta.VERSION)") == "2.0 1.5"
    assert found.description["packages"] == [["alpha", "2.0"], ["beta", "1.5"]]
    assert (found.description["provided"], found.warnings) == (["azureml-core"], [])
    folder = Path(found.description["folder"])
    assert (folder / "requirements.lock").read_text() == "alpha==2.0\nbeta==1.5\n"
    assert list(folder.rglob("alpha.*.pyc")) != []
    assert found.variables["EXAMPLE_ENV_VAR"] == "EXAMPLE_VALUE"
    again, said = build(environment("alpha", "azureml-core", name="other"))
    assert (again.python, said) == (found.python, [])


def test_the_launchers_own_environment_does_not_leak_in(environment: Make, tmp_path: Path) -> None:
    (tmp_path / "leak").mkdir()
    (tmp_path / "leak" / "leaked.py").write_text("")
    found, _ = build(environment("alpha"))
    code = "import os, sys; from importlib.util import find_spec; print(find_spec('leaked'), find_spec('pandas'), find_spec('batchmill'))"
    assert ask(found, code, PYTHONPATH=str(tmp_path / "leak"), VIRTUAL_ENV="/elsewhere") == "None None None"
    assert ask(found, "import os; print(os.environ['VIRTUAL_ENV'])", VIRTUAL_ENV="/elsewhere") == found.description["folder"]
    assert ask(found, "import os, shutil; print(os.path.samefile(shutil.which('python'), os.sys.executable))") == "True"


def test_builders_are_not_moved_by_the_launchers_environment(environment: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("raise SystemExit('leaked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "missing.txt"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found, _ = build(environment("alpha"))
    assert list(Path(found.description["folder"]).rglob("alpha.*.pyc")) != []


def test_variables_of_the_environment_come_first(environment: Make) -> None:
    made = environment("alpha")
    made.environment_variables = {"PYTHONPATH": "/own", "A": "b", "PATH": "/mine"}
    found, _ = build(made)
    assert (found.variables["PYTHONPATH"], found.variables["A"]) == ("/own", "b")
    assert found.variables["PATH"] == f"{Path(found.python).parent}:/mine"


def test_files_paths_constraints_and_editable_packages(environment: Make, tmp_path: Path) -> None:
    make_project(tmp_path / "own", "own", "0.1", requires=["alpha"])
    (tmp_path / "more.txt").write_text("-e ./own\n-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("alpha<2\n")
    wheel = make_wheel(tmp_path / "elsewhere", "gamma", "3.0")
    found, _ = build(environment("-r more.txt", "./elsewhere/" + wheel.name), folder=tmp_path)
    assert ask(found, "import own, alpha, gamma; print(own.VERSION, alpha.VERSION, gamma.VERSION)") == "0.1 1.0 3.0"
    (tmp_path / "own" / "src" / "own.py").write_text("VERSION = 'changed'\n")
    again, said = build(environment("-r more.txt", "./elsewhere/" + wheel.name), folder=tmp_path)
    assert (ask(again, "import own; print(own.VERSION)"), said) == ("changed", [])
    make_wheel(tmp_path / "elsewhere", "gamma", "3.0", {"gamma.py": "VERSION = 'new'\n"})
    rebuilt, said = build(environment("-r more.txt", "./elsewhere/" + wheel.name), folder=tmp_path)
    assert said != []
    assert ask(rebuilt, "import gamma; print(gamma.VERSION)") == "new"


def test_hashes_are_checked(environment: Make, wheels: Path) -> None:
    make_wheel(wheels, "pandas", "2.0")
    make_wheel(wheels, "pyarrow", "9.0", requires=["beta<2"])
    digest = sha256((wheels / "beta-1.5-py3-none-any.whl").read_bytes()).hexdigest()
    found, _ = build(environment(f"beta==1.5 --hash=sha256:{digest}"))
    assert f"--hash=sha256:{digest}" in (Path(found.description["folder"]) / "requirements.lock").read_text()
    with pytest.raises(EnvironmentBuildError, match="cannot be built"):
        build(environment(f"beta==1.5 --hash=sha256:{'0' * 64}"))
    with pytest.raises(EnvironmentBuildError, match="alpha"):
        build(environment(f"beta==1.5 --hash=sha256:{digest}", "alpha==1.0"))
    tables, _ = build(environment(f"beta==1.5 --hash=sha256:{digest}"), needs_tables=True)
    assert tables.description["added"] == ["pandas", "pyarrow"]


@pytest.mark.parametrize("version", [version for version in SUPPORTED if version != THIS], ids=lambda version: f"{version[0]}.{version[1]}")
def test_other_pythons(environment: Make, version: tuple[int, int]) -> None:
    if installed(version) is None:
        pytest.skip(f"NOT TESTED: Python {version[0]}.{version[1]} is not on this machine")
    found, _ = build(environment("beta", python=f"{version[0]}.{version[1]}"))
    assert ask(found, "import beta, sys; print(*sys.version_info[:2])") == f"{version[0]} {version[1]}"
    assert found.description["python_version"].startswith(f"{version[0]}.{version[1]}.")


def test_another_patch_than_the_wanted_one_is_told(environment: Make) -> None:
    found, _ = build(environment("beta", python=f"{THIS[0]}.{THIS[1]}.99"))
    this = ".".join(map(str, sys.version_info[:3]))
    assert found.warnings == [f"Environment 'scoring': python {THIS[0]}.{THIS[1]}.99 wanted, {this} used."]


def test_a_build_whose_python_is_gone_is_built_again(environment: Make) -> None:
    found, _ = build(environment("beta"))
    Path(found.python).unlink()
    again, said = build(environment("beta"))
    assert said != []
    assert again.python != found.python
    assert not Path(found.description["folder"]).exists()


# --- tables ---------------------------------------------------------------------------------------------------------------------------


def test_tables_get_what_they_need_and_the_run_says_so(environment: Make, wheels: Path) -> None:
    make_wheel(wheels, "pandas", "2.0")
    make_wheel(wheels, "pyarrow", "9.0")
    plain, _ = build(environment("beta"))
    found, _ = build(environment("beta"), needs_tables=True)
    assert found.python != plain.python
    assert ask(found, "import beta, pandas, pyarrow; print(pandas.VERSION)") == "2.0"
    assert found.description["added"] == ["pandas", "pyarrow"]
    assert found.warnings == ["Environment 'scoring' names no pandas and no pyarrow, which reading tables needs: added."]
    again, said = build(environment("beta"), needs_tables=True)
    assert (again.warnings, said) == (found.warnings, [])


def test_tables_add_nothing_that_is_there(environment: Make, wheels: Path) -> None:
    make_wheel(wheels, "pandas", "2.0")
    make_wheel(wheels, "pyarrow", "9.0")
    make_wheel(wheels, "learn", "1.0", requires=["pandas"])
    found, _ = build(environment("learn"), needs_tables=True)
    assert found.description["added"] == ["pyarrow"]
    named, _ = build(environment("pandas==2.0", "pyarrow"), needs_tables=True)
    assert named.warnings == []
    plain, said = build(environment("pandas==2.0", "pyarrow"))
    assert (plain.python, said) == (named.python, [])


# --- failures -------------------------------------------------------------------------------------------------------------------------


def test_a_failed_build_names_the_requirement_and_the_log(environment: Make) -> None:
    with pytest.raises(EnvironmentBuildError) as error:
        build(environment("alpha==9"))
    folder = BuildFolder(recipe_of(environment("alpha==9")).key)
    assert error.value.message.startswith("Environment 'scoring' cannot be built: ")
    assert "alpha==9" in error.value.message
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(f"The log: {folder.log}")
    assert "alpha==9" in folder.log.read_text()
    assert folder.last_failure()["cause"] in error.value.message
    assert folder.built() is None
    assert [entry for entry in folder.path.iterdir() if entry.is_dir()] == []


def test_a_package_that_does_not_build_says_what_it_said(environment: Make, tmp_path: Path) -> None:
    make_project(tmp_path / "bad", "bad", "1.0", hook="raise RuntimeError('gcc is not there')")
    with pytest.raises(EnvironmentBuildError, match="RuntimeError: gcc is not there"):
        build(environment("./bad"), folder=tmp_path)
    (tmp_path / "bad" / "backend.py").write_text((tmp_path / "bad" / "backend.py").read_text().replace("raise RuntimeError", "str"))
    found, _ = build(environment("./bad"), folder=tmp_path)
    assert ask(found, "import bad; print(bad.VERSION)") == "1.0"


def test_a_package_that_breaks_workers_fails_the_build(environment: Make, wheels: Path) -> None:
    make_wheel(wheels, "breaker", "1.0", {"breaker.pth": "import sys; sys.modules['json'] = sys\n"})
    with pytest.raises(EnvironmentBuildError, match=r"cannot load a worker|does not answer as a Python"):
        build(environment("breaker"))


def test_a_home_that_cannot_be_used(environment: Make, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "environments").write_text("a file")
    with pytest.raises(EnvironmentBuildError, match=r"cannot be built below .*: (Not a directory|File exists)\."):
        build(environment("beta"))


@pytest.mark.parametrize("python", ["3.6", "3.15"])
def test_pythons_that_cannot_be(environment: Make, python: str) -> None:
    with pytest.raises(EnvironmentBuildError, match=rf"asks for Python {python}; scripts run on Python 3.9 to 3.14 here. The nearest one"):
        build(environment("beta", python=python))


# --- many at once, and deaths ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    (tmp_path / "gate").mkdir()
    return Gate(tmp_path / "gate")


@pytest.fixture
def prepare(environment: Make, gate: Gate, tmp_path: Path) -> Iterator[Callable[[], Preparing]]:
    """Start a process that prepares the gated environment, and lives on until it is told to end."""
    environment(str(gate.project)).save_to_directory(tmp_path / "saved")
    started: list[Preparing] = []

    def start() -> Preparing:
        started.append(Preparing(tmp_path / "saved"))
        return started[-1]

    yield start
    for one in started:
        one.end()


class Preparing:
    """A process that prepares an environment; what it says is heard in a thread."""

    def __init__(self, saved: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PREPARE, str(saved)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.lines: list[str] = []
        self._hearing = threading.Thread(target=self._hear)
        self._hearing.start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)

    def result(self) -> dict[str, str]:
        wait_for(lambda: self.lines and self.lines[-1].startswith("{"), "a result")
        return dict(json.loads(self.lines[-1]))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._hearing.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def test_builders_at_the_same_time_share_one_build(gate: Gate, prepare: Callable[[], Preparing]) -> None:
    first = prepare()
    wait_for(lambda: gate.builds, "the first build")
    others = [prepare(), prepare()]
    for other in others:
        wait_for(lambda other=other: other.said("is being built by another process; waiting for it"), "waiting")
    gate.open.write_text("succeed")
    pythons = {one.result()["python"] for one in (first, *others)}
    assert len(pythons) == 1
    assert gate.builds == 1
    assert [one.said("Building environment") for one in (first, *others)] == [True, False, False]


def test_builders_at_the_same_time_share_one_failure(gate: Gate, prepare: Callable[[], Preparing]) -> None:
    first = prepare()
    wait_for(lambda: gate.builds, "the first build")
    second = prepare()
    wait_for(lambda: second.said("waiting for it"), "waiting")
    gate.open.write_text("fail")
    assert first.result()["error"] == second.result()["error"]
    assert "as the test wanted" in first.result()["error"]
    assert gate.builds == 1
    gate.open.write_text("succeed")
    assert "python" in prepare().result()


def test_a_killed_builder_leaves_nothing_that_counts(gate: Gate, prepare: Callable[[], Preparing]) -> None:
    first = prepare()
    wait_for(lambda: gate.builds, "the first build")
    second = prepare()
    wait_for(lambda: second.said("waiting for it"), "waiting")
    os.kill(first.process.pid, signal.SIGKILL)
    wait_for(lambda: gate.builds == 2, "a second build")
    gate.open.write_text("succeed")
    python = second.result()["python"]
    (folder,) = all_builds()
    wait_for(lambda: [entry.name for entry in folder.path.iterdir() if entry.is_dir()] == [Path(python).parents[1].name], "one generation")
    assert subprocess.run([python, "-c", "import gated"], check=True).returncode == 0


# --- pruning --------------------------------------------------------------------------------------------------------------------------


def test_pruning_takes_what_nobody_uses(environment: Make, gate: Gate, prepare: Callable[[], Preparing]) -> None:
    gate.open.write_text("succeed")
    user = prepare()
    used = Path(user.result()["python"])
    old = subprocess.run(
        [sys.executable, "-c", "import sys; " + PREPARE.replace("sys.stdin.readline()", ""), str(_saved(environment("beta"), gate))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python" in old.stdout
    with pytest.raises(EnvironmentBuildError):
        build(environment("alpha==9"))
    assert prune_environments(1) == []
    looked = {one.summary: one.removed for one in prune_environments(0, remove=False)}
    assert looked == {str(gate.project): False, "beta": True, "not finished": True}
    assert len(all_builds()) == 3
    pruned = {one.summary: (one.removed, one.size > 1000) for one in prune_environments(0)}
    assert pruned == {str(gate.project): (False, True), "beta": (True, True), "not finished": (True, False)}
    assert used.exists()
    user.end()
    assert [one.removed for one in prune_environments(0)] == [True]
    assert all_builds() == []
    assert "python" in prepare().result()


def _saved(made: Environment, gate: Gate) -> Path:
    folder = gate.project.parent / "another"
    made.save_to_directory(folder)
    return folder


def test_what_is_being_built_is_not_pruned(gate: Gate, prepare: Callable[[], Preparing]) -> None:
    first = prepare()
    wait_for(lambda: gate.builds, "the build")
    assert [one.removed for one in prune_environments(0)] == [False]
    gate.open.write_text("succeed")
    assert "python" in first.result()


# --- credentials ----------------------------------------------------------------------------------------------------------------------

TOKEN = f"index-{used_secrets.MARK}"


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index that wants to know who asks."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Basic " + b64encode(f"reader:{TOKEN}".encode()).decode():
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing to stderr."""


@pytest.fixture
def index(tmp_path: Path, wheels: Path) -> Iterator[str]:
    """``HOST:PORT`` of an index with the wheels."""
    root = tmp_path / "index" / "simple"
    for name in ("alpha", "beta"):
        (root / name).mkdir(parents=True)
        for wheel in wheels.glob(f"{name}-*.whl"):
            (root / name / wheel.name).write_bytes(wheel.read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(root.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def private(index: str, *pip: str, login: str = f"reader:{TOKEN}") -> Environment:
    made = Environment("private")
    made.python.conda_dependencies = CondaDependencies.create(f"http://{login}@{index}/simple", list(pip), python_version=f"3.{THIS[1]}")
    return made


def files_with_token(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and TOKEN.encode() in path.read_bytes()]


def test_credentials_of_an_index_are_used_and_never_written(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = Workspace.create("team", show_output=False)
    private(index, "alpha", f"beta @ http://reader:{TOKEN}@{index}/simple/beta/beta-1.5-py3-none-any.whl").register(ws)
    said: list[str] = []
    found = prepare_environment(ws, "private", announce=said.append)
    assert ask(found, "import alpha, beta; print(alpha.VERSION, beta.VERSION)") == "2.0 1.5"
    assert files_with_token(tmp_path / "home") == []
    shown = [*said, json.dumps(found.description), json.dumps(found.variables), repr(Environment.get(ws, "private"))]
    assert [text for text in shown if TOKEN in text] == []
    lock = (Path(found.description["folder"]) / "requirements.lock").read_text()
    assert index not in lock.replace(f"{index}/simple/beta/", "")

    monkeypatch.setenv("FEED_LOGIN", f"reader:{TOKEN}")
    again = prepare_environment(ws, private(index, "beta", login="${FEED_LOGIN}"))
    assert ask(again, "import beta; print(beta.VERSION)") == "1.5"
    assert files_with_token(tmp_path / "home") == []


def test_a_refused_login_shows_nothing_of_it(index: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentBuildError) as error:
        prepare_environment(None, private(index, "alpha", login=f"reader:{TOKEN}-wrong"))
    assert TOKEN not in str(error.value)
    assert "alpha" in str(error.value)
    assert files_with_token(tmp_path / "home") == []
    with pytest.raises(UsageError, match="environment variable FEED_LOGIN, which is not set"):
        prepare_environment(None, private(index, "alpha", login="${FEED_LOGIN}"))


def test_registering_what_is_the_same_makes_no_version(index: str) -> None:
    ws = Workspace.create("team", show_output=False)
    versions = [private(index, "alpha", login=login).register(ws).version for login in ("a:1", "a:1", "a:2", "a:1")]
    assert versions == ["1", "1", "2", "3"]
    assert build_of(recipe_of(private(index, "alpha")).key) is None
