"""File datasets as an SDK user meets them: factories, paths, operations, downloads, mounts, named inputs (specification F2, F3, F8)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import InputError, PartitionFormatError
from batchmill.workspace.consumption import DatasetConsumptionConfig
from batchmill.workspace.data_path import DataPath
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.exceptions import DatasetValidationError, UserErrorException
from batchmill.workspace.workspace import Workspace
from tests import stores

NAMES = ("u1/2019/01/a.csv", "u1/2019/02/b.csv", "u2/2019/01/c.csv", "readme.md")


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Workspace.create("team", show_output=False)


@pytest.fixture
def folder(ws: Workspace) -> Path:
    """What the default datastore holds."""
    root = ws.folder / "workspaceblobstore"
    for name in NAMES:
        path = root / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root / "in"


@pytest.fixture
def store(ws: Workspace, folder: Path) -> Any:
    return ws.get_default_datastore()


def seen(mount_point: str) -> list[str]:
    return sorted(os.path.relpath(os.path.join(here, name), mount_point) for here, _, names in os.walk(mount_point) for name in names)


# --- factories


def test_paths_are_relative_to_what_is_before_the_first_wildcard(store: Any) -> None:
    whole = ["/readme.md", "/u1/2019/01/a.csv", "/u1/2019/02/b.csv", "/u2/2019/01/c.csv"]
    for path in ((store, "in"), (store, "in/"), (store, "/in/**"), DataPath(store, "in"), store.path("in"), [(store, "in")]):
        assert Dataset.File.from_files(path).to_path() == whole
    assert Dataset.File.from_files((store, "in/u1/**/*.csv")).to_path() == ["/2019/01/a.csv", "/2019/02/b.csv"]
    assert Dataset.File.from_files((store, "in/*/2019/01/?.csv")).to_path() == ["/u1/2019/01/a.csv", "/u2/2019/01/c.csv"]
    assert Dataset.File.from_files((store, "in/u2/2019/01/c.csv")).to_path() == ["/c.csv"]
    assert Dataset.File.from_files(store.path()).to_path() == [f"/in{path}" for path in whole]
    both = Dataset.File.from_files([(store, ["in/u2", "in/readme.md"]), store.path("in/u1/2019/02")])
    assert both.to_path() == ["/2019/01/c.csv", "/readme.md", "/b.csv"]


def test_web_addresses_keep_their_host_in_the_path(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    with stores.static_server(folder) as server:
        host = f"http%3A/%2F127.0.0.1%3A{server.port}"
        one = Dataset.File.from_files(f"{server.url}/u1/2019/01/a.csv")
        assert one.to_path() == [f"/{host}/u1/2019/01/a.csv"]
        two = Dataset.File.from_files([f"{server.url}/u1/2019/01/a.csv", f"{server.url}/readme.md"])
        assert two.to_path() == [f"/{host}/u1/2019/01/a.csv", f"/{host}/readme.md"]
        assert [Path(path).read_text() for path in two.download(tmp_path / "copy")] == ["u1/2019/01/a.csv", "readme.md"]
        assert (tmp_path / "copy" / host / "readme.md").is_file()
        with two.mount() as mounted:
            assert Path(mounted.mount_point, host, "readme.md").read_text() == "readme.md"
        with one.mount() as mounted:
            assert Path(mounted.mount_point).name == "a.csv"
            assert Path(mounted.mount_point).read_text() == "u1/2019/01/a.csv"
        with pytest.raises(DatasetValidationError, match=r"Failed to validate the data\.If data is inaccessible"):
            Dataset.File.from_files(f"{server.url}/nothing.csv")


def test_mirrored_addresses_look_as_if_they_were_not(ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setenv("BATCHMILL_MIRRORS", json.dumps({"pipelinedata/sampledata": str(folder), "https://raw.example.org/x": str(folder)}))
    web = Dataset.File.from_files("https://raw.example.org/x/u1/2019/01/a.csv")
    assert web.to_path() == ["/https%3A/%2Fraw.example.org/u1/2019/01/a.csv".replace("org/", "org/x/")]
    mnist = Datastore.register_azure_blob_container(ws, "mnist", "sampledata", "pipelinedata", overwrite=True)
    dataset = Dataset.File.from_files(path=mnist.path("u1/"), validate=False).register(ws, "mnist_sample_data", create_new_version=True)
    assert dataset.to_path() == ["/2019/01/a.csv", "/2019/02/b.csv"]


def test_k66_a_path_that_is_no_place(ws: Workspace, store: Any) -> None:
    for path in ("./local/images", "/nowhere/at/all", None, [], 3, "ftp://host/x", "", "https://a.blob.core.windows.net/c/x?sv=1&sig=s"):
        with pytest.raises(UserErrorException) as caught:
            Dataset.File.from_files(path)
        assert "Invalid argument type for `path`. It can be single value or a list of: " in str(caught.value)
    for path in ((store,), (store, 3), ("in", "in"), (store, [])):
        with pytest.raises(UserErrorException, match=r"Invalid tuple for path. Please make sure the tuple consists of a datastore"):
            Dataset.File.from_files(path)


def test_local_paths_that_are_there_are_taken(ws: Workspace, folder: Path) -> None:
    assert Dataset.File.from_files(str(folder / "u1")).to_path() == ["/2019/01/a.csv", "/2019/02/b.csv"]
    assert Dataset.File.from_files(os.path.relpath(folder / "u1" / "**" / "b.csv")).to_path() == ["/2019/02/b.csv"]


def test_missing_data_is_found_at_once_or_at_first_use(store: Any) -> None:
    for path in ((store, "out"), (store, "in/*.png"), [(store, "in"), (store, "out/x.csv")]):
        with pytest.raises(
            DatasetValidationError, match=r"Failed to validate the data.If data is inaccessible, please set validate to False. "
        ):
            Dataset.File.from_files(path)
        deferred = Dataset.File.from_files(path, validate=False)
        assert deferred.take(1).definition.operations
    with pytest.raises(InputError, match="does not exist"):
        Dataset.File.from_files((store, "out"), validate=False).to_path()
    with pytest.raises(DatasetValidationError, match="is not one file"):
        Dataset.File.from_files((store, "in"), is_file=True)
    assert Dataset.File.from_files((store, "in/readme.md"), is_file=True).to_path() == ["/readme.md"]


def test_partition_formats(store: Any) -> None:
    dataset = Dataset.File.from_files((store, "in"), partition_format="{user}/{date:yyyy/MM}/{name}.csv")
    assert dataset.partition_keys == ["user", "name", "date"]
    assert Dataset.File.from_files((store, "in")).partition_keys == []
    january = dataset.filter((dataset["date"] < datetime(2019, 2, 1)) & (dataset["user"] != "u2"))
    assert january.to_path() == ["/u1/2019/01/a.csv"]
    for broken in ("{user", "{}/x", "no columns", "{date:MM}"):
        with pytest.raises(ValueError, match="Invalid part") as caught:
            Dataset.File.from_files((store, "in"), partition_format=broken)
        assert isinstance(caught.value, PartitionFormatError)
    with pytest.raises(UserErrorException, match=r"no column 'color' to filter by. Their columns are 'user', 'name', 'date'"):
        dataset.filter(dataset["color"] == "red")


def test_upload_directory(ws: Workspace, store: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    for name in ("a.png", "deep/b.png", "deep/c.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    assert Dataset.File.upload_directory(source, (store, "up")).to_path() == ["/a.png", "/deep/b.png", "/deep/c.txt"]
    chosen = Dataset.File.upload_directory(src_dir=str(source), target=DataPath(store, "chosen"), pattern="**/*.png", show_progress=False)
    assert chosen.to_path() == ["/a.png", "/deep/b.png"]
    (source / "a.png").write_text("changed")
    kept = Dataset.File.upload_directory(source, (store, "up"), show_progress=False)
    assert Path(kept.download(tmp_path / "1")[0]).read_text() == "a.png"
    over = Dataset.File.upload_directory(source, (store, "up"), overwrite=True, show_progress=False)
    assert Path(over.download(tmp_path / "2")[0]).read_text() == "changed"
    for bad in ({"src_dir": tmp_path / "nothing"}, {"pattern": "*.jpg"}, {"target": "up"}, {"target": (store, 3)}):
        with pytest.raises(UserErrorException):
            Dataset.File.upload_directory(**{"src_dir": source, "target": (store, "up"), "show_progress": False, **bad})


# --- operations


def test_operations_give_new_datasets(store: Any) -> None:
    whole = Dataset.File.from_files((store, "in"))
    paths = whole.to_path()
    assert whole.take(2).to_path() == paths[:2]
    assert whole.skip(1).take(2).to_path() == paths[1:3]
    assert whole.take(0).to_path() == []
    first, second = whole.random_split(0.5, seed=3)
    assert sorted(first.to_path() + second.to_path()) == paths
    assert first.to_path() == whole.random_split(percentage=0.5, seed=3)[0].to_path()
    unseeded = whole.random_split(0.5)
    assert sorted(unseeded[0].to_path() + unseeded[1].to_path()) == paths
    sample = whole.take_sample(probability=0.5)
    assert sample.to_path() == sample.to_path()
    assert whole.take_sample(1.0, seed=1).to_path() == paths
    assert whole.to_path() == paths


def test_filters_by_what_is_known_of_files(store: Any, folder: Path) -> None:
    (folder / "large.bin").write_bytes(b"x" * 2000)
    old = (datetime.now(UTC) - timedelta(days=40)).replace(microsecond=0)  # which a float holds exactly
    os.utime(folder / "readme.md", (old.timestamp(), old.timestamp()))
    whole = Dataset.File.from_files((store, "in"))
    assert whole.filter(whole.file_metadata("Size") > 1000).to_path() == ["/large.bin"]
    recent = whole.filter(whole.file_metadata("CreatedTime") > datetime.now(UTC) - timedelta(days=30))
    assert "/readme.md" not in recent.to_path()
    assert len(recent.to_path()) == 4
    assert whole.filter(whole.file_metadata("Extension") == ".md").data_changed_time == old
    assert whole.data_changed_time > datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda one: one.take(-1),
        lambda one: one.take("3"),
        lambda one: one.skip(1.5),
        lambda one: one.take_sample(1.2),
        lambda one: one.take_sample("half"),
        lambda one: one.random_split(-0.1),
        lambda one: one.random_split(0.5, seed="x"),
        lambda one: one.filter("x > 3"),
        lambda one: one[3],
        lambda one: one.filter(one["x"] > 3),
    ],
)
def test_operations_that_make_no_sense(store: Any, call: Any) -> None:
    with pytest.raises(UserErrorException):
        call(Dataset.File.from_files((store, "in")))


def test_a_dataset_is_no_list(store: Any) -> None:
    with pytest.raises(TypeError, match="not iterable: use to_path"):
        list(Dataset.File.from_files((store, "in")))


# --- downloads


def test_downloads_keep_relative_paths(store: Any, tmp_path: Path) -> None:
    dataset = Dataset.File.from_files((store, "in"))
    target = tmp_path / "copy"
    assert dataset.download(str(target)) == [str(target) + path for path in dataset.to_path()]
    assert seen(str(target)) == sorted(NAMES)
    (target / "readme.md").unlink()
    there = target / "u1/2019/01/a.csv"
    with pytest.raises(UserErrorException) as caught:
        dataset.download(target)
    assert f'File "{there}" already exists. Set overwrite=True to overwrite it, ' in caught.value.message
    assert not (target / "readme.md").exists()
    there.write_text("changed")
    dataset.download(target_path=target, overwrite=True)
    assert there.read_text() == "u1/2019/01/a.csv"
    anywhere = dataset.take(1).download()
    assert Path(anywhere[0]).read_text() == "readme.md"
    Path(anywhere[0]).unlink()
    Path(anywhere[0]).parent.rmdir()


def test_two_files_of_one_path_do_not_fit_into_a_folder(store: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "u2/2019/01/a.csv").write_text("another")
    (folder / "more").mkdir()
    (folder / "more" / "a.csv").mkdir()
    (folder / "more" / "a.csv" / "x").write_text("below a name of a file")
    for paths in (["in/u1/2019/01", "in/u2/2019/01"], ["in/u1/2019/01", "in/more"], ["in/more", "in/u1/2019/01"]):
        dataset = Dataset.File.from_files((store, paths))
        with pytest.raises(UserErrorException, match="cannot lie in one folder"):
            dataset.download(tmp_path / "copy")
        with pytest.raises(UserErrorException, match="cannot lie in one folder"):
            dataset.mount().start()
    assert not (tmp_path / "copy").exists()


# --- mounts


def test_a_mount_is_a_folder_of_links_while_it_lasts(store: Any, folder: Path) -> None:
    dataset = Dataset.File.from_files((store, "in"))
    with dataset.mount() as mounted:
        point = mounted.mount_point
        assert seen(point) == sorted(NAMES)
        assert Path(point, "u1/2019/01/a.csv").read_text() == "u1/2019/01/a.csv"
        assert os.path.getsize(os.path.join(point, "readme.md")) == len("readme.md")
    assert not os.path.lexists(point)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(NAMES)
    again = dataset.mount()
    with pytest.raises(UserErrorException, match="not mounted yet"):
        again.mount_point  # noqa: B018
    again.start()
    again.start()
    assert seen(again.mount_point) == sorted(NAMES)
    again.stop()
    again.stop()


def test_where_a_mount_may_be(store: Any, tmp_path: Path) -> None:
    dataset = Dataset.File.from_files((store, "in/u1"))
    with dataset.mount(tmp_path / "new" / "place") as mounted:
        assert mounted.mount_point == str(tmp_path / "new" / "place")
        assert seen(mounted.mount_point) == ["2019/01/a.csv", "2019/02/b.csv"]
        with pytest.raises(UserErrorException, match="is there already and is no empty folder"):
            dataset.mount(tmp_path / "new" / "place").start()
    assert not (tmp_path / "new" / "place").exists()
    (tmp_path / "empty").mkdir()
    with dataset.mount("empty") as mounted:
        assert seen(mounted.mount_point) == ["2019/01/a.csv", "2019/02/b.csv"]
    assert list((tmp_path / "empty").iterdir()) == []
    assert os.access(tmp_path / "empty", os.W_OK)
    with pytest.raises(UserErrorException, match="no empty folder"):
        dataset.mount(tmp_path).start()


def test_i7_a_dataset_of_one_file_is_mounted_as_the_file(store: Any, tmp_path: Path) -> None:
    dataset = Dataset.File.from_files((store, "in/u1/2019/01/a.csv"))
    with dataset.mount() as mounted:
        assert os.path.basename(mounted.mount_point) == "a.csv"
        assert Path(mounted.mount_point).read_text() == "u1/2019/01/a.csv"
    with dataset.mount(tmp_path / "deep" / "as.csv") as mounted:
        assert Path(tmp_path / "deep" / "as.csv").read_text() == "u1/2019/01/a.csv"
        with pytest.raises(UserErrorException, match="something is there already"):
            dataset.mount(tmp_path / "deep" / "as.csv").start()
    assert not os.path.lexists(tmp_path / "deep" / "as.csv")
    for path in ("in/u1/2019/01/*.csv", "in/u1/2019/01"):
        with Dataset.File.from_files((store, path)).mount() as mounted:
            assert os.listdir(mounted.mount_point) == ["a.csv"]


WRITES = """
import os, sys
os.setgid(65534); os.setuid(65534)
point, single = sys.argv[1:]
for attempt in (
    lambda: open(os.path.join(point, "new"), "w"),
    lambda: open(os.path.join(point, "u1", "new"), "w"),
    lambda: os.unlink(os.path.join(point, "readme.md")),
    lambda: os.rename(os.path.join(point, "readme.md"), os.path.join(point, "other")),
    lambda: os.mkdir(os.path.join(point, "u1", "new")),
    lambda: open(os.path.join(point, "readme.md"), "w"),
    lambda: os.unlink(single),
):
    try:
        attempt()
    except PermissionError:
        continue
    sys.exit("a mount was changed")
