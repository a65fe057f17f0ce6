"""`CondaDependencies`: specification I."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.workspace.conda_dependencies import CondaDependencies, conda_name, pip_name
from batchmill.workspace.exceptions import UserErrorException


def test_the_default() -> None:
    assert CondaDependencies().as_dict() == {
        "name": "project_environment",
        "dependencies": ["python=3.10.18", {"pip": ["azureml-defaults"]}],
        "channels": ["anaconda", "conda-forge"],
    }


def test_create_pins_the_sdk() -> None:
    made = CondaDependencies.create(
        pip_packages=["azureml-core", "azureml-dataset-runtime[fuse]", "azureml-sdk==1.2", "numpy"], conda_packages=["pandas=1.0"]
    )
    assert list(made.pip_packages) == ["azureml-core~=1.61.0", "azureml-dataset-runtime[fuse]~=1.61.0", "azureml-sdk==1.2", "numpy"]
    assert list(made.conda_packages) == ["pandas=1.0"]
    assert list(CondaDependencies.create().pip_packages) == ["azureml-defaults~=1.61.0"]
    assert list(CondaDependencies.create(pip_packages=["azureml-core"], pin_sdk_version=False).pip_packages) == ["azureml-core"]


def test_packages_are_replaced_by_name() -> None:
    made = CondaDependencies.create(pip_packages=["Pillow==1", "numpy"])
    made.add_pip_package("pillow>=2")
    made.add_pip_package("py_test-X")
    made.add_pip_package("py-test.x==3")
    assert list(made.pip_packages) == ["numpy", "pillow>=2", "py-test.x==3"]
    made.remove_pip_package("NumPy")
    made.remove_pip_package("never-there")
    assert list(made.pip_packages) == ["pillow>=2", "py-test.x==3"]
    made.add_conda_package("scipy=1.0")
    made.add_conda_package("conda-forge::scipy>=1.2")
    assert list(made.conda_packages) == ["conda-forge::scipy>=1.2"]
    made.remove_conda_package("scipy")
    assert list(made.conda_packages) == []


def test_python_version() -> None:
    made = CondaDependencies.create(python_version="3.7")
    assert made.get_python_version() == "3.7"
    made.set_python_version("3.12.1")
    made.add_conda_package("numpy")
    assert made.as_dict()["dependencies"][0] == "python=3.12.1"
    made.add_conda_package("conda-forge::python>=3.9,<3.11")
    assert made.get_python_version() == ">=3.9,<3.11"
    assert list(made.conda_packages) == ["numpy"]
    assert CondaDependencies(_underlying_structure={"dependencies": ["python"]}).get_python_version() is None
    assert CondaDependencies(_underlying_structure={"dependencies": []}).get_python_version() is None


def test_channels() -> None:
    made = CondaDependencies()
    made.add_channel("pytorch")
    made.add_channel("pytorch")
    made.remove_channel("anaconda")
    made.remove_channel("anaconda")
    assert list(made.conda_channels) == ["conda-forge", "pytorch"]


def test_pip_options() -> None:
    made = CondaDependencies.create(pip_indexurl="https://one/simple", pip_packages=["six"])
    made.set_pip_option("--extra-index-url https://two/simple")
    made.set_pip_option("--extra-index-url https://three/simple")
    made.set_pip_index_url("https://four/simple")
    assert list(made.pip_options) == [
        "--extra-index-url https://two/simple",
        "--extra-index-url https://three/simple",
        "--index-url https://four/simple",
    ]
    made.remove_pip_option("--extra-index-url")
    assert list(made.pip_options) == ["--index-url https://four/simple"]
    made.set_pip_requirements(["idna", "-r more.txt"])
    assert (list(made.pip_options), list(made.pip_packages)) == (["-r more.txt"], ["idna"])


def test_lists_are_copies() -> None:
    made = CondaDependencies.create(pip_packages=["six", "idna"])
    for package in made.pip_packages:
        made.remove_pip_package(package)
    assert list(made.pip_packages) == []
    made.as_dict()["dependencies"].clear()
    assert made.get_python_version() is not None


@pytest.mark.parametrize("wrong", ["a text", [1], [""], [None]])
def test_packages_are_lists_of_texts(wrong: object) -> None:
    with pytest.raises(UserErrorException, match="pip_packages"):
        CondaDependencies.create(pip_packages=wrong)  # type: ignore[arg-type]


def test_files_round_trip(tmp_path: Path) -> None:
    made = CondaDependencies.create(pip_packages=["six"], conda_packages=["numpy=1.26"], python_version="3.11")
    assert made.save(tmp_path) == str(tmp_path / "conda_dependencies.yml")
    assert made.save_to_file(tmp_path, "sub/env.yml") == "sub/env.yml"
    for name in ("conda_dependencies.yml", "sub/env.yml"):
        assert CondaDependencies(conda_dependencies_file_path=tmp_path / name).as_dict() == made.as_dict()
    assert made.serialize_to_string() == (tmp_path / "conda_dependencies.yml").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is no YAML"),
        ("- a\n", "no mapping"),
        ("dependencies: numpy\n", "is no list"),
        ("dependencies: [{npm: [x]}]\n", "neither a conda package nor a 'pip' list"),
        ("dependencies: [{pip: [1]}]\n", "neither a conda package"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "env.yml"
    file.write_text(text)
    with pytest.raises(UserErrorException, match=said) as error:
        CondaDependencies(conda_dependencies_file_path=file)
    assert str(file) in error.value.message
    with pytest.raises(UserErrorException, match="cannot be read"):
        CondaDependencies(conda_dependencies_file_path=tmp_path / "missing.yml")


def test_an_empty_section_is_one() -> None:
    made = CondaDependencies(_underlying_structure={"dependencies": ["python=3.12", {"pip": None}]})
    made.add_pip_package("six")
    assert made.as_dict()["dependencies"] == ["python=3.12", {"pip": ["six"]}]


def test_helpers_of_old() -> None:
    made = CondaDependencies()
    made.add_tensorflow_pip_package("gpu", version="1.15.2")
    made.add_tensorflow_conda_package()
    assert "tensorflow-gpu==1.15.2" in made.pip_packages
    assert list(made.conda_packages) == ["tensorflow"]
    with pytest.raises(UserErrorException, match="core_type"):
        made.add_tensorflow_pip_package("tpu")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Pillow", "pillow"),
        ("a_b.c==1", "a-b-c"),
        ("x[y,z]>=1; python_version > '3'", "x"),
        ("x @ https://host/x.whl", "x"),
        ("./lib", None),
        ("lib/sub", None),
        ("lib-1.0-py3-none-any.whl", None),
        ("https://host/x.whl", None),
        ("-e ./lib", None),
        ("git+https://host/repo", None),
    ],
)
def test_names_of_pip_lines(line: str, name: str | None) -> None:
    assert pip_name(line) == name


@pytest.mark.parametrize("text", ["numpy", "numpy=1", "conda-forge::NumPy >=1", "numpy[version='>1']"])
def test_names_of_conda_packages(text: str) -> None:
    assert conda_name(text) == "numpy"
