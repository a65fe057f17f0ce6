"""Compute targets: elastic pools of nodes on this machine (Azure ML: ``ComputeTarget``, ``AmlCompute``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from batchmill.errors import AssetNotFoundError, BatchmillError
from batchmill.workspace.cluster_pool import Sight, cluster_pool, node_states
from batchmill.workspace.compute_configuration import AmlComputeProvisioningConfiguration, check_bounds, check_name, whole_number
from batchmill.workspace.compute_provider import RAY_COMPUTE, address_of
from batchmill.workspace.compute_status import SUCCEEDED, AmlComputeStatus, ScaleSettings, scale_settings_of, status_of
from batchmill.workspace.exceptions import ComputeTargetException
from batchmill.workspace.pool import Pool, scale_of
from batchmill.workspace.pool_lease import missing, size_of

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.pool import PoolView
    from batchmill.workspace.run_index import RegisteredRun
    from batchmill.workspace.workspace import Workspace

KIND = "compute"


class ComputeTarget:
    """Base of what runs can be given to. ``ComputeTarget(workspace, name)`` opens an existing one: an `AmlCompute`."""

    type = "AmlCompute"

    def __new__(cls, workspace: Workspace | None = None, name: str | None = None) -> ComputeTarget:
        asset = None if workspace is None or name is None else workspace.registry.get(KIND, name)
        found = AmlCompute if asset is None else class_of(asset)  # none also where a copy is made
        return object.__new__(found if issubclass(found, cls) else cls)

    def __init__(self, workspace: Workspace, name: str) -> None:
        """Open a compute target.

        Raises:
            ComputeTargetException: there is none of that name.
        """
        asset = workspace.registry.get(KIND, name)
        if asset is None:
            raise ComputeTargetException(missing(name))
        self.workspace = workspace
        self._asset = asset

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: AmlComputeProvisioningConfiguration) -> AmlCompute:
        """Make a compute target, or give the one of that name another size and other bounds.

        Raises:
            UserErrorException: the name is reserved.
            ComputeTargetException: it is no name, or there is no such size.
        """
        check_name(name)
        if not isinstance(provisioning_configuration, AmlComputeProvisioningConfiguration):
            raise ComputeTargetException(
                "A compute target is made from AmlCompute.provisioning_configuration(...), not from "
                f"{type(provisioning_configuration).__name__}."
            )
        configuration = provisioning_configuration
        definition = configuration.definition()
        size_of(workspace, definition)  # raises where there is none
        before = workspace.registry.get(KIND, name)
        if before is not None and before.definition["type"] != definition["type"]:
            raise ComputeTargetException(f"There is an attached cluster '{name}' already. Choose another name, or detach it.")
        asset = workspace.registry.put(KIND, name, definition, description=configuration.description, tags=configuration.tags)
        Pool(workspace.registry, asset.id).settle()
        target = from_asset(workspace, asset)
        target.tell_cluster(needed=configuration.min_nodes > 0 or before is not None)
        return target

    @staticmethod
    def list(workspace: Workspace) -> list[AmlCompute]:
        """All compute targets of a workspace, by name."""
        return [from_asset(workspace, asset) for asset in workspace.registry.list(KIND, limit=None)]

    @property
    def name(self) -> str:
        return str(self._asset.name)

    @property
    def id(self) -> str:
        """Its own id (a UUID as text)."""
        return self._asset.id

    @property
    def location(self) -> str:
        return str(self._asset.definition.get("location") or self.workspace.location)

    @property
    def description(self) -> str | None:
        return self._asset.description

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._asset.tags)

    @property
    def provisioning_state(self) -> str:
        """``Succeeded``: on this machine there is nothing to wait for."""
        return SUCCEEDED

    @property
    def provisioning_errors(self) -> None:
        return None

    def refresh_state(self) -> None:
        """Read again what others may have changed.

        Raises:
            ComputeTargetException: it has been removed.
        """
        asset = self.workspace.registry.by_id(KIND, self._asset.id)
        if asset is None:
            raise ComputeTargetException(missing(self.name))
        self._asset = asset

    def delete(self) -> None:
        """Remove the compute target. Runs that hold nodes of it go on to their end.

        Raises:
            ComputeTargetException: it has been removed already.
        """
        cluster = cluster_pool(self.workspace, self._asset)
        if not self.workspace.registry.remove(KIND, self.name):
            raise ComputeTargetException(missing(self.name))
        if cluster is not None:
            with suppress(BatchmillError):  # it is gone here, whether its cluster answers or not
                cluster.tell()

    def tell_cluster(self, *, needed: bool = True) -> None:
        """Tell the cluster that the nodes are on, if they are on one, how many there should be; not ``needed`` where that is none.

        Raises:
            ComputeTargetException: the cluster does not answer.
        """
        cluster = cluster_pool(self.workspace, self._asset)
        if cluster is None or not needed:
            return
        try:
            cluster.tell()
        except BatchmillError as error:
            raise ComputeTargetException(
                f"Compute target {self.name} is kept as it was given, but its cluster could not be told. {error.line}",
                cure=f"Tell it when it answers again: batchmill compute update {self.name} --max-nodes N",
            ) from None

    def __repr__(self) -> str:
        facts = f"workspace={self.workspace!r}, name={self.name}, id={self.id}, type={self.type}, provisioning_state={SUCCEEDED}"
        return f"{type(self).__name__}({facts}, location={self.location}, tags={self.tags})"


class AmlCompute(ComputeTarget):
    """An elastic pool of nodes: it grows with the runs that wait and shrinks when nodes have been idle for a while.

    >>> AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4)
    AmlComputeProvisioningConfiguration(vm_size='STANDARD_D2_V2', vm_priority='dedicated', min_nodes=0, max_nodes=4)
    """

    provisioning_configuration = AmlComputeProvisioningConfiguration

    @property
    def vm_size(self) -> str:
        """The size of a node, in capitals; empty where none was given: a node takes its share of the machine."""
        return str(self._asset.definition["vm_size"])

    @property
    def cluster(self) -> str | None:
        """The address of the Ray cluster that its nodes are on; None: they are on this machine (not in Azure ML)."""
        return address_of(self.workspace, self._asset.definition)

    @property
    def vm_priority(self) -> str:
        return str(self._asset.definition["vm_priority"])

    @property
    def scale_settings(self) -> ScaleSettings:
        return scale_settings_of(scale_of(self._asset.definition))

    @property
    def status(self) -> AmlComputeStatus:
        return self.get_status()

    def get_status(self) -> AmlComputeStatus:
        """The nodes as they are now.

        Raises:
            ComputeTargetException: it has been removed.
        """
        self.refresh_state()
        view = self._view()
        return status_of(self._asset, view, self._sight(view))

    def list_nodes(self) -> list[dict[str, Any]]:
        """Each node with its state, ``running`` or ``idle``, and the run that holds it. On a cluster it may be ``preparing``, ``leaving``
        or ``unusable``, too.

        Raises:
            ComputeTargetException: it has been removed.
        """
        view = self._view()
        states = node_states(view, self._sight(view))
        return [
            {
                "nodeId": f"{self.name}-{node.number}",
                "nodeState": states[node.number],
                "runId": None if node.lease is None else view.runs[node.lease],
                "since": node.since.isoformat(),
                "port": None,
                "publicIpAddress": None,
                "privateIpAddress": None,
            }
            for node in view.state.nodes
        ]

    def get_active_runs(
        self, type: str | None = None, tags: Any = None, properties: Any = None, status: str | None = None
    ) -> Iterator[RegisteredRun]:
        """The runs that hold nodes or wait for them, in the order in which they asked."""
        view = self._view()
        for lease in view.state.leases:
            run = self.workspace.registry.run(view.runs[lease.id])
            if run is not None and status in (None, run.status):
                yield run

    def update(
        self, min_nodes: int | str | None = None, max_nodes: int | str | None = None, idle_seconds_before_scaledown: int | str | None = None
    ) -> None:
        """Change the bounds that are given. Nodes that work are never taken away; idle ones above the maximum leave at once.

        Raises:
            ComputeTargetException: the bounds do not fit together, or it has been removed.
        """
        given = {
            "min_nodes": whole_number(min_nodes, "min nodes count"),
            "max_nodes": whole_number(max_nodes, "max nodes count"),
            "idle_seconds": whole_number(idle_seconds_before_scaledown, "idle seconds before scaledown"),
        }

        def changed(definition: dict[str, Any]) -> dict[str, Any]:
            bounds = definition | {key: value for key, value in given.items() if value is not None}
            check_bounds(bounds["min_nodes"], bounds["max_nodes"], bounds["idle_seconds"])
            return bounds

        try:
            self._asset = self.workspace.registry.update(self._asset, definition=changed)
        except AssetNotFoundError:
            raise ComputeTargetException(missing(self.name)) from None
        Pool(self.workspace.registry, self._asset.id).settle()
        self.tell_cluster()

    def wait_for_completion(
        self,
        show_output: bool = False,
        min_node_count: int | None = None,
        timeout_in_minutes: float = 25,
        is_delete_operation: bool = False,
    ) -> None:
        """Return at once: nodes of this machine are ready when a run asks for them."""
        if show_output and is_delete_operation:
            print('Delete operation finished, operation "Succeeded"')  # noqa: T201 # Azure ML prints here
        elif show_output:
            print(SUCCEEDED)  # noqa: T201
            print("AmlCompute wait for completion finished\n\nMinimum number of nodes requested have been provisioned")  # noqa: T201

    def detach(self) -> None:
        """Not for compute targets of this kind.

        Raises:
            ComputeTargetException: always.
        """
        raise ComputeTargetException("Detach is not supported for AmlCompute object. Try to use delete instead.")

    @staticmethod
    def supported_vmsizes(workspace: Workspace, location: str | None = None) -> list[dict[str, Any]]:
        """The sizes that nodes may have: the usual ones of Azure and those of the workspace."""
        from batchmill.workspace.vm_sizes import GIB, parse_sizes, usual_sizes

        own = {size.name: size for size in parse_sizes(workspace.registry.setting("vm_sizes", {}))}
        sizes = {**usual_sizes(), **own}
        return [
            {"name": size.name, "vCPUs": size.cores, "gpus": size.gpus, "memoryGB": size.memory / GIB} for _, size in sorted(sizes.items())
        ]

    def serialize(self) -> dict[str, Any]:
        """All that is known, as JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "location": self.location,
            "tags": self.tags,
            "description": self.description,
            "created": self._asset.created.isoformat(),
            "modified": self._asset.modified.isoformat(),
            "vmSize": self.vm_size,
            "vmPriority": self.vm_priority,
            "provisioningState": self.provisioning_state,
            "scaleSettings": self.scale_settings.serialize(),
            "status": self.get_status().serialize(),
        }

    def _repr_html_(self) -> str:
        from html import escape

        status = self.get_status()
        facts = {
            "Name": self.name,
            "Size": self.vm_size,
            "Nodes": f"{status.current_node_count} ({status.running_node_count} running, {status.idle_node_count} idle)",
            "Bounds": f"{self.scale_settings.minimum_node_count} to {self.scale_settings.maximum_node_count}",
        }
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items())
        return f"<table>{rows}</table>"

    def _sight(self, view: PoolView) -> Sight | None:
        cluster = cluster_pool(self.workspace, self._asset)
        return None if cluster is None else cluster.look(view)

    def _view(self) -> PoolView:
        view = Pool(self.workspace.registry, self._asset.id).look()
        if view is None:
            raise ComputeTargetException(missing(self.name))
        return view


def class_of(asset: Asset) -> type[AmlCompute]:
    """The class of what the registry keeps as ``asset``."""
    if asset.definition["type"] == RAY_COMPUTE:
        from batchmill.workspace.ray_compute import RayCompute

        return RayCompute
    return AmlCompute


def from_asset(workspace: Workspace, asset: Asset) -> AmlCompute:
    """The compute target that the registry keeps as ``asset``."""
    target = object.__new__(class_of(asset))
    target.workspace, target._asset = workspace, asset
    return target
