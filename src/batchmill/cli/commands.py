"""The tree of commands, each of which is a module of its own, and the endings that Typer knows."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from batchmill import __version__
from batchmill.cli import (
    compute,
    dataset,
    datastore,
    environment,
    model,
    pipelines,
    plan,
    resume,
    run,
    runs_cancel,
    runs_errors,
    runs_list,
    runs_logs,
    runs_remove,
    runs_replay,
    runs_show,
    schedules,
    serve,
    workspace,
)
from batchmill.cli import exec as exec_document
from batchmill.cli.terminal import show_error

# In the order of the help. A module has register(app, runs), which adds its command to the one or the other.
COMMANDS = (
    run,
    plan,
    exec_document,
    resume,
    runs_list,
    runs_show,
    runs_logs,
    runs_errors,
    runs_replay,
    runs_cancel,
    runs_remove,
    workspace,
    datastore,
    dataset,
    model,
    environment,
    compute,
    pipelines,
    schedules,
    serve,
)
# Typer carries the base of its usage errors only in this way across its versions.
ClickException: Any = typer.BadParameter.__mro__[2]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"batchmill {__version__}")
        raise typer.Exit


def make_app() -> typer.Typer:
    """The whole tree of commands."""
    settings: dict[str, Any] = {
        "no_args_is_help": True,
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": "rich",
        "context_settings": {"help_option_names": ["-h", "--help"]},
    }
    app = typer.Typer(help="Run a model over many files or table rows, and know the fate of every item.", **settings)
    runs = typer.Typer(help="Look at runs, cancel them, remove them.", **settings)

    @app.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
        ] = False,
    ) -> None:
        pass

    for module in COMMANDS:
        module.register(app, runs)
    app.add_typer(runs, name="runs")
    return app


def run_command(arguments: list[str] | None) -> int:
    """Run one command of the tree; returns its exit code.

    Raises:
        BatchmillError, KeyboardInterrupt, BrokenPipeError: what the command raised.
    """
    command = typer.main.get_command(make_app())
    try:
        result = command.main(arguments, prog_name="batchmill", standalone_mode=False)
        if not sys.stdout.closed:  # batchmill exec: the document may have closed it
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except ClickException as error:
        return _usage(error)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Click and Rich make exit code 1 of it
            raise end.__context__ from None
        raise
    except typer.Abort:
        raise KeyboardInterrupt from None


def _usage(error: Any) -> int:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if not message:  # a group without a command: its help has been printed
        return int(error.exit_code)
    where = f" See {context.command_path} --help." if context is not None else ""
    show_error(message.rstrip(".") + "." + where)
    return int(error.exit_code)
