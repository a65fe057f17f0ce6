"""Registered datasets as an SDK user meets them (specification F7, K65, A6.7), on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import BatchmillError
from batchmill.workspace.dataset import Dataset, find_dataset
from batchmill.workspace.exceptions import UserErrorException
from batchmill.workspace.file_dataset import FileDataset
from batchmill.workspace.workspace import Workspace


@pytest.fixture
def ws(database: str) -> Workspace:
    return Workspace.create("team", show_output=False)


@pytest.fixture
def store(ws: Workspace, tmp_path: Path) -> Any:
    """The default datastore, with two folders of files in it."""
    for name in ("old/1.txt", "old/2.txt", "new/3.txt"):
        path = ws.folder / "workspaceblobstore" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return ws.get_default_datastore()


def refused(call: Any) -> str:
    with pytest.raises(UserErrorException) as caught:
        call()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_k65_versions_of_a_name(ws: Workspace, store: Any) -> None:
    first, second = Dataset.File.from_files((store, "old")), Dataset.File.from_files((store, "new"))
    registered = first.register(ws, "images", description="all of them", tags={"from": "scanner"})
    assert (registered.name, registered.version, registered.description, registered.tags) == (
        "images",
        1,
        "all of them",
        {"from": "scanner"},
    )
    assert refused(lambda: second.register(ws, "images")).startswith(
        'There is already a dataset registered under name "images". '
        "Specify `create_new_version=True` to register the dataset as a new version."
    )
    newer = second.register(workspace=ws, name="images", create_new_version=True)
    assert (newer.version, newer.tags) == (2, {})
    assert Dataset.get_by_name(ws, "images", version=1).to_path() == ["/1.txt", "/2.txt"]
    assert Dataset.get_by_name(ws, "images", version="1").id == registered.id
    for latest in (
        Dataset.get_by_name(ws, "images"),
        Dataset.get_by_name(workspace=ws, name="images", version="latest"),
        ws.datasets["images"],
    ):
        assert (latest.to_path(), latest.id, latest.version) == (["/3.txt"], newer.id, 2)
    assert 'Cannot find dataset registered with name "images" (version: 99) in the workspace.' in refused(
        lambda: Dataset.get_by_name(ws, "images", version=99)
    )


def test_a6_7_the_same_definition_again_is_the_same_version(ws: Workspace, store: Any) -> None:
    """The tutorial registers input_images without create_new_version each time it is run."""
    dataset = Dataset.File.from_files((store, "old"))
    first = dataset.register(ws, "input_images", description="images")
    for create_new_version in (False, True):
        again = Dataset.File.from_files((store, "old")).register(ws, "input_images", create_new_version=create_new_version)
        assert (again.id, again.version, again.description) == (first.id, 1, "images")
    Dataset.File.from_files((store, "new")).register(ws, "input_images", create_new_version=True)
    assert dataset.register(ws, "input_images", create_new_version=True).version == 3


def test_the_original_stays_unregistered_but_saved(ws: Workspace, store: Any) -> None:
    dataset = Dataset.File.from_files((store, "old"))
    assert (dataset.id, dataset.name, dataset.version, dataset.tags, dataset.description) == (None, None, None, {}, None)
    registered = dataset.register(ws, "images")
    assert (dataset.name, dataset.version) == (None, None)
    assert dataset.id is not None
    assert registered is not dataset
    found = Dataset.get_by_id(ws, dataset.id)
    assert (found.name, found.version, found.definition) == (None, None, dataset.definition)
    assert Dataset.get_by_id(ws, id=registered.id).name == "images"
    saved = Dataset.File.from_files((store, "new"))
    identity = saved.save(ws)
    assert saved.id == identity == saved.save(ws) == Dataset.File.from_files((store, "new")).save(ws)
    assert Dataset.get_by_id(ws, identity).to_path() == ["/3.txt"]
    assert list(ws.datasets) == ["images"]


def test_names_and_versions_that_are_not_there(ws: Workspace, store: Any) -> None:
    Dataset.File.from_files((store, "old")).register(ws, "images")
    assert refused(lambda: Dataset.get_by_name(ws, "image")) == (
        "Cannot find dataset registered with name \"image\" in the workspace. Did you mean 'images'?"
    )
    assert refused(lambda: Dataset.get_by_id(ws, "not-an-id")) == 'Cannot find dataset with id "not-an-id" in the workspace.'
    for version in ("newest", 1.5, True, [1], "-1"):
        text = f'Invalid value {version} for version. Version value must be number or "latest".'
        assert refused(lambda version=version: Dataset.get_by_name(ws, "images", version)) == text
    for version in (0, -1, 10**30):
        assert f"(version: {version}) in the workspace." in refused(lambda version=version: Dataset.get_by_name(ws, "images", version))
    for name in ("", " ", "a/b", "a:1", "a:b:latest", "id:a", None, 3):
        assert "cannot be registered as" in refused(lambda name=name: Dataset.File.from_files((store, "old")).register(ws, name))


def test_tags_and_description(ws: Workspace, store: Any) -> None:
    dataset = Dataset.File.from_files((store, "old")).register(ws, "images", tags={"a": "1", "b": "2"})
    assert dataset.add_tags({"b": "3", "c": 4}).tags == {"a": "1", "b": "3", "c": "4"}
    assert dataset.remove_tags(["a", "c", "never"]).tags == {"b": "3"}
    assert dataset.update(description="new words").description == "new words"
    assert dataset.update(tags={"only": "this"}).tags == {"only": "this"}
    found = Dataset.get_by_name(ws, "images")
    assert (found.description, found.tags, found.version) == ("new words", {"only": "this"}, 1)
    one, other = Dataset.get_by_name(ws, "images"), Dataset.get_by_name(ws, "images")
    one.add_tags({"mine": "1"})
    assert other.add_tags({"yours": "2"}).tags == {"only": "this", "mine": "1", "yours": "2"}
    assert one.remove_tags("mine").tags == {"only": "this", "yours": "2"}
    plain = Dataset.File.from_files((store, "old"))
    for call in (lambda: plain.add_tags({"a": "1"}), lambda: plain.remove_tags(["a"]), plain.update, plain.unregister_all_versions):
        assert "is not registered" in refused(call)
    Dataset.get_by_name(ws, "images").unregister_all_versions()
    assert "has been removed" in refused(lambda: dataset.add_tags({"a": "1"}))


def test_unregistering(ws: Workspace, store: Any) -> None:
    Dataset.File.from_files((store, "old")).register(ws, "images")
    second = Dataset.File.from_files((store, "new")).register(ws, "images", create_new_version=True)
    second.unregister_all_versions()
    assert (second.name, second.version, second.id) == (None, None, None)
    assert "images" not in ws.datasets
    assert 'Cannot find dataset registered with name "images" in the workspace.' in refused(lambda: Dataset.get_by_name(ws, "images"))
    assert second.to_path() == ["/3.txt"]
    assert second.register(ws, "images").version == 1


def test_all_datasets_are_a_mapping(ws: Workspace, store: Any) -> None:
    assert dict(Dataset.get_all(ws)) == {}
    for name in ("b", "a"):
        Dataset.File.from_files((store, "old")).register(ws, name)
    found = Dataset.get_all(ws)
    assert list(found) == list(found.keys()) == ["a", "b"]
    assert "a" in found
    assert "c" not in found
    assert isinstance(found["a"], FileDataset)
    assert list(FileDataset.get_all(ws)) == ["a", "b"]
    assert FileDataset.get_by_id(ws, FileDataset.get_by_name(ws, "a").id).name == "a"
    assert len(found) == 2


def test_names_of_the_command_line(ws: Workspace, store: Any) -> None:
    first = Dataset.File.from_files((store, "old")).register(ws, "a:b")
    second = Dataset.File.from_files((store, "new")).register(ws, "a:b", create_new_version=True)
    for text, expected in (("a:b", second), ("a:b:1", first), ("a:b:latest", second), (f"id:{first.id}", first)):
        asset, definition = find_dataset(ws, text)
        assert (asset.id, definition) == (expected.id, expected.definition)
    assert "(version: 7)" in refused(lambda: find_dataset(ws, "a:b:7"))


def test_a_dataset_of_no_datastore_can_be_kept_in_several_workspaces(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    other = Workspace.create("other", show_output=False)
    dataset = Dataset.File.from_files(str(tmp_path / "x.txt"))
    here, there = dataset.save(ws), dataset.save(other)
    assert here == dataset.save(ws)
    assert Dataset.get_by_id(ws, here).to_path() == Dataset.get_by_id(other, there).to_path() == ["/x.txt"]
    registered = dataset.register(ws, "one")
    assert registered.register(other, "one").version == 1
    assert Dataset.get_by_id(other, registered.save(other)).to_path() == ["/x.txt"]


def test_a_dataset_belongs_to_the_workspace_of_its_datastores(ws: Workspace, store: Any) -> None:
    other = Workspace.create("other", show_output=False)
    dataset = Dataset.File.from_files((store, "old"))
    assert "reads from datastores of workspace team and cannot be kept in workspace other" in refused(
        lambda: dataset.register(other, "images")
    )
    web = Dataset.File.from_files("https://example.org/data/1.csv", validate=False)
    assert web.register(other, "web").version == web.register(ws, "web").version == 1


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ({}, "'kind' is None"),
        ({"kind": "file", "sources": []}, "'sources' must be a list"),
        ({"kind": "file", "sources": ["datastore://workspaceblobstore/old"], "operations": [{"op": "shuffle"}]}, "is unknown"),
        ({"kind": "file", "sources": ["x"], "from_the_future": 1}, "the field 'from_the_future' is unknown"),
    ],
)
def test_a_broken_definition_is_named(ws: Workspace, definition: dict[str, Any], why: str) -> None:
    asset = ws.registry.add("dataset", "broken", definition)
    for call in (lambda: Dataset.get_by_name(ws, "broken"), lambda: Dataset.get_by_id(ws, asset.id), lambda: find_dataset(ws, "broken")):
        text = refused(call)
        assert text.startswith('Dataset "broken" (version: 1) cannot be used. The definition of a dataset cannot be read: ')
        assert why in text


def test_a_datastore_that_is_gone_is_named(ws: Workspace, tmp_path: Path) -> None:
    from batchmill.workspace.datastore import Datastore

    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"1")
    photos = Datastore.register_local_folder(ws, "photos", folder)
    dataset = Dataset.File.from_files((photos, "/")).register(ws, "photos")
    photos.unregister()
    with pytest.raises(BatchmillError, match="no datastore 'photos' in workspace team"):
        dataset.to_path()


def test_shown_to_people_and_programs(ws: Workspace, store: Any) -> None:
    dataset = Dataset.File.from_files((store, "old"), partition_format="{n}.txt")
    part = dataset.filter(dataset["n"] == "1").take(3).register(ws, "part", description="<b>one</b>", tags={"k": "v"})
    name, _, told = repr(part).partition("\n")
    assert name == "FileDataset"
    assert json.loads(told) == {
        "source": ["datastore://workspaceblobstore/old"],
        "partition_format": "{n}.txt",
        "operations": ["filter(dataset['n'] == '1')", "take(count=3)"],
        "registration": {"id": part.id, "name": "part", "version": 1, "description": "<b>one</b>", "tags": {"k": "v"}, "workspace": "team"},
    }
    assert str(part) == repr(part)
    page = part._repr_html_()
    assert "<td>part</td>" in page
    assert "&lt;b&gt;one" in page
    assert "registration" not in repr(dataset)
