"""What IPython understands beyond Python: lines that begin with ``%`` or ``!``, and cells that begin with ``%%``."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from batchmill.errors import DocumentError

MAGIC = re.compile(r"^(?P<indent>\s*)(?P<sign>!!?|%)(?P<rest>[^%\s].*)$")
CELL = re.compile(r"^%%(\w+)[ \t]*(.*)$")
INSTALLS = re.compile(r"^(?:uv\s+)?(?:pip3?|conda|mamba)\b|^(?:\S*python[\d.]*|\{sys\.executable\}|\"\{sys\.executable\}\")\s+-m\s+pip\b")
SHOWS_ONLY = frozenset({"matplotlib", "config", "load_ext", "reload_ext", "autoreload", "pylab", "precision", "pprint"})
"""Line magics that change what is shown or reloaded, never what is computed."""
TIMES_ONLY = frozenset({"time", "capture"})
"""Cell magics whose cell runs as it stands."""
FILES = frozenset({"writefile", "file"})

Tell = Callable[[str], None]


def without_magics(code: str, where: str, tell: Tell) -> str:
    """The code as plain Python, with as many lines; ``tell`` is called with what was passed over.

    Installations and what only concerns the display are passed over; ``%%writefile`` becomes a call that writes. A line that begins so
    inside a text or an expression is none: only what Python itself refuses is looked at.

    Raises:
        DocumentError: something else of IPython is asked for. ``where`` names the block in it.
    """
    first, _, body = code.partition("\n")
    if (cell := CELL.match(first)) is not None:
        return _cell(cell[1], cell[2], body, where, tell)
    lines = code.split("\n")
    while True:
        at = _refused("\n".join(lines))
        magic = MAGIC.match(lines[at]) if at is not None and at < len(lines) else None
        if at is None or magic is None:
            return "\n".join(lines)
        end = at
        while lines[end].endswith("\\") and end + 1 < len(lines):  # it goes on in the next line
            end += 1
        _line(magic["sign"], " ".join([magic["rest"], *lines[at + 1 : end + 1]]), where, tell)
        lines[at : end + 1] = [f"{magic['indent']}pass", *[""] * (end - at)]


def _refused(code: str) -> int | None:
    """The index of the line that Python does not understand; None where it understands all."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return None if error.lineno is None else error.lineno - 1
    except ValueError:  # a null character: compiling it says so
        return None
    return None


def _line(sign: str, rest: str, where: str, tell: Tell) -> None:
    text = " ".join(rest.replace("\\ ", " ").split())
    name = re.split(r"\W", text, maxsplit=1)[0]
    if INSTALLS.match(text):
        tell(f"{where}: '{sign}{text}' was skipped; what is installed stays as it is.")
    elif sign == "%" and name in SHOWS_ONLY:
        tell(f"{where}: '%{text}' was skipped; it only concerns what IPython shows.")
    else:
        raise _unknown(sign + text, where)


def _cell(name: str, rest: str, body: str, where: str, tell: Tell) -> str:
    if name in TIMES_ONLY:
        tell(f"{where}: '%%{name}' was skipped; its cell is executed as it stands.")
        return "\n" + without_magics(body, where, tell)
    if name not in FILES:
        raise _unknown(f"%%{name}", where)
    words = shlex.split(rest)
    append = words[:1] in (["-a"], ["--append"])
    paths = words[1:] if append else words
    if len(paths) != 1:
        raise DocumentError(f"{where}: '%%{name} {rest}' names no file, or more than one.")
    return f"__import__({__name__!r}, fromlist=['write_file']).write_file({paths[0]!r}, {body!r}, append={append})\n"


def write_file(path: str, text: str, *, append: bool) -> None:
    """What ``%%writefile`` does; ``~`` is the home of the user."""
    with Path(path).expanduser().open("a" if append else "w", encoding="utf-8") as file:
        file.write(text)


def _unknown(what: str, where: str) -> DocumentError:
    return DocumentError(
        f"{where} has '{what}', which only IPython understands.",
        cure="Write it in Python (subprocess.run for a command), or take the line out.",
    )
