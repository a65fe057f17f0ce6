"""Scripts that ask for models, while the models are slow, the askers die, or the world changes under them."""

from __future__ import annotations

import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.replay import replay
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.progress import Silent
from batchmill.parallel_run.run import Run
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.records import RunStatus
from batchmill.worker.slots import WAITING_SINCE, WIDTH, Slots
from batchmill.workspace.exceptions import ModelNotFoundException
from batchmill.workspace.model import Model
from batchmill.workspace.workspace import Workspace
from tests.disasters.conftest import Ended, Zoo, eventually, kill, workers_of

LIMIT = 0.6
LONG = 1.5
"""Seconds that a model takes to arrive: longer than any limit of the runs that wait for it."""

SCRIPT = """
import os
from azureml.core.model import Model

def version(path):
    return path.split(os.sep)[-2]

def init():
    global path
    path = Model.get_model_path("m")

def run(mini_batch):
    return [f"{os.path.basename(item)} {open(path).read()} v{version(path)}" for item in mini_batch]
"""


def script(**parts: str) -> str:
    """`SCRIPT` with some of its functions replaced, or more of them."""
    text = SCRIPT
    for name, body in parts.items():
        lines = text.split("\n")
        head = next((line for line in lines if line.startswith(f"def {name}(")), f"def {name}():")
        if head in lines:
            first = lines.index(head)
            last = next((n for n in range(first + 1, len(lines)) if not lines[n].startswith(" ")), len(lines))
            del lines[first:last]
        text = "\n".join([*lines, head, textwrap.indent(textwrap.dedent(body).strip(), "    ")]) + "\n"
    return text


class Team:
    """A workspace with one model, whose content can be kept back."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.name = name
        self.workspace = Workspace.create(name, show_output=False)

    def register(self, content: str, name: str = "m") -> Model:
        source = self._folder / "registered" / "content.txt"
        source.parent.mkdir(exist_ok=True)
        source.write_text(content)
        return Model.register(self.workspace, source, name)

    @contextmanager
    def kept_back(self, model: Model) -> Iterator[Callable[[], None]]:
        """The content does not come until the function is called: a pipe stands in its place, whose reader waits."""
        stored = self.workspace.folder / model._asset.definition["location"] / "content.txt"
        content = stored.read_text()
        stored.unlink()
        os.mkfifo(stored)

        def let_go() -> None:
            pipe = eventually(lambda: _reached(stored))
            os.write(pipe, content.encode())
            os.close(pipe)

        yield let_go
        stored.unlink()
        stored.write_text(content)


def _reached(pipe: Path) -> int | None:
    """The writing end of a pipe that somebody reads."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@pytest.fixture
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Team:
    return Team(tmp_path, f"team-{abs(hash(request.node.name)) % 10**8}")


@contextmanager
def meanwhile(folder: RunFolder, act: Callable[[], Any]) -> Iterator[None]:
    """Something that happens beside the run of this test; a run that waits for it in vain is canceled."""
    problems: list[BaseException] = []

    def body() -> None:
        try:
            act()
        except BaseException as problem:
            problems.append(problem)
            folder.cancel_request.touch()

    thread = threading.Thread(target=body)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()
    assert problems == []


