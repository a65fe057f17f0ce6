"""``batchmill exec``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from batchmill.pipeline.document import Document
    from batchmill.pipeline.document_run import DocumentRun

WORDS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


def register(app: typer.Typer, runs: typer.Typer) -> None:
    """Add the command."""
    app.command("exec", context_settings=WORDS)(execute)


def execute(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A Python file, a notebook (.ipynb), or a Markdown text with Python blocks.", show_default=False
        ),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...", help="What the document finds in sys.argv.")] = None,
    prelude: Annotated[
        list[Path] | None,
        typer.Option(
            "--prelude", metavar="FILE", help="Executed first, in the same namespace: what the document leaves to its reader. Repeatable."
        ),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", "--blocks", help="Show the blocks and what becomes of them; execute nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing about entry scripts and skipped lines.")] = False,
) -> int:
    """Execute a Python file, a notebook, or the Python blocks of a Markdown document, in order and in one namespace.

    The azureml names resolve (package azureml-compat), and so do URLs of the workspace's mirror map. Options of the document stand
    after --.

    A block that defines run() for a ParallelRunConfig further down is written to the file that it names, and not executed.

    Exit codes: 0 all blocks done, 1 a block failed, 2 the document cannot be executed, 130 interrupted; or what the document exits with.
    """
    from batchmill.cli.terminal import tell
    from batchmill.pipeline.document import read_document
    from batchmill.pipeline.document_run import DocumentRun

    document = read_document(file)
    preludes = [read_document(path) for path in prelude or ()]
    run = DocumentRun(document, preludes, arguments or (), tell=(lambda text: None) if quiet or listed else tell)
    if listed:
        _print_blocks(document, run)
        return 0
    run.run()
    return 0


def _print_blocks(document: Document, run: DocumentRun) -> None:
    """One line a block, in the order of the document."""
    from batchmill.cli.terminal import table

    rows = [(other.line, "", other.language or "no language", "skipped", "") for other in document.others]
    for block in document.blocks:
        first = next((line.strip() for line in block.code.splitlines() if line.strip()), "")
        what = "executed"
        if block.number in run.scripts.written:
            naming = run.scripts.written[block.number]
            what = f"entry script {naming.name or ''}".rstrip() + f", written in block {naming.block}"
        elif block.number in run.scripts.replaced:
            what = "entry script, replaced by a later block"
        rows.append((block.line if document.kind == "markdown" else 0, str(block.number), "python", what, first[:60]))
    if document.kind == "markdown":
        rows.sort()
    lines = [("Line" if document.kind == "markdown" else "", "Block", "Language", "What", "First line")]
    lines += [(str(line) if line else "", number, language, what, first) for line, number, language, what, first in rows]
    print("\n".join(table([row if document.kind == "markdown" else row[1:] for row in lines])))
