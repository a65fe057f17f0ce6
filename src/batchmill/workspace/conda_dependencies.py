"""`CondaDependencies`: Python, conda packages and pip packages of an environment (Azure ML: ``azureml.core.conda_dependencies``)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.url_credentials import hide_credentials

SDK_VERSION = "1.61.0"
DEFAULT_PYTHON_VERSION = "3.10.18"
DEFAULT_FILE_NAME = "conda_dependencies.yml"
DEFAULT_PIP_PACKAGE = "azureml-defaults"
REPEATABLE_OPTIONS = (
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-e",
    "--editable",
    "-f",
    "--find-links",
    "--extra-index-url",
    "--trusted-host",
    "--no-binary",
    "--only-binary",
)
CONDA_NAME = re.compile(r"^(?:[^\s:]+::)?([A-Za-z0-9_.-]+)")
PIP_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^]]*\])?\s*(.*)$", re.DOTALL)


class CondaDependencies:
    """What an environment installs, in the form of a conda environment file.

    >>> dependencies = CondaDependencies.create(pip_packages=["pillow"], python_version="3.11")
    >>> dependencies.add_pip_package("numpy<3")
    >>> list(dependencies.pip_packages)
    ['pillow', 'numpy<3']
    """

    PYTHON_PREFIX = "python"

    def __init__(self, conda_dependencies_file_path: str | Path | None = None, _underlying_structure: dict[str, Any] | None = None) -> None:
        if conda_dependencies_file_path is not None:
            self._structure = read_conda_file(conda_dependencies_file_path)
        elif _underlying_structure is not None:
            self._structure = _checked(copy.deepcopy(_underlying_structure), "The conda dependencies")
        else:
            self._structure = {
                "name": "project_environment",
                "dependencies": [f"python={DEFAULT_PYTHON_VERSION}", {"pip": [DEFAULT_PIP_PACKAGE]}],
                "channels": ["anaconda", "conda-forge"],
            }

    @staticmethod
    def create(
        pip_indexurl: str | None = None,
        pip_packages: Iterable[str] | None = None,
        conda_packages: Iterable[str] | None = None,
        python_version: str = DEFAULT_PYTHON_VERSION,
        pin_sdk_version: bool = True,
    ) -> CondaDependencies:
        """Dependencies from lists; without ``pip_packages`` the one pip package is ``azureml-defaults``.

        ``pin_sdk_version``: azureml packages without a version get the version of the SDK.
        """
        dependencies = CondaDependencies()
        dependencies.set_python_version(python_version)
        if pip_indexurl:
            dependencies.set_pip_index_url(pip_indexurl)
        if pip_packages is not None:
            dependencies.remove_pip_package(DEFAULT_PIP_PACKAGE)
        for package in _texts(pip_packages or [DEFAULT_PIP_PACKAGE], "pip_packages"):
            dependencies.add_pip_package(package, pin_sdk_version=pin_sdk_version)
        for package in _texts(conda_packages or [], "conda_packages"):
            dependencies.add_conda_package(package)
        return dependencies

    # --- what is in it ----------------------------------------------------------------------------------------------------------

    @property
    def conda_packages(self) -> Iterator[str]:
        """The conda packages besides Python itself."""
        return (item for item in list(self._dependencies) if isinstance(item, str) and conda_name(item) != self.PYTHON_PREFIX)

    @property
    def pip_packages(self) -> Iterator[str]:
        """The pip packages, without options."""
        return (line for line in list(self._pip) if not line.startswith("-"))

    @property
    def pip_options(self) -> Iterator[str]:
        """The lines of the pip section that are options (``--index-url URL``, ``-r FILE``)."""
        return (line for line in list(self._pip) if line.startswith("-"))

    @property
    def conda_channels(self) -> Iterator[str]:
        return iter(list(self._structure.get("channels") or []))

    @property
    def _dependencies(self) -> list[Any]:
        found: list[Any] = self._structure.setdefault("dependencies", [])
        return found

    @property
    def _pip(self) -> list[str]:
        """The pip section as it stands; an empty list where there is none."""
        for item in self._dependencies:
            if isinstance(item, dict):
                section: list[str] = item.setdefault("pip", [])
                return section
        return []

    def _own_pip(self) -> list[str]:
        """The pip section, made if there is none."""
        if not any(isinstance(item, dict) for item in self._dependencies):
            self._dependencies.append({"pip": []})
        return self._pip

    # --- changes ----------------------------------------------------------------------------------------------------------------

    def add_channel(self, channel: str) -> None:
        channels = self._structure.setdefault("channels", [])
        if channel not in channels:
            channels.append(channel)

    def remove_channel(self, channel: str) -> None:
        if channel in (self._structure.get("channels") or []):
            self._structure["channels"].remove(channel)

    def add_conda_package(self, conda_package: str) -> None:
        """Add a conda package (``numpy=1.26``); one of the same name is replaced."""
        (package,) = _texts([conda_package], "conda_package")
        self.remove_conda_package(package)
        self._dependencies.append(package)

    def remove_conda_package(self, conda_package: str) -> None:
        name = conda_name(conda_package)
        self._dependencies[:] = [item for item in self._dependencies if not isinstance(item, str) or conda_name(item) != name]

    def add_pip_package(self, pip_package: str, pin_sdk_version: bool = True) -> None:
        """Add a pip package (any requirement: ``numpy<3``, a URL, a path); one of the same name is replaced."""
        (package,) = _texts([pip_package], "pip_package")
        self.remove_pip_package(package)
        self._own_pip().append(_pinned(package) if pin_sdk_version else package)

    def remove_pip_package(self, pip_package: str) -> None:
        name = pip_name(pip_package)
        self._pip[:] = [line for line in self._pip if line != pip_package and (name is None or pip_name(line) != name)]

    def set_python_version(self, version: str) -> None:
        """Ask for a Python version (``3.12``, ``3.12.1``)."""
        (text,) = _texts([version], "python_version")
        self._dependencies[:] = [item for item in self._dependencies if not isinstance(item, str) or conda_name(item) != "python"]
        self._dependencies.insert(0, f"{self.PYTHON_PREFIX}={text}")

    def get_python_version(self) -> str | None:
        """``3.10.18``; None where no Python version is named."""
        for item in self._dependencies:
            if isinstance(item, str) and conda_name(item) == self.PYTHON_PREFIX:
                return item.strip().rpartition("::")[2][len(self.PYTHON_PREFIX) :].lstrip("= ") or None
        return None

    def set_pip_option(self, pip_option: str) -> None:
        """Add an option of pip; one that may stand once only replaces its earlier value."""
        (option,) = _texts([pip_option], "pip_option")
        pip, word = self._own_pip(), _option_word(option)
        if word not in REPEATABLE_OPTIONS:
            pip[:] = [line for line in pip if _option_word(line) != word]
        if option not in pip:
            pip.insert(sum(1 for line in pip if line.startswith("-")), option)

    def remove_pip_option(self, pip_option: str) -> None:
        word = _option_word(pip_option)
        self._pip[:] = [line for line in self._pip if _option_word(line) != word]

    def set_pip_index_url(self, index_url: str) -> None:
        self.set_pip_option(f"--index-url {index_url}")

    def set_pip_requirements(self, pip_requirements: Iterable[str]) -> None:
        """Replace the pip section by these lines of a requirements file."""
        self._own_pip()[:] = _texts(pip_requirements, "pip_requirements")

    def add_tensorflow_pip_package(self, core_type: str = "cpu", version: str | None = None) -> None:
        """Deprecated in Azure ML: add ``tensorflow`` or ``tensorflow-gpu``."""
        self._add_tensorflow(self.add_pip_package, core_type, version, "==")

    def add_tensorflow_conda_package(self, core_type: str = "cpu", version: str | None = None) -> None:
        """Deprecated in Azure ML: add ``tensorflow`` or ``tensorflow-gpu``."""
        self._add_tensorflow(self.add_conda_package, core_type, version, "=")

    def _add_tensorflow(self, add: Any, core_type: str, version: str | None, equals: str) -> None:
        names = {"cpu": "tensorflow", "gpu": "tensorflow-gpu"}
        if core_type not in names:
            raise UserErrorException(f"core_type '{core_type}' is not one of cpu, gpu.")
        add(names[core_type] + (f"{equals}{version}" if version else ""))

    def get_default_number_of_packages(self) -> int:
        return 1

    # --- texts ------------------------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """A copy of the conda environment file as a dictionary, with every text as it was given."""
        return copy.deepcopy(self._structure)

    def shown(self) -> dict[str, Any]:
        """`as_dict` with the credentials of URLs hidden."""
        shown = self.as_dict()
        if shown.get("channels"):
            shown["channels"] = [hide_credentials(channel) for channel in shown["channels"]]
        for item in shown.get("dependencies") or []:
            if isinstance(item, dict):
                item["pip"] = [hide_credentials(line) for line in item.get("pip") or []]
        return shown

    def serialize_to_string(self) -> str:
        """The conda environment file as YAML; credentials in URLs are left out, references to variables are not."""
        import yaml

        text: str = yaml.safe_dump(self.shown(), sort_keys=False, allow_unicode=True)
        return text

    def save(self, path: str | Path | None = None) -> str:
        """Write the file; ``path`` is a file or a folder, default ``conda_dependencies.yml`` here. Returns its path."""
        target = Path(path or DEFAULT_FILE_NAME)
        if target.is_dir():
            target /= DEFAULT_FILE_NAME
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.serialize_to_string(), encoding="utf-8")
        return str(target)

    def save_to_file(self, base_directory: str | Path, conda_file_path: str | Path | None = None) -> str:
        """Write the file below ``base_directory``; returns its path relative to that."""
        name = str(conda_file_path or DEFAULT_FILE_NAME)
        self.save(Path(base_directory) / name)
        return name

    def __repr__(self) -> str:
        return f"CondaDependencies({self.shown()})"


def conda_name(package: str) -> str:
    """``conda-forge::numpy>=1.2`` -> ``numpy``."""
    found = CONDA_NAME.match(package.strip())
    return found[1].lower() if found else package.strip().lower()


def pip_name(line: str) -> str | None:
    """``Pillow[extra]==1`` -> ``pillow`` in its canonical form; None for options, paths and bare URLs."""
    text = line.strip()
    found = PIP_NAME.match(text)
    if found is None or (not found[3].startswith("@") and ("/" in text.split(";")[0] or text.endswith((".whl", ".tar.gz", ".zip")))):
        return None
    return re.sub(r"[-_.]+", "-", found[1]).lower()


def _pinned(package: str) -> str:
    """Azure ML: azureml packages without a version get the version of the SDK."""
    name, found = pip_name(package), PIP_NAME.match(package)
    bare = found is not None and not found[3]
    return f"{package}~={SDK_VERSION}" if bare and name is not None and name.startswith("azureml-") else package


def _option_word(line: str) -> str | None:
    """``--index-url=URL`` and ``-i URL`` -> ``--index-url``; None for a requirement."""
    if not line.startswith("-"):
        return None
    word = re.split(r"[\s=]", line, maxsplit=1)[0]
    return {"-i": "--index-url"}.get(word, word)


def _texts(values: Iterable[str], what: str) -> list[str]:
    if isinstance(values, str):
        raise UserErrorException(f"{what} is a text, '{hide_credentials(values)}', where a list of texts is expected.")
    found = list(values)
    wrong = [value for value in found if not isinstance(value, str) or not value.strip()]
    if wrong:
        raise UserErrorException(f"{what} holds {wrong[0]!r}, which is not a text that names anything.")
    return [value.strip() for value in found]


def read_conda_file(path: str | Path) -> dict[str, Any]:
    """A conda environment file as a dictionary.

    Raises:
        UserErrorException: the file is missing, no YAML, or not of that form.
    """
    import yaml

    what = f"The conda environment file {path}"
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserErrorException(f"{what} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserErrorException(f"{what} is no YAML: {' '.join(str(error).split())}") from None
    return _checked(content, what)


def _checked(content: Any, what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserErrorException(f"{what} holds no mapping with the key 'dependencies'.")
    dependencies = content.setdefault("dependencies", [])
    if dependencies is None:
        dependencies = content["dependencies"] = []
    channels = content.get("channels") or []
    if not isinstance(channels, list) or not all(isinstance(channel, str) for channel in channels):
        raise UserErrorException(f"'channels' of {what[:1].lower()}{what[1:]} is no list of texts.")
    if not isinstance(dependencies, list):
        raise UserErrorException(f"'dependencies' of {what[:1].lower()}{what[1:]} is no list.")
    for item in dependencies:
        if isinstance(item, dict) and set(item) == {"pip"}:
            item["pip"] = item["pip"] or []
            if isinstance(item["pip"], list) and all(isinstance(line, str) for line in item["pip"]):
                continue
        if not isinstance(item, str):
            raise UserErrorException(f"{what} has the dependency {item!r}, which is neither a conda package nor a 'pip' list of texts.")
    return content
