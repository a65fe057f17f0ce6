"""Identity of a run: all that its results depend on apart from its items, and how that of another run differs from it, in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import BatchmillError, EnvironmentBuildError
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run_folder import RunFolder

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset

SHOWN = 3
"""Files, packages and the like that are named; of more there is only the number."""
COMPARED = ("append_row_dataframe_header", "partition_keys", "environments")
"""Settings that change results beyond what plan, script and environment say."""
COMPLETE = ".complete"
"""In a snapshot: the list of its files, written when they are there."""
BUFFER = 1 << 20
QUESTION = "import sys, json; print(json.dumps([sys.implementation.name, list(sys.version_info[:3]), sys.path]))"
ANSWER_SECONDS = 60


def installed() -> str:
    """The interpreter and the packages that it finds, with their versions, as JSON; a millisecond, the second time nothing."""
    return _listed(_python(sys.implementation.name, sys.version_info[:3]), tuple(sorted(_stamped(sys.path))))


def installed_in(python: str) -> str:
    """The same of another interpreter, which is asked.

    Raises:
        EnvironmentBuildError: it does not answer.
    """
    if python == sys.executable:
        return installed()
    try:
        ended = subprocess.run([python, "-c", QUESTION], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
        name, version, path = json.loads(ended.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        raise EnvironmentBuildError(f"The interpreter {python} does not say which packages it finds.") from None
    return _listed(_python(name, version), tuple(sorted(_stamped(path))))


def _python(name: str, version: Iterable[int]) -> str:
    return f"{name} {'.'.join(map(str, version))}"


def _stamped(path: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Folders of packages with the time of the last change in each."""
    for folder in {one for one in path if one.endswith("-packages")}:
        with suppress(OSError):
            yield folder, os.stat(folder).st_mtime_ns


@lru_cache(maxsize=8)
def _listed(python: str, folders: tuple[tuple[str, int], ...]) -> str:
    found: set[str] = set()
    for folder, _ in folders:
        with suppress(OSError):
            found |= {name.removesuffix(".dist-info") for name in os.listdir(folder) if name.endswith(".dist-info")}
    return json.dumps({"python": python, "packages": sorted(found)})


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """``script`` is relative to the snapshot of the source. ``bound``: the names of the workspace with what they stood for, ``python``: the
    interpreter of an environment, ``installed``: see there, and ``there``: the same of an interpreter of the user's own; ``beside``: what
    else whoever made the run says its results depend on."""

    script: str
    source: Path
    settings: Mapping[str, Any]
    arguments: Sequence[str]
    variables: Mapping[str, str]
    bound: Mapping[str, Any]
    python: str | None
    installed: str | None
    there: str | None
    beside: Mapping[str, str]

    @classmethod
    def of(cls, folder: RunFolder, description: Mapping[str, Any], ledger: Ledger) -> RunIdentity:
        """Of a run that has its snapshot, and has bound its names."""
        settings, script = description["settings"], Path(description["script"])
        root = Path(description["folder"]) / settings["source"] if settings["source"] else script.parent
        given = description.get("identity") or {}
        return cls(
            script=os.path.relpath(script, root),
            source=folder.snapshot,
            settings=settings,
            arguments=given.get("arguments", settings["arguments"]),
            variables=given.get("variables", settings["environment_variables"]),
            bound=json.loads(ledger.meta("names") or "{}"),
            python=ledger.meta("interpreter"),
            installed=ledger.meta("installed"),
            there=ledger.meta("installed_there"),
            beside=given.get("beside", {}),
        )


Resolve = Callable[[Mapping[str, Any]], list[str]]


def differences(old: RunIdentity, new: RunIdentity, resolve: Resolve) -> Iterator[str]:
    """In which ways the results of ``new`` might differ from those of ``old``: ``script score.py changed``, ``model churn v7 -> v8``.

    ``resolve`` says which models that the old run has bound are others now (`Names.resolve_again`).
    """
    yield from _script(old, new)
    yield from argument_changes(old.arguments, new.arguments)
    yield from (f"variable {name} changed" for name in _changed(old.variables, new.variables))
    yield from _environment(old, new)
    yield from resolve(old.bound)
    yield from (f"{name} changed" for name in _changed(old.beside, new.beside))
    for name in COMPARED:
        if old.settings.get(name) != new.settings.get(name):
            yield f"setting {name}: {old.settings.get(name)} -> {new.settings.get(name)}"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


# --- script -----------------------------------------------------------------------------------------------------------------------------


