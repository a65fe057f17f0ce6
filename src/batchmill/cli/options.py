"""Command-line options made from the declarations in `batchmill.settings`, so that each setting is declared once."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from batchmill.errors import SettingError, UsageError
from batchmill.settings import Flag, RunSettings

LONGEST_METAVAR = 34
ARGUMENTS = "batchmill.arguments"

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no summary, only errors.", rich_help_panel="Other")]
Json = Annotated[bool, typer.Option("--json", help="Print the run as a JSON object, like runs show --json.", rich_help_panel="Other")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="An id, a unique prefix of one, a name (its newest run) or last.", show_default=False)
]


class ScriptCommand(TyperCommand):
    """A command whose words after ``--`` belong to the entry script."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words after ``--`` aside, and refuse words that nothing asked for."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[ARGUMENTS] = args[:at], args[at + 1 :]
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise UsageError(
                f"Unexpected argument '{ctx.args[0]}'.",
                cure="Give each input its own --input (or quote the glob), and the script's arguments after --; nothing was started.",
            )
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show where the script's arguments go."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


def takes_settings(function: Callable[..., Any], wanted: Callable[[str, Flag], bool] = lambda name, flag: True) -> Callable[..., Any]:
    """Give a command every setting of a run as an option, or those that are ``wanted``.

    ``function(values, **own)`` gets, as its first argument, the settings that the user gave (and no others), by their names, ready for
    `RunSettings.parse`; its keyword parameters are options of its own.
    """
    fields = {
        name: field for name, field in RunSettings.model_fields.items() if flag_of(field).name != "--" and wanted(name, flag_of(field))
    }
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def command(context: typer.Context, **given: Any) -> Any:
        values = {name: given.pop(name) for name in fields}
        values = {name: value for name, value in values.items() if value is not None and value != []}
        if ARGUMENTS in context.meta:
            values["arguments"] = context.meta[ARGUMENTS]
        return function(values, **given)

    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(_parameter(name, field) for name, field in fields.items()),
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    return command


def flag_of(field: FieldInfo) -> Flag:
    """How the setting looks on the command line."""
    return next((part for part in field.metadata if isinstance(part, Flag)), Flag())


def option_name(name: str, flag: Flag) -> str:
    """``workers`` -> ``--workers``."""
    return flag.name or "--" + name.replace("_", "-")


def parse_settings(values: dict[str, Any]) -> RunSettings:
    """`RunSettings.parse`, with messages that speak of options instead of settings."""
    try:
        return RunSettings.parse(values)
    except SettingError as error:
        raise SettingError(_as_options(error.message), cure=error.cure) from None


def _as_options(message: str) -> str:
    def option(match: re.Match[str]) -> str:
        field = RunSettings.model_fields.get(match[1])
        return match[0] if field is None else f"Option {option_name(match[1], flag_of(field))}"

    return re.sub(r"Setting '(\w+)[\w.]*'", option, message)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = flag_of(field)
    text = (field.description or "").replace("[", "\\[")
    if name == "script":
        argument = typer.Argument(metavar=flag.metavar, help=text, show_default=False)
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str, argument])
    kind, choices = _kind(field.annotation)
    metavar = flag.metavar
    if choices and len("|".join(choices)) <= LONGEST_METAVAR:
        metavar = "|".join(choices)
    elif choices:
        metavar, text = "WORD", f"{text} One of {', '.join(choices)}."
    declared = option_name(name, flag) + (f"/{flag.off}" if flag.off else "")
    help_text = text + _default(field, flag)
    metavar = None if kind is bool else metavar or ("N" if _has(field.annotation, int) else "TEXT")
    option = typer.Option(declared, metavar=metavar, help=help_text, show_default=False, rich_help_panel=flag.group)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type] # a value here, which Typer takes as a type
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """What Typer is told: yes-or-no, text, or texts; `RunSettings` does the rest, so that rules live in one place."""
    if annotation is bool:
        return bool, ()
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    for part in parts:
        if typing.get_origin(part) is typing.Literal:
            return str, typing.get_args(part)
        if typing.get_origin(part) in (list, dict):
            return list[str], ()
    return str, ()


def _has(annotation: Any, kind: type) -> bool:
    return annotation is kind or kind in typing.get_args(annotation)


def _default(field: FieldInfo, flag: Flag) -> str:
    if field.is_required() or "[default" in (field.description or ""):
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ([], {}) or (isinstance(value, bool) and not flag.off):
        return ""
    shown = ("on" if value else "off") if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else value
    return f" [dim]\\[default: {shown}][/dim]"
