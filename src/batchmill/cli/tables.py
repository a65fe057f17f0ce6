"""What the commands of the workspace share: tables for people, JSON for programs, and the options that they all have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace",
        metavar="NAME",
        help="The workspace [dim]\\[default: the config.json of this folder or one above it, BATCHMILL_WORKSPACE, else 'default'][/dim].",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
LimitOption = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="How many to show.")]
AfterOption = Annotated[
    str | None, typer.Option("--after", metavar="NAME", help="Go on behind this one: the last of the page before.", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def command_group(help: str) -> typer.Typer:
    """A group of commands that looks like the others."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> None:
    """A head in small print and a line a row; columns in ``right`` end at their right edge. Moments are shown in local time."""
    import sys

    from batchmill.cli.terminal import styled, table

    head = [styled(word.upper(), sys.stdout, dim=True) for word in columns]
    for line in table([head, *([_cell(value) for value in row] for row in rows)], right):
        print(line)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """One thing: a line for each fact that there is, its name in front."""
    from batchmill.cli.terminal import table

    rows = [[name, _cell(value)] for name, value in facts if value not in (None, "", {}, [])]
    for line in table(rows) if rows else ():
        print(line)


def print_json(value: object) -> None:
    """A JSON value, indented, as the whole of what is printed."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def tell_more(shown: int, limit: int, last: str) -> None:
    """Say how to see the next page, where there may be one."""
    from batchmill.cli.terminal import tell

    if shown >= limit:
        tell(f"{shown:,} are shown. More: --after {last}, or a larger --limit.")


def parse_pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """``["K=V", ...]`` of a repeatable option as a dict.

    Raises:
        SettingError: one is not of that form.
    """
    from batchmill.errors import SettingError

    pairs = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"Option {option} has the value '{text}': it must be of the form KEY=VALUE.")
        pairs[key.strip()] = value
    return pairs


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; without a terminal nobody can answer, and ``--yes`` is needed.

    Raises:
        UsageError: there is no terminal, or the answer is no.
    """
    import sys

    from batchmill.errors import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(question, cure="Nothing was done: add --yes to do it.")
    if not typer.confirm(f"{question} Go on?", err=True):
        raise UsageError("Nothing was done.")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(item) for item in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
