from __future__ import annotations

import pytest

from batchmill.data.globs import Glob, is_glob, split_base


def matches(glob: Glob, path: str) -> bool:
    *folders, name = path.encode().split(b"/")
    states = glob.start
    for folder in folders:
        states = glob.enter(states, folder)
    return bool(states) and glob.match(states, name)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("*.png", "a.png", True),
        ("*.png", "a/b.png", False),
        ("**/*.png", "a.png", True),
        ("**/*.png", "a/b/c.png", True),
        ("**", "a/b/c", True),
        ("a/**", "a/b/c", True),
        ("a/**", "b/c", False),
        ("a/**/z/*", "a/z/f", True),
        ("a/**/z/*", "a/b/z/z/f", True),
        ("a/**/z/*", "a/b/f", False),
        ("?.txt", "é.txt", True),
        ("?.txt", "ab.txt", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("a**b", "a/b", False),
        ("a**b", "axxb", True),
        ("*", ".hidden", False),
        (".*", ".hidden", True),
        ("**/f", ".hidden/f", False),
        ("a.b", "axb", False),
        ("*/x", "a/x/y", False),
    ],
)
def test_a_pattern_is_followed_folder_by_folder(pattern: str, path: str, expected: bool) -> None:
    assert matches(Glob(pattern), path) is expected


def test_hidden_names_match_when_asked_for() -> None:
    assert matches(Glob("**/*", include_hidden=True), ".a/.b")


def test_folders_that_cannot_match_are_not_entered() -> None:
    glob = Glob("2024/*/x")
    assert glob.enter(glob.start, b"2025") == ()
    assert glob.enter(glob.enter(glob.enter(glob.start, b"2024"), b"a"), b"b") == ()


def test_names_that_are_no_utf8_match() -> None:
    glob = Glob("?*.png")
    assert glob.match(glob.start, b"\xff\xfe.png")


@pytest.mark.parametrize(
    ("text", "base", "pattern"),
    [
        ("a/b/*/c?", "a/b", "*/c?"),
        ("*.png", "", "*.png"),
        ("/*.png", "/", "*.png"),
        ("a/*/", "a", "*/**"),
        ("a//./*", "a//.", "*"),
    ],
)
def test_the_base_is_what_comes_before_the_first_wildcard(text: str, base: str, pattern: str) -> None:
    assert is_glob(text)
    assert split_base(text) == (base, pattern)
