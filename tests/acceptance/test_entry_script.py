"""The contract between Batchmill and an entry script (specification C), with real worker processes."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.nodes.coordinator import Coordinator
from batchmill.parallel_run.events import NodeConfig
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.run import Run, create_run
from batchmill.records import RunStatus
from batchmill.settings import RunSettings


@dataclass(frozen=True)
class Result:
    run: Run
    output: str | None
    warnings: list[str]

    @property
    def rows(self) -> list[str]:
        return (self.output or "").splitlines()

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Rows that are JSON."""
        return [json.loads(row) for row in self.rows]

    def logs(self, pattern: str) -> dict[str, str]:
        """File name -> text."""
        return {path.name: path.read_text(encoding="utf-8") for path in sorted((self.run.folder / "logs").glob(pattern))}


@dataclass(frozen=True)
class Bench:
    """A folder with a script and files, and the run over them."""

    folder: Path

    def __call__(self, script: str, *, files: int = 4, siblings: dict[str, str] | None = None, **settings: Any) -> Result:
        source, inputs = self.folder / "src", self.folder / "in"
        source.mkdir()
        inputs.mkdir()
        for number in range(files):
            (inputs / f"{number:02d}.txt").write_text(str(number))
        for name, text in {"score.py": script, **(siblings or {})}.items():
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(textwrap.dedent(text))
        values = {
            "script": str(source / "score.py"),
            "inputs": [str(inputs)],
            "output": str(self.folder / "out"),
            "mini_batch_size": 1,
            "workers": 1,
            "run_max_try": 1,
            **settings,
        }
        folder = create_run(RunSettings.parse(values))
        coordinator = Coordinator(folder)
        coordinator.prepare()
        coordinator.carry_out()
        run = Run(folder)
        ledger = Ledger(folder.ledger)
        warnings = [text for _, _, text in ledger.warnings()]
        ledger.close()
        path = Path(run.output_path) if run.output_path else None
        return Result(run, path.read_bytes().decode() if path and path.exists() else None, warnings)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- C1: functions --------------------------------------------------------------------------------------------------------------------


def test_init_once_per_process_and_globals_persist(bench: Bench) -> None:
    result = bench(
        """
        import os
        calls = []
        def init(): calls.append("init")
        def run(mini_batch):
            calls.append("run")
            return [f"{os.getpid()} {' '.join(calls)}"]
        """,
        files=6,
        workers=2,
    )
    seen: dict[str, list[str]] = {}
    for row in result.rows:
        pid, _, calls = row.partition(" ")
        seen.setdefault(pid, []).append(calls)
    for calls in seen.values():
        assert calls == ["init" + " run" * n for n in range(1, len(calls) + 1)]


def test_a_mini_batch_is_a_list_of_absolute_paths(bench: Bench) -> None:
    result = bench("import json\ndef run(mini_batch): return [json.dumps(mini_batch)] * len(mini_batch)", mini_batch_size=3)
    paths = [str(bench.folder / "in" / f"{n:02d}.txt") for n in range(4)]
    assert result.facts == [paths[:3]] * 3 + [paths[3:]]


def test_init_and_shutdown_are_optional_and_shutdown_runs_once_per_process(bench: Bench) -> None:
    """K50"""
    result = bench(
        """
        import os, pathlib, time, batchmill
        def run(mini_batch):
            here = pathlib.Path(batchmill.EntryScript().output_dir)
            (here / f"{batchmill.EntryScript().agent_name}.here").touch()
            deadline = time.monotonic() + 50
            while len(list(here.glob("*.here"))) < 2 and time.monotonic() < deadline: time.sleep(0.005)
            return [batchmill.EntryScript().agent_name]
        def shutdown():
            script = batchmill.EntryScript()
            with open(pathlib.Path(script.output_dir) / f"{script.agent_name}.done", "x") as file:
                file.write(str(os.getpid()))
        """,
        workers=2,
        output_action="append_row",
    )
    markers = sorted(path.name for path in (bench.folder / "out").glob("*.done"))
    assert markers == [f"{name}.done" for name in sorted(set(result.rows))]
    assert len(markers) == 2


