"""Names of sizes of Azure's virtual machines."""

from __future__ import annotations

import pytest

from batchmill.errors import SettingError
from batchmill.workspace.vm_sizes import GIB, VmSize, find_size, parse_sizes, usual_sizes


@pytest.mark.parametrize(
    ("name", "cores", "gib", "gpus"),
    [
        ("STANDARD_D2_V2", 2, 7, 0),
        ("Standard_DS3_v2", 4, 14, 0),
        ("d4s_v3", 4, 16, 0),
        ("standard_e20_v4", 20, 160, 0),
        ("STANDARD_F72S_V2", 72, 144, 0),
        ("STANDARD_NC6", 6, 56, 1),
        ("Standard_NC24ads_A100_v4", 24, 220, 1),
    ],
)
def test_usual_names_in_any_spelling(name: str, cores: int, gib: int, gpus: int) -> None:
    size = find_size(name)
    assert (size.cores, size.memory, size.gpus) == (cores, gib * GIB, gpus)
    assert size.name == size.name.upper()
    assert size.workers == (gpus or cores)


def test_every_name_is_found_again() -> None:
    for name, size in usual_sizes().items():
        assert find_size(name.lower()) is size


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"There is no vm_size 'Standard_NC7'\. The nearest names are STANDARD_NC6,") as caught:
        find_size("Standard_NC7")
    assert "batchmill workspace update --set" in caught.value.line


def test_sizes_of_a_workspace_come_first() -> None:
    own = {"desk": {"cores": 3, "memory_gib": 1.5}, "STANDARD_NC6": {"cores": 1, "memory_gib": 2, "gpus": 1}}
    assert find_size("Desk", own) == VmSize("DESK", 3, GIB * 3 // 2, 0)
    assert find_size("nc6", own).cores == 1


@pytest.mark.parametrize(
    "size",
    [
        3,
        None,
        {},
        {"cores": 2},
        {"cores": 2, "memory_gib": 0},
        {"cores": 0, "memory_gib": 1},
        {"cores": 1.5, "memory_gib": 1},
        {"cores": True, "memory_gib": 1},
        {"cores": "2", "memory_gib": 1},
        {"cores": 1, "memory_gib": 1, "gpu": 1},
        {"cores": 1, "memory_gib": 1, "gpus": -1},
        {"cores": 1, "memory_gib": 1, "resources": 3},
        {"cores": 1, "memory_gib": 1, "resources": {"disk": 0}},
        {"cores": 1, "memory_gib": 1, "resources": {"disk": "1"}},
        {"cores": 1, "memory_gib": 1, "resources": {"GPU": 1}},
    ],
)
def test_broken_sizes(size: object) -> None:
    with pytest.raises(SettingError, match="The size 'x' of the setting vm_sizes is"):
        list(parse_sizes({"x": size}))
