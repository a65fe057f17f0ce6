"""Executing a document: its blocks in one namespace, in order, as the main program of this process."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import linecache
import os
import select
import sys
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError, DocumentError, DocumentFailedError
from batchmill.pipeline.document import Block, Document, not_python
from batchmill.pipeline.entry_script_block import NAMER, EntryScriptBlocks, Naming, entry_script_blocks, name_calls, script_path
from batchmill.pipeline.mirrored_url import mirrored_urls
from batchmill.pipeline.written_script import write_script

Tell = Callable[[str], None]
FUTURES = 0x1FF0000
"""The bits of a code object's flags that stand for ``from __future__`` imports; they hold for the blocks behind as well."""
SDK_MODULES = (
    "azureml.core",
    "azureml.core.compute",
    "azureml.core.runconfig",
    "azureml.data",
    "azureml.data.data_reference",
    "azureml.pipeline.core",
    "azureml.pipeline.core.schedule",
    "azureml.pipeline.steps",
    "azureml.widgets",
)
"""Where the names of the SDK are that documents forget to import."""


class DocumentRun:
    """One execution of a document after its preludes.

    ``arguments`` are its ``sys.argv[1:]``; ``tell`` gets what a person may want to know, line by line.

    Raises:
        DocumentError: a block is not Python; nothing is executed.
    """

    def __init__(self, document: Document, preludes: Sequence[Document] = (), arguments: Sequence[str] = (), *, tell: Tell) -> None:
        self._document, self._preludes, self._arguments, self._tell = document, preludes, list(arguments), tell
        self._blocks = {id(each): [(block, block.parse(tell)) for block in each.blocks] for each in (*preludes, document)}
        own = self._blocks[id(document)]
        self.scripts = entry_script_blocks(own) if document.kind != "script" else EntryScriptBlocks()
        for each in (*preludes, document):
            self._check(each)
        self._flags = 0

    def run(self) -> None:
        """Execute the preludes, then the document.

        Raises:
            DocumentError: a block imports `azureml`, and there is no such package here. Nothing has been executed then.
            DocumentFailedError: a block raised; its traceback stands on stderr.
            SystemExit, KeyboardInterrupt: a block raised it.
        """
        _require_names(tree for blocks in self._blocks.values() for _, tree in blocks)
        with _main_program(self._document, self._arguments) as main, mirrored_urls():
            if self._document.kind == "notebook":
                main.__dict__["display"] = print
                for block in self._document.blocks:  # tracebacks show its lines, which no file holds
                    linecache.cache[block.file] = (len(block.code), None, block.code.splitlines(keepends=True), block.file)
            for document in (*self._preludes, self._document):
                main.__file__ = str(document.path)
                self._flags = 0
                for block, tree in self._blocks[id(document)]:
                    if document is not self._document or block.number not in self.scripts:
                        self._execute(document, block, tree, main)

    def _check(self, document: Document) -> None:
        """What only the compiler refuses (a ``return`` outside of a function) is refused before anything is executed, too."""
        self._flags = 0
        for block, tree in self._blocks[id(document)]:
            try:
                with warnings.catch_warnings(action="ignore"):  # those of the code come when it is executed
                    code = compile(tree, block.file, "exec", self._flags, dont_inherit=True)
            except SyntaxError as error:
                raise not_python(block.where, error.msg, error.lineno) from None
            if document is not self._document or block.number not in self.scripts:
                self._flags |= code.co_flags & FUTURES

    def _execute(self, document: Document, block: Block, tree: ast.Module, main: types.ModuleType) -> None:
        namings = [naming for naming in self.scripts.written.values() if naming.block == block.number] if document is self._document else []
        if namings:
            name_calls(tree, namings)
            main.__dict__[NAMER] = lambda called, number: self._writing(called, namings[number])
        try:
            for code in self._compiled(tree, block, shows=document.kind == "notebook"):
                exec(code, main.__dict__)
        except SystemExit:
            raise
        except BaseException as error:
            self._failed(error, block)
        finally:
            main.__dict__.pop(NAMER, None)

    def _compiled(self, tree: ast.Module, block: Block, *, shows: bool) -> Iterator[types.CodeType]:
        """The code of a block; a notebook shows the value of an expression at the end of a cell, unless a semicolon follows."""
        shown = shows and tree.body and isinstance(tree.body[-1], ast.Expr) and not block.code.rstrip().endswith(";")
        last = tree.body.pop() if shown else None
        code = compile(tree, block.file, "exec", self._flags, dont_inherit=True)
        self._flags |= code.co_flags & FUTURES
        yield code
        if last is not None:
            yield compile(ast.Interactive([last]), block.file, "single", self._flags, dont_inherit=True)

    def _writing(self, called: Callable[..., Any], naming: Naming) -> Callable[..., Any]:
        """``ParallelRunConfig`` as its call in the document sees it: it writes the script, then does what it does."""

        def config(*arguments: Any, **keywords: Any) -> Any:
            number = self.scripts.at(naming)
            block = next(block for block in self._document.blocks if block.number == number)
            path = script_path(arguments, keywords)
            kept = write_script(path, block.code)
            self._tell(f"{block.where} is an entry script: it was written to {_short(path)}, not executed.")
            if kept is not None:
                self._tell(f"What stood in {_short(path)} before is in {_short(kept)} now.")
            return called(*arguments, **keywords)

        return config

    def _place(self, shown: traceback.TracebackException, block: Block) -> tuple[str, str]:
        """The block that was executed, and the line that raised, of whichever block."""
        cells = {each.file: each for blocks in self._blocks.values() for each, _ in blocks}
        frame = next((frame for frame in reversed(shown.stack) if frame.filename in cells), None)
        if frame is None:
            return block.where, ""
        where = block.where.partition(" (line ")[0]
        other = "" if frame.filename == block.file else f" in {cells[frame.filename].where.partition(' (line ')[0]}"
        return where, f",{other} line {frame.lineno}"

    def _failed(self, error: BaseException, block: Block) -> None:
        """Say which line failed and why; always raises."""
        shown = traceback.TracebackException.from_exception(error)
        _drop_own_frames(shown)
        where, place = self._place(shown, block)
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            self._tell(f"Interrupted: {where}{place}.")
            raise KeyboardInterrupt from None
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            raise error
        with suppress(ValueError):  # the document closed it
            sys.stdout.flush()
        sys.stderr.write("".join(shown.format()))
        raise DocumentFailedError(f"{where}{place} failed: {_line_of(error).rstrip('.')}.", cure=_cure(error), block=block.number) from None


