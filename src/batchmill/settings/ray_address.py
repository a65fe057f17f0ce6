"""``ray:ADDRESS`` in place of the name of a compute target: the Ray cluster at an address, as `ray.init` takes it."""

from __future__ import annotations

from batchmill.errors import SettingError

RAY, CLIENT = "ray:", "ray://"
FORMS = "ray:auto, ray:HEAD:6379 or ray://HEAD:10001"
PORTS = range(1, 1 << 16)


def ray_address(compute: str | None) -> str | None:
    """The address in the setting ``compute``; None where that names something else, or nothing.

    >>> ray_address("ray:head:6379"), ray_address("ray:ray://head:10001"), ray_address("ray://head:10001"), ray_address("cpu-cluster")
    ('head:6379', 'ray://head:10001', 'ray://head:10001', None)

    Raises:
        SettingError: there is no address, or what stands there is none.
    """
    return None if compute is None or not compute.startswith(RAY) else plain_address(compute)


def plain_address(text: str) -> str:
    """The same of a text that may also be the address alone, ``auto`` or ``head:6379``.

    Raises:
        SettingError: it is no address.
    """
    address = text if text.startswith(CLIENT) else text.removeprefix(RAY)
    address = address.strip()
    if address == "auto" or _is_place(address.removeprefix(CLIENT)):
        return address
    what = f"'{text}' is no address of a Ray cluster" if address else f"'{text}' says nothing about which Ray cluster is meant"
    raise SettingError(f"{what}.", cure=f"Give {FORMS}; nothing was started.")


def _is_place(text: str) -> bool:
    """Whether it is a host and a port."""
    host, _, port = text.rpartition(":")
    bare = host.startswith("[") or ":" not in host
    return bool(host) and bare and not set(host) & set(" /") and port.isascii() and port.isdecimal() and int(port) in PORTS
