"""``batchmill exec``: scripts, notebooks and the Python of Markdown documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Start, until
from tests.conftest import Project

PAGE = """# A page

```python
import os, sys
greeting = "hello"
print(greeting, sys.argv[1:], os.path.basename(__file__), __name__)
```

Prose, and what is not Python:

```bash
exit 1
```

1. An item:

   ```python
   print(greeting.upper())
   ```
"""
SCORING = """
```python
# score.py
import not_on_this_machine

def run(mini_batch):
    return mini_batch
```

```python
folder = os.path.join(base, "scripts")
print(os.path.exists(folder))

class ParallelRunConfig:
    def __init__(self, entry_script, source_directory):
        self.script = os.path.join(source_directory, entry_script)

config = ParallelRunConfig(entry_script="score.py", source_directory=folder)
print(open(config.script).read().count("not_on_this_machine"), "run" in globals())
```
"""


def notebook(*cells: str) -> str:
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": cell} for cell in cells]})


def test_blocks_of_a_document_run_in_order(project: Project) -> None:
    ended = project.write({"docs/page.md": PAGE}).batchmill("exec", "docs/page.md", "--epochs", "3", "x")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hello ['--epochs', '3', 'x'] page.md __main__\nHELLO\n", "")


def test_options_behind_two_dashes_are_the_document_s(project: Project) -> None:
    project.write({"a.py": "import sys; print(sys.argv)"})
    assert project.batchmill("exec", "a.py", "--", "--list", "--prelude", "-h").stdout == "['a.py', '--list', '--prelude', '-h']\n"


def test_a_script_finds_its_neighbours_and_exits_as_it_wants(project: Project) -> None:
    project.write({"tool/a.py": "import sys, near\nprint(near.x, sys.argv[0])\nsys.exit(near.x)", "tool/near.py": "x = 7"})
    ended = project.batchmill("exec", "tool/a.py")
    assert (ended.returncode, ended.stdout) == (7, "7 tool/a.py\n")


def test_preludes_run_first_in_the_same_namespace(project: Project) -> None:
    project.write(
        {"page.md": "```python\nprint(a, b, os.sep)\n```", "one.py": "import os\na = __file__[-6:]", "two.md": "```python\nb = a\n```"}
    )
    ended = project.batchmill("exec", "page.md", "--prelude", "one.py", "--prelude", "two.md")
    assert (ended.returncode, ended.stdout) == (0, "one.py one.py /\n")


def test_an_error_names_block_line_cause_and_cure(project: Project) -> None:
    project.write({"page.md": PAGE + "\n```python\ndef f():\n    return os.fork + nothing_of_this_name\n\nf()\n```\n"})
    ended = project.batchmill("exec", "page.md")
    traceback, _, line = ended.stderr.rstrip("\n").rpartition("\n")
    assert ended.returncode == 1
    assert line == (
        "Error: Block 3 of page.md, line 23 failed: NameError: name 'nothing_of_this_name' is not defined. If the document leaves "
        "'nothing_of_this_name' to its reader, define it in a file and give that as --prelude FILE."
    )
    page = project.folder / "page.md"
    assert traceback.startswith(
        f'Traceback (most recent call last):\n  File "{page}", line 25, in <module>\n    f()\n  File "{page}", line 23'
    )
    assert "return os.fork + nothing_of_this_name\n                     ^^^^" in traceback


@pytest.mark.parametrize(
    ("name", "line"),
    [("os", "import os"), ("PipelineData", "from azureml.pipeline.core import PipelineData"),
     ("DEFAULT_CPU_IMAGE", "from azureml.core.runconfig import DEFAULT_CPU_IMAGE")],
)  # fmt: skip
def test_the_cure_of_a_forgotten_import_is_its_line(project: Project, name: str, line: str) -> None:
    ended = project.write({"page.md": f"```python\n{name}\n```\n"}).batchmill("exec", "page.md")
    assert ended.returncode == 1
    assert f"define it in a file ({line}) and give that as --prelude FILE." in ended.stderr


def test_nothing_runs_where_something_is_not_python(project: Project) -> None:
    ended = project.write({"page.md": PAGE + "\n```python\nx = = 1\n```\n"}).batchmill("exec", "page.md")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "Error: Block 3 of page.md (line 22) is not Python: invalid syntax (line 22). Nothing was executed.\n"


@pytest.mark.parametrize("line", ["return 1", "await f()", "break", "def f():\n    x = 1\n    global x"])
def test_nothing_runs_where_only_the_compiler_sees_it(project: Project, line: str) -> None:
    project.write({"page.md": f"```python\nprint('ran')\n```\n\n```python\n{line}\n```\n", "pre.py": "print('prelude')\n"})
    ended = project.batchmill("exec", "page.md", "--prelude", "pre.py")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: Block 2 of page.md (line 6) is not Python: ")
    assert ended.stderr.endswith(". Nothing was executed.\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(("words", "says"), [(("gone.md",), "There is no document gone.md."), ((), "Missing argument 'FILE'")])
def test_wrong_usage(project: Project, words: tuple[str, ...], says: str) -> None:
    ended = project.batchmill("exec", *words)
    assert ended.returncode == 2
    assert says in ended.stderr


def test_an_entry_script_is_written_and_not_executed(project: Project) -> None:
    project.write({"page.md": SCORING, "pre.py": "import os\nbase = 'here'"})
    ended = project.batchmill("exec", "page.md", "--prelude", "pre.py")
    assert (ended.returncode, ended.stdout) == (0, "False\n1 False\n"), ended.stderr
    assert ended.stderr == "Block 1 of page.md (line 3) is an entry script: it was written to here/scripts/score.py, not executed.\n"
    assert project.read("here/scripts/score.py") == SCORING.split("```")[1].removeprefix("python\n")


def test_a_person_s_file_is_kept(project: Project) -> None:
    project.write({"page.md": SCORING, "pre.py": "import os\nbase = '.'", "scripts/score.py": "mine"})
    first = project.batchmill("exec", "page.md", "--prelude", "pre.py")
    assert "What stood in scripts/score.py before is in scripts/score.py.before-exec now." in first.stderr
    project.write({"page.md": SCORING.replace("return mini_batch", "return list(mini_batch)")})
    again = project.batchmill("exec", "page.md", "--prelude", "pre.py", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert "list(mini_batch)" in project.read("scripts/score.py")
    project.write({"scripts/score.py": "mine again"})
    refused = project.batchmill("exec", "page.md", "--prelude", "pre.py")
    assert refused.returncode == 1
    assert "score.py.before-exec is taken" in refused.stderr
    assert (project.read("scripts/score.py"), project.read("scripts/score.py.before-exec")) == ("mine again", "mine")


def test_the_list_executes_nothing(project: Project) -> None:
    ended = project.write({"page.md": PAGE + SCORING}).batchmill("exec", "page.md", "--list")
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert [row[:4] for row in rows[1:]] == [
        ["4", "1", "python", "executed"],
        ["12", "bash", "skipped"],
        ["18", "2", "python", "executed"],
        ["22", "3", "python", "entry"],
        ["30", "4", "python", "executed"],
    ]
    assert rows[4][4:9] == ["script", "score.py,", "written", "in", "block"]


def test_notebooks(project: Project) -> None:
    project.write({"n.ipynb": notebook("!pip install x\na = 1", "a + 1", "display('shown')\nNone", "def f():\n    1 / 0\n", "f()")})
    ended = project.batchmill("exec", "n.ipynb")
    assert (ended.returncode, ended.stdout) == (1, "2\nshown\n")
    first, *_ = ended.stderr.splitlines()
    assert first == "Cell 1 of n.ipynb: '!pip install x' was skipped; what is installed stays as it is."
    assert f'  File "{project.folder / "n.ipynb"}, cell 4", line 2, in f\n    1 / 0\n' in ended.stderr
    assert ended.stderr.endswith("Error: Cell 5 of n.ipynb, in Cell 4 of n.ipynb line 2 failed: ZeroDivisionError: division by zero.\n")


def test_what_a_notebook_says_over_several_lines_and_does_not_show(project: Project) -> None:
    project.write({"n.ipynb": notebook("!pip install \\\n    one \\\n    two\nprint(1 / 1)\n3", "4;", "5")})
    ended = project.batchmill("exec", "n.ipynb")
    assert (ended.returncode, ended.stdout) == (0, "1.0\n3\n5\n")
    assert ended.stderr == "Cell 1 of n.ipynb: '!pip install one two' was skipped; what is installed stays as it is.\n"


def test_future_imports_hold_for_later_blocks(project: Project) -> None:
    project.write({"n.ipynb": notebook("from __future__ import annotations", "def f(a: nothing) -> None: ...\nprint(f.__annotations__)")})
    assert project.batchmill("exec", "n.ipynb").stdout == "{'a': 'nothing', 'return': 'None'}\n"


DOWNLOAD = """
import urllib.request
URL = "https://example.org/files/model.tar"
path, headers = urllib.request.urlretrieve(URL, "model.tar")
print(open(path).read(), headers["Content-Length"])
print(urllib.request.urlopen(urllib.request.Request(URL + "?version=1")).read())
import pandas
print(pandas.read_csv("https://pipelinedata.blob.core.windows.net/sampledata/a.csv").shape)
try:
    urllib.request.urlopen("https://example.org/files/gone")
