"""A plain ``batchmill run`` is read without Typer, and reads the same."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.cli.options import ScriptCommand, takes_settings
from batchmill.cli.plain_run import plain_run
from batchmill.errors import BatchmillError
from batchmill.settings import RunSettings
from batchmill.settings.declared import RunSettings as Declared
from batchmill.settings.plain import complete
from batchmill.settings.table import FIELDS, OPTIONS
from tests.unit.cli.test_options import EXAMPLES

VALUES = [
    "1",
    "0",
    "-1",
    "007",
    "2.5",
    "1e3",
    "nan",
    "",
    " ",
    "a=b",
    "=",
    "csv",
    "CSV",
    "null",
    "10KB",
    "5rows",
    "a.txt",
    "é",
    "\udcff",
    "-q",
    "DEBUG",
]
words = st.lists(
    st.sampled_from([*OPTIONS, "-q", "--quiet", "--json", "--", "score.py", "--help", "--detach", "--nothing"])
    | st.sampled_from(VALUES)
    | st.builds("{}={}".format, st.sampled_from(list(OPTIONS)), st.sampled_from(VALUES)),
    max_size=6,
)
options_with_values = st.tuples(st.sampled_from([name for name, (_, alone) in OPTIONS.items() if alone is None]), st.sampled_from(VALUES))


def by_typer(arguments: list[str]) -> tuple[dict[str, Any], bool, bool] | None:
    """What `batchmill.cli.run` would get; None where Typer or a validator refuses."""
    seen: list[tuple[dict[str, Any], bool, bool]] = []

    def command(values: dict[str, Any], *, quiet: bool = False, as_json: bool = False) -> None:
        seen.append((values, quiet, as_json))

    from batchmill.cli.options import Json, Quiet

    command.__annotations__ |= {"quiet": Quiet, "as_json": Json}
    app = typer.Typer(add_completion=False)
    app.command(cls=ScriptCommand)(takes_settings(command))
    try:
        typer.main.get_command(app).main(list(arguments), standalone_mode=False)
        values, quiet, as_json = seen[0]
        return Declared.parse(values).model_dump(), quiet, as_json
    except (BatchmillError, typer.BadParameter.__mro__[2], IndexError):  # type: ignore[misc]
        return None


def agree(arguments: list[str]) -> bool:
    """True where the quick reading took the words."""
    plain = plain_run(["run", *arguments])
    if plain is None:
        return False
    assert (RunSettings.parse(plain.values).model_dump(), plain.quiet, plain.as_json) == by_typer(arguments)
    return True


@given(words)
@settings(max_examples=60, deadline=None)
def test_any_words_are_read_as_typer_reads_them(arguments: list[str]) -> None:
    agree(["score.py", *arguments])
    agree(arguments)


@given(st.lists(options_with_values, max_size=3))
@settings(max_examples=100, deadline=None)
def test_options_with_values_are_read_as_typer_reads_them(pairs: list[tuple[str, str]]) -> None:
    agree(["score.py", *(word for pair in pairs for word in pair)])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_option_is_read_as_typer_reads_it(name: str) -> None:
    given_words, _ = EXAMPLES[name]
    agree(["score.py", *given_words])


def test_usual_words_are_plain() -> None:
    assert agree(
        ["score.py", "--input", "a", "--input=b", "--mini-batch-size", "10", "--workers", "2", "--output", "out", "-q", "--", "-x"]
    )
    assert agree(["--no-isolate-failures", "score.py", "--run-invocation-timeout", "5", "--output-action", "summary_only", "--json"])


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "nothing"]),
        st.none()
        | st.booleans()
        | st.integers(-3, 3)
        | st.floats()
        | st.sampled_from(VALUES)
        | st.lists(st.sampled_from(VALUES), max_size=2),
    )
)
@settings(deadline=None)
def test_the_quick_check_agrees_with_the_declaration(values: dict[str, Any]) -> None:
    found = complete({"script": "score.py", **values})
    if found is not None:
        declared = Declared(**{"script": "score.py", **values})
        assert found == declared.model_dump()
        assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in declared}


def test_settings_read_again_are_the_same() -> None:
    values = {"script": "score.py", "inputs": "images", "header": "true", "environment_variables": ["A=1"], "partition_keys": ["k"]}
    settings = RunSettings.parse(values)
    assert settings == RunSettings.from_json(settings.to_json()) == RunSettings(**settings.model_dump(mode="json"))
    assert settings.model_dump() == Declared.parse(values).model_dump()
    assert settings.model_copy(update={"inputs": []}).inputs == []
    with pytest.raises(AttributeError):
        settings.workers = 2  # type: ignore[misc]


def test_a_plain_run_loads_neither_typer_nor_pydantic() -> None:
    code = (
        "import sys\n"
        "import batchmill.cli.foreground, batchmill.cli.main, batchmill.nodes.coordinator\n"
        "from batchmill.cli.plain_run import plain_run\n"
        "assert plain_run(['run', 'score.py', '--input', 'x', '--workers', '2'])\n"
        "print(sorted({'typer', 'pydantic', 'rich', 'pandas', 'pyarrow', 'sqlalchemy', 'argparse'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
