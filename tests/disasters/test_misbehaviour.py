"""Scripts that harm their surroundings without failing: descriptors, folders, children, floods. The results stand."""

from __future__ import annotations

import pytest

from batchmill.nodes.watch import LOG_LIMIT
from batchmill.records import RunStatus
from tests.disasters.conftest import BOUND, Zoo, rows

HARMLESS = {
    "closes its streams": "for number in (0, 1, 2): os.close(number)",
    "closes its streams and opens files there": "for number in (0, 1, 2): os.close(number); open('/dev/null')",
    "closes sys.stdout": "sys.stdout.close(); sys.stderr.close()",
    "replaces sys.stdout": "sys.stdout = sys.stderr = None",
    "goes elsewhere": "os.chdir('/')",
    "deletes its working directory": "import shutil; shutil.rmtree(os.getcwd())",
    "deletes the output": "import shutil; shutil.rmtree(os.environ['AZUREML_BI_OUTPUT_PATH'])",
    "appends to the output": "[p.open('a').write('x') for p in pathlib.Path(os.environ['AZUREML_BI_OUTPUT_PATH']).iterdir()]",
    "leaves a thread": "threading.Thread(target=time.sleep, args=(1e6,)).start()",
    "leaves a child": "subprocess.Popen(['sleep', '1000'])",
    "leaves a child in a session of its own": "subprocess.Popen(['sleep', '1000'], start_new_session=True)",
    "leaves a grandchild": "subprocess.run('sleep 1000 & disown', shell=True, executable='/bin/bash')",
    "leaves a daemon": "multiprocessing.Process(target=time.sleep, args=(1e6,), daemon=True).start()",
    "forks a child that comes back": "os.fork()",
    "forks a child that exits": "if os.fork() == 0: sys.exit(0)",
    "forks a child that raises": "if os.fork() == 0: raise ValueError('in the child')",
    "takes the signals": "[signal.signal(n, lambda *_: None) for n in (1, 2, 15)]",
    "changes its limits": "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "breaks json and os": "import json; json.dumps = None",
    "registers a bad exit function": "import atexit; atexit.register(lambda: 1 / 0)",
    "sets an alarm": "signal.alarm(1000)",
    "removes the logs": "import shutil; shutil.rmtree(pathlib.Path(batchmill.EntryScript().log_dir).parents[2], ignore_errors=True)",
}
SCRIPT = """
import multiprocessing, os, pathlib, resource, signal, subprocess, sys, threading, time
import batchmill

def run(mini_batch):
    if any(path.endswith("003.txt") for path in mini_batch):
        {harm}
    return [os.path.basename(path) for path in mini_batch]
"""


@pytest.mark.parametrize("name", HARMLESS)
def test_the_results_stand(zoo: Zoo, name: str) -> None:
    names = zoo.files(12)
    ended = zoo.run(SCRIPT.format(harm=HARMLESS[name]))
    assert ended.status is RunStatus.COMPLETED, ended.error
    assert ended.output == rows(names)
    assert ended.letters == []
    assert ended.seconds < BOUND


