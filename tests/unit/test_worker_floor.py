"""What worker processes load runs on Python 3.9 and needs the standard library only, until a table is read.

The modules are found by following the imports made at load time, from `worker/` and the table reader downwards.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
NEWER_THAN_39 = {"tomllib"}
# Names the standard library has only since 3.10 or 3.11; a module that imports one at load time fails under 3.9.
NEWER_NAMES = {"StrEnum", "ReprEnum", "TypeAlias", "ParamSpec", "Self", "Never", "assert_never", "NoneType", "UTC", "pairwise", "aclosing"}
COORDINATOR_ONLY = {"batchmill.records", "batchmill.settings"}


def _module_path(name: str) -> Path | None:
    base = SRC / Path(*name.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _at_load_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that is executed when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.stmt) and _for_types_only(child):
            continue
        yield child
        yield from _at_load_time(child)


def _imports(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """(module, names taken from it) for each import made at load time."""
    for node in _at_load_time(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", [alias.name for alias in node.names]


def _loaded_with(path: Path) -> Iterator[Path]:
    """The modules of Batchmill that loading ``path`` loads directly, its packages included."""
    names = [_module_name(path)]
    for module, taken in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        names += [module, *(f"{module}.{name}" for name in taken)]
    for name in names:
        parts = name.split(".")
        if parts[0] == "batchmill":
            yield from filter(None, (_module_path(".".join(parts[: end + 1])) for end in range(len(parts))))


def worker_modules() -> list[Path]:
    waiting = [*(SRC / "batchmill" / "worker").rglob("*.py"), *filter(None, [_module_path("batchmill.data.table_reader")])]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _loaded_with(path)
    return sorted(found)


def _label(path: Path) -> str:
    return str(path.relative_to(SRC))


@pytest.mark.parametrize("path", worker_modules(), ids=_label)
def test_is_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            keywords = {keyword.arg for keyword in node.keywords}
            newer = {"dataclass": {"slots", "kw_only"}, "zip": {"strict"}}.get(node.func.id, set()) & keywords
            assert not newer, f"{_label(path)}:{node.lineno}: {node.func.id}({newer}) needs Python 3.10"
    annotated = any(isinstance(node, (ast.AnnAssign, ast.arg)) and getattr(node, "annotation", None) for node in ast.walk(tree))
    futures = {name for module, names in _imports(tree) if module == "__future__" for name in names}
    assert "annotations" in futures or not annotated, f"{_label(path)}: annotations are evaluated, `X | None` fails under 3.9"


@pytest.mark.parametrize("path", worker_modules(), ids=_label)
def test_imports_the_standard_library_only(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) - NEWER_THAN_39 | {"batchmill"}
    for module, names in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert module.split(".")[0] in allowed, f"{_label(path)} imports {module} when it is loaded"
        assert not NEWER_NAMES & set(names), f"{_label(path)} imports {names} from {module}, newer than Python 3.9"
        taken = {module, *(f"{module}.{name}" for name in names)}
        assert not taken & COORDINATOR_ONLY, f"{_label(path)} loads {module}, which only the coordinator may"


def test_loads_without_any_installed_package() -> None:
    """The same, for real: an isolated interpreter that sees Batchmill and the standard library alone."""
    names = [name for name in map(_module_name, worker_modules()) if not name.endswith("__main__") and ".worker.names." not in name]
    assert names
    code = f"import sys, importlib; sys.path.insert(0, {os.fspath(SRC)!r}); [importlib.import_module(name) for name in {names!r}]"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
