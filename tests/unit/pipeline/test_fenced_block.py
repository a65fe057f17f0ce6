from __future__ import annotations

import pytest

from batchmill.errors import DocumentError
from batchmill.pipeline.fenced_block import FencedBlock, fenced_blocks


def found(text: str) -> list[FencedBlock]:
    return list(fenced_blocks(text, "page.md"))


@pytest.mark.parametrize(
    ("info", "language", "title"),
    [
        ("python", "python", ""),
        (" Python ", "python", ""),
        ("", "", ""),
        ('python title="score.py"', "python", "score.py"),
        ("{.python .numberLines filename=a.py}", "python", "a.py"),
        ("py,ignore", "py", ""),
        ("python-interactive", "python-interactive", ""),
        ("azurecli", "azurecli", ""),
    ],
)
def test_what_stands_behind_a_fence(info: str, language: str, title: str) -> None:
    assert found(f"text\n```{info}\na = 1\n\nb = 2\n```\nmore\n") == [FencedBlock(language, title, "a = 1\n\nb = 2\n", 3, 0)]


def test_a_shorter_fence_is_part_of_the_code() -> None:
    (block,) = found('````python\ntext = """\n```\n"""\n````\n')
    assert block.code == 'text = """\n```\n"""\n'


def test_the_other_kind_of_fence_is_part_of_the_code() -> None:
    assert [block.code for block in found("~~~python\n```\n~~~\n```\n~~~\n```\n")] == ["```\n", "~~~\n"]


def test_a_fence_deep_inside_is_part_of_the_code() -> None:
    (block,) = found('```python\ndef f():\n    """\n    ```\n    """\n```\n')
    assert block.code == 'def f():\n    """\n    ```\n    """\n'


@pytest.mark.parametrize(
    ("lines", "code", "indent"),
    [
        ("1. First:\n\n   ```python\n   if True:\n       a = 1\n   ```\n", "if True:\n    a = 1\n", 3),
        ("- ```python\n  a = 1\n\n  b = 2\n  ```\n", "a = 1\n\nb = 2\n", 2),
        ("* item\n\n    ```python\n    a = 1\n  b = 2\n    ```\n", "a = 1\nb = 2\n", 4),
        ("\t```python\n\ta = 1\n\t```\n", "a = 1\n", 4),
        ("> ```python\n> if True:\n>     a = 1\n> ```\n", "if True:\n    a = 1\n", 0),
        ("> > ```python\n> > a = 1\n> > ```\n", "a = 1\n", 0),
        ("> ```python\n> a = 1\ntext\n", "a = 1\n", 0),
    ],
)
def test_blocks_in_lists_and_quotations(lines: str, code: str, indent: int) -> None:
    (block,) = found(lines)
    assert (block.code, block.indent) == (code, indent)


def test_lines_are_those_of_the_document() -> None:
    text = "---\ntitle: x\n---\n\n```bash\nls\n```\n\n```python\na\n```\n"
    assert [(block.language, block.line) for block in found(text)] == [("bash", 6), ("python", 10)]


def test_what_a_comment_holds_is_no_block() -> None:
    assert found("<!--\n```python\na\n```\n-->\n<!-- one line -->\n```python\nb\n```\n") == [FencedBlock("python", "", "b\n", 8, 0)]


def test_inline_code_is_no_fence() -> None:
    assert found("```python a = 1```\ntext\n") == []


def test_python_without_an_end_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"begins in line 2 of page\.md is never closed"):
        found("text\n```python\na = 1\n")


def test_another_language_may_go_on_to_the_end() -> None:
    assert [block.language for block in found("```text\nends here")] == ["text"]