def test_a_child_that_nobody_reaps_holds_shutdown_up_no_longer_than_its_bound(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """multiprocessing waits at exit for children that are no daemons."""
    monkeypatch.setattr("batchmill.nodes.node_setup.SHUTDOWN_SECONDS", 1.0)
    names = zoo.files(4)
    ended = zoo.run(SCRIPT.format(harm="multiprocessing.Process(target=time.sleep, args=(1e6,)).start()"))
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == rows(names)
    assert ended.seconds < BOUND


def test_a_flood_of_prints_is_bounded(zoo: Zoo) -> None:
    names = zoo.files(4)
    ended = zoo.run("""
        import os
        LINE = "x" * 999
        def run(mini_batch):
            if mini_batch[0].endswith("000.txt"):
                print("the first line")
                for _ in range(110_000):
                    print(LINE)
            return [os.path.basename(path) for path in mini_batch]
    """)
    assert ended.output == rows(names)
    logs = list(ended.logs.glob("user/stdout/*/*"))
    assert sum(path.stat().st_size for path in logs) <= LOG_LIMIT
    assert any(path.read_text().startswith("the first line\n") for path in logs)


def test_too_few_rows_fail_the_missing_items_without_a_failed_try(zoo: Zoo) -> None:
    zoo.files(12)
    ended = zoo.run("import os\ndef run(b): return [os.path.basename(p) for p in b if not p.endswith('7.txt')]", mini_batch_size=4)
    assert ended.status is RunStatus.COMPLETED
    assert [(one.mini_batch, one.item, one.items_failed, one.error_class) for one in ended.letters] == [(1, None, 1, "ShortResult")]
    assert ended.tries == []
    assert ended.counts.mini_batches.failed == 1
    assert ended.output == rows([f"{n:03d}.txt" for n in range(12)], "007.txt")


def test_no_rows_at_all_for_one_mini_batch(zoo: Zoo) -> None:
    zoo.files(4)
    ended = zoo.run("def run(b): return [] if b[0].endswith('000.txt') else b[:0] + ['row', 'row']")
    assert ended.counts.items.failed == 2
    assert ended.output == "row\nrow\n"


def test_too_many_rows_are_all_written(zoo: Zoo) -> None:
    zoo.files(5)
    ended = zoo.run("def run(b): return list(range(7))", mini_batch_size=5, error_threshold=0)
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == "".join(f"{n}\n" for n in range(7))
    assert ended.counts.items.succeeded == 5
    assert ["7 rows for 5 items" in warning for warning in ended.warnings] == [True]


def test_rows_with_newlines_are_written_as_they_are(zoo: Zoo) -> None:
    zoo.files(4)
    ended = zoo.run("def run(b): return ['a\\nb', 'c\\r\\n']")
    assert ended.output == "a\nb\nc\r\n\n" * 2
    assert ended.counts.items.succeeded == 4


def test_rows_that_are_no_utf8_fail_their_items(zoo: Zoo) -> None:
    names = zoo.files(6)
    ended = zoo.run(
        "import os\ndef run(b): return ['\\udcff' if p.endswith('002.txt') else os.path.basename(p) for p in b]", mini_batch_size=3
    )
    assert ended.status is RunStatus.COMPLETED
    assert ended.failed == {"002.txt": "OutputEncodingError"}
    assert ended.output == rows(names, "002.txt")


def test_rows_that_cannot_be_pickled_are_written_as_text(zoo: Zoo) -> None:
    """Rows do not leave the process as objects."""
    zoo.files(4)
    ended = zoo.run("""
        import threading
        class Row:
            def __init__(self): self.lock = threading.Lock()
            def __reduce__(self): raise TypeError("no")
            def __str__(self): return "row"
        def run(b): return [Row() for _ in b]
    """)
    assert ended.output == "row\n" * 4


def test_files_that_change_or_vanish_fail_by_name(zoo: Zoo) -> None:
    names = zoo.files(20)
    ended = zoo.run(
        """
        import os, pathlib
        def run(mini_batch):
            folder = pathlib.Path(mini_batch[0]).parent
            if mini_batch[0].endswith("000.txt"):
                (folder / "017.txt").unlink()
                (folder / "019.txt").write_text("")
            return [os.path.basename(path) for path in mini_batch]
        """,
        workers=1,
    )
    assert ended.failed == {"017.txt": "ItemChangedError", "019.txt": "ItemChangedError"}
    assert ended.output == rows(names, "017.txt", "019.txt")
    assert "It vanished after the plan was made" in ended.letters[0].message
    assert "changed after the plan was made: 7 bytes then, 0 now" in ended.letters[1].message


def test_a_file_cut_while_it_is_read_fails_in_the_script(zoo: Zoo) -> None:
    names = zoo.files(8)
    ended = zoo.run("""
        import os
        def run(mini_batch):
            for path in mini_batch:
                with open(path) as file:
                    if path.endswith("005.txt"):
                        os.truncate(path, 0)
                    text = file.read()
                    if text != os.path.basename(path):
                        raise EOFError(path)
            return [os.path.basename(path) for path in mini_batch]
    """)
    assert list(ended.failed) == ["005.txt"]
    assert ended.output == rows(names, "005.txt")


def test_a_large_result(zoo: Zoo) -> None:
    zoo.files(4)
    ended = zoo.run("def run(b): return ['x' * 20_000_000] * len(b)")
    assert ended.output is not None
    assert len(ended.output) == 4 * 20_000_001
