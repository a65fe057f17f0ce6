"""Where the nodes of a compute target are: on this machine, or on a Ray cluster, of which each node asks for a bundle of resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchmill.errors import SettingError
from batchmill.settings.ray_address import ray_address

if TYPE_CHECKING:
    from batchmill.workspace.vm_sizes import VmSize
    from batchmill.workspace.workspace import Workspace

LOCAL = "local"
SETTING = "compute_provider"
RAY_COMPUTE = "RayCompute"
MEMORY_SHARE = 0.6
"""Of the memory of a size that a node asks Ray for: Ray offers about two thirds of what a machine has, the rest is its object store's."""


def check_provider(text: str) -> str:
    """The text of a provider, ``local`` or ``ray:ADDRESS``.

    Raises:
        SettingError: it is neither.
    """
    text = text.strip()
    if text == LOCAL or ray_address(text) is not None:
        return text
    raise SettingError(
        f"Setting '{SETTING}' has the value '{text}': it must be {LOCAL} or ray:ADDRESS.",
        cure="ADDRESS is what ray.init takes: auto, head:6379, ray://head:10001.",
    )


def address_of(workspace: Workspace, definition: Mapping[str, Any]) -> str | None:
    """The address of the Ray cluster that a compute target with that definition is on; None: it is on this machine."""
    if definition["type"] == RAY_COMPUTE:
        return str(definition["address"])
    provider = str(workspace.registry.setting(SETTING, LOCAL))
    return ray_address(provider)


def cluster_of(workspace: Workspace, name: str) -> str | None:
    """The same by the name of a compute target; None also where there is none of that name."""
    asset = workspace.registry.get("compute", name)
    return None if asset is None else address_of(workspace, asset.definition)


def bundle_of(size: VmSize) -> dict[str, float]:
    """What a node of that size reserves of a Ray node.

    >>> from batchmill.workspace.vm_sizes import find_size
    >>> bundle_of(find_size("STANDARD_NC6"))
    {'CPU': 6.0, 'memory': 36077725286.0, 'GPU': 1.0}
    """
    bundle = {"CPU": float(size.cores), "memory": float(int(size.memory * MEMORY_SHARE))}
    if size.gpus:
        bundle["GPU"] = float(size.gpus)
    return {**bundle, **dict(size.resources)}
