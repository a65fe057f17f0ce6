"""The pip half of an environment: lines of requirement files, read as pip reads them and sorted into packages and options.

Packages whose name begins with ``azureml-`` are provided by Batchmill and never asked from an index; what scripts may rely on behind
them (``azureml-dataset-runtime[pandas]`` brings pandas) is asked instead.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from batchmill.workspace.conda_dependencies import PIP_NAME, pip_name
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.url_credentials import hide_credentials

SHORT = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-f": "--find-links",
    "-i": "--index-url",
    "--pypi-url": "--index-url",
    "-U": "--upgrade",
    "-q": "--quiet",
}
WITH_VALUE = {
    "--requirement",
    "--constraint",
    "--editable",
    "--find-links",
    "--index-url",
    "--extra-index-url",
    "--trusted-host",
    "--no-binary",
    "--only-binary",
    "--use-feature",
    "--timeout",
    "--retries",
    "--progress-bar",
}
WITHOUT_VALUE = {
    "--no-index",
    "--pre",
    "--prefer-binary",
    "--require-hashes",
    "--upgrade",
    "--quiet",
    "--no-cache-dir",
    "--disable-pip-version-check",
}
ABOUT_PIP_ITSELF = {
    "--use-feature",
    "--timeout",
    "--retries",
    "--progress-bar",
    "--prefer-binary",
    "--upgrade",
    "--quiet",
    "--no-cache-dir",
    "--disable-pip-version-check",
}
OF_FILES = {"--requirement", "--constraint", "--editable", "--find-links"}
PROVIDED = re.compile(r"^(azureml-|batchmill$)")
BROUGHT: dict[str, dict[str, tuple[str, ...]]] = {
    "azureml-dataset-runtime": {"": ("pyarrow",), "pandas": ("pandas",)},
    "azureml-dataprep": {"pandas": ("pandas", "pyarrow")},
    "azureml-mlflow": {"": ("mlflow-skinny",)},
}
"""What a provided package would have brought along, by its extras, that scripts import."""

DEEPEST = 20


@dataclass(frozen=True, slots=True)
class PipRequirements:
    """What is to be installed: ``packages`` as pip takes them, paths absolute; ``options`` as (name, value); what is provided instead."""

    packages: tuple[str, ...]
    editable: tuple[str, ...]
    constraints: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    provided: tuple[str, ...]
    brought: tuple[str, ...]

    @property
    def empty(self) -> bool:
        return not (self.packages or self.editable or self.brought)

    def names(self, wanted: str) -> bool:
        """Is a package of that name among the packages?"""
        return any(pip_name(line) == wanted for line in (*self.packages, *self.brought))

    def local_paths(self) -> Iterator[Path]:
        """The files and folders on this machine that are installed or constrain what is."""
        for line in (*self.packages, *self.editable):
            path = local_path(line)
            if path is not None:
                yield path
        yield from (Path(text) for text in self.constraints if "://" not in text)


def read_requirements(lines: Iterable[str], base: Path) -> PipRequirements:
    """Sort lines of the pip section of an environment; relative paths are meant from ``base``.

    Raises:
        UserErrorException: a file is missing, or an option is none of a requirements file.
    """
    packages, editable, constraints, provided, brought = [], [], [], [], []
    options: list[tuple[str, str]] = []
    for line in flattened(lines, base):
        if not line.startswith("-"):
            name = pip_name(line)
            if name is not None and PROVIDED.match(name):
                provided.append(name)
                brought += _brought(name, line)
            else:
                packages.append(line)
            continue
        for option, value in _options(line):
            if option == "--editable":
                editable.append(value)
            elif option == "--constraint":
                constraints.append(value)
            elif option not in ABOUT_PIP_ITSELF:
                options.append((option, value))
    named = {pip_name(line) for line in packages}
    return PipRequirements(
        packages=tuple(packages),
        editable=tuple(editable),
        constraints=tuple(constraints),
        options=tuple(dict.fromkeys(options)),
        provided=tuple(dict.fromkeys(provided)),
        brought=tuple(name for name in dict.fromkeys(brought) if name not in named),
    )


def flattened(lines: Iterable[str], base: Path, depth: int = 0) -> list[str]:
    """The lines with those of the files they name (``-r``) in their place, comments gone, paths absolute."""
    found: list[str] = []
    for line in logical_lines(lines):
        if not line.startswith("-"):
            found.append(_absolute_requirement(line, base))
            continue
        for option, value in _options(line):
            if option == "--requirement":
                found += _file_lines(value, base, depth)
            else:
                value = _absolute(value, base) if option in OF_FILES else value
                found.append(f"{option} {_quoted(value)}".rstrip())
    return found


def logical_lines(lines: Iterable[str]) -> Iterator[str]:
    """Lines without comments and blank ones; a backslash at the end joins a line with the next."""
    waiting = ""
    for line in (piece for text in lines for piece in str(text).splitlines()):
        text = waiting + line
        if text.endswith("\\") and not line.lstrip().startswith("#"):
            waiting = text[:-1]
            continue
        waiting = ""
        text = re.sub(r"(^|\s+)#.*$", "", text).strip()
        if text:
            yield text
    if waiting.strip():
        yield waiting.strip()


def _file_lines(path: str, base: Path, depth: int) -> list[str]:
    file = Path(_absolute(path, base))
    if depth >= DEEPEST:
        raise UserErrorException(f"The requirements file {file} is named by itself, or by the files that it names.")
    if "://" in path:
        raise UserErrorException(f"The requirements file {hide_credentials(path)} is no file of this machine. Download it, and name that.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserErrorException(f"The requirements file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserErrorException(f"The requirements file {file} is no UTF-8 text.") from None
    return flattened(text.splitlines(), file.parent, depth + 1)


def _options(line: str) -> Iterator[tuple[str, str]]:
    words = shlex.split(line, comments=False)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:].lstrip("="))
        name = SHORT.get(name, name)
        if name in WITH_VALUE:
            if not equals and not words:
                raise UserErrorException(f"The pip option {name} has no value.")
            yield name, value if equals else words.pop(0)
        elif name in WITHOUT_VALUE:
            yield name, ""
        else:
            raise UserErrorException(f"'{hide_credentials(line)}' is no option that a requirements file may hold.")


def local_path(requirement: str) -> Path | None:
    """The path of a requirement that names a file or folder; None for one that names a package or a URL.

    >>> local_path("/wheels/lib-1.0-py3-none-any.whl[extra] ; python_version > '3'")
    PosixPath('/wheels/lib-1.0-py3-none-any.whl')
    """
    text = requirement.strip()
    found = PIP_NAME.match(text)
    if found is not None and found[3].startswith("@"):
        text = found[3][1:].strip()
    elif pip_name(text) is not None:
        return None
    text = re.split(r"\s+;|;\s", text)[0].strip()
    if text.lower().startswith("file:"):
        return Path(unquote(urlsplit(text).path))
    if "://" in text:
        return None
    return Path(re.sub(r"\[[^]/]*\]$", "", text))


def _quoted(value: str) -> str:
    """An option's value as `_options` reads it back: the lines of an environment are read more than once."""
    return shlex.quote(value) if re.search(r"[\s'\"\\]", value) else value


def _absolute_requirement(line: str, base: Path) -> str:
    if pip_name(line) is not None or "://" in line or line.lower().startswith("file:"):
        return line
    return str(base / Path(line).expanduser()) if not Path(line).is_absolute() else line


def _absolute(path: str, base: Path) -> str:
    return path if "://" in path else str(base / Path(path).expanduser())


def _brought(name: str, line: str) -> list[str]:
    found, known = PIP_NAME.match(line.strip()), BROUGHT.get(name, {})
    extras = re.findall(r"[\w.-]+", found[2] or "") if found else []
    return [package for extra in ("", *extras) for package in known.get(extra.lower(), ())]
