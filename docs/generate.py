"""Writes docs/reference from what the code declares: settings, commands, errors, and the tables of the ledger.

``python docs/generate.py`` writes the pages; the tests compare them with what would be written now.
"""

from __future__ import annotations

import re
import sqlite3
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic.fields import FieldInfo

from batchmill import errors
from batchmill.cli.commands import make_app
from batchmill.parallel_run.ledger_schema import SCHEMA
from batchmill.settings import Flag, RunSettings

REFERENCE = Path(__file__).parent / "reference"
TABLE = Path(__file__).parents[1] / "src" / "batchmill" / "settings" / "table.py"
LONGEST_LINE = 140
TABLES = {
    "meta": "Values by name: id, name, status, error, created, ended, counts, epoch, deaths, suspects; how much of the output is proven "
    "(output_front, output_length); a replay whose rows are merged and that is not settled yet (replay_pending); what was "
    "reused (reuse); what the results depend on, for later runs that reuse them (names, interpreter, installed).",
    "ranges": "Consecutive mini-batches that finished without trouble, with one packed record each (`packed`). On a cluster `worker`"
    " may name several processes of the node: `process000*3,4` are three mini-batches of process000, then one of process004.",
    "pieces": "The pieces of bisected mini-batches that have their fate; `part` is null where a single item failed.",
    "splits": "Mini-batches that were bisected; `ended` is 1 once every item has its fate.",
    "failed": "Mini-batches that failed as a whole.",
    "tries": "Every failed try, also those that a later try made good; `piece_first` is null for whole mini-batches.",
    "letters": "The dead letters; `replayed` is 1 once a replay has settled one.",
    "warnings": "What was odd and failed nothing: more rows than items, a shutdown() that raised.",
}
GENERATED = "<!-- Written by docs/generate.py (make docs); change the declaration in the source, not this page. -->\n"


def pages() -> dict[Path, str]:
    """Each generated page with its text."""
    return {
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "ledger.md": ledger_page(),
        TABLE: settings_table(),
    }


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


def settings_table() -> str:
    """What the quick check of settings knows: it must not load the declaration itself."""
    rows = []
    for name, field in RunSettings.model_fields.items():
        kind, detail = _kind(name, field)
        nullable = type(None) in typing.get_args(field.annotation)
        default = "..." if field.is_required() else repr(field.get_default(call_default_factory=True, validated_data={}))
        parts = (repr(kind), repr(detail), str(nullable), default)
        row = f"    {name!r}: ({', '.join(parts)}),"
        if len(row) > LONGEST_LINE:
            row = f"    {name!r}: (\n" + "".join(f"        {part},\n" for part in parts) + "    ),"
        rows.append(row.replace("'", '"'))
    options = []
    for name, field in RunSettings.model_fields.items():
        flag = next((part for part in field.metadata if isinstance(part, Flag)), Flag())
        if name == "script" or flag.name == "--":
            continue
        options.append(f'    "{flag.name or "--" + name.replace("_", "-")}": ("{name}", {True if field.annotation is bool else None}),')
        if flag.off:
            options.append(f'    "{flag.off}": ("{name}", False),')
    return "\n".join(
        [
            '"""The settings of a run as a table: docs/generate.py (make docs) makes it of what batchmill.settings.declared says."""\n',
            "from __future__ import annotations\n",
            "from typing import Any\n",
            "FIELDS: dict[str, tuple[str, Any, bool, Any]] = {",
            *rows,
            "}",
            '"""Setting -> kind, what the kind asks for, whether it may be null, default (``...``: there is none)."""\n',
            "OPTIONS: dict[str, tuple[str, bool | None]] = {",
            *options,
            "}",
            '"""Option of the command line -> setting, and what the option alone says (None: a value follows)."""\n',
        ]
    )


def _kind(name: str, field: FieldInfo) -> tuple[str, typing.Any]:
    """How the quick check looks at a setting."""
    if name in ("mini_batch_size", "append_row_file_name"):
        return {"mini_batch_size": "size", "append_row_file_name": "file_name"}[name], None
    annotation = field.annotation
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    part = next(part for part in parts if part is not type(None))
    if typing.get_origin(part) is typing.Literal:
        return "word", typing.get_args(part)
    kinds = {str: "text", bool: "yes", int: "whole", float: "number", list: "texts", dict: "pairs"}
    kind = kinds[typing.get_origin(part) or part]
    if kind not in ("whole", "number"):
        return kind, None
    bounds = {word: getattr(one, word) for one in field.metadata for word in ("ge", "gt", "le") if hasattr(one, word)}
    return kind, (bounds.get("ge", bounds.get("gt")), bounds.get("le"), "gt" in bounds)


def cli_page() -> str:
    """Every command with its own arguments and options; the settings of a run have their own page."""
    settings = set(RunSettings.model_fields)
    text = [
        GENERATED,
        "# Commands\n",
        "Each command explains itself with `--help`. A RUN is an id, a unique prefix of one, a name or `last`.\n",
    ]
    for path, command in _commands(typer.main.get_command(make_app()), "batchmill"):
        text.append(f"## {path}\n")
        text.append("\n\n".join(_help(part) for part in (command.help or "").split("\n\n") if part.strip()) + "\n")
        takes_all = 2 * len(settings.intersection(parameter.name for parameter in command.params)) > len(settings)
        if takes_all:
            text.append("Takes every option of the [settings of a run](settings.md), and `-- ARGS` for the entry script. Beside them:\n")
        own = [one for one in command.params if one.name != "help" and not (takes_all and one.name in settings)]
        rows = [_row(f"`{_spelling(parameter)}`", _help(getattr(parameter, "help", None) or "")) for parameter in own]
        if rows:
            text.append("\n".join([_row("Argument or option", "Meaning"), "|---|---|", *rows]) + "\n")
    return "\n".join(text)


def _commands(command: typing.Any, path: str) -> Iterator[tuple[str, typing.Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from _commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _spelling(parameter: typing.Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name)
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _help(text: str) -> str:
    """Help texts are written for Rich: without its marks, in one line."""
    return " ".join(re.sub(r"\\?\[/?dim\]", "", text).replace("\\[", "[").split())


def ledger_page() -> str:
    """The tables of the ledger, as SQLite knows them."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rootpage")]
    rows = []
    for name in names:
        columns = ", ".join(f"`{row[1]}`" for row in connection.execute(f"PRAGMA table_info({name})"))
        rows.append(_row(f"`{name}`", TABLES[name], columns))
    connection.close()
    intro = (
        "`ledger.sqlite` of a [run folder](run-folder.md) may be read with any SQLite client while the run goes on.\n"
        "[How it is written](../design/ledger.md) is another page.\n"
    )
    head = [_row("Table", "Holds", "Columns"), "|---|---|---|"]
    return "\n".join([GENERATED, "# Tables of the ledger\n", intro, "\n".join(head + rows) + "\n"])


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
