"""``batchmill run`` with options that need no second look: read without Typer, so that the work begins sooner.

Whatever is unusual (a word that is no option, a value that may be wrong, ``--help``) is left to `batchmill.cli.run`, which says what is
wrong; what is read here, it reads the same (tested).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from batchmill.settings import RunSettings
from batchmill.settings.plain import complete
from batchmill.settings.table import FIELDS, OPTIONS

_OWN = {"--quiet": "quiet", "-q": "quiet", "--json": "as_json"}


@dataclass(frozen=True)
class PlainRun:
    """What was asked for."""

    values: dict[str, Any]
    quiet: bool = False
    as_json: bool = False


def plain_run(words: list[str]) -> PlainRun | None:
    """What ``words`` (behind ``batchmill``) ask for; None where Typer has to look.

    >>> plain_run(["run", "score.py", "--input", "images", "-q"])
    PlainRun(values={'inputs': ['images'], 'script': 'score.py'}, quiet=True, as_json=False)
    >>> plain_run(["run", "--help"])
    """
    if words[:1] != ["run"]:
        return None
    words = words[1:]
    values: dict[str, Any] = {}
    if "--" in words:
        at = words.index("--")
        words, values["arguments"] = words[:at], words[at + 1 :]
    own: dict[str, bool] = {}
    rest = iter(words)
    for word in rest:
        if word in _OWN:
            own[_OWN[word]] = True
        elif not word.startswith("-"):
            if "script" in values:
                return None
            values["script"] = word
        elif not _take(word, rest, values):
            return None
    return PlainRun(values, **own) if complete(values) is not None else None


def _take(word: str, rest: Any, values: dict[str, Any]) -> bool:
    """Read one option, and its value from the words behind it; False where that is not plain."""
    option, equals, value = word.partition("=")
    if option not in OPTIONS:
        return False
    name, alone = OPTIONS[option]
    if alone is not None:
        if equals or name in values:
            return False
        values[name] = alone
        return True
    if not equals:
        value = next(rest, "-")
    if value.startswith("-"):
        return False
    if FIELDS[name][0] in ("texts", "pairs"):
        values.setdefault(name, []).append(value)
        return True
    if name in values:
        return False
    values[name] = value
    return True


def carry_out_plain(plain: PlainRun) -> int:
    """Carry the run out; returns the exit code."""
    from batchmill.cli.foreground import carry_out
    from batchmill.parallel_run.run import create_run

    code = carry_out(create_run(RunSettings.parse(plain.values)), quiet=plain.quiet, as_json=plain.as_json)
    sys.stdout.flush()
    return code
