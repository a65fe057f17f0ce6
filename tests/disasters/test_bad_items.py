"""One item that brings its call of run() down: it alone fails, by name and class; every other item is delivered, in order."""

from __future__ import annotations

import textwrap

import pytest

from batchmill.records import RunStatus
from tests.disasters.conftest import BOUND, Zoo, rows

SCRIPT = """
import ctypes, os, re, resource, signal, subprocess, sys, threading, time

{before}

def run(mini_batch):
    for path in mini_batch:
        if path.endswith("007.txt"):
{disaster}
    return [os.path.basename(path) for path in mini_batch]
"""
BAD = "007.txt"
QUICK = {
    "raise": ("raise ValueError('no such thing')", "ValueError", "no such thing"),
    "error without text": ("raise E", "E", "its text cannot be shown"),
    "sys.exit": ("sys.exit(3)", "SystemExit", "3"),
    "keyboard interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    "os._exit": ("os._exit(1)", "WorkerExited", "exits with returncode 1"),
    "os._exit(0)": ("os._exit(0)", "WorkerExited", "exits with returncode 0"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "WorkerKilled", "returncode -9 (SIGKILL)"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", "WorkerKilled", "SIGTERM"),
    "process group": ("os.killpg(0, signal.SIGKILL)", "WorkerKilled", "returncode -9 (SIGKILL)"),
    "SIGSEGV": ("ctypes.string_at(0)", "WorkerCrashed", "SIGSEGV"),
    "abort": ("os.abort()", "WorkerCrashed", "SIGABRT"),
    "closed descriptors": ("os.closerange(3, 1000)", "WorkerProtocolLost", "file descriptors"),
    "closed descriptors and raise": ("os.closerange(3, 1000); raise ValueError", "WorkerProtocolLost", "file descriptors"),
    "replaced descriptors": (
        "null = os.open('/dev/null', os.O_RDWR)\nfor number in range(100, 400): os.dup2(null, number)",
        "WorkerProtocolLost",
        "file descriptors",
    ),
    "memory": ("resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); bytearray(2 << 30)", "MemoryError", ""),
    "recursion": ("f = lambda: f(); f()", "RecursionError", "recursion"),
    "None": ("return None", "WrongResultType", "The actual type of output is NoneType."),
    "a text": ("return 'text'", "WrongResultType", "The actual type of output is str."),
    "a number": ("return 7", "WrongResultType", "The actual type of output is int."),
    "a dict": ("return {}", "WrongResultType", "The actual type of output is dict."),
    "a set": ("return {1}", "WrongResultType", "The actual type of output is set."),
    "a generator": ("return (p for p in mini_batch)", "WrongResultType", "The actual type of output is generator."),
    "a row that cannot be shown": ("return [E()] * len(mini_batch)", "RuntimeError", "no text"),
}
STUCK = {
    "sleep": ("time.sleep(1e6)", "in run"),
    "endless loop": ("while True: pass", "in run"),
    "deadlock": ("lock = threading.Lock(); lock.acquire(); lock.acquire()", "in run"),
    "GIL held in C": ("ctypes.PyDLL(None).sleep(1000)", "in run"),
    "GIL held by a regex": ("re.match(r'(a+)+$', 'a' * 60 + 'b')", "in run"),
    "signals ignored": ("[signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; time.sleep(1e6)", "in run"),
    "swallows everything": ("while True:\n    try: time.sleep(1e6)\n    except BaseException: pass", "in run"),
    "waits for a child": ("subprocess.run(['sleep', '1000'])", "in run"),
    "text of a row": ("return [S()] * len(mini_batch)", "__str__"),
    "stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", ""),
}
BEFORE = """
class E(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class S:
    def __str__(self):
        time.sleep(1e6)
"""


def script(disaster: str) -> str:
    return SCRIPT.format(before=BEFORE, disaster=textwrap.indent(disaster, " " * 12))


