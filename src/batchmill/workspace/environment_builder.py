"""Building an environment: once for all who want it at the same time, so that a builder that is killed leaves nothing that counts.

A builder works in a generation of its own; only the marker, written last, makes it the one that counts. Two processes that want the same
share one build: the second waits, and takes what the first has made, its failure too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from batchmill.errors import EnvironmentBuildError
from batchmill.storage.files import atomic_write
from batchmill.workspace.built_environment import Announce, BuildFolder, Built
from batchmill.workspace.conda_command import conda_cause, conda_packages_in, conda_tool, create_conda_environment
from batchmill.workspace.conda_dependencies import pip_name
from batchmill.workspace.environment_recipe import TABLES, Recipe
from batchmill.workspace.interpreter_check import check_interpreter
from batchmill.workspace.pip_requirements import local_path
from batchmill.workspace.python_versions import python_for
from batchmill.workspace.url_credentials import USER_INFO, credentials_in, fill_references
from batchmill.workspace.uv_command import CREDENTIAL, ToolFailed, call, cause_of, uv_path, uv_version

LOCK_NAME = "requirements.lock"


def build_environment(recipe: Recipe, announce: Announce) -> Built:
    """The finished build of a recipe: the one that is there, else a new one; used by this process until it ends.

    Raises:
        EnvironmentBuildError: it cannot be built; the message says which requirement, why, and where the log is.
    """
    folder = BuildFolder(recipe.key)
    try:
        return _found_or_built(recipe, folder, announce)
    except OSError as error:
        raise EnvironmentBuildError(
            f"{recipe.who} cannot be built below {folder.path.parent}: {error.strerror}.",
            cure="Free the disk, or set BATCHMILL_HOME to a folder that can be written.",
        ) from error


def _found_or_built(recipe: Recipe, folder: BuildFolder, announce: Announce) -> Built:
    while True:
        built = folder.use()
        if built is not None:
            return built
        known = folder.last_failure()
        waited: list[bool] = []

        def waiting(waited: list[bool] = waited) -> None:
            waited.append(True)
            announce(f"{recipe.who} is being built by another process; waiting for it.")

        with folder.building(waiting):
            if folder.built() is None:
                if waited and folder.last_failure() not in ({}, known):
                    raise _failure(recipe, folder, folder.last_failure()["cause"])
                _Build(recipe, folder, announce).carry_out()


def _failure(recipe: Recipe, folder: BuildFolder, cause: str) -> EnvironmentBuildError:
    return EnvironmentBuildError(
        f"{recipe.who} cannot be built: {cause}.",
        cure=f"Mend the environment, or take this interpreter as it is with --environments current. The log: {folder.log}",
        cause=cause,
        log=str(folder.log),
    )


class _Build:
    """One try to build a recipe."""

    def __init__(self, recipe: Recipe, folder: BuildFolder, announce: Announce) -> None:
        self.recipe, self.folder, self.announce = recipe, folder, announce
        self.generation = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(3).hex()}"
        self.prefix = folder.path / self.generation
        self.variables = dict(_index_variables(recipe))
        self.lines: list[str] = []
        for line in (*recipe.pip.packages, *recipe.pip.brought, *(f"-e {path}" for path in recipe.pip.editable)):
            self.lines.append(self._without_credentials(line))
        self.added: list[str] = []

    def carry_out(self) -> None:
        """Build, and let the result count.

        Raises:
            EnvironmentBuildError: as `build_environment` says.
        """
        recipe, began = self.recipe, time.monotonic()
        make = self._conda() if recipe.conda else self._venv()
        self.folder.sweep()
        self.announce(f"Building {recipe.who[:1].lower()}{recipe.who[1:]}: {recipe.summary()}.")
        with self.folder.log.open("w", encoding="utf-8") as log:
            try:
                python = make(log)
                self._install(python, log)
                checked = check_interpreter(str(python), recipe.who)
            except ToolFailed as failed:
                cause = conda_cause(failed.output) if failed.tool in ("micromamba", "mamba", "conda") else cause_of(failed.output)
                raise self._failed(cause) from None
            except OSError as error:
                raise self._failed(f"{error.filename or self.prefix}: {error.strerror}") from error
        built = Built(
            name=recipe.name,
            generation=self.generation,
            python=str(python),
            python_version=checked.version,
            tool=uv_version(),
            summary=recipe.summary(),
            packages=_installed(Path(checked.prefix), checked.version),
            added=self.added,
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            seconds=round(time.monotonic() - began, 3),
            conda=conda_packages_in(self.prefix),
        )
        os.sync()  # what counts after a power cut must be whole
        self.folder.publish(built)
        amount = f"{len(built.packages)} package{'' if len(built.packages) == 1 else 's'}"
        self.announce(f"{recipe.who} is built: {amount}, Python {built.python_version}, {built.seconds:.1f} s.")

    def _failed(self, cause: str) -> EnvironmentBuildError:
        values = {"cause": cause, "name": self.recipe.name, "at": time.time_ns(), "generation": self.generation}
        with suppress(OSError):  # a disk that is full keeps no record of it either; the error below says it
            atomic_write(self.folder.failure, json.dumps(values))
            self.folder.sweep()
        return _failure(self.recipe, self.folder, cause)

    def _venv(self) -> Callable[[IO[str]], Path]:
        """How a virtual environment is made; that its Python is there is known before anything begins."""
        python = python_for(self.recipe.python, self.recipe.who)

        def make(log: IO[str]) -> Path:
            call([uv_path(), "venv", "--quiet", "--no-project", "--python", python.path, self.prefix], self.folder.path, log, {})
            return self.prefix / "bin" / "python"

        return make

    def _conda(self) -> Callable[[IO[str]], Path]:
        return partial(create_conda_environment, self.recipe, conda_tool(self.recipe), self.prefix)

    def _install(self, python: Path, log: IO[str]) -> None:
        if self._hashed:
            self._install_hashed(python, log)
        elif self.lines or self.recipe.tables:
            lock = self._locked(python, self.lines, log)
            if self.recipe.tables:
                self.added = self._missing_for_tables(lock)
                lock = self._locked(python, [*self.lines, *self.added], log) if self.added else lock
            self._install_lock(python, LOCK_NAME, lock, ["--no-deps"], log)

    @property
    def _hashed(self) -> bool:
        return ("--require-hashes", "") in self.recipe.pip.options or any(" --hash" in line for line in self.lines)

    def _install_hashed(self, python: Path, log: IO[str]) -> None:
        """Lines with hashes are a lock already: nothing is installed that they do not vouch for, but what reading tables needs."""
        self._install_lock(python, LOCK_NAME, "\n".join([*self._build_options, *self.lines, ""]), ["--require-hashes"], log)
        if self.recipe.tables:
            self.added = self._missing_for_tables("\n".join(self.lines))
        if self.added:
            limits = self.prefix / "limits.txt"
            limits.write_text("\n".join(line.split(" --hash")[0] for line in self.recipe.pip.packages), encoding="utf-8")
            more = self._locked(python, [f"--constraint {limits}", *self.added], log)
            self._install_lock(python, f"tables-{LOCK_NAME}", more, ["--no-deps"], log)

    def _install_lock(self, python: Path, name: str, lock: str, options: list[str], log: IO[str]) -> None:
        path = self.prefix / name
        path.write_text(lock, encoding="utf-8")
        words = [uv_path(), "pip", "install", *self._no_index, "--python", str(python), "--compile-bytecode", *options]
        call([*words, "--requirements", str(path)], self.folder.path, log, self.variables)

    def _missing_for_tables(self, lock: str) -> list[str]:
        names = {pip_name(line) for line in lock.splitlines()} | {name.lower() for name, *_ in conda_packages_in(self.prefix)}
        return [name for name in TABLES if name not in names]

    @property
    def _no_index(self) -> list[str]:
        return ["--no-index"] if ("--no-index", "") in self.recipe.pip.options else []  # uv knows no variable for it

    @property
    def _build_options(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.recipe.pip.options if name in ("--no-binary", "--only-binary")]

    def _locked(self, python: Path, lines: list[str], log: IO[str]) -> str:
        """The requirements with the exact version of every package; without addresses of indexes, and without credentials."""
        constraints = [f"--constraint {path}" for path in self.recipe.pip.constraints]
        target = self.prefix / "requirements.new"
        words = [uv_path(), "pip", "compile", "-", *self._no_index, "--python", str(python), "--no-header", "--no-annotate"]
        text = "\n".join([*self._build_options, *constraints, *lines, ""])
        call([*words, "--emit-build-options", "--quiet", "--output-file", str(target)], self.folder.path, log, self.variables, text)
        lock = target.read_text(encoding="utf-8")
        target.unlink()
        return lock

    def _without_credentials(self, line: str) -> str:
        """The line with references to variables, set for uv alone, where credentials stood."""
        if local_path(line) is not None:
            return line
        for secret in credentials_in(line):
            name = f"{CREDENTIAL}{len(self.variables)}"
            self.variables[name] = secret
            line = line.replace(secret, "${" + name + "}")
        return line


def _index_variables(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The pip options as variables of uv: addresses of indexes may hold credentials, which a command line or file would show."""
    values: dict[str, list[str]] = {}
    for name, value in recipe.pip.options:
        values.setdefault(name, []).append(fill_references(value))
    for option, variable, separator in (
        ("--index-url", "UV_DEFAULT_INDEX", None),
        ("--extra-index-url", "UV_INDEX", " "),
        ("--find-links", "UV_FIND_LINKS", ","),
        ("--trusted-host", "UV_INSECURE_HOST", " "),
    ):
        if option in values:
            yield variable, values[option][-1] if separator is None else separator.join(values[option])
    if "--extra-index-url" in values and "UV_INDEX_STRATEGY" not in os.environ:
        yield "UV_INDEX_STRATEGY", "unsafe-best-match"  # the best version of all indexes, as pip does
    if "--pre" in values:
        yield "UV_PRERELEASE", "allow"
    addresses = [value for name in ("--index-url", "--extra-index-url", "--find-links") for value in values.get(name, [])]
    for number, info in enumerate(match["info"] for value in addresses for match in USER_INFO.finditer(value)):
        yield f"{CREDENTIAL}INDEX_{number}", info  # so that it is hidden wherever a tool repeats it


def _installed(prefix: Path, version: str) -> list[list[str]]:
    """Name and version of every package in an environment."""
    from importlib.metadata import distributions

    site = prefix / "lib" / f"python{'.'.join(version.split('.')[:2])}" / "site-packages"
    found = {(str(one.metadata["Name"]), one.version) for one in distributions(path=[str(site)]) if one.metadata["Name"]}
    return [list(pair) for pair in sorted(found, key=lambda pair: pair[0].lower())]