assert open(os.path.join(point, "u1/2019/01/a.csv")).read() == "u1/2019/01/a.csv"
"""


def test_a_mount_is_read_only(store: Any, folder: Path) -> None:
    whole, single = Dataset.File.from_files((store, "in")), Dataset.File.from_files((store, "in/readme.md"))
    with whole.mount() as mounted, single.mount() as one:
        point = Path(mounted.mount_point)
        folders = [point, *(path for path in point.rglob("*") if path.is_dir()), Path(one.mount_point).parent]
        assert [oct(path.stat().st_mode & 0o777) for path in folders] == ["0o555"] * len(folders)
        if os.geteuid() != 0:
            pytest.skip("NOT TESTED: only root can become somebody else")
        for path in [*folder.parents, folder, *folder.rglob("*")]:
            if path.is_dir() and os.stat(path).st_mode & 0o055 != 0o055:
                path.chmod(0o755)
        done = subprocess.run([sys.executable, "-c", WRITES, str(point), one.mount_point], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_mount_ends_with_its_process(store: Any, tmp_path: Path) -> None:
    script = tmp_path / "forgets.py"
    script.write_text(
        "from batchmill.workspace.dataset import Dataset\n"
        "from batchmill.workspace.workspace import Workspace\n"
        "ws = Workspace.get('team')\n"
        "mounted = Dataset.File.from_files((ws.get_default_datastore(), 'in')).mount()\n"
        "mounted.start()\n"
        "print(mounted.mount_point)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    point = done.stdout.strip()
    assert "batchmill-mount-" in point
    assert not os.path.lexists(point)


KILLED = """
import os, signal, sys
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.workspace import Workspace
store = Workspace.get("team").get_default_datastore()
places = (("in", None), ("in/u1", "there"), ("in/readme.md", "one.md"))
mounts = [Dataset.File.from_files((store, path)).mount(place) for path, place in places]
for mount in mounts:
    mount.start()
    print(mount.mount_point, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_mount_takes_away_what_a_killed_process_left(store: Any, tmp_path: Path) -> None:
    def killed() -> list[str]:
        return subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False).stdout.split()

    left = killed()
    assert len([place for place in left if os.path.lexists(place)]) == 3
    whole = Dataset.File.from_files((store, "in"))
    with whole.mount():
        assert [place for place in left if os.path.lexists(place)] == []
    left = killed()
    for here, _, _ in os.walk(tmp_path / "there"):
        os.chmod(here, 0o755)
    shutil.rmtree(tmp_path / "there")
    (tmp_path / "one.md").unlink()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").symlink_to(tmp_path)
    (tmp_path / "one.md").symlink_to(tmp_path)
    with whole.mount():
        assert not os.path.lexists(left[0])
    assert (tmp_path / "there" / "mine").is_symlink()
    assert (tmp_path / "one.md").is_symlink()


