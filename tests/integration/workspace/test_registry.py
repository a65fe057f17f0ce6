"""The registry on SQLite and PostgreSQL: what it keeps, versions, pages, and many processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from batchmill.errors import AssetExistsError, AssetNotFoundError
from batchmill.workspace.registry import Registry
from batchmill.workspace.workspace import Workspace

FIVE_REGISTRATIONS = """
import sys
from batchmill.workspace.current import find_workspace
registry = find_workspace("default").registry
print("ready", flush=True)
sys.stdin.readline()
for n in range(5):
    print(registry.add("dataset", "shared", {"process": sys.argv[1], "n": n}).version, flush=True)
"""
DIES_IN_THE_MIDDLE = """
import os, signal, sys
from batchmill.workspace.current import find_workspace
from batchmill.workspace import asset_rows
original = asset_rows.AssetRows.append
def append(self, connection, asset):
    original(self, connection, asset)
    print("written", flush=True)
    sys.stdin.readline()
asset_rows.AssetRows.append = append
find_workspace("default").registry.add("dataset", "half", {"n": 2})
"""


@pytest.fixture
def registry(database: str) -> Registry:
    return Workspace.create("default", show_output=False).registry


def test_versions_count_from_one_and_the_newest_is_meant(registry: Registry) -> None:
    first = registry.add("model", "mnist", {"path": "a"}, tags={"stage": 1}, description="old")
    second = registry.add("model", "mnist", {"path": "b"})
    assert (first.version, second.version) == (1, 2)
    assert registry.get("model", "mnist") == second
    assert registry.get("model", "mnist", 1) == first
    assert registry.get("model", "mnist", 3) is None
    assert registry.get("model", "iris") is None
    assert registry.by_id("model", first.id) == first
    assert registry.by_id("dataset", first.id) is None
    assert first.tags == {"stage": "1"}
    assert first.created.tzinfo is UTC


def test_the_same_definition_again(registry: Registry) -> None:
    first = registry.add("dataset", "d", {"a": 1, "b": [2]})
    assert registry.add("dataset", "d", {"b": [2], "a": 1}, same="existing") == first
    assert registry.add("dataset", "d", {"a": 1, "b": [2]}).version == 2


def test_another_definition_can_be_refused(registry: Registry) -> None:
    first = registry.add("dataset", "d", {"a": 1}, different="refuse")
    with pytest.raises(AssetExistsError) as caught:
        registry.add("dataset", "d", {"a": 2}, different="refuse")
    assert caught.value.facts["asset"] == first
    assert registry.names("dataset") == ["d"]


def test_put_replaces_and_keeps_the_id(registry: Registry) -> None:
    first = registry.put("compute", "cpu", {"max": 1}, tags={"a": "b"})
    second = registry.put("compute", "cpu", {"max": 2})
    assert (second.id, second.version, second.created, second.tags) == (first.id, 1, first.created, {})
    assert registry.get("compute", "cpu") == second


def test_saved_without_a_name(registry: Registry) -> None:
    saved = registry.save("dataset", {"a": 1})
    assert saved.name is None
    assert registry.save("dataset", {"a": 1}) == saved
    assert registry.save("dataset", {"a": 2}).id != saved.id
    assert registry.names("dataset") == []
    assert registry.by_id("dataset", saved.id) == saved
    named = registry.add("dataset", "d", {"a": 1})
    assert named.id != saved.id


def test_pages_are_by_name(registry: Registry) -> None:
    names = ["B", "a", "a b", "ä", "z", "Z", "_"]
    for name in names:
        registry.add("dataset", name, {})
    in_order = sorted(names, key=str.encode)
    assert registry.names("dataset") == in_order
    first = registry.list("dataset", limit=3)
    rest = registry.list("dataset", limit=100, after=first[-1].name)
    assert [asset.name for asset in first + rest] == in_order
    assert registry.list("dataset", name="z")[0].name == "z"
    assert registry.list("model") == []


def test_versions_and_labels_in_lists(registry: Registry) -> None:
    for n in range(3):
        registry.add("model", "m", {"n": n}, tags={"n": n, "team": "x"}, properties={"p": str(n)})
    registry.add("model", "other", {})
    assert [asset.version for asset in registry.list("model", name="m", all_versions=True)] == [3, 2, 1]
    assert [asset.version for asset in registry.list("model", name="m")] == [3]
    assert [asset.version for asset in registry.list("model", all_versions=True, tags={"n": "1"})] == [2]
    assert [asset.version for asset in registry.list("model", all_versions=True, tags={"team": None}, limit=2)] == [3, 2]
    assert registry.list("model", tags={"team": "y"}) == []
    assert [asset.version for asset in registry.list("model", all_versions=True, properties={"p": "0"})] == [1]


def test_update_keeps_what_is_not_given(registry: Registry) -> None:
    asset = registry.add("model", "m", {"a": 1}, description="text", tags={"k": "v"}, properties={"p": "q"})
    changed = registry.update(asset, tags={"k": "w"})
    assert (changed.definition, changed.description, changed.tags, changed.properties) == ({"a": 1}, "text", {"k": "w"}, {"p": "q"})
    assert changed.modified > asset.modified
    assert registry.update(asset, definition={"a": 2}).digest != asset.digest
    assert registry.get("model", "m") == registry.by_id("model", asset.id)
    registry.remove("model", "m")
    with pytest.raises(AssetNotFoundError, match="'m' has been removed"):
        registry.update(asset, tags={})


def test_numbers_of_removed_versions_are_not_given_again(registry: Registry) -> None:
    for n in range(3):
        registry.add("model", "m", {"n": n})
    assert registry.remove("model", "m", 3) == 1
    newest = registry.get("model", "m")
    assert newest is not None
    assert newest.version == 2
    assert registry.add("model", "m", {}).version == 4
    assert registry.remove("model", "m", 2) == 1
    assert registry.remove("model", "m", 2) == 0
    assert registry.remove("model", "m") == 2
    assert registry.remove("model", "m") == 0
    assert registry.add("model", "m", {}).version == 1


def test_a_version_that_no_database_can_hold(registry: Registry) -> None:
    registry.add("model", "m", {})
    assert registry.get("model", "m", 10**30) is None
    assert registry.remove("model", "m", 10**30) == 0
    assert registry.get("model", "m", 1) is not None


def test_mapping_is_live(registry: Registry) -> None:
    view = registry.mapping("compute", lambda asset: f"<{asset.name}>")
    assert len(view) == 0
    registry.put("compute", "b", {})
    registry.put("compute", "a", {})
    assert list(view) == ["a", "b"]
    assert "a" in view
    assert "c" not in view
    assert 3 not in view
    assert view["a"] == "<a>"
    assert dict(view) == {"a": "<a>", "b": "<b>"}
    assert repr(view.keys()) == "dict_keys(['a', 'b'])"
    assert view.get("c") is None
    with pytest.raises(KeyError):
        view["c"]


def test_settings_are_json(registry: Registry) -> None:
    assert registry.setting("mirrors", {}) == {}
    registry.set_setting("mirrors", {"https://a/": "/b"})
    registry.set_setting("mirrors", {"https://a/": "/c"})
    registry.set_setting("off", False)
    assert registry.setting("mirrors") == {"https://a/": "/c"}
    assert registry.setting("off", True) is False
    assert registry.settings() == {"mirrors": {"https://a/": "/c"}, "off": False}
    registry.set_setting("mirrors", None)
    assert registry.settings() == {"off": False}


def test_any_text_is_kept_as_it_is(registry: Registry) -> None:
    odd = {"text": "ü \U0001f600 \n\t'\";--", "nested": [{"a": None, "b": True, "c": 1.5, "d": 2**60}], "": ""}
    asset = registry.add("dataset", "a 'name'; --", odd, description="%s :x", tags={"ключ": "значение"})
    assert registry.get("dataset", "a 'name'; --") == asset
    assert asset.definition == odd


def test_runs_newest_first_in_pages(registry: Registry) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(7):
        moment = began + timedelta(seconds=n // 2)  # some of one second
        status = "Failed" if n % 3 == 0 else "Completed"
        registry.record_run(f"run{n}", name="score", status=status, folder=f"/r/{n}", started=moment, experiment=f"e{n % 2}")
    first = registry.runs(limit=3)
    rest = registry.runs(after=first[-1].id)
    assert [run.id for run in first + rest] == [f"run{n}" for n in reversed(range(7))]
    assert [run.id for run in registry.runs(status="Failed")] == ["run6", "run3", "run0"]
    assert [run.id for run in registry.runs(experiment="e1")] == ["run5", "run3", "run1"]
    assert registry.experiments() == ["e0", "e1"]
    assert registry.run("nothing") is None


def test_a_run_is_brought_up_to_date(registry: Registry) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    registry.record_run("r", name="a", status="Running", folder="/r", details={"k": 1}, started=began, compute="cpu")
    registry.record_run("r", name="a", status="Completed", folder="/r", ended=began + timedelta(hours=1))
    run = registry.run("r")
    assert run is not None
    assert (run.status, run.details, run.started, run.compute) == ("Completed", {"k": 1}, began, "cpu")
    assert run.ended == began + timedelta(hours=1)
    registry.record_run("r", name="a", status="Running", folder="/r")
    resumed = registry.run("r")
    assert resumed is not None
    assert resumed.ended is None
    assert json.dumps(resumed.as_dict())
    assert registry.remove_run("r")
    assert not registry.remove_run("r")


def test_workspaces_do_not_see_each_other(registry: Registry) -> None:
    other = Workspace.create("other", show_output=False).registry
    asset = registry.add("model", "m", {})
    registry.set_setting("mirrors", {"a": "b"})
    registry.record_run("r", name="a", status="Running", folder="/r")
    assert other.get("model", "m") is None
    assert other.by_id("model", asset.id) is None
    assert other.settings() == {}
    assert other.runs() == []
    assert other.add("model", "m", {}).version == 1


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_fifty_registrations_at_once_from_ten_processes(registry: Registry) -> None:
    processes = [_start(FIVE_REGISTRATIONS, str(n)) for n in range(10)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=120) for process in processes]
    assert [err for _, err in answers] == [""] * 10
    versions = [int(line) for out, _ in answers for line in out.split()]
    assert sorted(versions) == list(range(1, 51))
    kept = registry.list("dataset", name="shared", all_versions=True)
    assert [asset.version for asset in kept] == list(range(50, 0, -1))
    assert {(asset.definition["process"], asset.definition["n"]) for asset in kept} == {(str(p), n) for p in range(10) for n in range(5)}


def test_threads_share_a_registry(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda n: registry.add("model", "m", {"n": n}).version, range(40)))
        saved = list(pool.map(lambda _: registry.save("dataset", {"same": 1}).id, range(20)))
    assert sorted(versions) == list(range(1, 41))
    assert len(set(saved)) == 1


def test_a_process_killed_in_the_middle_leaves_nothing_half(registry: Registry) -> None:
    registry.add("dataset", "half", {"n": 1})
    process = _start(DIES_IN_THE_MIDDLE)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    newest = registry.get("dataset", "half")
    assert newest is not None
    assert newest.version == 1
    assert registry.add("dataset", "half", {"n": 3}).version == 2  # and no lock was left behind


def test_a_fork_has_connections_of_its_own(registry: Registry) -> None:
    registry.add("model", "m", {"n": 0})
    pids = []
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if registry.add("model", "m", {"n": n + 1}).version > 1 else 1
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert registry.add("model", "m", {}).version == 5