def test_the_context_of_a_mini_batch(bench: Bench) -> None:
    result = bench("""
        import json
        def run(mini_batch, mini_batch_context):
            c = mini_batch_context
            assert "minibatch_index" in str(c)
            return [json.dumps([c.minibatch_index, c.partition_key_value, c.dataset.paths == mini_batch])]
    """)
    assert result.facts == [[str(n), {}, True] for n in range(4)]


@pytest.mark.parametrize(
    "signature", ["mini_batch, context=None", "mini_batch, /, context", "*arguments", "mini_batch, **options", "mini_batch, *, debug=False"]
)
def test_only_a_second_positional_parameter_asks_for_the_context(bench: Bench, signature: str) -> None:
    result = bench(f"def run({signature}): return [repr(sorted(type(v).__name__ for v in locals().values()))]", files=1)
    assert ("MiniBatchContext" in result.rows[0]) is ("context" in signature)


def test_partition_keys_are_in_the_context(bench: Bench) -> None:
    for user in ("ann", "bob"):
        (bench.folder / "data" / user).mkdir(parents=True)
        for number in range(2):
            (bench.folder / "data" / user / f"{number}.txt").write_text("text")
    result = bench(
        "import json\ndef run(mini_batch, context): return [json.dumps([context.partition_key_value, len(mini_batch)])] * 2",
        inputs=[str(bench.folder / "data")],
        partition_keys=["user"],
        partition_format="{user}/*.txt",
        mini_batch_size=None,
    )
    assert result.facts == [[{"user": "ann"}, 2]] * 2 + [[{"user": "bob"}, 2]] * 2


# --- C2, C3: results ------------------------------------------------------------------------------------------------------------------

TWO = {
    "list": "['a', 'b']",
    "tuple": "('a', 'b')",
    "DataFrame": "pandas.DataFrame({'x': ['a', 'b']})",
    "Series": "pandas.Series(['a', 'b'])",
    "array": "numpy.array(['a', 'b'])",
    "pyarrow": "pyarrow.table({'x': ['a', 'b']})",
}


@pytest.mark.parametrize("kind", TWO)
def test_accepted_results(bench: Bench, kind: str) -> None:
    """K35"""
    result = bench(f"import numpy, pandas, pyarrow\ndef run(mini_batch): return {TWO[kind]}", files=2, mini_batch_size=2)
    assert result.output == "a\nb\n"
    assert result.run.counts.items.succeeded == 2


@pytest.mark.parametrize(
    ("value", "name"), [("None", "NoneType"), ("'ab'", "str"), ("numpy.zeros((2, 2))", "ndarray"), ("object()", "object")]
)
@pytest.mark.parametrize("action", ["append_row", "summary_only"])
def test_refused_results_name_their_type(bench: Bench, value: str, name: str, action: str) -> None:
    """K36"""
    result = bench(f"import numpy\ndef run(mini_batch): return {value}", output_action=action)
    assert result.run.status is RunStatus.FAILED
    error = result.logs("user/error.txt")["error.txt"]
    assert f"The actual type of output is {name}." in error
    assert "should return a list or a pandas DataFrame" in error


def test_more_results_than_items_draw_a_warning(bench: Bench) -> None:
    """K39"""
    result = bench("def run(mini_batch): return list('abcdefg')", files=5, mini_batch_size=5)
    assert result.run.status is RunStatus.COMPLETED
    assert result.rows == list("abcdefg")
    assert "run() returned 7 rows for 5 items" in "".join(result.warnings)
    assert "run() returned 7 rows for 5 items" in result.logs("job_result.txt")["job_result.txt"]


def test_fewer_results_than_items_fail_the_rest(bench: Bench) -> None:
    result = bench("def run(mini_batch): return mini_batch[:2]", files=5, mini_batch_size=5, error_threshold=3)
    assert result.run.status is RunStatus.COMPLETED
    assert (result.run.counts.items.succeeded, result.run.counts.items.failed) == (2, 3)
    assert bench.folder.joinpath("out").exists()


