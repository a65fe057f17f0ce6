"""What the pages state holds: generated pages are current, links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
SECTION = re.compile(r"\[[^\]]*\]\(([^)#\s]*)#([^)]*)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def test_generated_pages_are_current() -> None:
    for path, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.relative_to(ROOT)} is old: run `make docs` and commit the page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_sections_lead_somewhere(page: Path) -> None:
    for target, section in SECTION.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            headings = HEADING.findall((page.parent / target if target else page).read_text(encoding="utf-8"))
            assert section in {_anchor(heading) for heading in headings}, f"{page.name}: {target}#{section}"


def _anchor(heading: str) -> str:
    """As code hosts make it: small letters, signs dropped, blanks as hyphens."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_module_carries_a_noun_of_the_glossary() -> None:
    rooms = ("storage", "data", "worker", "workspace", "parallel_run", "nodes", "pipeline", "testing")
    folder = ROOT / "src" / "batchmill"
    modules = {f"{room}.{path.stem}" for room in rooms for path in (folder / room).glob("*.py") if not path.stem.startswith("__")}
    rows = [line for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    named = [name for row in rows for name in re.findall(r"`(\w+\.\w+)`", row.split(" | ")[-1])]
    assert sorted(named) == sorted(set(named)), "a module carries one noun"
    assert set(named) == modules, "docs/glossary.md: give a new module's noun a line, or add the module to the line of its noun"


def test_lines_are_of_readable_length() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        long = [line for line in text.splitlines() if len(line) > 140 and not line.startswith("|")]
        assert long == [], f"{page.relative_to(ROOT)} has lines of more than 140 characters"


def test_every_page_is_linked_to() -> None:
    linked = {
        (page.parent / link).resolve() for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link
    }
    assert [str(page) for page in (ROOT / "docs").rglob("*.md") if page not in linked and page != ROOT / "docs" / "index.md"] == []


def test_every_setting_of_a_workspace_is_described() -> None:
    from batchmill.cli.workspace import update
    from batchmill.workspace.workspace_settings import KNOWN

    rows = [line for line in (ROOT / "docs" / "how-to" / "workspace.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])} == set(KNOWN)
    assert set(KNOWN) <= set(re.findall(r"\w+", update.__doc__ or ""))