def _line_of(error: BaseException) -> str:
    """The error in one line, without what only its traceback needs to show."""
    if isinstance(error, BatchmillError):
        return f"{type(error).__name__}: {error.line}"
    return " ".join("".join(traceback.format_exception_only(error)).split())


def _cure(error: BaseException) -> str | None:
    if isinstance(error, NameError) and not isinstance(error, UnboundLocalError) and error.name:
        line = _import_of(error.name)
        hint = f" ({line})" if line else ""
        return f"If the document leaves '{error.name}' to its reader, define it in a file{hint} and give that as --prelude FILE."
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Install what provides '{error.name}' beside Batchmill, or give a --prelude FILE that makes it importable."
    return None


def _import_of(name: str) -> str | None:
    """The line that imports a module or a name of the SDK; None for any other name."""
    with suppress(ImportError, ValueError):
        if importlib.util.find_spec(name) is not None:
            return f"import {name}"
    for module in SDK_MODULES:
        with suppress(ImportError):
            if hasattr(importlib.import_module(module), name):
                return f"from {module} import {name}"
    return None


def _drop_own_frames(shown: traceback.TracebackException) -> None:
    """Take the frames of this module out, also of what an error was caused by."""
    seen: set[int] = set()
    waiting: list[traceback.TracebackException | None] = [shown]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.stack[:] = [frame for frame in one.stack if frame.filename != __file__]
            waiting += [one.__cause__, one.__context__]


def _nobody_reads() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _require_names(trees: Iterator[ast.Module]) -> None:
    """The names of the SDK must be here before anything is executed.

    Raises:
        DocumentError: a block imports them, and they are not.
    """
    if not any(_imports_azureml(node) for tree in trees for node in ast.walk(tree)):
        return
    try:
        found = importlib.util.find_spec("azureml.core")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise DocumentError(
            "The document imports azureml, and no package here has that name.",
            cure="Install the names beside Batchmill, from its source folder: pip install ./azureml-compat. Nothing was executed.",
        )


def _imports_azureml(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(one.name.partition(".")[0] == "azureml" for one in node.names)
    return isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == "azureml"


@contextmanager
def _main_program(document: Document, arguments: Sequence[str]) -> Iterator[types.ModuleType]:
    """The module ``__main__`` of a document, with ``sys.argv`` and ``sys.path`` as Python makes them for a script; put back afterwards.

    Beside the folder of the document, a notebook or Markdown text finds modules in the current folder.
    """
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __file__=str(document.path))
    folders = [str(document.path.parent)]
    if document.kind != "script" and os.getcwd() not in folders:
        folders.append(os.getcwd())
    before = sys.modules["__main__"], list(sys.argv), list(sys.path)
    own = str(Path(sys.argv[0]).absolute().parent) if sys.argv and sys.argv[0] else None
    rest = sys.path[1:] if sys.path[:1] == [own] else list(sys.path)
    sys.modules["__main__"], sys.argv, sys.path[:] = main, [document.name, *arguments], [*folders, *rest]
    try:
        yield main
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