except urllib.error.HTTPError as error:
    print(error.code, error.reason)
"""


@pytest.mark.parametrize("how", ["variable", "workspace"])
def test_urls_of_the_mirror_map_resolve(project: Project, how: str) -> None:
    project.write({"a.py": DOWNLOAD, "mirror/model.tar": "content", "data/a.csv": "x,y\n1,2\n"})
    mirrors = json.dumps({"https://example.org/files": f"{project.folder}/mirror", "pipelinedata/sampledata": f"{project.folder}/data"})
    if how == "workspace":
        made = project.batchmill("workspace", "update", "default", "--set", f"mirrors={mirrors}")
        assert made.returncode == 0, made.stderr
    ended = project.batchmill("exec", "a.py", env={"BATCHMILL_MIRRORS": mirrors} if how == "variable" else None)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[:3] == ["content 7", "b'content'", "(1, 2)"]
    assert ended.stdout.splitlines()[3].startswith("404 Not Found: the mirror map leads it to ")


def test_an_interrupt_says_where(start: Start, scored: Project) -> None:
    scored.write({"page.md": "```python\nimport time\nopen('ready', 'w').close()\nwhile True:\n    time.sleep(0.05)\n```\n"})
    process = start("exec", "page.md")
    until(lambda: (scored.folder / "ready").exists())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.startswith("Interrupted: Block 1 of page.md, line ")


def test_a_reader_that_leaves_is_no_error(project: Project) -> None:
    project.write({"a.py": "for n in range(100000):\n    print(n)\n"})
    command = f"{Path('batchmill')} exec a.py | head -n 1; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=project.folder, env=project.environment(), capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (141, "0\n", "")


def test_a_document_may_close_what_it_writes_to(project: Project) -> None:
    project.write({"a.py": "import sys\nsys.stdout.close()\n", "b.py": "import sys\nsys.stdout.close()\n1 / 0\n"})
    assert (ended := project.batchmill("exec", "a.py")).returncode == 0, ended.stderr
    failed = project.batchmill("exec", "b.py")
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, "Error: b.py, line 3 failed: ZeroDivisionError: division by zero.")


def test_without_the_names_of_the_sdk(project: Project, tmp_path: Path) -> None:
    """An interpreter that sees what the suite sees, but not the second distribution."""
    hide = (
        "import sys, importlib.machinery as m, importlib.util as u\n"
        "old = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name.startswith('azureml') else old(name, *more)\n"
    )
    project.write(
        {"a.md": "```python\nprint('began')\n```\n\n```python\nfrom azureml.core import Workspace\n```\n", "sitecustomize.py": hide}
    )
    ended = project.batchmill("exec", "a.md", env={"PYTHONPATH": str(project.folder)})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "Error: The document imports azureml, and no package here has that name. Install the names beside Batchmill, from its source "
        "folder: pip install ./azureml-compat. Nothing was executed.\n"
    )
    assert project.batchmill("exec", "a.md", "--list", env={"PYTHONPATH": str(project.folder)}).returncode == 0


def test_the_home_is_the_only_place_written_to(project: Project) -> None:
    project.write({"page.md": SCORING, "pre.py": "import os\nbase = '.'"})
    assert project.batchmill("exec", "page.md", "--prelude", "pre.py").returncode == 0
    assert sorted(os.listdir(project.folder / "scripts")) == ["score.py"]


WAITING = """
```python
from azureml.core import Experiment, Workspace
from azureml.pipeline.core import Pipeline
from azureml.pipeline.steps import PythonScriptStep

ws = Workspace.from_config()
step = PythonScriptStep("wait.py", source_directory="steps", compute_target="local")
run = Experiment(ws, "waiting").submit(Pipeline(ws, steps=[step]))
open("submitted", "w").write(run.id)
run.wait_for_completion(show_output=False)
```
"""


def test_an_interrupted_document_leaves_its_run_alone(start: Start, scored: Project) -> None:
    script = "import os, time\nwhile not os.path.exists(os.environ['GATE']):\n    time.sleep(0.05)\n"
    scored.write({"page.md": WAITING, "steps/wait.py": script})
    process = start("exec", "page.md", GATE=str(scored.folder / "gate"))
    until(lambda: (scored.folder / "submitted").exists() and scored.read("submitted"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.splitlines()[-1]) == (130, "Interrupted: Block 1 of page.md, line 11.")
    scored.write({"gate": ""})
    shown = until(lambda: json.loads(scored.batchmill("runs", "show", scored.read("submitted"), "--json").stdout))
    until(lambda: json.loads(scored.batchmill("runs", "show", shown["id"], "--json").stdout)["status"] == "Completed")