@pytest.mark.parametrize("name", QUICK)
def test_a_bad_item_fails_alone(zoo: Zoo, name: str) -> None:
    disaster, error_class, text = QUICK[name]
    names = zoo.files()
    ended = zoo.run(script(disaster))
    assert ended.status is RunStatus.COMPLETED
    assert ended.failed == {BAD: error_class}
    assert text in ended.letters[0].message
    assert ended.output == rows(names, BAD)
    assert ended.tried == {error_class}
    assert ended.counts.items.failed == ended.counts.mini_batches.failed == 1
    assert error_class in ended.log("user/error.txt")


@pytest.mark.parametrize("name", STUCK)
def test_a_stuck_item_is_stopped(zoo: Zoo, name: str) -> None:
    disaster, stack = STUCK[name]
    names = zoo.files(8)
    ended = zoo.run(script(disaster), run_invocation_timeout=1)
    assert ended.status is RunStatus.COMPLETED
    assert ended.failed == {BAD: "RunTimeout"}
    assert "1 s (run_invocation_timeout)" in ended.letters[0].message
    assert ended.output == rows(names, BAD)
    assert ended.tried == {"RunTimeout"}
    assert {one["status"] for one in ended.tries} == {"RUN_TIMEOUT"}
    if stack:
        assert stack in (ended.letters[0].traceback or "")
    assert ended.seconds < BOUND


def test_a_crash_keeps_its_stack(zoo: Zoo) -> None:
    zoo.files(8)
    ended = zoo.run(script("ctypes.string_at(0)"))
    assert "Segmentation fault" in (ended.letters[0].traceback or "")
    assert "string_at" in (ended.letters[0].traceback or "")


def test_every_item_fails(zoo: Zoo) -> None:
    """Nothing to append is a failure of the run, and it says so."""
    zoo.files(4)
    ended = zoo.run("def run(mini_batch):\n    raise ValueError")
    assert ended.status is RunStatus.FAILED
    assert "There is no succeeded mini batch item returned from run()." in (ended.error or "")
    assert ended.counts.items.failed == 4


def test_one_bad_item_in_each_mini_batch(zoo: Zoo) -> None:
    names = zoo.files(20)
    bad = {"001.txt": "ValueError", "008.txt": "WorkerKilled", "011.txt": "SystemExit", "019.txt": "WorkerExited"}
    ended = zoo.run(
        """
        import os, signal, sys
        def run(mini_batch):
            for path in mini_batch:
                name = os.path.basename(path)
                if name == "001.txt": raise ValueError
                if name == "008.txt": os.kill(os.getpid(), signal.SIGKILL)
                if name == "011.txt": sys.exit(1)
                if name == "019.txt": os._exit(7)
            return [os.path.basename(path) for path in mini_batch]
        """,
        mini_batch_size=5,
    )
    assert ended.failed == bad
    assert ended.output == rows(names, *bad)
    assert ended.counts.mini_batches.failed == 4


def test_without_isolation_the_whole_mini_batch_fails(zoo: Zoo) -> None:
    names = zoo.files(12)
    ended = zoo.run(script("os._exit(1)"), isolate_failures=False, run_max_try=2)
    assert ended.counts.items.failed == 2
    assert ended.output == rows(names, "006.txt", BAD)
    assert [one["attempt"] for one in ended.tries] == [1, 2]


def test_a_try_that_works_after_all(zoo: Zoo) -> None:
    """The same item, but only the first process to meet it dies: nothing fails, one mini-batch is retried."""
    names = zoo.files(12)
    ended = zoo.run(
        script("""
marker = os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "met")
if not os.path.exists(marker):
    open(marker, "x").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""),
        run_max_try=2,
    )
    assert ended.status is RunStatus.COMPLETED
    assert ended.letters == []
    assert ended.output == rows(names)
    assert ended.counts.mini_batches.retried == 1


def test_errors_beyond_the_threshold_end_the_run(zoo: Zoo) -> None:
    zoo.files(12)
    ended = zoo.run(script("raise ValueError"), error_threshold=0)
    assert ended.status is RunStatus.FAILED
    assert ended.error == "The number of failed items is 1, which exceeds error threshold 0."
    assert ended.output is None
