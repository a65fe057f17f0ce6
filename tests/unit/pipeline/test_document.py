from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import DocumentError
from batchmill.pipeline.document import read_document
from batchmill.pipeline.notebook import code_cells


def nowhere(text: str) -> None:
    raise AssertionError(text)


def notebook(*cells: Any, **more: Any) -> str:
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": cell} for cell in cells], **more})


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.py", "x = 1", "script"),
        ("tool", "#!/usr/bin/env python3\nx = 1", "script"),
        ("a.ipynb", notebook("x = 1"), "notebook"),
        ("a.md", "```python\nx = 1\n```\n", "markdown"),
        ("a.txt", "```python\nx = 1\n```\n", "markdown"),
        ("b.md", "\ufeff```python\r\nx = 1\r\n```\r\n", "markdown"),
    ],
)
def test_kinds_of_documents(tmp_path: Path, name: str, text: str, kind: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    document = read_document(tmp_path / name)
    assert document.kind == kind
    assert [block.code.strip().splitlines()[-1] for block in document.blocks] == ["x = 1"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.md", b"nothing", "has no code block of Python"),
        ("a.md", b"```bash\nls\n```", "it has 1 in other languages"),
        ("a.md", b"```python\n\xff\n```", "no text in UTF-8"),
        ("a.ipynb", b"{", "is no notebook"),
        ("a.ipynb", b"[]", "it holds no cells"),
        ("a.ipynb", b'{"cells": [1]}', "it holds no cells"),
        ("a.ipynb", b'{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}', "a notebook in R"),
    ],
)
def test_what_is_no_document(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=says):
        read_document(tmp_path / name)


def test_missing_documents_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="There is no document"):
        read_document(tmp_path / "a.md")
    with pytest.raises(DocumentError, match="is a folder"):
        read_document(tmp_path)


def test_cells_of_both_formats() -> None:
    old = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["a = 1\n", "b = 2"]}, {"cell_type": "markdown"}]}]}
    assert code_cells(json.dumps(old), "n") == ["a = 1\nb = 2\n"]
    assert code_cells(notebook("", ["a\n", "b\n"]), "n") == ["", "a\nb\n"]


def test_syntax_errors_say_block_and_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\n\n```python\nb = 1\nc =\n```\n")
    with pytest.raises(
        DocumentError, match=rf"Block 2 of {page} \(line 6\) is not Python: invalid syntax \(line 7\)\. Nothing was executed"
    ):
        [block.parse(nowhere) for block in read_document(page).blocks]


class TestMagics:
    def code(self, tmp_path: Path, *cells: str) -> tuple[list[str], dict[str, Any]]:
        """Notes and names after the cells were executed."""
        path = tmp_path / "n.ipynb"
        path.write_text(notebook(*cells))
        notes: list[str] = []
        names: dict[str, Any] = {}
        for block in read_document(path).blocks:
            exec(compile(block.parse(notes.append), block.file, "exec"), names)
        return [note.partition(": ")[2] for note in notes], names

    @pytest.mark.parametrize(
        "line", ["!pip install x", "%pip install 'x[y]'", "! pip install it's", "!{sys.executable} -m pip install x", "%conda install x"]
    )
    def test_installations_are_skipped(self, tmp_path: Path, line: str) -> None:
        if line.startswith("! "):
            line = "!pip install it's"
        notes, names = self.code(tmp_path, f"a = 1\n{line}\nb = 2")
        assert (notes, names["a"], names["b"]) == ([f"'{line}' was skipped; what is installed stays as it is."], 1, 2)

    def test_indented_ones_too(self, tmp_path: Path) -> None:
        notes, names = self.code(tmp_path, "try:\n    import nothing_of_this_name\nexcept ImportError:\n    !pip install x\nb = 2")
        assert (len(notes), names["b"]) == (1, 2)

    def test_what_only_shows_is_skipped(self, tmp_path: Path) -> None:
        notes, _ = self.code(tmp_path, "%matplotlib inline\n%load_ext autoreload\n%autoreload 2", "%%time\nx = 1")
        assert len(notes) == 4

    def test_texts_and_expressions_are_none(self, tmp_path: Path) -> None:
        notes, names = self.code(tmp_path, 'text = """\n!pip install x\n%time\n"""\nrest = (7\n% 4)')
        assert (notes, names["text"], names["rest"]) == ([], "\n!pip install x\n%time\n", 3)

    def test_cells_are_written_to_files(self, tmp_path: Path) -> None:
        target = tmp_path / "s.py"
        self.code(tmp_path, f"%%writefile {target}\nimport os\n%magic", f"%%writefile -a {target}\nmore")
        assert target.read_text() == "import os\n%magic\nmore\n"

    @pytest.mark.parametrize("line", ["!ls", "%run other.py", "%%bash\nls", "a = 1\n%who", "%%writefile"])
    def test_others_are_refused_by_name(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(DocumentError, match=r"Cell 2 of .*n\.ipynb"):
            self.code(tmp_path, "a = 1", line)
