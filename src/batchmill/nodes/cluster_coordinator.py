"""The coordinator of a run on a cluster: the ordinary one, with its ledger, plan, snapshot and output in the run store and nodes on Ray."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchmill.errors import LedgerFencedError, OutputBusyError, StoreError
from batchmill.nodes.coordinator import Coordinator
from batchmill.nodes.coordinator_beat import CoordinatorBeat
from batchmill.nodes.coordinator_order import CoordinatorOrder
from batchmill.nodes.earlier_shipment import EARLIER, lay_out
from batchmill.nodes.error_log import ErrorLogged
from batchmill.nodes.gpus import COUNT_VARIABLE, gpu_processes
from batchmill.nodes.log_shipper import LogShipper, bring_back
from batchmill.nodes.node_order import SILENCE, NodeOrder, PlanOrder, travelling
from batchmill.nodes.node_share import node_share
from batchmill.nodes.path_proof import PathProof, make_proofs, remove_proofs
from batchmill.nodes.placement import Bundle
from batchmill.nodes.plan_mirror import fetch_plan, publish_plan, published_plan
from batchmill.nodes.published_snapshot import fetch_snapshot
from batchmill.nodes.side_content import SideContent
from batchmill.parallel_run.collected_output import CollectedOutput
from batchmill.parallel_run.events import Engine, NodeConfig
from batchmill.parallel_run.job import Ending, Job
from batchmill.parallel_run.ledger import Ledger
from batchmill.parallel_run.output_claim import OutputClaim
from batchmill.parallel_run.output_holder import OutputHolder
from batchmill.parallel_run.reuse import Reuse
from batchmill.parallel_run.run_folder import RunFolder
from batchmill.parallel_run.run_identity import COMPLETE, source_list
from batchmill.parallel_run.run_places import input_places
from batchmill.parallel_run.run_store import DEAD_LETTERS, LOGS, PLAN, RunStore
from batchmill.parallel_run.segmented_ledger import SegmentedLedger
from batchmill.parallel_run.target import OutputTarget, target_of
from batchmill.records import RunStatus
from batchmill.settings.ray_address import ray_address
from batchmill.workspace.ray_cluster import cluster_nodes

if TYPE_CHECKING:
    from batchmill.workspace.environment_order import EnvironmentOrder


class ClusterReuse(Reuse):
    """The rows that are taken over lie in the run store, as those that nodes make do."""

    def __init__(self, store: RunStore, *run: Any) -> None:
        super().__init__(*run)
        self._store = store

    def _keep(self, part: Path) -> None:
        self._store.parts.put_file(part.name, part)


class ClusterCoordinator(Coordinator):
    """``folder`` is a run folder in the scratch of this machine, ``store`` what the run shares with its nodes and followers."""

    speculates = True

    def __init__(self, folder: RunFolder, order: CoordinatorOrder, store: RunStore, beat: CoordinatorBeat) -> None:
        self.order, self.store, self.beat = order, store, beat
        super().__init__(folder, beat)
        self._side = SideContent(store.files, self.names.answer)
        self._logs = LogShipper(folder.logs, store.files, leave_out=())
        self._environment: EnvironmentOrder | None = None
        self._own_proofs: tuple[PathProof, ...] = ()
        self._holder = OutputHolder(store, folder.id, str(self.description["name"]))
        self._run_lock: OutputClaim | None = None
        self._plan_order = PlanOrder(())

    def prepare(self) -> None:
        """See `Coordinator.prepare`."""
        super().prepare()
        self.beat.planned()
        if self.epoch > 1:
            bring_back(self.folder, self.store.files)
        self._logs.start()

    @property
    def _holds_nodes(self) -> bool:
        return True

    def _take_nodes(self) -> bool:
        """Of a compute target they are held as on one machine. In either case Ray gives them, and what it has not given yet joins later."""
        if ray_address(self.settings.compute) is not None:
            return True
        if self.epoch > 1:
            from batchmill.workspace.pool_lease import release_all

            release_all(self.names.workspace, self.settings.compute or "", self.folder.id)
        return super()._take_nodes()

    def find_interpreter(self) -> None:
        """The environment is built on the nodes; the models are brought here, and go to them when they are asked for."""
        self._environment = self.names.environment_order(needs_tables=self.plan.header["kind"] == "table")
        self.names.fetch_models(self.progress.announce)

    # --- where the run is -------------------------------------------------------------------------------------------------------

    def _make_target(self) -> OutputTarget:
        return target_of(self.order.output, self.folder, self.settings.retry_timeout)

    def _open_ledger(self) -> Ledger:
        ledger = SegmentedLedger(self.folder.ledger, self.store.files)
        if ledger.meta("created") is None:
            if self.order.epoch:
                ledger.close()
                raise StoreError(
                    f"The ledger of run {self.folder.id} was removed from {self.store.files.place}, and with it all that was done.",
                    cure="Start the run anew.",
                )
            ledger.begin(**self.order.begin)
        return ledger

    @property
    def _remote(self) -> bool:
        """Whether the output is a URL; folders have locks that a process holds."""
        return "://" in self.order.output

    def _claim_output(self) -> None:
        """See `Coordinator`; the ledger fences off an earlier incarnation that still holds the lock."""
        self._holder.refuse_if_held()
        self._lock_output()
        self._holder.take()

    def _lock_output(self) -> None:
        """An earlier incarnation may still have the lock of a folder: it hangs, or the file system does not know yet that its machine is
        gone. That it is one shows at the folder of the run, which it has locked, too. Then this one goes on without, and looks again at
        the end."""
        if self._run_lock is not None:
            return
        try:
            super()._claim_output()
        except OutputBusyError as error:
            if self._remote or not self._run_is_locked():
                raise self._holder.named(error) from None
            return
        if not self._remote:
            with suppress(OutputBusyError):
                self._run_lock = OutputClaim(Path(self.store.files.place), self.folder.id)

    def _run_is_locked(self) -> bool:
        try:
            OutputClaim(Path(self.store.files.place), self.folder.id).release()
        except OutputBusyError:
            return True
        return False

    def _record(self, status: RunStatus) -> None:
        """The follower tells the registry: it knows the run's folder."""

    def _start_ahead(self) -> None:
        self.beat.epoch = self.epoch

    def _take_snapshot(self) -> None:
        self.folder.snapshot.mkdir()
        fetch_snapshot(self.store.files, self.folder.snapshot)
        (self.folder.snapshot / COMPLETE).write_text(source_list(self.folder.snapshot))

    def _make_plan(self) -> None:
        order, own = published_plan(self.store.files), str(self.epoch)
        if order is None:
            super()._make_plan()
            order = publish_plan(self.store.files, self.folder.plan, own)
        if order.place != f"{PLAN}/{own}":
            shutil.rmtree(self.folder.plan, ignore_errors=True)
            self.folder.plan.mkdir()
            fetch_plan(self.store.files, order, self.folder.plan)
        self._plan_order = order

    def _ordered_output(self) -> CollectedOutput:
        name, total = self.settings.append_row_file_name, self.plan.mini_batches
        return CollectedOutput(self.store, name, self.ledger, self.folder.id, self.epoch, total, self._still_ours)

    def _still_ours(self) -> None:
        try:
            if not self._remote:
                self._lock_output()
            self.target.check()
        except LedgerFencedError as error:  # by another run: nobody else goes on with this one
            raise OutputBusyError(error.message, cure=f"Resume it: batchmill resume {self.folder.id}") from None

    def _unplanned_config(self, source: Path) -> NodeConfig:
        """What a node may use is for its machine to say, where neither the settings nor the compute target do."""
        config = super()._unplanned_config(source)
        environment = {name: value for name, value in config.environment.items() if name != COUNT_VARIABLE}
        return replace(config, workers=self._share()[0], environment=environment)

    def _share(self) -> tuple[int, Bundle]:
        """Worker processes of a node, and what it reserves."""
        settings, bundle, size = self.settings, self.description["cluster"]["bundle"], self.names.size
        if bundle is None or size is None:
            nodes = settings.nodes if ray_address(settings.compute) is not None else 1  # of a target without a size: a whole machine
            return node_share(cluster_nodes(), nodes, settings.workers, settings.gpus_per_process)
        return settings.workers or gpu_processes(size.gpus, settings.gpus_per_process) or size.cores, bundle

    def _engine(self, config: NodeConfig) -> Engine:
        from batchmill.nodes.ray import RayEngine

        order = NodeOrder(
            config=travelling(config, self.order.output),
            output=self.order.output,
            snapshot=self.order.snapshot,
            plan=self._plan_order,
            environment=self._environment,
            proofs=self._proofs(),
            credentials=self.order.credentials.for_nodes(),
            silence=max(SILENCE, 2 * self.settings.retry_timeout),
        )
        granted = None if self._lease is None else self._lease.take_news()
        engine = RayEngine(order, self._share()[1], granted=granted, first_node=self._first_node(), announce=self.progress.announce)
        return ErrorLogged(engine, self.folder.logs)

    def _first_node(self) -> int:
        """Nodes of an earlier incarnation have written logs under their names."""
        if self.epoch == 1:
            return 0
        folders = {entry.name.split("/")[3] for entry in self.store.files.list(f"{LOGS}/user/stdout")}
        return 1 + max((int(name.removeprefix("node")) for name in folders if name.removeprefix("node").isdigit()), default=-1)

    def _proofs(self) -> tuple[PathProof, ...]:
        """What the submitting machine did not see is proved from here."""
        proved = {proof.path for proof in self.order.proofs}
        packages = [] if self._environment is None else map(Path, self._environment.paths)
        places = [*input_places(self.description, self.names), *([] if self._remote else [self.output]), *packages]
        more = make_proofs(path for path in places if path.exists() and str(path) not in proved)
        self._own_proofs += more
        return (*self.order.proofs, *more)

    def _find_reusable(self) -> Reuse:
        for earlier in self.order.earlier:
            lay_out(earlier, self.description, self.store, self.settings.retry_timeout)
        return ClusterReuse(self.store, self.folder, self.description, self.ledger, self.names, self.plan, self.epoch)

    def _answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        return self._side.answer(question)

    def _write_logs(self, job: Job, ending: Ending) -> Ending:
        ending = super()._write_logs(job, ending)
        if self.folder.dead_letters.exists():
            self.store.files.put_file(DEAD_LETTERS, self.folder.dead_letters)
        self._logs.close()
        return ending

    def _let_go(self) -> None:
        super()._let_go()
        if self._run_lock is not None:
            self._run_lock.release()
        remove_proofs(self._own_proofs)
        self._logs.close()

    def _remove_spent(self) -> None:
        self.store.remove_spent()
        self.store.files.clear(EARLIER)

    def _note_completed(self) -> None:
        """The follower does: a later run looks for this one where it was submitted."""
