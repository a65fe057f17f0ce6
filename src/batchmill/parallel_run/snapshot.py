"""The snapshot: the script and its folder, copied into the run before it starts (resume and retries use the copy).

``.amlignore`` and ``.gitignore`` are honoured. More than 2,000 files or 300 MB are refused: such a folder is a home or data folder.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from batchmill.data.walk import PROOF
from batchmill.errors import EntryScriptError, SnapshotError
from batchmill.parallel_run.run_store import FOLDER
from batchmill.storage.home import home_places

FILE_LIMIT = 2_000
BYTE_LIMIT = 300 << 20
ALWAYS_LEFT_OUT = {".git", "__pycache__", ".ipynb_checkpoints", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", FOLDER}
"""The last is where runs on clusters keep what they need, each its snapshot: copied along, it would double with every run."""
PROOFS = PROOF.decode()
"""In folders that other runs read or write: gone a moment later."""


def check_script(script: str) -> Path:
    """The script as an absolute path, after a look at what can be known before it runs.

    Raises:
        EntryScriptError: it is missing, no Python file, has a syntax error or no ``run`` at its top level.
    """
    path = Path(script).absolute()
    if not path.is_file():
        raise EntryScriptError(
            f"Entry script '{script}' does not exist.", cure="Give the path of a Python file that defines run(mini_batch)."
        )
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise EntryScriptError(
            f"Entry script '{script}' has a syntax error in line {error.lineno}: {error.msg}.", cure="Mend it; nothing was started."
        ) from None
    except ValueError as error:
        raise EntryScriptError(f"Entry script '{script}' is no Python source: {error}.", cure="Nothing was started.") from None
    if not _may_define_run(tree):
        raise EntryScriptError(
            f"Entry script '{script}' has no function run().", cure="Define run(mini_batch) at its top level; nothing was started."
        )
    return path


def _may_define_run(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == "run":
            return True
        if isinstance(node, (ast.Import, ast.ImportFrom)) and any((alias.asname or alias.name) in ("run", "*") for alias in node.names):
            return True
        if isinstance(node, ast.Name) and node.id == "run" and isinstance(node.ctx, ast.Store):
            return True
    return False


def take_snapshot(script: Path, source: str | None, target: Path, leave_out: Iterable[Path] = ()) -> tuple[Path, Path]:
    """Copy the source folder; returns (script in the snapshot, the snapshot's root).

    ``leave_out``: files and folders that are no part of the source although they lie in it: inputs, the output. The batchmill home
    is none either. A folder that holds the script is the source all the same.

    Raises:
        SnapshotError: the folder is too large, or does not hold the script.
    """
    root = Path(source).absolute() if source else script.parent
    if not root.is_dir():
        raise SnapshotError(f"The source folder '{source}' does not exist.", cure="Nothing was started.")
    if not script.is_relative_to(root):
        raise SnapshotError(
            f"The entry script {script} does not lie in the source folder {root}.", cure="Choose another --source; nothing was started."
        )
    target.mkdir()
    copy_source(root, script, target, leave_out)
    return target / script.relative_to(root), target


def copy_source(root: Path, script: Path | None, target: Path, leave_out: Iterable[Path] = ()) -> list[Path]:
    """Copy a source folder into the empty folder ``target``; returns the copies. See `take_snapshot`.

    Raises:
        SnapshotError: the folder is too large.
    """
    data = {Path(os.path.normpath(path.absolute())) for path in (*leave_out, *home_places())}
    files = _files(root, script, {target, *(path for path in data if not (script or root).is_relative_to(path))})
    copies = [target / path.relative_to(root) for path in files]
    for path, copy in zip(files, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return copies


def _files(root: Path, script: Path | None, leave_out: set[Path]) -> list[Path]:
    rules = IgnoreRules(root)
    found, size = [] if script is None else [script], 0
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _wanted(here / name, root, rules, leave_out, is_folder=True))
        for name in sorted(names):
            path = here / name
            if path == script or not path.is_file() or not _wanted(path, root, rules, leave_out, is_folder=False):
                continue
            found.append(path)
            size += path.stat().st_size
            if len(found) > FILE_LIMIT or size > BYTE_LIMIT:
                raise SnapshotError(
                    f"The folder of the script, {root}, holds more than {FILE_LIMIT:,} files or {BYTE_LIMIT >> 20} MB, "
                    "too much to copy into the run.",
                    cure="Put the script into a folder of its own, name one with --source DIR, or exclude data with .amlignore; "
                    "nothing was started.",
                )
    return found


def _wanted(path: Path, root: Path, rules: IgnoreRules, leave_out: set[Path], *, is_folder: bool) -> bool:
    if path.name in ALWAYS_LEFT_OUT or path.name.startswith(PROOFS) or path in leave_out:
        return False
    return not rules.ignored(path.relative_to(root).as_posix(), is_folder=is_folder)


class IgnoreRules:
    """The rules of ``.amlignore``, else of ``.gitignore``, in the root of a source folder (the syntax of gitignore)."""

    def __init__(self, root: Path) -> None:
        self._rules: list[tuple[re.Pattern[str], bool, bool]] = []
        file = next((root / name for name in (".amlignore", ".gitignore") if (root / name).is_file()), None)
        for line in file.read_text(errors="replace").splitlines() if file else []:
            rule = line.rstrip()
            if not rule or rule.startswith("#"):
                continue
            keep, only_folder = rule.startswith("!"), rule.endswith("/")
            pattern = rule.removeprefix("!").removeprefix("\\").rstrip("/")
            self._rules.append((re.compile(_expression(pattern)), keep, only_folder))

    def ignored(self, path: str, *, is_folder: bool) -> bool:
        """The last rule that fits decides."""
        verdict = False
        for expression, keep, only_folder in self._rules:
            if (is_folder or not only_folder) and expression.fullmatch(path):
                verdict = not keep
        return verdict


def _expression(pattern: str) -> str:
    anchored = "/" in pattern
    pattern = pattern.removeprefix("/")
    out, position = "" if anchored else "(?:.*/)?", 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            out, position = out + "(?:.*/)?", position + 3
        elif pattern.startswith("**", position):
            out, position = out + ".*", position + 2
        elif pattern[position] == "*":
            out, position = out + "[^/]*", position + 1
        elif pattern[position] == "?":
            out, position = out + "[^/]", position + 1
        elif pattern[position] == "[" and "]" in pattern[position + 2 :]:
            end = pattern.index("]", position + 2)
            out, position = out + "[" + pattern[position + 1 : end].replace("!", "^", 1) + "]", end + 1
        else:
            out, position = out + re.escape(pattern[position]), position + 1
    return out
