"""Handing a run to its cluster: what its coordinator needs is put into the run store, then the coordinator is started there."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.credentials import gather_credentials
from batchmill.nodes.earlier_shipment import ship_earlier
from batchmill.nodes.path_proof import PathProof, make_proofs, remove_proofs
from batchmill.nodes.published_snapshot import publish_snapshot
from batchmill.parallel_run.cluster_run import ClusterRun
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.named_things import DATASET, names_things
from batchmill.parallel_run.output_claim import make_output_folder
from batchmill.parallel_run.run_identity import COMPLETE
from batchmill.parallel_run.run_places import copy_script, input_places
from batchmill.parallel_run.run_store import SETTINGS
from batchmill.settings import RunSettings
from batchmill.storage.home import home
from batchmill.workspace.ray_cluster import connect, disconnect


class Connection:
    """Connects to a cluster while other things are done."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._connect, name="batchmill-connect", daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        logging.getLogger("ray._private.worker").setLevel(
            logging.ERROR
        )  # it would say that it sets no handlers for signals outside of the main thread
        try:
            connect(self._address)
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Until it is made.

        Raises:
            ClusterError: it cannot be.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def leave(self) -> None:
        """The cluster is not needed any more."""
        self._thread.join()
        if self._error is None:
            with suppress(BatchmillError):
                disconnect()
        gc.freeze()  # or the end of this process takes 0.2 s, for it looks at each object of Ray's modules twice


class Submission:
    """One go at handing a run over; `undo` takes back what was written for it, where the run was refused."""

    def __init__(self, run: ClusterRun) -> None:
        self._run = run
        self._settings = RunSettings(**run.description["settings"])
        self._proofs: tuple[PathProof, ...] = ()
        self._made: list[Path] = []

    def prepare(self) -> CoordinatorOrder:
        """Put everything where the coordinator finds it.

        Raises:
            BatchmillError: the output cannot be used, or the script not be copied.
        """
        run, description = self._run, self._run.description
        names = run.names
        if names_things(self._settings):
            ledger = Ledger(run.folder.ledger)
            try:
                names.look_up(ledger)
            finally:
                ledger.close()
        output = Path(run.place)
        self._made = [] if run.remote else [path for path in (output, *output.parents) if not path.exists()]
        if not run.remote:
            make_output_folder(output)
        places = input_places(description, names)
        self._take_snapshot(places)
        run.store.files.put(SETTINGS, run.folder.settings.read_bytes())
        uses_file = names_things(self._settings) and not os.environ.get("BATCHMILL_DATABASE_URL")
        paths = [*places, *([] if run.remote else [output]), *([home()] if uses_file else [])]
        self._proofs = make_proofs(path for path in paths if path.exists())
        ledger = Ledger(run.folder.ledger)
        try:
            epoch, installed = ledger.epoch, ledger.meta("installed")
        finally:
            ledger.close()
        begin = {"id": run.folder.id, "name": str(description["name"]), **({} if installed is None else {"installed": installed})}
        return CoordinatorOrder(
            run_id=run.folder.id,
            description=self._everywhere(description),
            output=run.place,
            snapshot=publish_snapshot(run.store.files, run.folder.snapshot),
            epoch=epoch,
            begin=begin,
            proofs=self._proofs,
            credentials=gather_credentials(workspace=names_things(self._settings)),
            home=str(home()) if uses_file else None,
            earlier=() if self._settings.reuse is None else ship_earlier(description, run.store),
        )

    def withdraw(self) -> None:
        """No coordinator looks for what lies beside the inputs."""
        remove_proofs(self._proofs)

    def undo(self) -> None:
        """The run was refused: nothing of it is left in the store and at its output."""
        with suppress(BatchmillError, OSError):
            self._run.remove()
        for path in self._made:
            with suppress(OSError):  # there is something else in it
                path.rmdir()

    def _take_snapshot(self, places: list[Path]) -> None:
        """The copy of the script's folder, once for the run."""
        folder = self._run.folder
        if not (folder.snapshot / COMPLETE).exists():
            shutil.rmtree(folder.snapshot, ignore_errors=True)
            output = [] if self._run.remote else [Path(self._run.place)]
            copy_script(self._run.description, folder, [*places, *output])

    def _everywhere(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """The description with inputs that do not depend on the folder that the run was started in."""
        folder = description["folder"]
        settings = json.loads(json.dumps(description["settings"]))
        settings["inputs"] = [_absolute(text, folder) for text in settings["inputs"]]
        if settings["source"] is not None:
            settings["source"] = os.path.join(folder, settings["source"])
        return {**description, "settings": settings}


def _absolute(text: str, folder: str) -> str:
    if "://" in text or text.startswith(DATASET):
        return text
    mark = "@" if text.startswith("@") else ""
    return mark + os.path.join(folder, text.removeprefix("@"))
