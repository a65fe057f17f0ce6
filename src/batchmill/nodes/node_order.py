"""What a node of a cluster is told before it begins, and the messages it gets afterwards. Plain data: it travels to other machines."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import batchmill
from batchmill.errors import UsageError
from batchmill.nodes.credentials import Credentials
from batchmill.nodes.path_proof import PathProof
from batchmill.parallel_run.events import Asked, NodeConfig, Task
from batchmill.parallel_run.run_store import PLAN
from batchmill.workspace.environment_order import EnvironmentOrder

SILENCE = 60.0
"""Seconds after which a node that nobody listens to gives up, unless its order says otherwise."""

RUN_FOLDER, PLAN_FOLDER, SOURCE, OUTPUT = Path(), Path("plan"), Path("snapshot"), Path("output")
"""Where the paths of a travelling `NodeConfig` lead, below the scratch folder of a node; absolute ones are meant as they are."""


@dataclass(frozen=True, slots=True)
class PlanOrder:
    """The files of the published plan with their sizes in bytes, and the folder of the run store in which they lie."""

    files: tuple[tuple[str, int], ...]
    place: str = PLAN

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """Everything that a node needs; `travelling` makes the ``config``.

    ``output`` is the output of the run, a folder or URL, in which its run store lies. ``snapshot`` names the content of the published
    snapshot. Without an ``environment`` the workers run in the interpreter of the node.
    """

    config: NodeConfig
    output: str
    snapshot: str
    plan: PlanOrder
    environment: EnvironmentOrder | None = None
    proofs: tuple[PathProof, ...] = ()
    credentials: Credentials = field(default_factory=Credentials, repr=False)
    silence: float = SILENCE
    version: str = batchmill.__version__
    python: tuple[int, int] = sys.version_info[:2]

    def check_version(self, where: str) -> None:
        """Refuse an order of another Batchmill than this one.

        Raises:
            UsageError: the versions differ.
        """
        here = batchmill.__version__
        if self.version != here:
            raise UsageError(
                f"{where} has Batchmill {here}, and the run was begun with Batchmill {self.version}.",
                cure=f'Install the same on all nodes of the cluster: pip install "batchmill[ray]=={self.version}"',
            )


def travelling(config: NodeConfig, output: str) -> NodeConfig:
    """A config as it travels: its paths lead into a scratch folder. ``output`` is that of the run; a folder is one that every node sees."""
    return replace(
        config,
        run_folder=RUN_FOLDER,
        plan_folder=PLAN_FOLDER,
        source=SOURCE,
        script=SOURCE / config.script.relative_to(config.source),
        output_dir=OUTPUT if "://" in output else Path(output),
    )


# --- messages -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tasks:
    """Leases for the node."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker asked for."""

    asked: Asked
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Revoke:
    """A lease is taken back (`Engine.revoke`)."""

    token: int


@dataclass(frozen=True, slots=True)
class Drain:
    """The node is going to be taken away: it gives back what it has not begun, and asks for nothing more."""


@dataclass(frozen=True, slots=True)
class Finish:
    """No more work will come: shutdown() of the script runs, then the node ends."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Kill all workers now; the node ends."""


Message = Tasks | Answer | Revoke | Drain | Finish | Abort
