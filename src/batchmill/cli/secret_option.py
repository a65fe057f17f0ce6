"""Options that take a secret: from a variable, from stdin, from a file; as a plain value only with a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

FORMS = "env:NAME, - (stdin) or @FILE"


def secret_option(name: str, what: str) -> Any:
    """The declaration of such an option; ``what`` it is for begins its help."""
    return typer.Option(name, metavar="SECRET", help=f"{what}: {FORMS}.", show_default=False, rich_help_panel="Credentials")


def read_secrets(given: Mapping[str, str | None]) -> dict[str, str]:
    """The secrets of options that were given, by their names: texts, or ``env:NAME`` as it is.

    Raises:
        UsageError: a file cannot be read, stdin is empty, or two options want it.
    """
    from batchmill.errors import UsageError

    wanted = {name: text for name, text in given.items() if text is not None}
    from_stdin = [name for name, text in wanted.items() if text == "-"]
    if len(from_stdin) > 1:
        raise UsageError(
            f"Options {' and '.join(map(_option, from_stdin))} both read stdin.", cure="Give one of them as env:NAME or @FILE."
        )
    return {name: _read(_option(name), text) for name, text in wanted.items()}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read(option: str, text: str) -> str:
    from batchmill.cli.terminal import tell
    from batchmill.errors import UsageError

    if text == "-":
        secret = _from_stdin(option)
    elif text.startswith("@"):
        try:
            with open(text[1:], encoding="utf-8") as file:
                secret = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"The file {text[1:]} of option {option} cannot be read: {reason}.", cure="Check the path.") from None
    elif text.startswith("env:"):
        return text
    else:
        tell(f"Warning: the value of {option} can be read in the shell's history and in the list of processes. Better: {FORMS}.")
        secret = text
    if not secret.strip():
        raise UsageError(f"Option {option} was given an empty secret.", cure=f"Give it as {FORMS}.")
    return secret.strip()


def _from_stdin(option: str) -> str:
    import sys

    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(f"{option[2:].replace('-', ' ').capitalize()}: ", stream=sys.stderr)
    return sys.stdin.read()
