"""``batchmill environment`` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests import used_secrets
from tests.conftest import Project
from tests.packages import make_wheel

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
TOKEN = f"feed-{used_secrets.MARK}"


@pytest.fixture
def wheels(project: Project) -> Path:
    """A folder of wheels that stands for the index."""
    folder = project.folder / "wheels"
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0", requires=["beta"])
    make_wheel(folder, "beta", "1.5")
    project.write({"requirements.txt": "--no-index\n--find-links wheels\nalpha\n"})
    return folder


def test_create_show_list_update_build_remove(project: Project, wheels: Path) -> None:
    how = ["--requirements", "requirements.txt", "--python-version", THIS, "--variable", "MODE=fast"]
    made = project.batchmill("environment", "create", "scoring", *how)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    assert made.stderr == "Registered environment scoring, version 1, in workspace default.\n"
    again = project.batchmill("environment", "create", "scoring", *how)
    assert again.stderr == "Environment scoring is unchanged: version 1 of workspace default.\n"

    shown = json.loads(project.batchmill("environment", "show", "scoring", "--json").stdout)
    assert (shown["name"], shown["version"], shown["python"], shown["policy"]) == ("scoring", 1, THIS, "build")
    assert (shown["summary"], shown["built"], shown["failure"]) == ("alpha", None, None)
    assert shown["definition"]["environmentVariables"] == {"MODE": "fast"}

    built = project.batchmill("environment", "build", "scoring")
    assert built.returncode == 0, built.stderr
    assert "Environment 'scoring' is built: 2 packages" in built.stderr
    python = built.stdout.strip()
    assert Path(python).is_relative_to(project.home / "environments")
    text = project.batchmill("environment", "show", "scoring").stdout
    assert "MODE=fast" in text
    assert "2 packages, Python" in text
    lock = json.loads(project.batchmill("environment", "show", "scoring:1", "--json").stdout)["built"]["lock"]
    assert Path(lock).read_text() == "alpha==2.0\nbeta==1.5\n"

    changed = project.batchmill("environment", "update", "scoring", "--pip", "alpha==1.0", "--json")
    assert json.loads(changed.stdout)["version"] == 2
    listed = project.batchmill("environment", "list")
    assert [line.split()[:4] for line in listed.stdout.splitlines()] == [
        ["NAME", "VERSION", "PYTHON", "PACKAGES"],
        ["scoring", "2", THIS, "alpha==1.0"],
    ]
    versions = json.loads(project.batchmill("environment", "list", "--name", "scoring", "--json").stdout)
    assert [(one["version"], one["built"] is not None) for one in versions] == [(2, False), (1, True)]

    assert project.batchmill("environment", "remove", "scoring:1").returncode == 2
    assert project.batchmill("environment", "remove", "scoring:1", "--yes").returncode == 0
    assert "has no version 1" in project.batchmill("environment", "show", "scoring:1").stderr
    assert project.batchmill("environment", "remove", "scoring", "--yes").returncode == 0
    assert json.loads(project.batchmill("environment", "list", "--json").stdout) == []
    assert "There are no environments in workspace default." in project.batchmill("environment", "list").stderr


def test_pages(project: Project) -> None:
    for name in ("one", "two", "three"):
        project.batchmill("environment", "create", name, "--pip", "alpha")
    page = project.batchmill("environment", "list", "--limit", "2")
    assert [line.split()[0] for line in page.stdout.splitlines()] == ["NAME", "one", "three"]
    assert "--after three" in page.stderr
    assert [one["name"] for one in json.loads(project.batchmill("environment", "list", "--after", "three", "--json").stdout)] == ["two"]


def test_from_conda_files_and_folders(project: Project) -> None:
    from batchmill.workspace.environment import Environment

    project.write({"env.yml": "dependencies: [python=3.12, numpy=1.26, {pip: [alpha]}]"})
    made = project.batchmill("environment", "create", "conda", "--conda", "env.yml", "--pip", "beta>=1", "--json")
    told = json.loads(made.stdout)
    assert (told["python"], told["conda"], told["summary"]) == ("3.12", ["numpy=1.26"], "numpy=1.26, alpha, beta>=1")
    Environment("elsewhere").save_to_directory(project.folder / "saved")
    saved = json.loads(project.batchmill("environment", "create", "saved", "--from", "saved", "--json").stdout)
    assert (saved["name"], saved["provided"], saved["policy"]) == ("saved", ["azureml-defaults"], "current")
    own = json.loads(project.batchmill("environment", "create", "own", "--interpreter", sys.executable, "--json").stdout)
    assert (own["python"], own["policy"]) == (sys.executable, "as it is")
    both = project.batchmill("environment", "create", "x", "--conda", "env.yml", "--from", "saved")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "x", "--requirements", "missing.txt"], "missing.txt cannot be read: No such file or directory"),
        (["create", "x", "--conda", "missing.yml"], "missing.yml cannot be read: No such file or directory"),
        (["create", "x", "--variable", "alone"], "it must be of the form KEY=VALUE"),
        (["create", "x", "--pip", "--nonsense"], "no option that a requirements file may hold"),
        (["update", "x"], "Nothing to change was given."),
        (["update", "nosuch", "--pip", "alpha"], "There is no environment 'nosuch'"),
        (["show", "nosuch"], "There is no environment 'nosuch'"),
        (["build", "nosuch"], "There is no environment 'nosuch'"),
        (["remove", "nosuch", "--yes"], "There is no environment 'nosuch'"),
    ],
)
def test_wrong_usage_ends_in_one_line(project: Project, arguments: list[str], said: str) -> None:
    ended = project.batchmill("environment", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert said in ended.stderr


def test_a_failed_build_is_one_line_and_is_shown_later(project: Project, wheels: Path) -> None:
    project.batchmill("environment", "create", "bad", "--requirements", "requirements.txt", "--pip", "alpha==7")
    ended = project.batchmill("environment", "build", "bad")
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("Error: Environment 'bad' cannot be built: ")
    assert "alpha==7" in last
    assert Path(last.rpartition("The log: ")[2]).is_file()
    assert "alpha==7" in json.loads(project.batchmill("environment", "show", "bad", "--json").stdout)["failure"]


def test_tables_on_request(project: Project, wheels: Path) -> None:
    make_wheel(wheels, "pandas", "2.0")
    make_wheel(wheels, "pyarrow", "9.0")
    project.batchmill("environment", "create", "scoring", "--requirements", "requirements.txt")
    built = project.batchmill("environment", "build", "scoring", "--tables", "--json")
    assert json.loads(built.stdout)["added"] == ["pandas", "pyarrow"]
    assert "Warning: Environment 'scoring' names no pandas and no pyarrow, which reading tables needs: added." in built.stderr
    assert json.loads(project.batchmill("environment", "show", "scoring", "--json").stdout)["built"]["packages"] == 4


def test_credentials_are_not_shown(project: Project) -> None:
    url = f"https://reader:{TOKEN}@127.0.0.1:9/simple"
    made = project.batchmill("environment", "create", "private", "--pip", "alpha", "--index-url", url, "--json")
    shown = [project.batchmill("environment", word, "private", *more) for word in ("show",) for more in ([], ["--json"])]
    built = project.batchmill("environment", "build", "private", env={"UV_HTTP_RETRIES": "0"})
    assert built.returncode == 2
    listed = project.batchmill("environment", "list", "--json")
    assert [one for one in (made, *shown, built, listed) if TOKEN in one.stdout + one.stderr] == []
    assert "https://***@127.0.0.1:9/simple" in made.stdout
    assert [path for path in project.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()] == []


def test_prune(project: Project, wheels: Path) -> None:
    assert "Removed 0 builds" in project.batchmill("environment", "prune").stderr
    project.batchmill("environment", "create", "scoring", "--requirements", "requirements.txt")
    python = project.batchmill("environment", "build", "scoring").stdout.strip()
    assert "Removed 0 builds" in project.batchmill("environment", "prune").stderr
    dry = project.batchmill("environment", "prune", "--days", "0", "--dry-run")
    assert "Would remove 1 build," in dry.stderr
    assert Path(python).exists()
    pruned = json.loads(project.batchmill("environment", "prune", "--days", "0", "--json").stdout)
    assert [(one["name"], one["removed"]) for one in pruned] == [("scoring", True)]
    assert not Path(python).exists()
    assert project.batchmill("environment", "build", "scoring").returncode == 0
