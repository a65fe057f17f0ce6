"""A document with Python in it: a script, a notebook, or a Markdown text with fenced blocks."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from batchmill.errors import DocumentError
from batchmill.pipeline.fenced_block import PYTHON, fenced_blocks
from batchmill.pipeline.magic import without_magics
from batchmill.pipeline.notebook import code_cells

Kind = Literal["script", "notebook", "markdown"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document that is executed as one.

    ``number`` counts the blocks of Python from 1; ``line`` is the line of the document (of the cell, in a notebook) on which the code
    begins, ``indent`` how far it is indented there, and ``file`` what tracebacks call the place.
    """

    number: int
    code: str
    line: int
    file: str
    where: str
    title: str = ""
    indent: int = 0

    def parse(self, tell: Callable[[str], None]) -> ast.Module:
        """Its syntax tree, with the lines and columns of the document.

        ``tell`` is called with what was passed over.

        Raises:
            DocumentError: it is not Python.
        """
        code = without_magics(self.code, self.where, tell)
        try:
            tree = ast.parse(code, self.file)
        except SyntaxError as error:
            raise not_python(self.where, error.msg, self.line + error.lineno - 1 if error.lineno else None) from None
        except ValueError as error:
            raise not_python(self.where, str(error)) from None
        for node in ast.walk(tree):
            if isinstance(node, (ast.expr, ast.stmt, ast.excepthandler, ast.arg, ast.keyword, ast.alias)):
                node.col_offset += self.indent
                if node.end_col_offset is not None:
                    node.end_col_offset += self.indent
        return ast.increment_lineno(tree, self.line - 1)


def not_python(where: str, why: str, line: int | None = None) -> DocumentError:
    """The error for a block that Python refuses, before anything is executed; ``line`` is one of the document."""
    return DocumentError(f"{where} is not Python: {why}{f' (line {line})' if line else ''}.", cure="Nothing was executed.")


@dataclass(frozen=True, slots=True)
class OtherBlock:
    """A block of a Markdown document in another language, which is not executed."""

    language: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds; ``others`` are the blocks that are passed over, ``name`` is the path as the user gave it."""

    path: Path
    name: str
    kind: Kind
    blocks: tuple[Block, ...]
    others: tuple[OtherBlock, ...] = ()


def read_document(path: Path) -> Document:
    """Read a document; its kind follows from its name: ``.py`` and ``.ipynb``, and anything else is Markdown.

    Raises:
        DocumentError: it is missing, unreadable, or holds no Python.
    """
    name, text = str(path), _text(path)
    path = path.absolute()
    if path.suffix in (".py", ".pyw") or (not path.suffix and text.startswith("#!") and "python" in text.partition("\n")[0]):
        return Document(path, name, "script", (Block(1, text, 1, str(path), name),))
    if path.suffix == ".ipynb":
        return Document(path, name, "notebook", _cells(path, name, text))
    return _markdown(path, name, text)


def _markdown(path: Path, name: str, text: str) -> Document:
    blocks: list[Block] = []
    others: list[OtherBlock] = []
    for found in fenced_blocks(text, name):
        if found.language not in PYTHON:
            others.append(OtherBlock(found.language, found.line))
            continue
        number = len(blocks) + 1
        where = f"Block {number} of {name} (line {found.line})"
        blocks.append(Block(number, found.code, found.line, str(path), where, found.title, found.indent))
    if not blocks:
        more = f"; it has {len(others)} in other languages" if others else ""
        raise DocumentError(
            f"{name} has no code block of Python{more}.", cure="Fence Python with ```python, or give a .py or .ipynb file its name."
        )
    return Document(path, name, "markdown", tuple(blocks), tuple(others))


def _cells(path: Path, name: str, text: str) -> tuple[Block, ...]:
    cells = enumerate(code_cells(text, name), start=1)
    return tuple(Block(number, code, 1, f"{path}, cell {number}", f"Cell {number} of {name}") for number, code in cells)


def _text(path: Path) -> str:
    try:
        if path.suffix in (".py", ".pyw"):
            with tokenize.open(path) as file:  # as its coding line says
                return file.read()
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DocumentError(f"There is no document {path}.") from None
    except IsADirectoryError:
        raise DocumentError(f"{path} is a folder, not a document.") from None
    except OSError as error:
        raise DocumentError(f"Cannot read the document {path}: {error.strerror}.") from None
    except (UnicodeDecodeError, SyntaxError):
        raise DocumentError(f"{path} is no text in UTF-8.", cure="Save it as UTF-8.") from None