@pytest.mark.parametrize("action", ["append_row", "summary_only"])
def test_no_result_at_all(bench: Bench, action: str) -> None:
    """K42"""
    result = bench("def run(mini_batch): raise ValueError", error_threshold=-1, output_action=action)
    assert result.run.status is (RunStatus.FAILED if action == "append_row" else RunStatus.COMPLETED)
    if action == "append_row":
        assert (result.run.error or "").startswith(
            "There is no succeeded mini batch item returned from run(). Please check 'response: run()' in "
        )


def test_summary_only_writes_nothing_of_its_own(bench: Bench) -> None:
    """K58"""
    result = bench(
        """
        import argparse, os, pathlib
        parser = argparse.ArgumentParser()
        parser.add_argument("--output")
        folder = pathlib.Path(parser.parse_args().output)
        def run(mini_batch):
            for path in mini_batch: (folder / os.path.basename(path)).touch()
            return mini_batch
        """,
        output_action="summary_only",
        arguments=["--output", str(bench.folder / "out")],
    )
    assert result.run.status is RunStatus.COMPLETED
    assert sorted(os.listdir(bench.folder / "out")) == [f"{n:02d}.txt" for n in range(4)]


# --- C4: rows -------------------------------------------------------------------------------------------------------------------------


def test_the_text_of_list_elements(bench: Bench) -> None:
    values = "['a: 7', 5, 1.0, None, [1, 'a'], {'k': 1}, b'x', 'two\\nlines', 0.1 + 0.2, '']"
    result = bench(f"def run(mini_batch): return {values}", files=1)
    assert result.output == "a: 7\n5\n1.0\nNone\n[1, 'a']\n{'k': 1}\nb'x'\ntwo\nlines\n0.30000000000000004\n\n"


def test_the_text_of_a_data_frame(bench: Bench) -> None:
    """K33"""
    result = bench(
        """
        import pandas
        def run(mini_batch):
            return pandas.DataFrame({
                "i": [1, 2], "f": [1.5, 0.1 + 0.2], "s": ["x y", 'a"b'], "b": [True, False],
                "d": [pandas.Timestamp("2019-01-01"), pandas.Timestamp("2019-01-02")],
                "t": [pandas.Timestamp("2019-01-01 10:00:00"), None], "n": [None, "two\\nlines"],
            }, index=[7, 8])
        """,
        files=2,
        mini_batch_size=2,
    )
    assert result.output == (
        '1 1.5 "x y" True 2019-01-01 "2019-01-01 10:00:00" \n2 0.30000000000000004 "a""b" False 2019-01-02  "two\nlines"\n'
    )


@pytest.mark.parametrize("header", [True, False])
def test_a_header_line_only_when_asked_for(bench: Bench, header: bool) -> None:
    """K37"""
    script = """
        import pandas
        def run(mini_batch):
            return pandas.DataFrame({"col umn": [1], "y": [2]})[: 1 - mini_batch[0].endswith("00.txt")]
    """
    result = bench(script, append_row_dataframe_header=header, error_threshold=-1, workers=2)
    assert result.output == ('"col umn" y\n' if header else "") + "1 2\n" * 3


# --- C5, C7: renewal, failing init ----------------------------------------------------------------------------------------------------


def test_a_worker_is_renewed_after_more_than_ten_failed_mini_batches(bench: Bench) -> None:
    result = bench(
        """
        import os, batchmill
        calls = 0
        def run(mini_batch):
            global calls
            calls += 1
            if os.path.basename(mini_batch[0]) < "80.txt": raise ValueError
            return [f"{batchmill.EntryScript().agent_name} {calls}"]
        """,
        files=90,
        error_threshold=-1,
    )
    assert result.run.counts.items.failed == 80
    names = [one["worker"] for one in result.run.failed_tries()]
    assert names[:11] == ["process000"] * 11
    assert names.count("process000") < 60
    assert names.count("process001") >= 11
    assert "process000" not in {row.split()[0] for row in result.rows}


def test_init_that_always_raises_fails_the_run(bench: Bench) -> None:
    """K47"""
    result = bench("def init(): raise ValueError('no model here')\ndef run(b): return b", workers=2)
    assert result.run.status is RunStatus.FAILED
    assert re.search(r"init\(\) of the entry script failed [67] times", result.run.error or "")
    for log in ("job_error.txt", "user/error.txt", "user/error/node0/process000.txt"):
        assert "no model here" in "".join(result.logs(log).values()), log
    assert "Traceback" in "".join(result.logs("user/error.txt").values())


