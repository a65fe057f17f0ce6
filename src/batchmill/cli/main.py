"""The ``batchmill`` command: what its endings look like. A plain ``batchmill run`` begins without loading the tree of commands."""

from __future__ import annotations

import sys

from batchmill.cli.plain_run import carry_out_plain, plain_run
from batchmill.cli.terminal import show_error, silence
from batchmill.errors import BatchmillError

INTERRUPTED = 130
READER_LEFT = 141
"""What shells report for a program that SIGPIPE ended: 128 + 13."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted, 141 nobody reads on."""
    try:
        plain = plain_run(sys.argv[1:] if arguments is None else arguments)
        if plain is not None:
            return carry_out_plain(plain)
        from batchmill.cli.commands import run_command

        return run_command(arguments)
    except BatchmillError as error:
        show_error(error.line)
        return error.exit_code
    except KeyboardInterrupt:
        show_error("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        silence(sys.stdout)
        return READER_LEFT
