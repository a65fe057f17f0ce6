"""The progress bar, on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess

from tests.conftest import BATCHMILL, Project


def on_a_terminal(project: Project, *arguments: str, **env: str) -> tuple[int, str]:
    """Exit code of the command, and all that it sent to its terminal."""
    main, terminal = pty.openpty()
    environment = project.environment({"TERM": "xterm-256color", "COLUMNS": "100", **env})
    process = subprocess.Popen([str(BATCHMILL), *arguments], cwd=project.folder, env=environment, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while chunk := os.read(main, 1 << 16):
            seen += chunk
    except OSError:  # the way a terminal says that nobody writes to it any more
        return process.wait(timeout=60), seen.decode()
    finally:
        os.close(main)
        process.kill()
        process.wait(timeout=60)
    raise AssertionError("a terminal has no end of file")


def test_the_bar_moves_and_vanishes(scored: Project) -> None:
    code, seen = on_a_terminal(scored, "run", "score.py", "--input", "in", "--mini-batch-size", "7", GATE=str(scored.folder / "score.py"))
    assert code == 0
    assert "60 items in 9 mini-batches" in seen
    assert "━" in seen
    assert re.search(r"\d/9 mini-batches  \d+ items .*0 failed  0 retried", seen)
    assert seen.count("\x1b[?25h") == seen.count("\x1b[?25l") > 0  # the cursor is back
    assert seen.index("Completed") > seen.rindex("━")


def test_a_dumb_terminal_gets_plain_lines(scored: Project) -> None:
    code, seen = on_a_terminal(scored, "run", "score.py", "--input", "in", TERM="dumb")
    assert code == 0
    assert "\x1b" not in seen
    assert "Completed" in seen


def test_no_color_is_honoured(scored: Project) -> None:
    code, seen = on_a_terminal(scored, "run", "score.py", "--input", "in", NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[3\dm", seen)


def test_wrong_input_leaves_the_terminal_as_it_was(scored: Project) -> None:
    code, seen = on_a_terminal(scored, "run", "score.py", "--input", "absent", NO_COLOR="1")
    assert code == 2
    assert seen.startswith("Error: ")