# --- C8: the process ------------------------------------------------------------------------------------------------------------------


def test_arguments_folder_path_and_siblings(bench: Bench) -> None:
    """K55"""
    result = bench(
        """
        import json, os, sys
        import sibling, package.inner
        OWN = not os.path.exists("x.txt")
        open("x.txt", "x").close()
        def run(mini_batch):
            beside = os.path.dirname(__file__)
            return [json.dumps({
                "argv": sys.argv[1:], "script": sys.argv[0] == __file__, "name": __name__, "cwd": os.getcwd(), "own": OWN,
                "here": open(os.path.join(beside, "data.txt")).read(), "sibling": sibling.VALUE + package.inner.VALUE,
                "path": beside in sys.path, "inside": os.getcwd().startswith(beside),
            })]
        """,
        siblings={"sibling.py": "VALUE = 1", "package/__init__.py": "", "package/inner.py": "VALUE = 2", "data.txt": "text"},
        workers=2,
        arguments=["--model", "a b", "-n", "3"],
    )
    assert len({one.pop("cwd") for one in result.facts}) <= 2
    for one in result.facts:
        one.pop("cwd")
        assert one == {
            "argv": ["--model", "a b", "-n", "3"],
            "script": True,
            "name": "score",
            "own": True,
            "here": "text",
            "sibling": 3,
            "path": True,
            "inside": False,
        }


def test_environment_variables(bench: Bench) -> None:
    names = ["AZUREML_RUN_ID", "AZUREML_BI_OUTPUT_PATH", "AZUREML_NODE_COUNT", "MODEL", "AZ_BATCHAI_GPU_COUNT_FOUND"]
    result = bench(
        f"import json, os\ndef run(b): return [json.dumps([os.environ.get(n) for n in {names}])]",
        files=1,
        environment_variables={"MODEL": "a=b c"},
    )
    assert result.facts[0][:4] == [result.run.id, str(bench.folder / "out"), "1", "a=b c"]
    assert result.facts[0][4].isdigit()


ONE_GPU = {"AZ_BATCHAI_GPU_COUNT_FOUND": "1"}


def test_the_gpu_rule(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, four processes: 0, 1, absent, absent; the index of an ended process goes to its successor."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    result = bench(
        """
        import batchmill, json, os, time
        NAME = batchmill.EntryScript().agent_name
        def wait_for(count, where):
            folder = os.path.join(os.environ["AZ_BATCHAI_JOB_TEMP"], where)
            os.makedirs(folder, exist_ok=True)
            open(os.path.join(folder, NAME), "a").close()
            deadline = time.monotonic() + 50
            while len(os.listdir(folder)) < count and time.monotonic() < deadline: time.sleep(0.005)
        def init():
            wait_for(4, "started")
        def run(mini_batch):
            gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
            if NAME == "process000": os._exit(1)
            wait_for(4, "running")
            return [json.dumps([NAME, gpu])]
        """,
        files=40,
        workers=4,
        run_max_try=3,
        environment_variables={"AZ_BATCHAI_GPU_COUNT_FOUND": "2"},
    )
    assert result.run.status is RunStatus.COMPLETED, result.run.error
    assert dict(result.facts) == {"process001": "1", "process002": None, "process003": None, "process004": "0"}


def test_two_processes_share_a_gpu(bench: Bench) -> None:
    """Both halves of the only GPU are taken; who gets none sees none."""
    script = """
        import batchmill, json, os, time
        NAME = batchmill.EntryScript().agent_name
        def init():
            folder = os.path.join(os.environ["AZ_BATCHAI_JOB_TEMP"], "started")
            os.makedirs(folder, exist_ok=True)
            open(os.path.join(folder, NAME), "a").close()
            deadline = time.monotonic() + 50
            while len(os.listdir(folder)) < 3 and time.monotonic() < deadline: time.sleep(0.005)
            print(os.environ.get("CUDA_VISIBLE_DEVICES"), file=open(os.path.join(folder, NAME), "a"))
        def run(mini_batch):
            folder = os.path.join(os.environ["AZ_BATCHAI_JOB_TEMP"], "started")
            return [json.dumps([NAME, open(os.path.join(folder, NAME)).read()])]
        """
    result = bench(script, files=30, mini_batch_size=1, workers=3, gpus_per_process=0.5, environment_variables=ONE_GPU)
    assert set(map(tuple, result.facts)) <= {("process000", "0\n"), ("process001", "0\n"), ("process002", "\n")}


