from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.data.partition_format import PartitionFormat, check_partition_keys
from batchmill.errors import PartitionFormatError

# Azure ML's words, letter for letter (a reader of the specification looks for these).
INVALID = [
    ("data.csv", 'Invalid partition_format "data.csv". There must be at least one {column_name}'),
    ("{}/x", 'Invalid part "{}" in partition_format "{}/x". Column name is not specified.'),
    ("{:yyyy}/x", 'Invalid part "{:yyyy}" in partition_format "{:yyyy}/x". Column name is not specified.'),
    ("{d:MM/dd}/x", 'Invalid part "{d:MM/dd}" in partition_format "{d:MM/dd}/x". Format \'yyyy\' must be defined for datetime column.'),
    ("{d:}/x", 'Invalid part "{d:}" in partition_format "{d:}/x". Date format is not specified.'),
    ("{a/x", 'Invalid partition_format "{a/x". Brackets must is pair and cannot be nested'),
    ("a}/x", 'Invalid partition_format "a}/x". Brackets must is pair and cannot be nested'),
    ("{a{b}}/x", 'Invalid partition_format "{a{b}}/x". Brackets must is pair and cannot be nested'),
    ("{a:yyyy}/{b:yyyy}", 'Invalid partition_format "{a:yyyy}/{b:yyyy}". There cannot be more than one date part.'),
    (
        "{Path}/x",
        'Invalid part "{Path}" in partition_format "{Path}/x". The specified column name is reserved. Please use a different name.',
    ),
]


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_what_is_wrong_is_said_in_the_known_words(text: str, message: str) -> None:
    with pytest.raises(PartitionFormatError) as caught:
        PartitionFormat(text)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("{user}/{season}/{genres}/*", "/in/user4/winter/piano/a.b.wav", ("user4", "winter", "piano")),
        ("/{user}/x.csv", "ann/x.csv", ("ann",)),
        ("{user}/x.csv", "/in/ann/x.csv", ("ann",)),
        ("{user}/x.csv", "/in/ann/yx.csv", (None,)),
        ("{user}/x.csv", "/in/a.b/x.csv", (None,)),
        ("{user}/x.csv", "x.csv", (None,)),
        ("u_{user}/x.csv", "in/u_7/x.csv", ("7",)),
        ("{a}-{b}.csv", "in/1-2.csv", ("1", "2")),
        ("{{{a}}}/x", "in/{v}/x", ("v",)),
        ("{{a}}/{b}", "in/{a}/v", ("v",)),
        ("{d:yyyy/MM/dd/HH/mm/ss}/x", "2024/05/06/07/08/09/x", (datetime(2024, 5, 6, 7, 8, 9),)),
        ("{d:yyyy-MM}/{k}/x", "2024-05/v/x", ("v", datetime(2024, 5, 1))),
        ("{d:yyyyMMdd}.csv", "in/20240230.csv", (None,)),
        ("{k}/{d:yyyy}.csv", "in/v/0000.csv", (None, None)),
        ("*/{k}/x", "in/any/v/x", ("v",)),
        ("*/{k}/x", "v/x", (None,)),
    ],
)
def test_the_end_of_a_path_gives_the_values(text: str, path: str, values: tuple[object, ...]) -> None:
    assert PartitionFormat(text).values(path) == values


def test_columns_come_in_the_order_of_the_pattern_the_date_last() -> None:
    assert PartitionFormat("{user}/{d:yyyy/MM}/{genres}/x").columns == ["user", "genres", "d"]


def test_a_column_may_not_come_twice() -> None:
    with pytest.raises(PartitionFormatError, match="twice"):
        PartitionFormat("{a}/{a}")


NAME = st.text(st.characters(blacklist_characters="./\\", blacklist_categories=["Cs"]), min_size=1, max_size=8)


@given(NAME, NAME, st.lists(NAME, max_size=4))
def test_any_name_is_found_below_any_folders(first: str, second: str, above: list[str]) -> None:
    path = "/".join([*above, first, second, "x.csv"])
    assert PartitionFormat("{a}/{b}/x.csv").values(path) == (first, second)


def test_keys_must_be_those_of_the_paths() -> None:
    check_partition_keys(["a"], ["a", "b"])
    with pytest.raises(PartitionFormatError) as caught:
        check_partition_keys(["a", "c"], ["a", "b"])
    assert str(caught.value) == "partition_keys {'a', 'c'} are not a subset of the dataset's partition keys {'a', 'b'}"
