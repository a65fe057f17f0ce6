"""Sizes of Azure's virtual machines: the cores, memory and GPUs that a node of that size may use. Pure.

A table of the usual ones; a workspace adds its own by the setting ``vm_sizes``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from batchmill.errors import SettingError

GIB = 2**30
DEFAULT = "STANDARD_D2_V2"
OF_RAY = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that every Ray node has; a size says them by its own keys."""
# Families that grow evenly: name with {} for the cores -> GiB for each core, numbers of cores.
EVEN_FAMILIES: tuple[tuple[str, float, tuple[int, ...]], ...] = (
    *((f"D{{}}{kind}_v3", 4, (2, 4, 8, 16, 32, 48, 64)) for kind in ("", "s")),
    *((f"D{{}}{kind}_v4", 4, (2, 4, 8, 16, 32, 48, 64)) for kind in ("", "s", "d", "ds")),
    *((f"D{{}}{kind}_v4", 4, (2, 4, 8, 16, 32, 48, 64, 96)) for kind in ("a", "as")),
    *((f"D{{}}{kind}_v5", 4, (2, 4, 8, 16, 32, 48, 64, 96)) for kind in ("", "s", "d", "ds", "as", "ads")),
    *((f"D{{}}{kind}_v6", 4, (2, 4, 8, 16, 32, 48, 64, 96)) for kind in ("s", "ds", "as", "ads")),
    *((f"E{{}}{kind}_v3", 8, (2, 4, 8, 16, 20, 32, 48)) for kind in ("", "s")),
    *((f"E{{}}{kind}_v4", 8, (2, 4, 8, 16, 20, 32, 48)) for kind in ("", "s", "d", "ds", "a", "as")),
    *((f"E{{}}{kind}_v5", 8, (2, 4, 8, 16, 20, 32, 48, 64)) for kind in ("", "s", "d", "ds", "as", "ads")),
    ("F{}s_v2", 2, (2, 4, 8, 16, 32, 48, 64, 72)),
    ("F{}", 2, (1, 2, 4, 8, 16)),
    ("F{}s", 2, (1, 2, 4, 8, 16)),
    ("A{}_v2", 2, (1, 2, 4, 8)),
    ("A{}m_v2", 8, (2, 4, 8)),
    ("B{}ms", 4, (2, 4, 8, 12, 16, 20)),
    ("L{}s_v2", 8, (8, 16, 32, 48, 64, 80)),
)
# name -> cores, GiB, GPUs
SINGLE_SIZES: Mapping[str, tuple[int, float, int]] = {
    **{f"D{kind}{number}_v2": size for number, size in {
        1: (1, 3.5, 0), 2: (2, 7, 0), 3: (4, 14, 0), 4: (8, 28, 0), 5: (16, 56, 0),
        11: (2, 14, 0), 12: (4, 28, 0), 13: (8, 56, 0), 14: (16, 112, 0), 15: (20, 140, 0),
    }.items() for kind in ("", "S")},
    **{f"D{number}": size for number, size in {
        1: (1, 3.5, 0), 2: (2, 7, 0), 3: (4, 14, 0), 4: (8, 28, 0), 11: (2, 14, 0), 12: (4, 28, 0), 13: (8, 56, 0), 14: (16, 112, 0),
    }.items()},
    "B1s": (1, 1, 0), "B1ms": (1, 2, 0), "B2s": (2, 4, 0),
    "E64_v3": (64, 432, 0), "E64s_v3": (64, 432, 0), "E64_v4": (64, 504, 0), "E64s_v4": (64, 504, 0),
    "H8": (8, 56, 0), "H16": (16, 112, 0), "HB60rs": (60, 228, 0), "HB120rs_v2": (120, 456, 0), "HC44rs": (44, 352, 0),
    "NC6": (6, 56, 1), "NC12": (12, 112, 2), "NC24": (24, 224, 4), "NC24r": (24, 224, 4),
    "NC6s_v2": (6, 112, 1), "NC12s_v2": (12, 224, 2), "NC24s_v2": (24, 448, 4), "NC24rs_v2": (24, 448, 4),
    "NC6s_v3": (6, 112, 1), "NC12s_v3": (12, 224, 2), "NC24s_v3": (24, 448, 4), "NC24rs_v3": (24, 448, 4),
    "NC4as_T4_v3": (4, 28, 1), "NC8as_T4_v3": (8, 56, 1), "NC16as_T4_v3": (16, 110, 1), "NC64as_T4_v3": (64, 440, 4),
    "NC24ads_A100_v4": (24, 220, 1), "NC48ads_A100_v4": (48, 440, 2), "NC96ads_A100_v4": (96, 880, 4),
    "NC40ads_H100_v5": (40, 320, 1), "NC80adis_H100_v5": (80, 640, 2),
    "ND6s": (6, 112, 1), "ND12s": (12, 224, 2), "ND24s": (24, 448, 4), "ND24rs": (24, 448, 4), "ND40rs_v2": (40, 672, 8),
    "ND96asr_v4": (96, 900, 8), "ND96amsr_A100_v4": (96, 1900, 8), "ND96isr_H100_v5": (96, 1900, 8),
    "NV6": (6, 56, 1), "NV12": (12, 112, 2), "NV24": (24, 224, 4),
    "NV12s_v3": (12, 112, 1), "NV24s_v3": (24, 224, 2), "NV48s_v3": (48, 448, 4),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class VmSize:
    """What one node may use. ``name`` is in capitals, ``memory`` in bytes; ``resources`` are custom ones of a Ray cluster, by name."""

    name: str
    cores: int
    memory: int
    gpus: int = 0
    resources: tuple[tuple[str, float], ...] = ()

    @property
    def workers(self) -> int:
        """Worker processes of a node by default: one for each GPU, else one for each core."""
        return self.gpus or self.cores


def find_size(name: str, own: Mapping[str, Any] | None = None) -> VmSize:
    """The size of that name in any spelling, ``Standard_`` left out or not; ``own`` is the workspace setting ``vm_sizes``.

    >>> find_size("standard_nc6")
    VmSize(name='STANDARD_NC6', cores=6, memory=60129542144, gpus=1)

    Raises:
        SettingError: there is none; names the nearest.
    """
    sizes = {**usual_sizes(), **{size.name: size for size in parse_sizes(own or {})}}
    wanted = name.strip().upper()
    found = sizes.get(wanted) or sizes.get(f"STANDARD_{wanted}")
    if found is not None:
        return found
    near = difflib.get_close_matches(wanted if wanted.startswith("STANDARD_") else f"STANDARD_{wanted}", sizes, n=3, cutoff=0.5)
    hint = f"The nearest names are {', '.join(near)}. " if near else ""
    raise SettingError(
        f"There is no vm_size '{name}'.",
        cure=hint + 'Add it: batchmill workspace update --set \'vm_sizes={"NAME": {"cores": 4, "memory_gib": 16, "gpus": 0}}\'',
    )


def parse_sizes(own: Mapping[str, Any]) -> Iterator[VmSize]:
    """The sizes of a setting ``{"NAME": {"cores": 4, "memory_gib": 16, "gpus": 0, "resources": {"fast_disk": 1}}}``; ``gpus`` and
    ``resources`` may be missing.

    Raises:
        SettingError: one of them has another form.
    """
    for name, size in own.items():
        if not _is_size(size):
            raise SettingError(
                f"The size '{name}' of the setting vm_sizes is {size!r}:",
                cure='it must be of the form {"cores": 4, "memory_gib": 16, "gpus": 0, "resources": {"fast_disk": 1}}.',
            )
        resources = tuple(sorted((str(key), float(amount)) for key, amount in size.get("resources", {}).items()))
        yield VmSize(str(name).strip().upper(), int(size["cores"]), int(size["memory_gib"] * GIB), int(size.get("gpus", 0)), resources)


def _is_size(size: Any) -> bool:
    if not isinstance(size, Mapping) or not {"cores", "memory_gib"} <= set(size) <= {"cores", "memory_gib", "gpus", "resources"}:
        return False
    custom = size.get("resources", {})
    if not isinstance(custom, Mapping) or not all(isinstance(name, str) and name not in OF_RAY for name in custom):
        return False
    numbers = [*(value for key, value in size.items() if key != "resources"), *custom.values()]
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers) or any(one <= 0 for one in custom.values()):
        return False
    cores, gpus = size["cores"], size.get("gpus", 0)
    return bool(cores >= 1 and gpus >= 0 and size["memory_gib"] > 0 and cores % 1 == gpus % 1 == 0)


@cache
def usual_sizes() -> Mapping[str, VmSize]:
    """The table: name in capitals -> size."""
    return {size.name: size for size in _all()}


def _all() -> Iterable[VmSize]:
    for pattern, gib, all_cores in EVEN_FAMILIES:
        for cores in all_cores:
            yield VmSize(f"STANDARD_{pattern.format(cores)}".upper(), cores, int(cores * gib * GIB))
    for name, (cores, gib, gpus) in SINGLE_SIZES.items():
        yield VmSize(f"STANDARD_{name}".upper(), cores, int(gib * GIB), gpus)
