"""Small Python packages made on the spot, so that environments can be built without a package index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

DEADLINE = 60.0
"""Seconds that a gate stays closed at most."""

BACKEND = """
import os, pathlib, sys, time
sys.path.insert(0, {tests!r})
from packages import make_wheel

HOOK = {hook!r}

def _build(folder, editable):
    exec(HOOK)
    modules = {{path.name: path.read_text() for path in pathlib.Path("src").glob("*.py")}}
    if editable:
        modules = {{"{name}-editable.pth": os.path.abspath("src") + "\\n"}}
    return make_wheel(pathlib.Path(folder), "{name}", "{version}", modules, {requires!r}).name

def get_requires_for_build_wheel(settings=None): return []
def get_requires_for_build_editable(settings=None): return []
def build_wheel(folder, settings=None, metadata=None): return _build(folder, False)
def build_editable(folder, settings=None, metadata=None): return _build(folder, True)
"""


def make_wheel(folder: Path, name: str, version: str, modules: Mapping[str, str] | None = None, requires: Sequence[str] = ()) -> Path:
    """A wheel with these files (default: a module ``name`` that knows its ``VERSION``)."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = dict(modules if modules is not None else {f"{name}.py": f"VERSION = {version!r}\n"})
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    digests = {path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() for path, text in files.items()}
    record = "".join(f"{path},sha256={digests[path]},{len(text.encode())}\n" for path, text in files.items())
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def make_project(folder: Path, name: str, version: str, *, hook: str = "", requires: Sequence[str] = ()) -> Path:
    """A source folder that builds itself, without tools from an index; ``hook`` is Python that runs while it is built."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / f"{name}.py").write_text(f"VERSION = {version!r}\n")
    (folder / "backend.py").write_text(
        BACKEND.format(tests=str(Path(__file__).parent), hook=hook, name=name, version=version, requires=list(requires))
    )
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = {list(requires)!r}\n'
    )
    return folder


class Gate:
    """A package whose build says that it has begun and waits until the test lets it go on, to succeed or to fail."""

    def __init__(self, folder: Path) -> None:
        self.begun, self.open = folder / "begun", folder / "go"
        hook = (
            f"open({str(self.begun)!r}, 'a').write('x')\n"
            f"deadline = time.monotonic() + {DEADLINE}\n"
            f"while not os.path.exists({str(self.open)!r}):\n"
            "    assert time.monotonic() < deadline\n"
            "    time.sleep(0.01)\n"
            f"if open({str(self.open)!r}).read() == 'fail': raise RuntimeError('as the test wanted')\n"
        )
        make_project(folder / "gated", "gated", "1.0", hook=hook)
        self.project = folder / "gated"

    @property
    def builds(self) -> int:
        return len(self.begun.read_text()) if self.begun.exists() else 0
