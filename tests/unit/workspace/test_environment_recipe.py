"""What makes two environments the same build, and what the current interpreter lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchmill.workspace.conda_dependencies import CondaDependencies
from batchmill.workspace.environment import Environment
from batchmill.workspace.environment_differences import differences
from batchmill.workspace.environment_recipe import recipe_of


def environment(
    *pip: str, name: str = "x", index: str | None = None, python: str = "3.10.18", conda: list[str] | None = None
) -> Environment:
    made = Environment(name)
    packages = CondaDependencies.create(index, conda_packages=conda, python_version=python)
    packages.remove_pip_package("azureml-defaults")
    for line in pip:
        packages.add_pip_package(line) if not line.startswith("-") else packages.set_pip_option(line)
    made.python.conda_dependencies = packages
    return made


def key(*pip: str, folder: Path = Path("/"), **more: object) -> str:
    return recipe_of(environment(*pip, **more), folder).key  # type: ignore[arg-type]


def test_names_order_variables_and_credentials_make_no_difference() -> None:
    same = key("six", "idna", index="https://a:b@feed/simple")
    assert key("idna", "six", index="https://c:d@feed/simple", name="y") == same
    other = environment("six", "idna", index="https://a:b@feed/simple")
    other.environment_variables = {"A": "b"}
    assert recipe_of(other).key == same
    assert key("six", "idna", "azureml-core", index="https://a:b@feed/simple") == same


def test_what_does() -> None:
    keys = {
        key("six"),
        key("six==1.16"),
        key("six", python="3.12"),
        key("six", index="https://feed/simple"),
        key("six", "--pre"),
        key("six", conda=["numpy"]),
        recipe_of(environment("six")).with_tables().key,
    }
    assert len(keys) == 7


def test_tables_that_are_named_need_nothing_more() -> None:
    recipe = recipe_of(environment("pandas==2.2.3", "pyarrow"))
    assert recipe.with_tables().key == recipe.key


def test_contents_of_local_packages_count(tmp_path: Path) -> None:
    (tmp_path / "lib" / "src").mkdir(parents=True)
    (tmp_path / "lib" / "pyproject.toml").write_text("[project]")
    (tmp_path / "lib" / "src" / "a.py").write_text("1")
    plain, editable = key("./lib", folder=tmp_path), key("-e ./lib", folder=tmp_path)
    (tmp_path / "lib" / "src" / "a.py").write_text("2")
    assert key("./lib", folder=tmp_path) != plain
    assert key("-e ./lib", folder=tmp_path) == editable
    (tmp_path / "lib" / "pyproject.toml").write_text("[project]\n")
    assert key("-e ./lib", folder=tmp_path) != editable


def test_summary_hides_credentials() -> None:
    text = recipe_of(environment("a", "b", "c", "lib @ https://u:p@host/lib.whl", "e")).summary()
    assert text == "a, b, c, lib @ https://***@host/lib.whl and 1 more"


def test_conda_dependencies_file_goes_before(tmp_path: Path) -> None:
    made = environment("six")
    made.python.conda_dependencies_file = "env.yml"
    (tmp_path / "env.yml").write_text("dependencies: [python=3.12, {pip: [idna]}]")
    recipe = recipe_of(made, tmp_path)
    assert (recipe.pip.packages, recipe.python) == (("idna",), "3.12")


def found(made: Environment) -> list[str]:
    return differences(made, recipe_of(made, Path("/")))


def test_differences() -> None:
    import packaging

    present = packaging.__version__
    this = ".".join(map(str, sys.version_info[:3]))
    made = environment(
        "tensorflow==1.13.1",
        "packaging==0.1",
        "pytest>1",
        "numpy; python_version < '3'",
        "idna @ https://u:p@host/idna.whl",
        "/lib/x.whl",
        "six==",
        "-e /lib/y",
        "azureml-core",
        python="3.9",
        conda=["pytest>=1", "nosuch=1", "packaging[build='x']"],
    )
    made.docker.base_image = "mine/image"
    assert found(made) == [
        f"python 3.9 wanted, {this} present",
        "image mine/image wanted, not used",
        "nosuch=1 (conda) wanted, not installed",
        f"packaging[build='x'] (conda) wanted, {present} present",
        "tensorflow==1.13.1 wanted, not installed",
        f"packaging==0.1 wanted, {present} present",
        "/lib/x.whl wanted, not looked for",
        "six== wanted, which is no requirement",
        "/lib/y (editable) wanted, not looked for",
    ]


def test_nothing_differs() -> None:
    assert found(Environment("x")) == []
    assert found(environment("pytest", "packaging>=1", python=".".join(map(str, sys.version_info[:2])))) == []


@pytest.mark.parametrize(("rule", "fits"), [("=1", False), (">=1", True), ("", True), ("==0.1.0=h1_0", False), (" >=20,<99", True)])
def test_rules_of_conda(rule: str, fits: bool) -> None:
    assert (found(environment(conda=[f"packaging{rule}"])) == []) == fits
