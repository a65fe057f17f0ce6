"""The fenced code blocks of a Markdown text, as CommonMark and the pages of real projects write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from batchmill.errors import DocumentError

PYTHON = frozenset({"python", "python3", "py", "py3", "ipython", "ipython3", "python-interactive"})
"""What stands behind a fence whose code is Python, in small letters."""

# A fence may stand in a quotation, behind the mark of a list item, or indented below one; a fence of tildes may have ticks behind it.
OPENING = re.compile(
    r"^(?P<quote>(?:[ \t]*>)*)(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<fence>`{3,}(?=[^`]*$)|~{3,})[ \t]*(?P<info>.*)$"
)
LANGUAGE = re.compile(r"^[{.]*([^\s,{}]*)")
TITLE = re.compile(r"""(?:title|filename|file|name)=(?:"([^"]*)"|'([^']*)'|([^\s}]+))""")
COMMENT = re.compile(r"^ {0,3}<!--")


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """One block: the ``language`` behind its fence in small letters (may be empty), the ``title`` there, the ``code`` without what every
    line begins with, the ``line`` of the text on which the code begins (from 1), and the width of the ``indent`` taken away."""

    language: str
    title: str
    code: str
    line: int
    indent: int


def fenced_blocks(text: str, name: str) -> Iterator[FencedBlock]:
    """The blocks of a text in their order, those of every language.

    ``name`` names the text in errors. What an HTML comment holds is no block; a shorter fence inside a longer one is part of its code.

    >>> [(block.language, block.code, block.line) for block in fenced_blocks("a\\n~~~~ Python\\n```\\n~~~~\\n", "page")]
    [('python', '```\\n', 3)]

    Raises:
        DocumentError: a fence of Python is never closed.
    """
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        if COMMENT.match(lines[at]):
            at = _after_comment(lines, at)
            continue
        opening = OPENING.match(lines[at])
        if opening is None:
            at += 1
            continue
        end, after = _end(lines, at + 1, opening)
        block = _block(lines[at + 1 : end], at + 2, opening)
        if after > len(lines) and block.language in PYTHON:
            raise DocumentError(
                f"The code block that begins in line {at + 1} of {name} is never closed, so nobody can say where its Python ends.",
                cure=f"Write {opening['fence']} below its last line.",
            )
        yield block
        at = after


def _after_comment(lines: list[str], at: int) -> int:
    while at < len(lines) and "-->" not in lines[at]:
        at += 1
    return at + 1


def _end(lines: list[str], at: int, opening: re.Match[str]) -> tuple[int, int]:
    """Behind the last line of a block's code, and the line after the block; more than there are where nothing closes it.

    A closing fence is at least as long as the opening one and hardly deeper, so that fences inside of docstrings stay code.
    """
    fence, depth, quoted = opening["fence"], _width(opening["indent"]), bool(opening["quote"])
    closing = re.compile(rf"^(?P<quote>(?:[ \t]*>)*)(?P<indent>[ \t]*){re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    while at < len(lines):
        found = closing.match(lines[at])
        if found is not None and _width(found["indent"]) <= depth + 3:
            return at, at + 1
        if quoted and not lines[at].lstrip().startswith(">"):
            return at, at  # the quotation ends, and with it what it holds
        at += 1
    return at, at + 1


def _block(lines: list[str], line: int, opening: re.Match[str]) -> FencedBlock:
    depth, info = _width(opening["indent"]), opening["info"].strip()
    marks = opening["quote"].count(">")
    if marks:  # a blank behind the last mark belongs to it
        depth = max(0, depth - 1)
        lines = [re.sub(rf"^(?:[ \t]*>){{0,{marks}}} ?", "", each) for each in lines]
    code = [_without(each, depth) for each in lines]
    language = LANGUAGE.match(info)
    title = TITLE.search(info)
    text = "\n".join(code) + ("\n" if code else "")
    name = next((group for group in title.groups() if group), "") if title else ""
    return FencedBlock(language[1].lower() if language else "", name, text, line, depth)


def _width(blanks: str) -> int:
    return len(blanks.expandtabs(4))


def _without(line: str, depth: int) -> str:
    """The line without as many leading blanks as its fence has, or as many as it has itself."""
    head = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in head[:depth]:
        head = head.expandtabs(4)
    return head[min(depth, len(head)) :] + line.lstrip(" \t")