def test_a_process_that_wants_no_gpu_sees_none(bench: Bench) -> None:
    script = "import os\ndef run(b): return [os.environ['CUDA_VISIBLE_DEVICES']]"
    assert bench(script, files=1, gpus_per_process=0, environment_variables=ONE_GPU).rows == [""]


def test_a_users_own_gpu_setting_stands(bench: Bench) -> None:
    script = "import os\ndef run(b): return [os.environ['CUDA_VISIBLE_DEVICES']]"
    result = bench(script, files=1, environment_variables={"CUDA_VISIBLE_DEVICES": "3", "AZ_BATCHAI_GPU_COUNT_FOUND": "0"})
    assert result.rows == ["3"]


def test_output_is_captured_per_process(bench: Bench) -> None:
    """K53"""
    result = bench(
        """
        import logging, subprocess, sys, os
        print("printed in import")
        def init(): print("printed in init", end="")
        def run(mini_batch):
            print("printed in run é \\udcff")
            print("to stderr", file=sys.stderr)
            logging.info("root info")
            logging.debug("root debug")
            subprocess.run(["echo", "from a child"], check=True)
            os.write(1, b"raw\\n")
            return mini_batch
        """,
        files=1,
    )
    out = result.logs("user/stdout/node0/*")["process000.stdout.txt"]
    for text in ("printed in import\n", "printed in init", "printed in run é \\udcff\n", "from a child\n", "raw\n"):
        assert text in out
    err = result.logs("user/stderr/node0/*")["process000.stderr.txt"]
    assert "to stderr\n" in err
    assert re.search(r"\|INFO\|root\|root info\n", err)
    assert "root debug" not in err


def test_the_logging_level(bench: Bench) -> None:
    result = bench("import logging\ndef run(b): logging.debug('deep'); return b", files=1, logging_level="DEBUG")
    assert "deep" in "".join(result.logs("user/stderr/node0/*").values())


# --- C9: EntryScript ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["batchmill", "azureml_user.parallel_run"])
def test_entry_script(bench: Bench, module: str) -> None:
    """K52"""
    result = bench(
        f"""
        import json, os
        from {module} import EntryScript
        facts = {{}}
        def init():
            script = EntryScript()
            script.logger.info("a line for the log")
            facts.update(single=script is EntryScript(), log=os.path.isdir(script.log_dir), out=os.access(script.output_dir, os.W_OK),
                         cwd=script.working_dir == os.getcwd(), name=script.agent_name, level=script.logging_level)
            script.config_log()
        def run(mini_batch):
            import batchmill, azureml_user.parallel_run
            return [json.dumps(dict(facts, same=batchmill.EntryScript() is azureml_user.parallel_run.EntryScript()))]
        """,
        files=1,
    )
    expected = {"single": True, "log": True, "out": True, "cwd": True, "name": "process000", "level": "INFO", "same": True}
    assert result.facts == [expected]
    (log,) = result.logs("user/entry_script_log/node0/process000.log.txt").values()
    assert log.count("a line for the log") == 1


# --- E: logs --------------------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "Mini-batch Id,Picked Count,Process,Start Time,Total,Succeeded,Failed,Elapsed Seconds,Process Seconds,Run Method Seconds,"
    "Status,Error Category,Error Message,Mini-batch Detail"
)