def _script(old: RunIdentity, new: RunIdentity) -> Iterator[str]:
    if old.script != new.script:
        yield f"script {old.script} -> {new.script}"
        return
    before, now = (_tree(one.source) for one in (old, new))
    if new.script in before and not _same(old.source / new.script, new.source / new.script):
        yield f"script {new.script} changed"
    others = [name for name in sorted({*before, *now} - {new.script}) if not _both(name, before, now, old.source, new.source)]
    for name in others[:SHOWN]:
        how = "is new" if name not in before else "is gone" if name not in now else "changed"
        yield f"{name} beside the script {how}"
    if len(others) > SHOWN:
        yield f"{len(others) - SHOWN:,} more files beside the script changed"


def source_list(folder: Path) -> str:
    """The files of a new snapshot, as JSON: what a script puts beside itself later is no part of the source."""
    return json.dumps(sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names))


def _tree(folder: Path) -> dict[str, int]:
    """The files of a snapshot with their sizes; -1 for one that was removed since."""
    names = json.loads((folder / COMPLETE).read_text() or "[]")
    return {name: os.stat(folder / name).st_size if (folder / name).is_file() else -1 for name in names}


def _both(name: str, before: Mapping[str, int], now: Mapping[str, int], old: Path, new: Path) -> bool:
    return before.get(name) == now.get(name) != -1 and _same(old / name, new / name)


def _same(old: Path, new: Path) -> bool:
    with old.open("rb") as one, new.open("rb") as other:
        while True:
            piece = one.read(BUFFER)
            if piece != other.read(BUFFER):
                return False
            if not piece:
                return True


def binding_changes(kind: str, bound: Mapping[str, Mapping[str, Any]], find: Callable[[str], Asset]) -> Iterator[str]:
    """Names that a run has bound and that stand for something else now. ``bound``: ``NAME`` or ``NAME:VERSION`` -> id and version; ``find``
    looks such a label up."""
    told = set()
    for label, entry in bound.items():
        name = f"{kind} {label.partition(':')[0]}"
        try:
            asset = find(label)
        except BatchmillError as error:
            told.add(f"{name} v{entry['version']} is not to be had ({error.message.rstrip('.')})")
            continue
        if asset.id != entry["id"]:
            anew = asset.version == entry["version"]
            told.add(f"{name} v{asset.version} was made anew" if anew else f"{name} v{entry['version']} -> v{asset.version}")
    yield from sorted(told)


# --- words and surroundings -------------------------------------------------------------------------------------------------------------


def argument_changes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """The first argument that differs, by the name of its option where it has one."""
    for number, (before, now) in enumerate(zip_longest(old, new)):
        if before == now:
            continue
        option = new[number - 1] if 0 < number <= len(new) and new[number - 1].startswith("-") else None
        if before is None or now is None:
            yield f"argument {now} is new" if before is None else f"argument {before} is gone"
        elif option is not None and not before.startswith("--"):
            yield f"argument {option}: {before} -> {now}"
        else:
            yield f"argument {before} -> {now}"
        return


def _environment(old: RunIdentity, new: RunIdentity) -> Iterator[str]:
    before, now = (one.bound.get("environment") for one in (old, new))
    if (before or {}).get("id") != (now or {}).get("id"):
        yield f"environment {_label(before)} -> {_label(now)}"
        return
    if old.python != new.python:
        yield f"interpreter {old.python} -> {new.python}"
        return
    before_there, now_there = old.installed, new.installed
    if new.python is not None and new.python != sys.executable:
        before_there, now_there = old.there, new.there
        if before_there is None and now_there is None:
            return  # what it holds is settled by the environment
    if before_there is None or now_there is None:
        yield "which packages were installed is not known"
        return
    yield from package_changes(json.loads(before_there), json.loads(now_there))


def _label(bound: Mapping[str, Any] | None) -> str:
    return "none" if bound is None else f"{bound['name']} v{bound['version']}"


def package_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """In which packages two answers of `installed`, read from JSON, differ."""
    if old["python"] != new["python"]:
        yield f"Python {old['python']} -> {new['python']}"
    before, now = (_versions(one["packages"]) for one in (old, new))
    changed = _changed(before, now)
    for name in changed[:SHOWN]:
        yield f"package {name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
    if len(changed) > SHOWN:
        yield f"{len(changed) - SHOWN:,} more packages changed"


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Package -> version; several where it is found in several places."""
    found: dict[str, str] = {}
    for name, _, version in (text.partition("-") for text in packages):
        found[name] = f"{found[name]} and {version}" if name in found else version
    return found
