"""Writes docs/reference from what the code declares: the settings and the error tree.

``python docs/generate.py`` writes the pages; the tests compare them with what would be written now.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from batchmill import errors
from batchmill.settings import Flag, RunSettings

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py (make docs); change the declaration in the source, not this page. -->\n"


def pages() -> dict[Path, str]:
    """Each generated page with its text."""
    return {REFERENCE / "settings.md": settings_page(), REFERENCE / "errors.md": errors_page()}


def settings_page() -> str:
    groups: dict[str, list[str]] = {}
    for name, field in RunSettings.model_fields.items():
        flag = next((part for part in field.metadata if isinstance(part, Flag)), Flag())
        cells = (f"`{name}`", f"`{_option(name, flag)}`", _type(field.annotation), _default(field), field.description or "")
        groups.setdefault(flag.group, []).append(_row(*cells))
    text = [
        GENERATED,
        "# Settings of a run\n",
        "Each setting is a keyword of `batchmill.run()` and an option of `batchmill run`.\n",
    ]
    for group, rows in groups.items():
        text.append(f"## {group}\n")
        text.append("\n".join([_row("Keyword", "Option", "Value", "Default", "Meaning"), "|---|---|---|---|---|", *rows]) + "\n")
    return "\n".join(text)


def errors_page() -> str:
    rows = [
        _row("`" + "› " * depth + kind.__name__ + "`", (kind.__doc__ or "").split("\n")[0].replace("``", "`"), str(kind.exit_code))
        for depth, kind in _tree()
    ]
    head = [_row("Error", "Raised when", "Exit code"), "|---|---|---|"]
    intro = (
        "Every error that Batchmill raises on purpose is a `BatchmillError`. "
        "Its first line says what happened, to what, why, and the cure.\n"
    )
    return "\n".join([GENERATED, "# Errors\n", intro, "\n".join(head + rows) + "\n"])


def _tree(kind: type[errors.BatchmillError] = errors.BatchmillError, depth: int = 0) -> Iterator[tuple[int, type[errors.BatchmillError]]]:
    yield depth, kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _option(name: str, flag: Flag) -> str:
    if name == "script":
        return "SCRIPT"
    if flag.name == "--":
        return "-- ARGS"
    option = flag.name or "--" + name.replace("_", "-")
    return " ".join(part for part in (option, flag.metavar) if part) + (f" / {flag.off}" if flag.off else "")


def _type(annotation: object) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in (typing.Union, types.UnionType):
        return ", ".join(_type(part) for part in arguments if part is not type(None))
    if origin is list:
        return f"{_type(arguments[0])}, repeatable"
    if origin is dict:
        return "pairs"
    words = {str: "text", int: "whole number", float: "number", bool: "yes or no"}
    return next((word for kind, word in words.items() if kind is annotation), str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


def main() -> None:
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
