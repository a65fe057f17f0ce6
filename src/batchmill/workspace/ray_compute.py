"""A Ray cluster as a compute target: attached by its address, however it came to be (not in Azure ML)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.settings.ray_address import plain_address
from batchmill.workspace.compute import KIND, AmlCompute, from_asset
from batchmill.workspace.compute_configuration import INVALID, LARGEST, AmlComputeProvisioningConfiguration, check_name
from batchmill.workspace.compute_provider import RAY_COMPUTE
from batchmill.workspace.exceptions import ComputeTargetException
from batchmill.workspace.pool import Pool
from batchmill.workspace.pool_lease import missing, size_of

if TYPE_CHECKING:
    from batchmill.workspace.workspace import Workspace


class RayCompute(AmlCompute):
    """A pool of nodes on one Ray cluster. ``RayCompute(workspace, name)`` opens an attached one.

    It shares a cluster among runs as `AmlCompute` does, and where the cluster has an autoscaler, asks it for nodes and lets them go.
    """

    type = RAY_COMPUTE

    def __init__(self, workspace: Workspace, name: str) -> None:
        """Open an attached cluster.

        Raises:
            ComputeTargetException: there is none of that name.
        """
        super().__init__(workspace, name)
        if self._asset.definition["type"] != RAY_COMPUTE:
            raise ComputeTargetException(missing(name))

    @staticmethod
    def attach(
        workspace: Workspace,
        name: str,
        address: str,
        *,
        vm_size: str = "",
        min_nodes: int | str = 0,
        max_nodes: int | str | None = None,
        idle_seconds_before_scaledown: int | str = 1800,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RayCompute:
        """Make a Ray cluster a compute target, or change the one of that name. The cluster is asked whether it is there.

        Args:
            workspace: where it is registered.
            name: 2 to 16 letters, digits and dashes.
            address: what ``ray.init`` takes: ``auto``, ``head:6379``, ``ray://head:10001``.
            vm_size: what each node may use, several may share a machine; empty: a node takes a whole machine with all its cores.
            min_nodes: nodes that the autoscaler of the cluster keeps when nobody works.
            max_nodes: nodes that all runs together may hold; None for no bound.
            idle_seconds_before_scaledown: seconds after which a node that nobody needs may leave.
            description: what it is for.
            tags: any pairs of texts.

        Raises:
            UserErrorException: the name is reserved.
            ComputeTargetException: a value cannot be meant, or the name is that of another kind of compute target.
            ClusterError: Ray is not installed here, or no cluster answers there.
        """
        from batchmill.workspace.ray_cluster import connection

        check_name(name)
        if not isinstance(address, str) or not address.strip():
            raise ComputeTargetException(f"{INVALID}, address is mandatory")
        most = LARGEST if max_nodes in (None, "") else max_nodes
        configuration = AmlComputeProvisioningConfiguration(
            vm_size=vm_size, min_nodes=min_nodes, max_nodes=most, idle_seconds_before_scaledown=idle_seconds_before_scaledown
        )
        definition = {**configuration.definition(), "type": RAY_COMPUTE, "address": plain_address(address.strip())}
        size_of(workspace, definition)  # raises where there is none
        before = workspace.registry.get(KIND, name)
        if before is not None and before.definition["type"] != RAY_COMPUTE:
            raise ComputeTargetException(f"There is a compute target '{name}' already, and it is no attached cluster. Choose another name.")
        with connection(definition["address"]):
            pass  # there is one
        asset = workspace.registry.put(KIND, name, definition, description=description, tags=dict(tags or {}))
        Pool(workspace.registry, asset.id).settle()
        target = from_asset(workspace, asset)
        assert isinstance(target, RayCompute)
        target.tell_cluster(needed=configuration.min_nodes > 0 or before is not None)
        return target

    @property
    def address(self) -> str:
        """What ``ray.init`` takes."""
        return str(self._asset.definition["address"])

    def detach(self) -> None:
        """Forget the cluster, which goes on as it is. Runs that hold nodes of it go on to their end.

        Raises:
            ComputeTargetException: it has been detached already.
        """
        self.delete()

    def serialize(self) -> dict[str, Any]:
        """All that is known, as JSON."""
        return {**super().serialize(), "address": self.address}
