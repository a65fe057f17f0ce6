"""What may stand after ``ray:``."""

from __future__ import annotations

import pytest

from batchmill.errors import SettingError
from batchmill.settings.ray_address import plain_address, ray_address


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("ray:auto", "auto"),
        ("ray: auto ", "auto"),
        ("ray:head:6379", "head:6379"),
        ("ray:[::1]:6379", "[::1]:6379"),
        ("ray://head:10001", "ray://head:10001"),
        ("ray:ray://head:10001", "ray://head:10001"),
    ],
)
def test_an_address_is_what_ray_takes(said: str, meant: str) -> None:
    assert ray_address(said) == plain_address(said) == plain_address(meant) == meant


@pytest.mark.parametrize("said", [None, "cpu-cluster", "Ray:auto", "local"])
def test_anything_else_names_no_cluster(said: str | None) -> None:
    assert ray_address(said) is None


@pytest.mark.parametrize("said", ["ray:", "ray: "])
def test_no_address_is_not_any_cluster(said: str) -> None:
    with pytest.raises(SettingError, match=f"'{said}' says nothing about which Ray cluster is meant. Give ray:auto, ray:HEAD:6379 or"):
        ray_address(said)


@pytest.mark.parametrize(
    "said",
    ["ray://", "ray://head", "ray:head", "ray:local", "ray::6379", "ray:head:0", "ray:head:65536", "ray:a b:1", "ray:a:b:1", "ray:h:¹"],
)
def test_what_is_no_address_is_refused(said: str) -> None:
    with pytest.raises(SettingError, match=r"is no address of a Ray cluster\. Give ray:auto, ray:HEAD:6379 or ray://HEAD:10001"):
        ray_address(said)
