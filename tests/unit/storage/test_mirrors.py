from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.errors import SettingError
from batchmill.storage.mirrors import Mirrors

BLOB = "https://pipelinedata.blob.core.windows.net"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (f"{BLOB}/sampledata/mnist/0.png", "/m/sample/mnist/0.png"),
        (f"{BLOB}/sampledata", "/m/sample"),
        (f"{BLOB}/sampledata/", "/m/sample/"),
        (f"{BLOB}/sampledata/a%20b/**/*.png", "/m/sample/a b/**/*.png"),
        ("wasbs://sampledata@pipelinedata.blob.core.windows.net/mnist/*.png", "/m/sample/mnist/*.png"),
        ("abfss://sampledata@pipelinedata.dfs.core.windows.net/mnist/", "/m/sample/mnist/"),
        (f"{BLOB}/sampledata-2/x", "s3://mirror/all/sampledata-2/x"),
        (f"{BLOB}/iris-model/iris_model.pkl", "/m/iris/iris_model.pkl"),
        ("https://download.example.org/models/x.tar.gz", "/m/models/x.tar.gz"),
        ("http://DOWNLOAD.example.org/models/x.tar.gz", "/m/models/x.tar.gz"),
        ("https://download.example.org/modelsx/x", None),
        ("https://other.example.org/models/x", None),
        ("https://one.example.org/d/file.csv", "/m/one.csv"),
        ("s3://photos/2026/a.png", "https://mirror.example.org/photos/2026/a.png"),
        ("s3://photos/2026/a b.png", "https://mirror.example.org/photos/2026/a%20b.png"),
        ("az://photos/2026/a.png", None),
        ("images/", None),
        ("/data/images", None),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(text: str, target: str | None) -> None:
    mirrors = Mirrors(
        {
            "pipelinedata": "s3://mirror/all/",
            "pipelinedata/sampledata": "/m/sample",
            f"{BLOB}/iris-model/": "/m/iris",
            "https://download.example.org/models": "/m/models/",
            "https://one.example.org/d/file.csv": "/m/one.csv",
            "s3://photos": "https://mirror.example.org/photos",
        }
    )
    assert mirrors.target(text) == target


def test_containers_are_found_by_account_and_name() -> None:
    mirrors = Mirrors({"pipelinedata/sampledata": "/m/sample", "wasbs://models@other.blob.core.windows.net/": "az://copies/models"})
    assert mirrors.container("pipelinedata", "sampledata") == "/m/sample"
    assert mirrors.container("PipelineData", "sampledata") == "/m/sample"
    assert mirrors.container("other", "models") == "az://copies/models"
    assert mirrors.container("pipelinedata", "else") is None


def test_a_folder_of_the_home_is_found() -> None:
    assert Mirrors({"acc/con": "~/mirror"}).container("acc", "con") == str(Path.home() / "mirror")


def test_the_map_is_read_from_json() -> None:
    assert Mirrors.parse('{"acc/con": "/m"}').container("acc", "con") == "/m"
    assert not Mirrors.parse(" ")
    assert not Mirrors.parse("{}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "BATCHMILL_MIRRORS is not a JSON object of texts"),
        ("[]", "not a JSON object"),
        ('{"a/b": 1}', "not a JSON object"),
        ('{"": "/m"}', "the prefix ''"),
        ('{"A B": "/m"}', "the prefix 'A B', which is neither a URL nor ACCOUNT/CONTAINER"),
        ('{"s3://": "/m"}', "the prefix 's3://'"),
        ('{"acc/con": "relative/folder"}', "maps 'acc/con' to 'relative/folder', which is neither an absolute folder nor the URL"),
        ('{"acc/con": "ftp://host/x"}', "maps 'acc/con' to 'ftp://host/x'"),
    ],
)
def test_a_broken_map_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as error:
        Mirrors.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["%2e%2e/secret", "a/%2E%2E/%2e%2e/secret", "../secret"])
def test_nothing_leads_out_of_a_mirror(path: str) -> None:
    mirrors = Mirrors({"https://example.org/data": "/mirror/data"})
    assert mirrors.target("https://example.org/data/a") == "/mirror/data/a"
    assert mirrors.target(f"https://example.org/data/{path}") is None
