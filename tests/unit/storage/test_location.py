from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import StoreError
from batchmill.storage import connections
from batchmill.storage.connections import Connection
from batchmill.storage.location import Location, glob_expression, parse_location, without_query


@pytest.fixture(autouse=True)
def _connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TABLE", {})
    monkeypatch.setattr(connections, "_FINDERS", [])
    connections.connect("home:near", Connection("local", "/data"))
    connections.connect("home:far", Connection("az", bucket="photos"))


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("images/", Location("local", path="images/")),
        ("/data/*.png", Location("local", path="/data/*.png")),
        ("file:///data/a%20b", Location("local", path="/data/a b")),
        ("file://localhost/data", Location("local", path="/data")),
        ("s3://bucket", Location("s3", bucket="bucket")),
        ("S3://bucket/", Location("s3", bucket="bucket")),
        ("s3://bucket/a/b/", Location("s3", bucket="bucket", prefix="a/b")),
        ("s3://bucket/a%20b", Location("s3", bucket="bucket", prefix="a%20b")),
        ("az://container/x/*.png", Location("az", bucket="container", prefix="x", pattern="*.png")),
        ("gs://b/x/[ab]/y/*.csv", Location("gs", bucket="b", prefix="x", pattern="[ab]/y/*.csv")),
        ("s3://b/*", Location("s3", bucket="b", pattern="*")),
        ("http://h:81/x/", Location("http", bucket="http://h:81", prefix="x")),
        ("datastore://home:near", Location("local", path="/data")),
        ("datastore://home:near/a/*.png", Location("local", path="/data/a/*.png")),
        (
            "datastore://home:far/a/*.png",
            Location("az", bucket="photos", prefix="a", pattern="*.png", connection="home:far", origin="datastore://home:far"),
        ),
        (
            "wasbs://photos@team.blob.core.windows.net/a b/",
            Location("az", bucket="photos", prefix="a b", connection="team/photos", origin="wasbs://photos@team.blob.core.windows.net"),
        ),
        (
            "abfss://photos@team.dfs.core.windows.net/",
            Location("az", bucket="photos", connection="team/photos", origin="abfss://photos@team.dfs.core.windows.net"),
        ),
        (
            "https://team.blob.core.windows.net/photos/a%20b%25/c.png",
            Location(
                "az", bucket="photos", prefix="a b%/c.png", connection="team/photos", origin="https://team.blob.core.windows.net/photos"
            ),
        ),
        ("https://team.blob.core.windows.net/lone.csv", Location("http", bucket="https://team.blob.core.windows.net", prefix="lone.csv")),
        ("https://team.example.org/photos/x", Location("http", bucket="https://team.example.org", prefix="photos/x")),
    ],
)
def test_texts_are_taken_apart(text: str, location: Location) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    "text",
    [
        *("s3://bucket/a/b", "az://c", "gs://b/x", "http://h:81/x/y", "datastore://home:far", "datastore://home:far/a%20b"),
        *("wasbs://photos@team.blob.core.windows.net", "https://team.blob.core.windows.net/photos"),
        *("https://team.blob.core.windows.net/photos/a b%25c", "abfss://photos@team.dfs.core.windows.net/x%20y"),
    ],
)
def test_a_url_comes_back_from_its_location(text: str) -> None:
    assert str(parse_location(text)) == parse_location(text).base == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'.*s3://, az://, gs://"),
        ("abfss://c@account/x", "abfss://c@account/x' does not name a container.*abfss://CONTAINER@ACCOUNT"),
        ("wasbs://account.blob.core.windows.net/x?sig=secret", "does not name a container"),
        ("datastore://nowhere/x", "Datastore 'nowhere' is not connected"),
        ("datastore://home:nowhere/x", "Datastore 'nowhere' of workspace 'home' is not connected"),
        ("datastore:///x", "does not name a datastore"),
        ("datastore://home:far/../x", "leads out of its datastore"),
        ("s3://", "does not name a bucket"),
        ("az:///x", "does not name a container"),
        ("s3://*/x", "does not name a bucket"),
        ("file://server/x", "another machine"),
        ("http://user:secret@host/x", "plain web address"),
        ("https://host/x?sig=secret", "plain web address"),
    ],
)
def test_what_cannot_be_a_location_says_so_in_one_line(text: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as error:
        parse_location(text)
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.png", ["a.png", ".png"], ["a/b.png", "a.pngx"]),
        ("**/*.png", ["a.png", "x/y/a.png"], ["a.jpg"]),
        ("x/**", ["x/a", "x/y/z"], ["xy", "y/x/a"]),
        ("a?c", ["abc", "aéc"], ["a/c", "ac"]),
        ("[!a]b", ["cb"], ["ab", "/b"]),
        ("[]]x", ["]x"], ["x"]),
        ("[*]", ["*"], ["a"]),
        ("a[b", ["a[b"], ["ab"]),
        ("2026-*/[0-9]*.csv", ["2026-01/7.csv"], ["2026-01/x.csv"]),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = glob_expression(pattern).fullmatch
    assert [name for name in yes if not matches(name)] == []
    assert [name for name in no if matches(name)] == []


@given(st.text(alphabet="ab*?[]!-\\/.^", max_size=12))
def test_any_text_is_a_glob(pattern: str) -> None:
    assert isinstance(glob_expression(pattern), re.Pattern)


@given(st.text(alphabet="abc/.-é", min_size=1, max_size=12))
def test_a_text_without_magic_matches_itself(name: str) -> None:
    assert glob_expression(name).fullmatch(name)


def test_secrets_of_urls_are_cut() -> None:
    assert without_query("GET https://u:p@host/x?sv=1&sig=abc in 3 s") == "GET https://host/x in 3 s"