def test_a_fork_leaves_the_mount_to_its_parent(store: Any) -> None:
    code = (
        "import os, sys\n"
        "from batchmill.workspace.dataset import Dataset\n"
        "from batchmill.workspace.workspace import Workspace\n"
        "with Dataset.File.from_files((Workspace.get('team').get_default_datastore(), 'in')).mount() as mounted:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        sys.exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    print(os.listdir(mounted.mount_point))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "readme.md" in done.stdout


# --- named inputs


def test_named_inputs(store: Any) -> None:
    dataset = Dataset.File.from_files((store, "in"))
    named = dataset.as_named_input("images")
    assert (named.name, named.mode, named.dataset, named.path_on_compute) == ("images", "direct", dataset, None)
    mounted = named.as_mount(path_on_compute="/data")
    assert (mounted.name, mounted.mode, mounted.path_on_compute) == ("images", "mount", "/data")
    assert named.mode == "direct"
    assert named.as_download().mode == "download"
    assert DatasetConsumptionConfig("x", dataset, mode="MOUNT").mode == "mount"
    automatic = dataset.as_mount()
    assert automatic.name.startswith("input_")
    assert automatic.name != dataset.as_mount().name
    assert dataset.as_download("below").path_on_compute == "below"
    assert repr(mounted) == "DatasetConsumptionConfig(name='images', mode='mount', path_on_compute='/data')"


@pytest.mark.parametrize("name", ["1st", "a-b", "", "a b", "a\n", "ä", None, 3])
def test_input_names_that_may_not_be(store: Any, name: Any) -> None:
    with pytest.raises(UserErrorException) as caught:
        Dataset.File.from_files((store, "in")).as_named_input(name)
    assert caught.value.message == (
        f'Invalid input name "{name}". The name can only be alphanumeric characters and underscore, and must not begin with a number.'
    )


def test_reserved_names_only_warn(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    Dataset.File.from_files((store, "in")).as_named_input("path")
    assert "that of an environment variable" in caplog.text


def test_modes_and_parameters(store: Any) -> None:
    dataset = Dataset.File.from_files((store, "in"))

    class Parameter:
        default_value: Any = dataset

    assert DatasetConsumptionConfig("x", Parameter()).default_dataset is dataset
    with pytest.raises(UserErrorException, match=r"Invalid mode 'copy'. Mode can only be mount, download, hdfs, link, or direct"):
        DatasetConsumptionConfig("x", dataset, mode="copy")
    Parameter.default_value = "text"
    for other in (Parameter(), "text", None):
        with pytest.raises(UserErrorException, match="give a dataset or a PipelineParameter of one"):
            DatasetConsumptionConfig("x", other)
