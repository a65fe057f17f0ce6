"""What a node is told travels, and is refused by another Batchmill."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import batchmill
from batchmill.errors import UsageError
from batchmill.nodes.node_order import Answer, NodeOrder, PlanOrder, Tasks, travelling
from batchmill.nodes.node_preparation import with_interpreter
from batchmill.parallel_run.events import Asked, NodeConfig, Task
from batchmill.workspace.environment_order import EnvironmentOrder
from batchmill.workspace.environment_preparation import Interpreter

CONFIG = NodeConfig(
    run_id="r",
    run_folder=Path("/home/u/runs/r"),
    epoch=2,
    plan_folder=Path("/home/u/runs/r/plan"),
    script=Path("/home/u/runs/r/snapshot/src/score.py"),
    source=Path("/home/u/runs/r/snapshot"),
    arguments=("--x",),
    output_dir=Path("/home/u/runs/r/output"),
    output_action="append_row",
    with_header=False,
    level="INFO",
    workers=2,
    node_count=3,
    mini_batches=10,
    remote=True,
    cache_bytes=1,
    retry_timeout=20.0,
    run_timeout=60.0,
    init_timeout=60.0,
    read_timeout=60.0,
    shutdown_timeout=30.0,
    python="/usr/bin/python3",
    environment={"LEVEL": "3", "CONDA_PREFIX": ""},
)


def order(output: str = "s3://b/out") -> NodeOrder:
    environment = EnvironmentOrder({"name": "e"}, "build", "error", paths=("/wheels",))
    return NodeOrder(travelling(CONFIG, output), output, "digest", PlanOrder((("items.bin", 5), ("plan.json", 7))), environment)


def test_paths_of_a_travelling_config_lead_into_a_scratch_folder() -> None:
    config = order().config
    paths = (config.run_folder, config.plan_folder, config.source, config.script, config.output_dir)
    assert [str(path) for path in paths] == [".", "plan", "snapshot", "snapshot/src/score.py", "output"]
    assert str(order("/mnt/out").config.output_dir) == "/mnt/out", "a folder that every node sees is written directly"


def test_orders_and_messages_are_plain_data() -> None:
    told = order()
    assert pickle.loads(pickle.dumps(told)) == told
    assert told.plan.bytes == 12
    messages = [Tasks((Task(1, 2, 3),)), Answer(Asked("node0", "process000", 1, {"kind": "run"}), {"id": "x"})]
    assert pickle.loads(pickle.dumps(messages)) == messages


def test_another_version_is_refused_with_the_cure() -> None:
    order().check_version("node1 on there")
    other = replace(order(), version="9.9")
    with pytest.raises(UsageError) as refused:
        other.check_version("node1 on there")
    assert refused.value.message == f"node1 on there has Batchmill {batchmill.__version__}, and the run was begun with Batchmill 9.9."
    assert refused.value.cure == 'Install the same on all nodes of the cluster: pip install "batchmill[ray]==9.9"'


def test_variables_of_the_user_go_before_those_of_the_environment() -> None:
    interpreter = Interpreter("/env/bin/python", {"LEVEL": "1", "PATH": "/env/bin", "CONDA_PREFIX": "/env", "PYTHONHOME": ""})
    config = with_interpreter(CONFIG, interpreter)
    assert config.python == "/env/bin/python"
    assert config.environment == {"LEVEL": "3", "PATH": "/env/bin", "CONDA_PREFIX": "", "PYTHONHOME": ""}
    assert config.hidden == ("PYTHONHOME",), "an empty variable of the user is one"
