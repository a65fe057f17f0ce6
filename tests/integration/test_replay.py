"""Replay: only the dead letters run again, and their rows land at their place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.errors import ReplayRefusedError, RunBusyError
from batchmill.nodes import replay as replay_room
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.replay import replay
from batchmill.parallel_run.job import Ending
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import Run, create_run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.settings import RunSettings
from tests import killed_replay

NAMES = [f"{number:02d}.txt" for number in range(30)]
WHOLE = "".join(f"row of {name}\n" for name in NAMES)

SCRIPT = """
import os
BAD = {bad!r}
def run(mini_batch):
    names = [os.path.basename(path) for path in mini_batch]
    for name in names:
        if name in BAD:
            raise ValueError("bad " + name)
    return ["row of " + name for name in names]{cut}
"""


class Scene:
    """A folder of inputs, a script that can be made better, and a run over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "in").mkdir()
        (folder / "src").mkdir()
        for name in NAMES:
            (folder / "in" / name).write_text(name)

    def script(self, *bad: str, cut: str = "") -> None:
        (self.folder / "src" / "score.py").write_text(SCRIPT.format(bad=set(bad), cut=cut))

    def run(self, **settings: object) -> RunFolder:
        values = {
            "mini_batch_size": 5,
            "workers": 2,
            "error_threshold": -1,
            "run_max_try": 1,
            "output": str(self.folder / "out"),
            **settings,
        }
        folder = create_run(
            RunSettings.parse({"script": str(self.folder / "src" / "score.py"), "inputs": str(self.folder / "in"), **values})
        )
        coordinator = Coordinator(folder)
        coordinator.prepare()
        self.ending = coordinator.carry_out()
        return folder

    @property
    def output(self) -> Path:
        return self.folder / "out" / "parallel_run_step.txt"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def repeat(folder: RunFolder) -> Ending:
    return replay(folder, Silent())


def letters(folder: RunFolder) -> list[dict[str, object]]:
    return [json.loads(line) for line in folder.dead_letters.read_text().splitlines()]


def test_rows_of_mended_items_land_at_their_place(scene: Scene) -> None:
    scene.script("03.txt", "04.txt", "17.txt")
    folder = scene.run()
    assert [letter["item"] for letter in letters(folder)] == [str(scene.folder / "in" / name) for name in ("03.txt", "04.txt", "17.txt")]
    scene.script("17.txt")
    ending = repeat(folder)
    assert scene.output.read_text() == WHOLE.replace("row of 17.txt\n", "")
    assert [(letter["item"], letter["attempt"]) for letter in letters(folder)] == [(str(scene.folder / "in" / "17.txt"), 2)]
    assert (ending.counts.items.succeeded, ending.counts.items.failed, ending.counts.mini_batches.failed) == (29, 1, 1)
    scene.script()
    assert repeat(folder).counts.items.failed == 0
    assert scene.output.read_text() == WHOLE
    assert letters(folder) == []
    assert Run(folder).status is RunStatus.COMPLETED
    assert Run(folder).counts.mini_batches.succeeded == 6


def test_a_mini_batch_that_failed_whole_and_a_short_one_run_whole_again(scene: Scene) -> None:
    scene.script("12.txt", cut=" if names[0] != '20.txt' else []")
    folder = scene.run(isolate_failures=False)
    assert scene.ending.counts.items.failed == 10
    scene.script()
    repeat(folder)
    assert scene.output.read_text() == WHOLE


def test_what_fails_whole_again_keeps_the_rows_it_had(scene: Scene) -> None:
    scene.script(cut="[:3]")
    folder = scene.run(isolate_failures=False)
    before = scene.output.read_text()
    scene.script(*NAMES)
    repeat(folder)
    assert scene.output.read_text() == before
    assert {letter["attempt"] for letter in letters(folder)} == {2}


def test_a_run_in_which_everything_failed_completes(scene: Scene) -> None:
    scene.script(*NAMES)
    folder = scene.run()
    assert scene.ending.status is RunStatus.FAILED
    scene.script()
    assert repeat(folder).status is RunStatus.COMPLETED
    assert scene.output.read_text() == WHOLE
    assert Run(folder).status is RunStatus.COMPLETED


def test_summary_only_needs_no_output(scene: Scene) -> None:
    scene.script("05.txt")
    folder = scene.run(output_action="summary_only")
    scene.script()
    assert repeat(folder).counts.items.succeeded == 30
    assert not scene.output.exists()


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "x\n", lambda text: text.replace("row", "cow", 1)])
def test_a_changed_output_is_refused(scene: Scene, change) -> None:  # type: ignore[no-untyped-def]
    scene.script("05.txt")
    folder = scene.run()
    changed = change(scene.output.read_text())
    scene.output.write_text(changed)
    with pytest.raises(ReplayRefusedError, match="is not the one the run wrote"):
        repeat(folder)
    assert scene.output.read_text() == changed


