"""What flows into the steps of a pipeline and out of them: datasets, paths and outputs, on this machine and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from batchmill.pipeline.graph import (
    DatasetSource,
    InputPort,
    Node,
    OutputPort,
    OutputSource,
    Parameter,
    ParameterSource,
    PathSource,
    Reference,
)
from batchmill.pipeline.step_outputs import destination
from batchmill.workspace.dataset import Dataset
from batchmill.workspace.datastore import Datastore
from batchmill.workspace.registered_run import RegisteredRun
from batchmill.workspace.workspace import Workspace
from tests import stores, used_secrets
from tests.pipeline_runs import end_runners, ended, log, node, std_log, steps, submitted

LOOKS = """
import json, os, sys
found = {}
for name in sys.argv[1:]:
    path = os.environ[name]
    if os.path.isdir(path):
        files = sorted(os.path.relpath(os.path.join(at, one), path) for at, _, some in os.walk(path) for one in some)
        found[name] = {"path": path, "files": files, "writable": os.access(path, os.W_OK) or os.getuid() == 0}
    else:
        found[name] = {"path": path, "text": open(path).read() if os.path.exists(path) else None}
print(json.dumps(found))
"""
WRITES = """
import os, sys
for path in sys.argv[2:]:
    if sys.argv[1] == "folder":
        os.makedirs(path, exist_ok=True)
        os.makedirs(os.path.join(path, "below"))
        open(os.path.join(path, "a.csv"), "w").write("k,v\\n1,2\\n3,4\\n")
        open(os.path.join(path, "below", "b.txt"), "w").write("b")
    elif sys.argv[1] == "file":
        open(path, "w").write("only a file")
