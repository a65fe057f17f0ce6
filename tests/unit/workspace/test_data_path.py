from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from batchmill.workspace.data_path import DataPath, DataPathComputeBinding, DataReference, relative_path
from batchmill.workspace.exceptions import UserErrorException

STORE: Any = SimpleNamespace(name="photos")


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        *((root, "") for root in (None, "", "/", ".", "./", "..", "../", "//")),
        *(("a", "a"), ("/a/b/", "a/b/"), ("./a", "a"), ("../../a", "a"), ("/../a", "a"), (".//a", "a")),
        *((".hidden/x", ".hidden/x"), ("..x", "..x"), ("a/../b", "a/../b"), ("a/*.png", "a/*.png")),
    ],
)
def test_paths_begin_at_the_root_of_the_store(path: str | None, relative: str) -> None:
    assert relative_path(path) == relative


def test_a_reference_to_the_root_has_the_name_of_its_store() -> None:
    for root in (None, "/", ".", "./"):
        reference = DataReference(STORE, path_on_datastore=root)
        assert reference.data_reference_name == "photos"
        assert reference.path_on_datastore is None
        assert str(reference) == repr(reference) == "$AZUREML_DATAREFERENCE_photos"


def test_a_reference_to_a_path_has_a_name_of_its_own() -> None:
    reference = DataReference(STORE, path_on_datastore="./a/b")
    assert reference.path_on_datastore == "a/b"
    assert re.fullmatch(r"[0-9a-f]{32}", reference.data_reference_name)
    assert DataReference(STORE, "mine", "a").data_reference_name == "mine"


def test_references_are_refined_into_new_ones() -> None:
    reference = DataReference(STORE, "mine", "a/")
    assert reference.path("b").path_on_datastore == "a/b"
    assert reference.path().path_on_datastore == "a/"
    assert DataReference(STORE).path("b", "other").data_reference_name == "other"
    downloaded = reference.as_download("/data", overwrite=True)
    assert (downloaded.mode, downloaded.path_on_compute, downloaded.overwrite) == ("download", "/data", True)
    assert downloaded.data_reference_name == "mine"
    assert reference.as_upload().mode == "upload"
    assert downloaded.as_mount().mode == "mount"
    assert reference.mode == "mount"


@pytest.mark.parametrize("make", [lambda: DataReference(STORE, mode="copy"), lambda: DataPathComputeBinding(mode="link")])
def test_modes_are_checked(make: Any) -> None:
    with pytest.raises(UserErrorException, match=r"Invalid mode '(copy|link)'. Mode can only be mount, download, or upload"):
        make()


def test_a_reference_needs_a_store() -> None:
    with pytest.raises(UserErrorException, match="needs a datastore"):
        DataReference(None)


def test_a_data_path_is_bound_to_a_step() -> None:
    path = DataPath(STORE, "a/b", "p")
    assert (path.datastore_name, path.path_on_datastore, path.name) == ("photos", "a/b", "p")
    reference = DataPathComputeBinding("download", "/data", True).create_data_reference("mine", path)
    assert (reference.datastore, reference.path_on_datastore, reference.mode) == (STORE, "a/b", "download")
    assert DataPath.create_from_data_reference(reference) == DataPath(STORE, "/a/b")
    assert DataPath(STORE, "a") != DataPath(STORE, "b")
    assert DataPath().datastore_name is None
