"""``ray:ADDRESS`` in place of the name of a compute target: the Ray cluster at an address, as `ray.init` takes it."""

from __future__ import annotations

RAY, CLIENT = "ray:", "ray://"


def ray_address(compute: str | None) -> str | None:
    """The address in the setting ``compute``; None where that names something else, or nothing.

    >>> ray_address("ray:head:6379"), ray_address("ray:ray://head:10001"), ray_address("ray://head:10001"), ray_address("cpu-cluster")
    ('head:6379', 'ray://head:10001', 'ray://head:10001', None)
    """
    if compute is None or not compute.startswith(RAY):
        return None
    return compute if compute.startswith(CLIENT) else compute.removeprefix(RAY).strip() or "auto"