def waiting(folder: RunFolder, seconds: float = 0.0, count: int = 1) -> bool:
    """Whether so many workers have been waiting for an answer for so long."""
    for path in folder.slots.glob("epoch*"):
        if not path.stat().st_size:
            continue  # it is being made
        slots = Slots(str(path), path.stat().st_size // (WIDTH * 8))
        since = [slots.get(slot, WAITING_SINCE) for slot in range(slots.count)]
        slots.close()
        if sum(0 < one < time.monotonic_ns() - seconds * 1e9 for one in since) >= count:
            return True
    return False


def _names(folder: RunFolder) -> str:
    """What the run has bound, as its ledger keeps it."""
    ledger = Ledger(folder.ledger)
    try:
        return ledger.meta("names") or ""
    finally:
        ledger.close()


def _done(folder: RunFolder) -> int:
    ledger = Ledger(folder.ledger)
    try:
        return ledger.counts().items.succeeded
    finally:
        ledger.close()


def expected(count: int, content: str = "one", version: int = 1) -> list[str]:
    return [f"{number:03d}.txt {content} v{version}" for number in range(count)]


def lines(ended: Ended) -> list[str]:
    return (ended.output or "").splitlines()


# --- slow answers ---------------------------------------------------------------------------------------------------------------


def test_a_slow_model_costs_no_time_in_init(zoo: Zoo, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four workers ask, one fetch serves them, and none is charged with the time that it takes."""
    monkeypatch.setattr("batchmill.nodes.node_setup.INIT_SECONDS", -1.0)
    zoo.files(8)
    with team.kept_back(team.register("one")) as let_go:
        folder = zoo.create(script(), workers=4, mini_batch_size=1, run_invocation_timeout=LIMIT, workspace=team.name)

        def wait_and_let_go() -> None:
            eventually(lambda: waiting(folder, LONG, 4))
            let_go()

        with meanwhile(folder, wait_and_let_go):
            ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert lines(ended) == expected(8)
    assert ended.tries == []
    assert "init()" not in ended.log("user/error.txt")


@pytest.mark.parametrize("limit", ["run_invocation_timeout", "progress_update_timeout"])
def test_a_slow_model_costs_no_time_in_run(zoo: Zoo, team: Team, limit: str) -> None:
    zoo.files(4)
    body = "return [f'{os.path.basename(item)} {open(Model.get_model_path(\"m\")).read()} v1' for item in mini_batch]"
    with team.kept_back(team.register("one")) as let_go:
        folder = zoo.create(script(init="pass", run=body), workspace=team.name, **{limit: 1 if limit.startswith("progress") else LIMIT})

        def wait_and_let_go() -> None:
            eventually(lambda: waiting(folder, LONG, 2))
            let_go()

        with meanwhile(folder, wait_and_let_go):
            ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert lines(ended) == expected(4)
    assert ended.tries == []


def test_the_clock_goes_on_after_the_answer(zoo: Zoo, team: Team) -> None:
    team.register("one")
    zoo.files(4)
    ended = zoo.run(script(run="Model.get_model_path('m', 1)\nwhile True: pass"), run_invocation_timeout=LIMIT, workspace=team.name)
    assert ended.tried == {"RunTimeout"}
    assert ended.seconds < 20


def test_a_run_that_waits_can_be_canceled(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    with team.kept_back(team.register("one")) as let_go:
        folder = zoo.create(script(), workspace=team.name)

        def wait_and_cancel() -> None:
            eventually(lambda: waiting(folder))
            folder.cancel_request.touch()

        with meanwhile(folder, wait_and_cancel):
            ended = zoo.carry_out(folder)
        let_go()
    assert ended.status is RunStatus.CANCELED
    assert ended.counts.items.not_run == 4


def test_shutdown_may_ask_and_whoever_cancels_then_does_not_wait(zoo: Zoo, team: Team) -> None:
    team.register("one")
    zoo.files(4)
    ask = "open(os.path.join(os.environ['AZUREML_BI_OUTPUT_PATH'], 'last'), 'w').write(open(Model.get_model_path('last')).read())"
    with team.kept_back(team.register("two", "last")) as let_go:
        folder = zoo.create(script(shutdown=ask), workers=1, workspace=team.name)

        def wait_and_cancel() -> None:
            eventually(lambda: _done(folder) == 4 and waiting(folder))
            folder.cancel_request.touch()

        with meanwhile(folder, wait_and_cancel):
            ended = zoo.carry_out(folder)
        let_go()
    assert ended.status is RunStatus.COMPLETED  # every mini-batch had its fate
    assert lines(ended) == expected(4)
    assert "The run was interrupted before the answer was found." in "".join(ended.warnings)
    again = zoo.run(script(shutdown=ask), workers=1, workspace=team.name)
    assert again.warnings == []
    assert (zoo.folder / "out" / "last").read_text() == "two"


# --- deaths ---------------------------------------------------------------------------------------------------------------------


def test_a_worker_killed_while_it_waits(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    body = "return [f'{os.path.basename(item)} {open(Model.get_model_path(\"m\")).read()} v1' for item in mini_batch]"
    with team.kept_back(team.register("one")) as let_go:
        folder = zoo.create(script(init="pass", run=body), run_max_try=2, workspace=team.name)

        def kill_one() -> None:
            eventually(lambda: waiting(folder, count=2))
            victim = workers_of(folder)[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: victim not in workers_of(folder) and waiting(folder, count=2))
            let_go()

        with meanwhile(folder, kill_one):
            ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert lines(ended) == expected(4)
    assert ended.tried == {"WorkerKilled"}


def test_workers_that_wait_end_with_their_coordinator(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    with team.kept_back(team.register("one")) as let_go:
        folder = zoo.create(script(), workspace=team.name)
        coordinator = zoo.start(folder)
        eventually(lambda: waiting(folder, count=2))
        kill(coordinator)
        eventually(lambda: not workers_of(folder), 1)
        del let_go
    ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert lines(ended) == expected(4)


# --- one version for all --------------------------------------------------------------------------------------------------------


def test_a_resumed_run_keeps_the_version_it_began_with(zoo: Zoo, team: Team) -> None:
    zoo.files(6)
    team.register("one")
    gate = zoo.folder / "gate"
    body = f"""
        import time
        while "001" in mini_batch[0] and not os.path.exists({str(gate)!r}): time.sleep(0.01)
        return [f"{{os.path.basename(item)}} {{open(path).read()}} v{{version(path)}}" for item in mini_batch]
    """
    folder = zoo.create(script(run=body), workers=1, mini_batch_size=1, workspace=team.name)
    coordinator = zoo.start(folder)
    eventually(lambda: '"m": {"id"' in _names(folder) and _done(folder))
    kill(coordinator)
    assert team.register("two").version == 2
    gate.touch()
    ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert lines(ended) == expected(6)
    fresh = zoo.run(script(run=body), workers=1, workspace=team.name)
    assert lines(fresh) == expected(6, "two", 2)


def test_a_worker_that_starts_later_gets_the_same_version(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    team.register("one")
    asked, registered = zoo.folder / "asked", zoo.folder / "registered-two"
    body = f"""
        import time
        if not os.path.exists({str(registered)!r}):
            open({str(asked)!r}, "w").close()
            while not os.path.exists({str(registered)!r}): time.sleep(0.01)
            os._exit(1)
        return [f"{{os.path.basename(item)}} {{open(path).read()}} v{{version(path)}}" for item in mini_batch]
    """

    def register_two() -> None:
        eventually(asked.exists)
        team.register("two")
        registered.touch()

    folder = zoo.create(script(run=body), workers=1, run_max_try=2, workspace=team.name)
    with meanwhile(folder, register_two):
        ended = zoo.carry_out(folder)
    assert ended.tried == {"WorkerExited"}
    assert lines(ended) == expected(4)


def test_a_replay_uses_the_version_of_its_run(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    team.register("one")
    bad = zoo.folder / "bad"
    bad.touch()
    body = f"""
        if "002" in mini_batch[0] and os.path.exists({str(bad)!r}): raise ValueError
        return [f"{{os.path.basename(item)}} {{open(path).read()}} v{{version(path)}}" for item in mini_batch]
    """
    folder = zoo.create(script(run=body), mini_batch_size=1, workspace=team.name)
    assert zoo.carry_out(folder).counts.items.failed == 1
    bad.unlink()
    team.register("two")
    assert replay(folder, Silent()).status is RunStatus.COMPLETED
    assert Path(Run(folder).output_path or "").read_text().splitlines() == expected(4)


def test_a_model_that_was_removed_is_not_replaced_by_another_of_its_name(zoo: Zoo, team: Team) -> None:
    """The numbers of a name that was removed as a whole begin anew, so the version alone would not tell."""
    zoo.files(4)
    team.register("one")
    folder = zoo.create("def run(mini_batch):\n    while True: pass", workspace=team.name, models=["m"])
    coordinator = zoo.start(folder)
    eventually(lambda: workers_of(folder) and '"m": {"id"' in _names(folder))
    kill(coordinator)
    Model(team.workspace, "m").delete()
    assert team.register("another").version == 1
    with pytest.raises(ModelNotFoundException, match="has been removed since"):
        Coordinator(folder).prepare()


# --- who may ask ----------------------------------------------------------------------------------------------------------------


def test_threads_of_a_script_ask_at_once_and_everywhere(zoo: Zoo, team: Team) -> None:
    for name in ("m", "n", "o"):
        team.register(f"content of {name}", name)
    zoo.files(12)
    text = """
        import os, threading
        from azureml.core import Model
        at_import = open(Model.get_model_path("o")).read()
        found = []

        def ask(name):
            found.append(open(Model.get_model_path(name)).read())

        def at_once(names):
            threads = [threading.Thread(target=ask, args=(name,)) for name in names]
            for thread in threads: thread.start()
            for thread in threads: thread.join()

        def init():
            at_once("mnomno")

        def run(mini_batch):
            at_once("mno")
            assert sorted(set(found)) == [f"content of {name}" for name in "mno"]
            return [at_import for item in mini_batch]
    """
    ended = zoo.run(text, workers=4, mini_batch_size=1, workspace=team.name)
    assert ended.status is RunStatus.COMPLETED, ended.error
    assert lines(ended) == ["content of o"] * 12


def test_a_thread_that_asks_while_its_worker_has_nothing_to_do(zoo: Zoo, team: Team) -> None:
    """The main thread of the worker waits for its next lease, or is told to stop, while the thread waits for its answer."""
    zoo.files(4)
    team.register("one")
    text = script(
        init="""
            import threading
            global path, thread
            path = Model.get_model_path("m")
            thread = threading.Thread(target=Model.get_model_path, args=("late",))
            thread.start()
        """,
        shutdown="thread.join()",
    )
    with team.kept_back(team.register("late", "late")) as let_go:
        folder = zoo.create(text, workspace=team.name)

        def wait_and_let_go() -> None:
            eventually(lambda: _done(folder) == 4 and waiting(folder))
            let_go()

        with meanwhile(folder, wait_and_let_go):
            ended = zoo.carry_out(folder)
    assert ended.status is RunStatus.COMPLETED
    assert ended.warnings == []
    assert lines(ended) == expected(4)


def test_children_of_a_worker_are_told_to_let_it_ask(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    for name in ("m", "n"):
        team.register("one", name)
    body = """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            known = pool.map(Model.get_model_path, ["m"] * 2)
            try:
                pool.map(Model.get_model_path, ["n"])
            except Exception as error:
                told = f"{type(error).__name__}: {error.message}"
        return [f"{known == [path] * 2} {told}" for item in mini_batch]
    """
    ended = zoo.run(script(run=body), workspace=team.name)
    assert ended.status is RunStatus.COMPLETED, ended.error
    assert set(lines(ended)) == {
        "True WebserviceException: A child process of the worker asked for model n, and only the worker itself can ask its run. "
        "Call Model.get_model_path in init(), and hand the path on to the child."
    }


def test_a_model_that_nobody_registered(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    ended = zoo.run(script(), workspace=team.name)
    assert ended.status is RunStatus.FAILED
    assert (
        "the last time with ModelNotFoundException: Model/Version m/None not found in workspace. "
        f"Workspace {team.name} has no model of that name. Register it: batchmill model create m PATH"
    ) in (ended.error or "")


def test_a_script_that_lives_with_a_refusal(zoo: Zoo, team: Team) -> None:
    zoo.files(4)
    team.register("one")
    body = """
        from azureml.exceptions import ModelNotFoundException, WebserviceException
        told = []
        for version in (7, "1"):
            try:
                Model.get_model_path("m", version)
            except ModelNotFoundException as error:
                told.append(error.message)
            except WebserviceException as error:
                told.append(error.message)
        return [" | ".join(told) for item in mini_batch]
    """
    ended = zoo.run(script(run=body), workspace=team.name)
    told = f"Model/Version m/7 not found in workspace. Workspace {team.name} has these versions of it: 1. | version should be an int"
    assert lines(ended) == [told] * 4
