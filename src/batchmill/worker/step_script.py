"""Start of a script step: ``PYTHON .../batchmill/worker/step_script.py PARENT_PID SCRIPT ARGUMENTS...``.

The script runs as ``python SCRIPT ARGUMENTS...`` would run it: the same ``sys.argv``, ``sys.path``, ``__main__``, exit code and traceback.
What is added: the ``azureml`` names behind the script's own folder, lines of output that are written when they end, and the end of the
process when the runner of the pipeline dies. Needs nothing but the standard library of Python 3.9, and loads nothing of Batchmill.

Python processes that the script starts find their run (`batchmill.worker.step_questions`), but not these names: a ``PYTHONPATH`` would put
them before whatever ``azureml`` their own environment holds. Processes of ``multiprocessing`` get the path of the script, and so the names.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType, TracebackType
from typing import Any, Optional, Sequence

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = os.path.join(HERE, "names")
QUESTIONS = "BATCHMILL_STEP_QUESTIONS"
"""The variable that holds the path of the socket on which the runner answers (`batchmill.worker.step_questions`)."""


def command_of(
    python: str, script: str, arguments: Sequence[str], *, questions: Optional[str] = None, parent: Optional[int] = None
) -> tuple[list[str], dict[str, str]]:
    """The words that start a script as a step, and the environment variables that they need.

    ``script`` is absolute or below the working directory of the new process. ``questions`` is the path of the socket of a
    `batchmill.pipeline.step_questions_server.StepQuestions`. The script dies with the thread that started it in the process ``parent``
    (default: this one, which must start the words directly; 0: it does not).

    >>> words, variables = command_of("/usr/bin/python3", "train.py", ["--size", "5"], questions="/tmp/s/ask", parent=17)
    >>> words[2:], variables
    (['17', 'train.py', '--size', '5'], {'BATCHMILL_STEP_QUESTIONS': '/tmp/s/ask'})
    """
    words = [python, os.path.join(HERE, "step_script.py"), str(os.getpid() if parent is None else parent), script, *arguments]
    return words, {} if questions is None else {QUESTIONS: questions}


def main() -> None:
    """Body of the process."""
    parent, script, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    safe = bool(getattr(sys.flags, "safe_path", False))
    if not safe:
        del sys.path[0]  # the folder of this file
    if parent:
        _die_with(parent)
    _write_whole_lines()
    path = os.path.abspath(script)
    source = _read(path)
    sys.argv = [script, *arguments]
    sys.path.insert(0, NAMES)
    if not safe:
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        _run(code, path)
    except SystemExit:
        raise
    except BaseException:
        _hide_ourselves()
        raise


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends (Linux; elsewhere the runner's guardian does it)."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _write_whole_lines() -> None:
    """What a process printed before it was killed is in its log; the log is UTF-8 whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n")
        raise SystemExit(2) from None


def _run(code: CodeType, path: str) -> None:
    """Run the script as the main module."""
    from importlib.machinery import SourceFileLoader

    module = ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    module.__package__ = None
    vars(module).update(__builtins__=sys.modules["builtins"], __cached__=None, __annotations__={})
    sys.modules["__main__"] = module
    exec(code, vars(module))


def _hide_ourselves() -> None:
    """Let the traceback that is about to be printed begin with the script."""
    shown = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]) -> None:
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        shown(kind, error.with_traceback(trace), trace)

    sys.excepthook = show


if __name__ == "__main__":
    main()
