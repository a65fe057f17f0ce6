"""Carries out the steps that run a script or a command: a process in a working copy of the snapshot."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill.pipeline.graph import COMMAND
from batchmill.pipeline.script_process import ScriptProcess
from batchmill.pipeline.step_cancel import StepCanceled, unless_canceled
from batchmill.pipeline.step_text import step_variables, text_of
from batchmill.pipeline.step_work import StepOutcome, StepWork
from batchmill.records import RunStatus

if TYPE_CHECKING:
    from batchmill.pipeline.script_guardian import ScriptGuardian
    from batchmill.pipeline.step_questions_server import StepQuestions
    from batchmill.workspace.environment_preparation import Interpreter

STD_LOG = "user_logs/std_log.txt"
TAIL = 4096  # bytes of the log in which its last line is looked for
LONGEST = 1000  # characters of that line in an error
SHELL_SIGNAL = 128  # what a shell adds to the number of the signal that ended its last command
NOT_INHERITED = ("AZUREML_", "AZ_BATCH", "AML_PARAMETER_", "BATCHMILL_STEP", "BATCHMILL_INCARNATION", "BATCHMILL_SECRET_KEY")
"""How the variables begin that scripts do not see: keys, and those of a step that submitted the pipeline."""
SHELL = (
    "import ctypes, os, sys\n"
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execv('/bin/sh', ['sh', '-c', sys.argv[2]])\n"
)
"""Becomes the shell, which dies with the thread of the runner that started it."""


def carry_script(work: StepWork, guardian: ScriptGuardian) -> StepOutcome:
    """Run the script of a `PYTHON` step or the command of a `COMMAND` step to its end.

    What it prints is in ``logs/user_logs/std_log.txt`` of the folder of the step run.

    Raises:
        StepCanceled: before the script began.
        BatchmillError: its environment cannot be made, or a word of it cannot be told.
    """
    from batchmill.pipeline.step_questions_server import StepQuestions
    from batchmill.workspace.run_answers import RunAnswers

    interpreter = unless_canceled(lambda: _interpreter(work), work.canceled) if work.node.environment else _interpreter(work)
    log = work.folder / "logs" / STD_LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    inputs = {name: {"mode": one.port.mode, "path": one.path, "dataset": one.dataset_id} for name, one in work.inputs.items()}
    outputs = {name: one.path for name, one in work.outputs.items()}
    with (
        RunAnswers(work.workspace, work.step_run_id, inputs, outputs, folder=work.folder / "asked") as answers,
        StepQuestions(answers.answer) as asked,
    ):
        outcome = _run(work, interpreter, log, asked, guardian)
        if answers.failure is not None and outcome.status is not RunStatus.CANCELED:
            return StepOutcome(RunStatus.FAILED, answers.failure, outcome.details)
        return outcome


def _run(work: StepWork, interpreter: Interpreter, log: Path, asked: StepQuestions, guardian: ScriptGuardian) -> StepOutcome:
    words, mark = _words(work, interpreter), f"{work.step_run_id}/{work.attempt}"
    variables = _environment(work, interpreter) | asked.variables
    began = _size(log)
    if work.canceled():
        raise StepCanceled
    guardian.watch(mark, asked.folder)
    try:
        code = ScriptProcess(words, variables, work.folder / "snapshot", log, mark).wait(work.canceled, work.node.timeout)
    except (OSError, ValueError) as error:
        return StepOutcome(RunStatus.FAILED, f"{words[0]} cannot be started: {_why(error, words, variables)}.")
    finally:
        guardian.forget(mark)
    return _outcome(work, code, log, began)


def _interpreter(work: StepWork) -> Interpreter:
    from batchmill.workspace.environment_preparation import Interpreter, prepare_environment

    if work.node.environment is None:
        return Interpreter(sys.executable)
    from batchmill.workspace.environment import Environment

    environment = Environment.from_dict(work.node.environment)
    found = prepare_environment(work.workspace, environment, announce=work.announce, folder=work.folder / "snapshot")
    for line in found.warnings:
        work.announce(line)
    return found


def _words(work: StepWork, interpreter: Interpreter) -> list[str]:
    """The words of the process."""
    from batchmill.worker.step_script import command_of

    node = work.node
    arguments = [text_of(value, work) for value in node.arguments]
    if node.kind != COMMAND:
        assert node.script is not None
        return command_of(interpreter.python, node.script, arguments)[0]
    command = " ".join(_quoted(text_of(value, work), len(node.command)) for value in node.command)
    return [sys.executable, "-S", "-E", "-c", SHELL, str(os.getpid()), " ".join([command, *_all_quoted(arguments)])]


def _quoted(word: str, count: int) -> str:
    """A command of one word is a line for the shell; of several, each is one word of it."""
    import shlex

    return word if count == 1 else shlex.quote(word)


def _all_quoted(words: list[str]) -> list[str]:
    return [_quoted(word, 2) for word in words]


def _environment(work: StepWork, interpreter: Interpreter) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    own = step_variables(work)
    hidden = {name for name, value in interpreter.variables.items() if not value}  # must not be inherited
    return {name: value for name, value in (inherited | interpreter.variables | own).items() if name in own or name not in hidden}


def _outcome(work: StepWork, code: int | None, log: Path, began: int) -> StepOutcome:
    if code == 0:
        return StepOutcome(RunStatus.COMPLETED, details={"exit_code": 0})
    if code is None and work.canceled():
        return StepOutcome(RunStatus.CANCELED)
    what = "The command" if work.node.kind == COMMAND else f"The script {work.node.script}"
    if code is None:
        return StepOutcome(RunStatus.FAILED, f"{what} ran longer than its time-out of {work.node.timeout:g} seconds and was ended.")
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    if work.node.kind == COMMAND and code > SHELL_SIGNAL:
        how = f"{how} ({_signal_name(code - SHELL_SIGNAL)})"
    last = _last_line(log, began)
    return StepOutcome(RunStatus.FAILED, f"{what} {how}: {last}" if last else f"{what} {how}.", {"exit_code": code})


def _why(error: OSError | ValueError, words: list[str], variables: Mapping[str, str]) -> str:
    if not isinstance(error, OSError):
        return str(error)  # a NUL in a word, a name that no variable can have
    if error.errno != errno.E2BIG:
        return str(error.strerror)
    size, longest = sum(len(name) + len(text) for name, text in variables.items()), max(map(len, [*words, *variables.values()]))
    arguments = sum(map(len, words))
    told = f"{arguments} characters of arguments and {size} of environment variables, {longest} in the longest of them"
    return f"{error.strerror}: {told}. Give it a file in their place"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _last_line(log: Path, began: int) -> str:
    """The last line of the log that is not empty, of those that this attempt wrote."""
    size = log.stat().st_size
    with log.open("rb") as file:
        file.seek(max(began, size - TAIL))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "")
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in last[-LONGEST:])
    return shown if shown == last else f"...{shown}" if len(last) > LONGEST else shown
