"""Blocks of a document that are an entry script, and the ``ParallelRunConfig`` that names the file of each."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchmill.errors import DocumentError
from batchmill.pipeline.document import Block

CONFIG = "ParallelRunConfig"
NAMER = "__batchmill_entry_script__"
"""What a call of ``ParallelRunConfig`` becomes a call of while its document is executed."""


@dataclass(frozen=True, slots=True)
class Naming:
    """A call of ``ParallelRunConfig`` in block ``block``, and the name of its entry script where it stands there as a text."""

    block: int
    call: ast.Call
    name: str | None


@dataclass
class EntryScriptBlocks:
    """Which blocks are entry scripts: ``written`` at which call, or ``replaced`` by a later block for the same call."""

    written: dict[int, Naming] = field(default_factory=dict)
    replaced: dict[int, int] = field(default_factory=dict)

    def __contains__(self, number: object) -> bool:
        return number in self.written or number in self.replaced

    def at(self, naming: Naming) -> int | None:
        """The number of the block that is written at a call."""
        return next((number for number, found in self.written.items() if found is naming), None)


def entry_script_blocks(blocks: Sequence[tuple[Block, ast.Module]]) -> EntryScriptBlocks:
    """Which blocks define ``run(`` at their top level for a ``ParallelRunConfig`` of a later block.

    A call takes the last block before it that says the name of the script, in its title or a comment. Calls whose names no block says take
    the blocks that are left in their order, the last ones where there are more blocks than calls. A ``run`` that no later block names is an
    ordinary function, and its block an ordinary block.
    """
    aliases = _aliases(tree for _, tree in blocks)
    found = EntryScriptBlocks()
    waiting: list[Block] = []
    calls: list[Naming] = []
    for block, tree in blocks:
        if defines_run(tree):
            _settle(waiting, calls, found)
            waiting.append(block)
        else:
            calls += [Naming(block.number, call, _literal_name(call)) for call in _calls(tree, aliases)]
    _settle(waiting, calls, found)
    return found


def defines_run(tree: ast.Module) -> bool:
    """True for a module with a function ``run`` that takes an argument."""
    return any(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "run" and (node.args.args or node.args.posonlyargs)
        for node in tree.body
    )


def name_calls(tree: ast.Module, namings: Sequence[Naming]) -> None:
    """Let the calls of a block ask `NAMER` for what they call, with the position of each in ``namings``."""
    for number, naming in enumerate(namings):
        asked = ast.Call(ast.Name(NAMER, ast.Load()), [naming.call.func, ast.Constant(number)], [])
        naming.call.func = ast.copy_location(asked, naming.call.func)
    ast.fix_missing_locations(tree)


def script_path(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Path:
    """Where the entry script of a ``ParallelRunConfig`` with these arguments lies.

    Raises:
        DocumentError: it has none, or one outside of its source directory.
    """
    script = keywords.get("entry_script", arguments[1] if len(arguments) > 1 else None)
    source = keywords.get("source_directory", arguments[8] if len(arguments) > 8 else None)
    if not isinstance(script, (str, os.PathLike)) or not str(script).strip():
        raise DocumentError(f"The {CONFIG} of the document has no entry_script, so its script cannot be written.", cure="Name one.")
    folder = Path(str(source).strip() if source else ".").absolute()
    path = Path(os.path.normpath(folder / str(script).strip()))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise DocumentError(
            f"The entry script {script} of the document lies outside of {'its source_directory ' if source else ''}{folder}.",
            cure="A script is written only below it: name a path there.",
        )
    return path


def _settle(waiting: list[Block], calls: list[Naming], found: EntryScriptBlocks) -> None:
    """Give the calls seen since the last script their blocks; both lists are emptied, unless there was no call yet."""
    if not calls:
        return
    rest: list[Naming] = []
    named: set[str | None] = {None}
    for naming in calls:
        saying = [block for block in waiting if naming.name and _says(block, naming.name) and block.number not in found]
        if saying:
            found.written[saying[-1].number] = naming
        elif naming.name not in named or naming.name is None:
            rest.append(naming)
        named.add(naming.name)
    left = [block for block in waiting if block.number not in found.written]
    for block, naming in zip(left[-len(rest) :] if rest else [], rest, strict=False):
        found.written[block.number] = naming
    for block in waiting:
        if block.number not in found.written:
            found.replaced[block.number] = calls[0].block
    waiting.clear()
    calls.clear()


def _says(block: Block, name: str) -> bool:
    base = os.path.basename(name)
    comments = (line for line in block.code.splitlines() if line.lstrip().startswith("#"))
    return os.path.basename(block.title) == base or any(re.search(rf"(?<![\w.-]){re.escape(base)}(?![\w-])", line) for line in comments)


def _calls(tree: ast.Module, aliases: frozenset[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if (isinstance(called, ast.Name) and called.id in aliases) or (isinstance(called, ast.Attribute) and called.attr == CONFIG):
                yield node


def _aliases(trees: Iterator[ast.Module]) -> frozenset[str]:
    names = {CONFIG}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {one.asname for one in node.names if one.name == CONFIG and one.asname}
    return frozenset(names)


def _literal_name(call: ast.Call) -> str | None:
    value = next(
        (keyword.value for keyword in call.keywords if keyword.arg == "entry_script"), call.args[1] if len(call.args) > 1 else None
    )
    return value.value.strip() if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