def test_a_stopped_run_is_refused_with_the_cure(scene: Scene) -> None:
    scene.script(*NAMES)
    folder = scene.run(error_threshold=0, workers=1)
    with pytest.raises(ReplayRefusedError, match=r"exceeds error threshold 0.* --error-threshold"):
        repeat(folder)


def test_a_held_run_is_refused(scene: Scene) -> None:
    scene.script("05.txt")
    folder = scene.run()
    other = RunFolder(folder.path)
    other.lock()
    try:
        with pytest.raises(RunBusyError):
            repeat(folder)
    finally:
        other.unlock()


def kill(folder: RunFolder, moment: str) -> None:
    """A replay in a process of its own, killed there."""
    killed = subprocess.run([sys.executable, killed_replay.__file__, str(folder.path), moment], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", killed_replay.LOCAL)
def test_killed_and_repeated(scene: Scene, moment: str) -> None:
    scene.script("03.txt", "17.txt")
    folder = scene.run()
    scene.script()
    kill(folder, moment)
    assert Run(folder).status is RunStatus.COMPLETED
    ending = repeat(folder)
    assert ending.counts.items.failed == 0
    assert scene.output.read_text() == WHOLE
    assert letters(folder) == []
    assert sorted(os.listdir(scene.output.parent)) == ["parallel_run_step.txt"]
    assert replay_room.replay(folder, Silent()).status is RunStatus.COMPLETED


@pytest.mark.parametrize("moment", ["before rename", "after rename"])
def test_an_output_replaced_after_the_kill_is_not_taken_for_the_merged_one(scene: Scene, moment: str) -> None:
    scene.script("03.txt")
    folder = scene.run()
    scene.script()
    kill(folder, moment)
    other = scene.run(name="other")
    assert other.id != folder.id
    scene.output.write_text("of somebody else\n")
    with pytest.raises(ReplayRefusedError, match="is not the one the run wrote"):
        repeat(folder)
    assert scene.output.read_text() == "of somebody else\n"
    assert len(Run(folder).errors(open_only=True)) == 1


def test_a_short_mini_batch_that_fails_item_by_item_keeps_the_rows_it_had(scene: Scene) -> None:
    scene.script(cut="[:3]")
    folder = scene.run()
    before = scene.output.read_text()
    scene.script(*NAMES)
    ending = repeat(folder)
    assert (ending.counts.items.succeeded, ending.counts.items.failed) == (18, 12)
    assert scene.output.read_text() == before
    assert [(letter["attempt"], letter["items_failed"]) for letter in letters(folder)] == [(2, 2)] * 6
    scene.script()
    assert repeat(folder).counts.items.failed == 0
    assert scene.output.read_text() == WHOLE


def test_the_header_line_is_that_of_the_first_rows(scene: Scene) -> None:
    frames = "import os, pandas\ndef run(files):\n    if {bad} in map(os.path.basename, files):\n        raise ValueError\n"
    frames += "    name = {name}\n    return pandas.DataFrame({{name: map(os.path.basename, files)}})\n"
    source = scene.folder / "src" / "score.py"
    source.write_text(frames.format(bad="'02.txt'", name="'first' if '00.txt' in map(os.path.basename, files) else 'other_name'"))
    folder = scene.run(append_row_dataframe_header=True, isolate_failures=False)
    assert scene.output.read_text() == "".join(f"{name}\n" for name in ("other_name", *NAMES[5:]))
    source.write_text(frames.format(bad="'29.txt'", name="'first'"))
    assert repeat(folder).counts.items.failed == 0
    assert scene.output.read_text() == "".join(f"{name}\n" for name in ("first", *NAMES))
    assert replay_room.replay(folder, Silent()).status is RunStatus.COMPLETED


def test_a_mended_input_file_is_taken_as_it_is_now(scene: Scene) -> None:
    scene.script()
    (scene.folder / "src" / "score.py").write_text(
        "import os\ndef run(files):\n    return [f'row of {os.path.basename(f)}' if open(f).read() != 'broken' else 1 / 0 for f in files]\n"
    )
    (scene.folder / "in" / "08.txt").write_text("broken")
    folder = scene.run()
    assert scene.output.read_text() == WHOLE.replace("row of 08.txt\n", "")
    (scene.folder / "in" / "08.txt").write_text("mended, and longer")
    assert repeat(folder).counts.items.failed == 0
    assert scene.output.read_text() == WHOLE
