"""What is asked of a compute target before it is made (Azure ML: ``AmlComputeProvisioningConfiguration``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchmill.workspace.exceptions import ComputeTargetException, UserErrorException

INVALID = "Invalid provisioning configuration"
PRIORITIES = ("dedicated", "lowpriority")
LARGEST = 65_000  # nodes; Azure's clusters end there, and each node that is there is a row
RESERVED = ("amlcompute", "local", "containerinstance")
NAME = re.compile(r"[A-Za-z0-9-]{2,16}")


class AmlComputeProvisioningConfiguration:
    """Size, bounds and the rest; checked when it is made. What only Azure has (network, identity, logins) is kept or left out.

    Raises:
        ComputeTargetException: it cannot be so.
    """

    def __init__(
        self,
        vm_size: str | None = "",
        vm_priority: str | None = "dedicated",
        min_nodes: int | str | None = 0,
        max_nodes: int | str | None = None,
        idle_seconds_before_scaledown: int | str | None = 1800,
        admin_username: str | None = None,
        admin_user_password: str | None = None,
        admin_user_ssh_key: str | None = None,
        vnet_resourcegroup_name: str | None = None,
        vnet_name: str | None = None,
        subnet_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str | None = None,
        remote_login_port_public_access: str | None = "NotSpecified",
        identity_type: str | None = None,
        identity_id: list[str] | None = None,
        location: str | None = None,
        enable_node_public_ip: bool | None = True,
    ) -> None:
        self.vm_size = (vm_size or "").strip()
        self.vm_priority = (vm_priority or PRIORITIES[0]).strip().lower()
        self.min_nodes = whole_number(min_nodes, "min nodes count") or 0
        self.max_nodes = whole_number(max_nodes, "max nodes count")
        idle = whole_number(idle_seconds_before_scaledown, "idle seconds before scaledown")
        self.idle_seconds_before_scaledown = 1800 if idle is None else idle
        self.admin_username = admin_username
        self.vnet_resourcegroup_name, self.vnet_name, self.subnet_name = vnet_resourcegroup_name, vnet_name, subnet_name
        self.tags, self.description, self.location = dict(tags or {}), description, location
        self.remote_login_port_public_access = remote_login_port_public_access
        self.identity_type, self.identity_id = identity_type, identity_id
        self.enable_node_public_ip = enable_node_public_ip
        self._login = admin_username, admin_user_password or admin_user_ssh_key
        self.validate_configuration()

    def validate_configuration(self) -> None:
        """Check what was given.

        Raises:
            ComputeTargetException: with the texts of Azure ML where they are known.
        """
        check_bounds(self.min_nodes, self.max_nodes, self.idle_seconds_before_scaledown)
        if self.vm_priority not in PRIORITIES:
            raise ComputeTargetException(f"{INVALID}, vm_priority '{self.vm_priority}' must be {' or '.join(PRIORITIES)}")
        name, password = self._login
        if password and not name:
            raise ComputeTargetException(f"{INVALID}, admin_username is mandatory with a password or an SSH key")
        if name and not password:
            raise ComputeTargetException(f"{INVALID}, admin_username needs a password or an SSH key")
        network = (self.vnet_resourcegroup_name, self.vnet_name, self.subnet_name)
        if any(network) and not all(network):
            raise ComputeTargetException(f"{INVALID}, vnet_resourcegroup_name, vnet_name and subnet_name must be given together")
        if self.identity_id and str(self.identity_type) != "UserAssigned":
            raise ComputeTargetException(f"{INVALID}, identity_id goes with identity_type 'UserAssigned'")

    def definition(self) -> dict[str, Any]:
        """What the registry keeps; logins are not kept."""
        return {
            "type": "AmlCompute",
            "vm_size": self.vm_size.upper(),
            "vm_priority": self.vm_priority,
            "min_nodes": self.min_nodes,
            "max_nodes": self.max_nodes,
            "idle_seconds": self.idle_seconds_before_scaledown,
            "location": self.location,
        }

    def __repr__(self) -> str:
        bounds = f"min_nodes={self.min_nodes}, max_nodes={self.max_nodes}"
        return f"AmlComputeProvisioningConfiguration(vm_size={self.vm_size!r}, vm_priority={self.vm_priority!r}, {bounds})"


def check_bounds(minimum: int, maximum: int | None, idle_seconds: int) -> None:
    """The rules of the numbers of nodes.

    Raises:
        ComputeTargetException: they do not fit together.
    """
    if maximum is None:
        raise ComputeTargetException(f"{INVALID}, max nodes count is mandatory")
    if maximum < 0:
        raise ComputeTargetException(f"{INVALID}, max nodes count must be greater than or equal to 0")
    if maximum > LARGEST:
        raise ComputeTargetException(f"{INVALID}, max nodes count must be less than or equal to {LARGEST}")
    if minimum < 0:
        raise ComputeTargetException(f"{INVALID}, min nodes count must be greater than or equal to 0")
    if maximum < minimum:
        raise ComputeTargetException(f"{INVALID}, max nodes count must be greater than or equal to min nodes count")
    if idle_seconds < 0:
        raise ComputeTargetException(f"{INVALID}, idle seconds before scaledown must be greater than or equal to 0")


def check_name(name: object) -> str:
    """The name of a new compute target.

    Raises:
        UserErrorException: it is reserved.
        ComputeTargetException: it is no name.
    """
    if isinstance(name, str) and name.lower() in RESERVED:
        raise UserErrorException(f"A compute target cannot be called '{name}': this name is reserved. Choose another one.")
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise ComputeTargetException(f"A compute target cannot be called {name!r}: a name has 2 to 16 letters, digits and dashes.")
    return name


def whole_number(value: object, what: str) -> int | None:
    """A number as it is, digits of a text (scripts pass on what ``os.environ.get`` gave them), None for nothing.

    Raises:
        ComputeTargetException: it is something else.
    """
    text = str(value).strip()
    if value is None or text == "":
        return None
    if isinstance(value, bool) or re.fullmatch(r"-?\d+", text) is None:
        raise ComputeTargetException(f"{INVALID}, {what} must be a whole number, not {value!r}")
    return int(text)
