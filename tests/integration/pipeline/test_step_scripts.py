"""Scripts of steps run as plain Python runs them, in interpreters that have nothing but the standard library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from batchmill.worker.step_script import NAMES, command_of
from tests.interpreters import VERSIONS, interpreter

SCRIPTS = {
    "facts": """
        import os, sys
        import beside
        print(sys.argv, sys.path[0], __file__, __name__, __spec__, __package__, __doc__, __builtins__.__name__, os.getcwd())
        import __main__
        print(__main__.__file__, sorted(vars(__main__)), beside.__file__)
    """,
    "chained": """
        def fail(what):
            raise ValueError(what)
        try:
            fail("one")
        except ValueError:
            fail("zwölf")
    """,
    "syntax": "def f(:\n    pass\n",
    "exit": "import sys\nprint('bye')\nsys.exit(7)\n",
    "exit_text": "raise SystemExit('no data')\n",
    "interrupted": "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n",
    "killed": "import os, signal\nprint('before', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "late": """
        import atexit, threading, time
        class Thing: pass
        atexit.register(lambda: print("at exit", Thing.__name__))
        done = threading.Event()
        threading.Thread(target=lambda: (done.wait(), print("thread", __name__, Thing))).start()
        done.set()
    """,
    "hooked": """
        import sys, traceback
        sys.excepthook = lambda kind, error, trace: print(kind.__name__, [frame.name for frame in traceback.extract_tb(trace)])
        [][1]
    """,
    "processes": """
        import multiprocessing, pickle, sys
        class Pair:
            def __init__(self, a): self.a = a
        def twice(pair): return Pair(2 * pair.a)
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print([one.a for one in pool.map(twice, [Pair(1), Pair(2)])])
            print(pickle.loads(pickle.dumps(Pair(3))).a)
    """,
    "forks": """
        import os, sys
        child = os.fork()
        if child == 0:
            sys.exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """,
}


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"NOT TESTED under Python {request.param}: there is none on this machine")
    return found


def ended(words: list[str], folder: Path, **variables: str) -> tuple[int, str, str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_as_plain_python_runs_it(python: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "script.py").write_text(textwrap.dedent(SCRIPTS[name]), encoding="utf-8")
    (tmp_path / "code" / "beside.py").write_text("")
    words, variables = command_of(python, "code/script.py", ["a", "--b=c d", ""])
    plain = ended([python, "code/script.py", "a", "--b=c d", ""], tmp_path)
    assert variables == {}
    assert ended(words, tmp_path) == plain


def test_a_script_that_is_missing(python: str, tmp_path: Path) -> None:
    code, out, err = ended(command_of(python, "gone.py", [])[0], tmp_path)
    assert (code, out) == (2, "")
    assert f"can't open file '{tmp_path}/gone.py': [Errno 2] No such file or directory" in err


def test_the_names_lie_behind_the_folder_of_the_script(python: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import sys\nprint(sys.path[1])\nimport batch_names\nimport azureml.core, azureml.exceptions")
    (tmp_path / "batch_names.py").write_text("")
    code, out, err = ended(command_of(python, "s.py", [])[0], tmp_path)
    assert (code, out.strip(), err) == (0, NAMES, "")


def test_nothing_of_batchmill_is_loaded_for_a_script_that_wants_nothing_of_it(python: str, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import sys\nprint([name for name in sys.modules if name.split('.')[0] in ('batchmill', 'azureml')])")
    assert ended(command_of(python, "s.py", [])[0], tmp_path)[1] == "[]\n"


def test_a_symlinked_script_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "s.py").write_text("import beside, sys; print(sys.path[0], __file__)")
    (tmp_path / "real" / "beside.py").write_text("")
    (tmp_path / "link.py").symlink_to("real/s.py")
    plain = ended([sys.executable, "link.py"], tmp_path)
    assert plain[0] == 0
    assert ended(command_of(sys.executable, "link.py", [])[0], tmp_path) == plain


def test_what_a_killed_script_printed_is_kept_and_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import os, signal\nprint('zwölf')\nos.kill(os.getpid(), signal.SIGKILL)", encoding="utf-8")
    code, out, _ = ended(command_of(sys.executable, "s.py", [])[0], tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (code, out) == (-signal.SIGKILL, "zwölf\n")


def test_a_script_dies_with_its_starter(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("import os, sys, time\nprint(os.getpid(), flush=True)\nwhile True: time.sleep(1)")
    code = (
        "import subprocess as s, sys\nfrom batchmill.worker.step_script import command_of\ns.run(command_of(sys.executable, 's.py', [])[0])"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        script = int(starter.stdout.readline())
        starter.kill()
    deadline = time.monotonic() + 10
    while _runs(script):
        assert time.monotonic() < deadline, f"script {script} outlived its starter"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_script_whose_starter_is_gone_already_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("print('begun')")
    assert ended(command_of(sys.executable, "s.py", [], parent=2**22)[0], tmp_path)[:2] == (1, "")
    assert ended(command_of(sys.executable, "s.py", [], parent=0)[0], tmp_path)[:2] == (0, "begun\n")
