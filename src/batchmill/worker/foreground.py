"""An entry script in this very process, set up as a worker process would set it up, and everything put back afterwards.

For debuggers (``runs replay --mini-batch``) and for users' unit tests (`batchmill.testing`).
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from types import TracebackType
from typing import Any, Mapping, Optional, Sequence, Union

from batchmill.worker.entry_script import EntryScript
from batchmill.worker.plan_file import PlanFile
from batchmill.worker.questions import Ask, answer_with
from batchmill.worker.results import Rows, count_rows, to_rows
from batchmill.worker.script import MiniBatchContext, MiniBatchDataset, UserScript
from batchmill.worker.source import FileSource, RankSource, Slice, TableSource, Unreadable

NAMES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names")
"""The compatible import names of entry scripts."""

Source = Union[FileSource, TableSource, RankSource]


def source_of(plan: PlanFile, *, unchecked: bool) -> Source:
    """Reads the mini-batches of a plan, as a worker would, but nothing ahead of need."""
    kind = plan.header["kind"]
    if kind == "files":
        return FileSource(plan, unchecked=unchecked)
    if kind == "rank":
        return RankSource()
    return TableSource(plan, lambda mini_batch: None, lambda: None, lambda thread: None)


class Place:
    """Where the script lies and which folders it gets. ``environment`` replaces the whole of ``os.environ`` while the script runs,
    ``ask`` answers its questions."""

    def __init__(
        self,
        script: str,
        source: str,
        *,
        working_dir: str,
        log_dir: str,
        output_dir: str,
        arguments: Sequence[str] = (),
        environment: Optional[Mapping[str, str]] = None,
        name: str = "process000",
        level: str = "INFO",
        ask: Optional[Ask] = None,
    ) -> None:
        self.script = script
        self.source = source
        self.working_dir = working_dir
        self.log_dir = log_dir
        self.output_dir = output_dir
        self.arguments = arguments
        self.environment = environment
        self.name = name
        self.level = level
        self.ask = ask


class Foreground:
    """A context manager: set up on entering, put back on leaving. In between: `load`, `init`, `run`, `shutdown`, as often as wanted."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.script: UserScript

    def __enter__(self) -> Foreground:
        place = self.place
        self._was_in = os.getcwd()
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._modules = set(sys.modules)
        self._no_bytecode = sys.dont_write_bytecode
        self._environment = dict(os.environ)
        self._entry_script = dict(vars(EntryScript()))
        if place.environment is not None:
            os.environ.clear()
            os.environ.update(place.environment)
        os.chdir(place.working_dir)
        EntryScript().configure(
            agent_name=place.name,
            logging_level=place.level,
            log_dir=place.log_dir,
            output_dir=place.output_dir,
            working_dir=place.working_dir,
        )
        sys.argv = [place.script, *place.arguments]
        sys.dont_write_bytecode = True  # nothing is left in the script's folder, and a script edited a moment ago is never stale
        importlib.invalidate_caches()
        self._asked = answer_with(place.ask)
        sys.path[:] = [place.source, NAMES, *(entry for entry in sys.path if os.path.abspath(entry or self._was_in) != self._was_in)]
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        answer_with(self._asked)
        os.chdir(self._was_in)
        sys.argv, sys.path[:], sys.dont_write_bytecode = self._argv, self._path, self._no_bytecode
        self._forget_modules()
        os.environ.clear()
        os.environ.update(self._environment)
        logger = logging.getLogger("batchmill.entry_script")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        vars(EntryScript()).update(self._entry_script, _configured=False)

    def _forget_modules(self) -> None:
        """What the script imported from its own folder is imported anew next time: another script may have a module of that name."""
        root = os.path.join(os.path.realpath(self.place.source), "")
        for name in set(sys.modules) - self._modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and os.path.realpath(file).startswith(root):
                del sys.modules[name]

    # --- the script -------------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Import the script."""
        self.script = UserScript(self.place.script)

    def init(self) -> None:
        """Call the script's ``init``, if it has one."""
        self.script.init()

    def shutdown(self) -> None:
        """Call the script's ``shutdown``, if it has one."""
        self.script.shutdown()

    def call(self, part: Slice, mini_batch: int) -> Any:
        """What ``run`` returns for these items."""
        if self.script.wants_context:
            context = MiniBatchContext(str(mini_batch), part.keys or {}, MiniBatchDataset(part.paths, part.value))
            return self.script.run(part.value, context)
        return self.script.run(part.value)

    def run(self, part: Slice, mini_batch: int, *, append: bool = True, with_header: bool = False) -> Outcome:
        """Call ``run`` and count, as a worker does; whatever it raises passes through.

        Raises:
            WrongResultType: it returned nothing that can be counted.
        """
        outcome = Outcome(mini_batch, part)
        if part.given:
            began = time.monotonic()
            outcome.result = self.call(part, mini_batch)
            outcome.seconds = time.monotonic() - began
            outcome.rows = to_rows(outcome.result, with_header=with_header) if append else Rows(b"", count_rows(outcome.result))
        return outcome


class Outcome:
    """One mini-batch that ran: what came back, and the fates of its items."""

    def __init__(self, mini_batch: int, part: Slice) -> None:
        self.mini_batch = mini_batch
        self.part = part
        self.result: Any = None
        self.rows = Rows(b"", 0)
        self.seconds = 0.0

    @property
    def unreadable(self) -> list[Unreadable]:
        """Items that could not be read, and were not given to ``run``."""
        return self.part.unreadable

    @property
    def missing(self) -> int:
        """Items without a row."""
        return self.part.given - min(self.rows.count, self.part.given)

    @property
    def succeeded(self) -> int:
        """Items that have their row."""
        return max(0, self.part.given - self.missing - len(self.rows.unencodable))

    @property
    def failed(self) -> int:
        """All other items."""
        return self.part.items - self.succeeded

    def problems(self) -> list[str]:
        """Why items failed, one sentence each."""
        found = [f"{self.part.name(position)}: {message}" for position, _, message in self.unreadable]
        found += [message for _, message in self.rows.unencodable]
        if self.missing:
            found.append(f"run() returned {self.rows.count} rows for {self.part.given} items, so {self.missing} items have no result.")
        return found