def test_the_logs_of_a_run(bench: Bench) -> None:
    """K23, K56, K57"""
    result = bench("import os\ndef run(b): return [os.path.basename(p) for p in b]", files=23, mini_batch_size=10, workers=2)
    assert result.rows == [f"{n:02d}.txt" for n in range(23)]
    text = result.logs("sys/job_report/processed_mini-batches.csv")["processed_mini-batches.csv"]
    assert text.splitlines()[0] == COLUMNS
    table = list(csv.DictReader(text.splitlines()))
    assert [row["Mini-batch Id"] for row in table] == ["0", "1", "2"]
    assert [row["Total"] for row in table] == ["10", "10", "3"]
    assert [row["Succeeded"] for row in table] == ["10", "10", "3"]
    assert {row["Failed"] for row in table} == {"0"}
    assert {row["Status"] for row in table} == {"RUN_DONE"}
    assert {row["Picked Count"] for row in table} == {"1"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["Start Time"]) for row in table)
    progress = list(csv.DictReader(result.logs("sys/metrics/*/progress.csv")["progress.csv"].splitlines()))
    assert list(progress[-1]) == [
        "Datetime", "Total Tasks", "Scheduled Tasks", "Completed Tasks", "Failed Tasks", "Elapsed Time", "Estimated Remaining Time",
    ]  # fmt: skip
    assert (progress[-1]["Total Tasks"], progress[-1]["Completed Tasks"], progress[-1]["Failed Tasks"]) == ("3", "3", "0")
    assert any("Processed 3 of 3 mini batches in" in text for text in result.logs("job_progress_overview.*").values())
    summary = result.logs("job_result.txt")["job_result.txt"]
    assert "3 succeeded, 0 failed" in summary
    assert "23 in all, 23 succeeded, 0 failed, 0 not run" in summary
    names = {str(path.relative_to(result.run.folder / "logs")) for path in (result.run.folder / "logs").rglob("*") if path.is_file()}
    assert {"readme.txt", "user/error.txt", "sys/job_report/process_summary.csv", "sys/job_report/node_summary.csv"} <= names
    assert "job_error.txt" not in names


def test_the_logs_of_failures(bench: Bench) -> None:
    result = bench(
        """
        def run(mini_batch):
            if mini_batch[0].endswith("01.txt"): raise KeyError("lost")
            return mini_batch
        """,
        error_threshold=-1,
        run_max_try=2,
    )
    table = list(csv.DictReader(result.logs("sys/job_report/processed_mini-batches.csv")["processed_mini-batches.csv"].splitlines()))
    (row,) = [row for row in table if row["Status"] != "RUN_DONE"]
    assert (row["Mini-batch Id"], row["Picked Count"], row["Status"], row["Error Category"]) == ("1", "2", "RUN_EXCEPTION", "User")
    assert row["Error Message"] == "KeyError: 'lost'"
    assert "Traceback" in result.logs("user/error/node0/process000.txt")["process000.txt"]


# --- other interpreters ---------------------------------------------------------------------------------------------------------------


def interpreter(version: str) -> str:
    """A Python of that version, wherever this machine has one."""
    found = shutil.which(f"python{version}")
    candidates = [Path(found)] if found else []
    candidates += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*/bin/python"))
    for candidate in candidates:
        if (
            os.system(f"{candidate} -c 'import sys; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})' 2>/dev/null")
            == 0
        ):
            return str(candidate)
    pytest.skip(f"THE WORKER IS NOT TESTED UNDER PYTHON {version}: there is none on this machine")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
def test_a_worker_under_another_python(bench: Bench, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """It needs nothing but the standard library, and sees nothing of the coordinator's packages."""
    python = interpreter(version)
    plain = Coordinator.node_config

    def other(self: Coordinator, source: Path) -> NodeConfig:
        return replace(plain(self, source), python=python)

    monkeypatch.setattr(Coordinator, "_start_ahead", lambda self: None)
    monkeypatch.setattr(Coordinator, "node_config", other)
    result = bench(
        f"""
        import os, sys
        from azureml_user.parallel_run import EntryScript
        def init(): EntryScript().logger.info("hello")
        def run(mini_batch, context):
            if mini_batch[0].endswith("02.txt"): raise ValueError("bad")
            assert not any({str(Path(sys.prefix))!r} in entry for entry in sys.path), sys.path
            return ["%d.%d %s" % (*sys.version_info[:2], context.minibatch_index)]
        """,
        error_threshold=1,
    )
    assert result.run.status is RunStatus.COMPLETED, result.logs("user/error.txt")
    assert result.rows == [f"{version} {n}" for n in (0, 1, 3)]
    assert [letter.error_class for letter in result.run.errors()] == ["ValueError"]
