"""What a compute target tells of itself (Azure ML: ``AmlComputeStatus``, ``ScaleSettings``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from batchmill.workspace.cluster_pool import Sight, status_errors
from batchmill.workspace.scaling import Scale

if TYPE_CHECKING:
    from batchmill.workspace.asset import Asset
    from batchmill.workspace.pool import PoolView

SUCCEEDED = "Succeeded"
PRIORITY_WORDS = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}


@dataclass(frozen=True)
class ScaleSettings:
    """Bounds of the number of nodes, and seconds after which an idle one leaves."""

    minimum_node_count: int
    maximum_node_count: int
    idle_seconds_before_scaledown: int

    def serialize(self) -> dict[str, Any]:
        """As Azure ML tells it: the idle time as an ISO 8601 duration."""
        idle = f"PT{self.idle_seconds_before_scaledown}S"
        return {"minNodeCount": self.minimum_node_count, "maxNodeCount": self.maximum_node_count, "nodeIdleTimeBeforeScaleDown": idle}


@dataclass(frozen=True)
class AmlComputeStatus:
    """The nodes at one moment. Moments are UTC."""

    current_node_count: int
    target_node_count: int
    running_node_count: int
    idle_node_count: int
    allocation_state: str
    allocation_state_transition_time: datetime
    creation_time: datetime
    modified_time: datetime
    provisioning_state_transition_time: datetime
    scale_settings: ScaleSettings
    vm_priority: str
    vm_size: str
    provisioning_state: str = SUCCEEDED
    preparing_node_count: int = 0
    leaving_node_count: int = 0
    unusable_node_count: int = 0
    errors: list[dict[str, Any]] | None = None

    @property
    def node_state_counts(self) -> dict[str, int]:
        """Nodes by state. A node of this machine is ready at once, and none is taken away while it works. Nodes of a cluster are preparing
        while it gets a machine for them, leaving when that is going to be taken away, unusable when the cluster does not answer."""
        return {
            "preparingNodeCount": self.preparing_node_count,
            "runningNodeCount": self.running_node_count,
            "idleNodeCount": self.idle_node_count,
            "unusableNodeCount": self.unusable_node_count,
            "leavingNodeCount": self.leaving_node_count,
            "preemptedNodeCount": 0,
        }

    def serialize(self) -> dict[str, Any]:
        """The keys of Azure ML (specification H1)."""
        return {
            "currentNodeCount": self.current_node_count,
            "targetNodeCount": self.target_node_count,
            "nodeStateCounts": self.node_state_counts,
            "allocationState": self.allocation_state,
            "allocationStateTransitionTime": self.allocation_state_transition_time.isoformat(),
            "errors": self.errors,
            "creationTime": self.creation_time.isoformat(),
            "modifiedTime": self.modified_time.isoformat(),
            "provisioningState": self.provisioning_state,
            "provisioningStateTransitionTime": self.provisioning_state_transition_time.isoformat(),
            "scaleSettings": self.scale_settings.serialize(),
            "vmPriority": self.vm_priority,
            "vmSize": self.vm_size,
        }


def status_of(asset: Asset, view: PoolView, sight: Sight | None = None) -> AmlComputeStatus:
    """The status of a compute target whose pool looks like that. ``sight``: how much of it its cluster has."""
    if sight is None:
        idle = len(view.state.idle)
        sight = Sight(len(view.state.nodes) - idle, idle, 0)
    nodes = sight.running + sight.idle + sight.leaving + sight.unusable
    definition = asset.definition
    return AmlComputeStatus(
        current_node_count=nodes,
        target_node_count=view.target,
        running_node_count=sight.running,
        idle_node_count=sight.idle,
        preparing_node_count=sight.preparing,
        leaving_node_count=sight.leaving,
        unusable_node_count=sight.unusable,
        errors=status_errors(sight),
        allocation_state="Steady" if view.target == nodes else "Resizing",
        allocation_state_transition_time=max([asset.modified, *(node.since for node in view.state.nodes)]),
        creation_time=asset.created,
        modified_time=asset.modified,
        provisioning_state_transition_time=asset.modified,
        scale_settings=scale_settings_of(view.scale),
        vm_priority=PRIORITY_WORDS[definition["vm_priority"]],
        vm_size=definition["vm_size"],
    )


def scale_settings_of(scale: Scale) -> ScaleSettings:
    """The same bounds under the names of Azure ML."""
    return ScaleSettings(scale.minimum, scale.maximum, int(scale.idle_seconds))