"""
STORE = "workspaceblobstore"
KEYS = {"access_key_id": used_secrets.S3_ACCESS_KEY_ID, "secret_access_key": used_secrets.S3_SECRET_ACCESS_KEY}
CSV = {"format": "csv", "pattern": "**/*.csv"}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    found = Workspace.create("team", show_output=False)
    for name, text in {"images/1.txt": "one", "images/sub/2.txt": "two", "images/sub/3.csv": "a,b\n1,2\n"}.items():
        path = found.folder / STORE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield found
    end_runners(found)


@pytest.fixture(scope="module")
def moto() -> Iterator[stores.Server]:
    with stores.s3_server() as server:
        server.create("steps")
        yield server


@pytest.fixture
def bucket(ws: Workspace, moto: stores.Server, tmp_path: Path) -> Any:
    store = Datastore.register_s3_bucket(ws, "bucket", "steps", **KEYS, endpoint=moto.url, prefix=tmp_path.name)
    store.upload(ws.folder / STORE / "images", "images", show_progress=False)
    return store


def _dataset(ws: Workspace, path: str, store: str = STORE) -> DatasetSource:
    dataset = Dataset.File.from_files((ws.datastores[store], path), validate=False)
    return DatasetSource("file", dataset.definition.to_dict(), dataset.save(ws))


def _seen(ws: Workspace, folder: Path, ports: list[InputPort], parameters: dict[str, Parameter] | None = None) -> Any:
    """What a script sees of its inputs."""
    one = node(ws, folder, "looks", LOOKS, [port.name for port in ports], inputs=tuple(ports))
    run = ended(ws, submitted(ws, [one], parameters).id)
    assert run.status == "Completed", f"{run.error}\n{log(ws, run.id)}"
    return json.loads(std_log(steps(ws, run.id)["looks"]))


def _step(ws: Workspace, nodes: list[Node], name: str, status: str = "Completed") -> RegisteredRun:
    run = ended(ws, submitted(ws, nodes).id)
    assert run.status == status, f"{run.error}\n{log(ws, run.id)}"
    return steps(ws, run.id)[name]


def test_datasets(ws: Workspace, tmp_path: Path) -> None:
    folder, single = _dataset(ws, "images/**"), _dataset(ws, "images/sub/2.txt")
    absolute = tmp_path / "there" / "absolute"
    ports = [
        InputPort("whole", folder),
        InputPort("copied", folder, "download"),
        InputPort("direct", folder, "direct"),
        InputPort("single", single),
        InputPort("copied_single", single, "download"),
        InputPort("relative", folder, path_on_compute="data/in"),
        InputPort("absolute", folder, "download", path_on_compute=str(absolute)),
    ]
    seen = _seen(ws, tmp_path, ports)
    files = ["1.txt", "sub/2.txt", "sub/3.csv"]
    assert {name: one.get("files") for name, one in seen.items() if "files" in one} == dict.fromkeys(
        ("whole", "copied", "relative", "absolute"), files
    )
    assert seen["direct"] == {"path": folder.id, "text": None}
    assert (seen["single"]["text"], Path(seen["single"]["path"]).name) == ("two", "2.txt")
    assert seen["copied_single"]["text"] == "two"
    assert seen["relative"]["path"].endswith("/snapshot/data/in")
    assert seen["absolute"]["path"] == str(absolute)
    assert not Path(seen["whole"]["path"]).exists()  # a mount ends with its step


def test_paths_of_datastores(ws: Workspace, tmp_path: Path) -> None:
    local = ws.folder / STORE / "images"
    ports = [
        InputPort("inplace", PathSource(STORE, "images")),
        InputPort("copied", PathSource(STORE, "images/sub"), "download"),
        InputPort("filled", PathSource(STORE, "new/place"), "upload"),
        InputPort("linked", PathSource(STORE, "images"), path_on_compute="here"),
        InputPort("file", PathSource(STORE, "images/1.txt")),
    ]
    seen = _seen(ws, tmp_path, ports)
    assert seen["inplace"]["path"] == str(local)
    assert seen["copied"]["files"] == ["2.txt", "3.csv"]
    assert seen["filled"] == {"path": str(ws.folder / STORE / "new" / "place"), "files": [], "writable": True}
    assert seen["linked"]["path"].endswith("/snapshot/here")
    assert seen["linked"]["files"] == seen["inplace"]["files"]
    assert seen["file"] == {"path": str(local / "1.txt"), "text": "one"}


def test_parameters(ws: Workspace, tmp_path: Path) -> None:
    parameters = {
        "data": Parameter("data", "dataset", asdict(_dataset(ws, "images/sub"))),
        "where": Parameter("where", "datapath", {"datastore": STORE, "path": "images"}),
    }
    ports = [InputPort("data", ParameterSource("data")), InputPort("where", ParameterSource("where"))]
    seen = _seen(ws, tmp_path, ports, parameters)
    assert seen["data"]["files"] == ["2.txt", "3.csv"]
    assert seen["where"]["path"] == str(ws.folder / STORE / "images")


def test_an_input_that_is_not_there(ws: Workspace, tmp_path: Path) -> None:
    missing = _dataset(ws, "nothing/here")
    one = node(ws, tmp_path, "looks", LOOKS, ["data"], inputs=(InputPort("data", missing),))
    step = _step(ws, [one], "looks", "Failed")
    assert "nothing/here" in str(step.error)
    assert "Traceback" not in str(step.error)


def _writer(ws: Workspace, folder: Path, kind: str, *ports: OutputPort) -> Node:
    return node(ws, folder, "writes", WRITES, [kind, *(Reference("output", port.name) for port in ports)], outputs=ports)


def _reader(ws: Workspace, folder: Path, *ports: InputPort) -> Node:
    return node(ws, folder, "looks", LOOKS, [port.name for port in ports], inputs=ports)


@pytest.mark.parametrize("store", [STORE, "bucket"])
def test_outputs_and_who_reads_them(ws: Workspace, bucket: Any, tmp_path: Path, store: str) -> None:
    plain = OutputPort("plain", store)
    there = OutputPort("there", store, "dataset/{run-id}/{output-name}", exists=True, register={"name": "made", "tags": {"a": "b"}})
    table = OutputPort("table", store, mode="upload", exists=True, source_globs="*.csv", register={"name": "table"}, read=CSV)
    writes = _writer(ws, tmp_path, "folder", plain, there, table)
    looks = _reader(
        ws,
        tmp_path,
        InputPort("folder", OutputSource(writes.id, "plain")),
        InputPort("files", OutputSource(writes.id, "there", "file")),
        InputPort("copied", OutputSource(writes.id, "there", "file"), "download"),
        InputPort("some", OutputSource(writes.id, "plain", "file", {"pattern": "*.csv"})),
        InputPort("direct", OutputSource(writes.id, "plain", "tabular", CSV, {"name": "rows"}), "direct"),
    )
    run = ended(ws, submitted(ws, [writes, looks]).id)
    assert run.status == "Completed", f"{run.error}\n{log(ws, run.id)}"
    made, read = steps(ws, run.id)["writes"], steps(ws, run.id)["looks"]
    seen = json.loads(std_log(read))
    both = ["a.csv", "below/b.txt"]
    assert {name: one.get("files") for name, one in seen.items()} == {
        "folder": both,
        "files": both,
        "copied": both,
        "some": ["a.csv"],
        "direct": None,
    }
    rows = Dataset.get_by_name(ws, "rows")
    assert rows.id == seen["direct"]["path"]
    assert rows.to_pandas_dataframe().to_dict("list") == {"k": [1, 3], "v": [2, 4]}
    registered = Dataset.get_by_name(ws, "made")
    assert (registered.to_path(), registered.tags) == (["/a.csv", "/below/b.txt"], {"a": "b"})
    assert made.details["outputs"]["there"]["dataset"] == {"id": registered.id, "name": "made", "version": 1}
    assert made.details["outputs"]["plain"] == {"datastore": store, "path": f"azureml/{made.id}/plain"}
    assert [file.name for file in ws.datastores[store].files(f"azureml/{made.id}/table/")] == [f"azureml/{made.id}/table/a.csv"]
    assert len(Dataset.get_by_name(ws, "table").to_pandas_dataframe()) == 2


@pytest.mark.parametrize("store", [STORE, "bucket"])
def test_an_output_that_is_a_file(ws: Workspace, bucket: Any, tmp_path: Path, store: str) -> None:
    writes = _writer(ws, tmp_path, "file", OutputPort("only", store))
    looks = _reader(
        ws, tmp_path, InputPort("mounted", OutputSource(writes.id, "only")), InputPort("f", OutputSource(writes.id, "only", "file"))
    )
    seen = json.loads(std_log(_step(ws, [writes, looks], "looks")))
    assert {name: one["text"] for name, one in seen.items()} == {"mounted": "only a file", "f": "only a file"}


def test_an_output_that_nothing_was_written_to(ws: Workspace, tmp_path: Path) -> None:
    writes = _writer(ws, tmp_path, "nothing", OutputPort("none", STORE))
    looks = _reader(ws, tmp_path, InputPort("none", OutputSource(writes.id, "none")))
    assert json.loads(std_log(_step(ws, [writes, looks], "looks")))["none"]["files"] == []


def test_what_is_there_already_is_not_overwritten_unasked(ws: Workspace, tmp_path: Path) -> None:
    fixed = OutputPort("fixed", STORE, "fixed", "upload")
    assert _step(ws, [_writer(ws, tmp_path, "folder", fixed)], "writes").error is None
    again = _step(ws, [_writer(ws, tmp_path, "folder", fixed)], "writes", "Failed")
    assert "fixed/a.csv is in datastore workspaceblobstore already" in str(again.error)
    over = OutputPort("fixed", STORE, "fixed", "upload", overwrite=True)
    assert _step(ws, [_writer(ws, tmp_path, "folder", over)], "writes").error is None


def test_a_failed_step_leaves_nothing_in_a_bucket(ws: Workspace, bucket: Any, tmp_path: Path) -> None:
    fails = node(
        ws,
        tmp_path,
        "writes",
        "import os, sys; os.makedirs(sys.argv[1]); open(sys.argv[1] + '/x', 'w'); sys.exit(1)",
        [Reference("output", "out")],
        outputs=(OutputPort("out", "bucket"),),
    )
    step = _step(ws, [fails], "writes", "Failed")
    assert list(bucket.files(f"azureml/{step.id}")) == []


@pytest.mark.parametrize(("code", "kept"), [(0, False), (1, True)])
def test_copies_of_inputs_and_outputs_are_kept_of_a_failed_step(ws: Workspace, tmp_path: Path, code: int, kept: bool) -> None:
    text = "import os, sys; open(os.path.join(sys.argv[1], 'b'), 'w').close(); sys.exit(int(sys.argv[2]))"
    copied = InputPort("copied", _dataset(ws, "images"), "download")
    out = OutputPort("out", STORE, mode="upload", exists=True)
    one = node(ws, tmp_path, "one", text, [Reference("output", "out"), code], inputs=(copied,), outputs=(out,))
    step = _step(ws, [one], "one", "Failed" if kept else "Completed")
    assert Path(step.folder, "inputs", "copied").exists() is kept
    assert Path(step.folder, "outputs", "out", "b").exists() is kept
    assert (ws.folder / STORE / "azureml" / step.id / "out" / "b").exists() is not kept


def test_logs_lie_in_the_default_datastore(ws: Workspace, bucket: Any, tmp_path: Path) -> None:
    ws.set_default_datastore("bucket")
    step = _step(ws, [node(ws, tmp_path, "prints", "print('hello')")], "prints")
    place = f"azureml/ExperimentRun/dcid.{step.id}/user_logs/std_log.txt"
    assert [file.name for file in bucket.files(f"azureml/ExperimentRun/dcid.{step.id}/")] == [place]
    assert any(file.name.endswith("/logs/runner.txt") for file in bucket.files(f"azureml/ExperimentRun/dcid.{step.parent}/"))


def test_inputs_in_a_bucket(ws: Workspace, bucket: Any, tmp_path: Path) -> None:
    folder = _dataset(ws, "images", "bucket")
    ports = [
        InputPort("mounted", folder),
        InputPort("copied", PathSource("bucket", "images/sub"), "download"),
        InputPort("path", PathSource("bucket", "images")),
        InputPort("file", PathSource("bucket", "images/1.txt")),
        InputPort("filled", PathSource("bucket", "new"), "upload"),
    ]
    seen = _seen(ws, tmp_path, ports)
    assert seen["mounted"]["files"] == seen["path"]["files"] == ["1.txt", "sub/2.txt", "sub/3.csv"]
    assert seen["copied"]["files"] == ["2.txt", "3.csv"]
    assert seen["file"]["text"] == "one"
    fills = node(
        ws, tmp_path, "fills", "import sys; open(sys.argv[1] + '/x', 'w').write('new')", [Reference("input", "filled")], inputs=(ports[-1],)
    )
    _step(ws, [fills], "fills")
    assert [file.name for file in bucket.files("new/")] == ["new/x"]


def test_destinations() -> None:
    port = OutputPort("scores", "store", "/a/{run-id}/b/{output-name}/")
    assert destination(port, "1") == "a/1/b/scores"
