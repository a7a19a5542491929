"""The type guards for decoded values."""

import math
from types import MappingProxyType
from typing import Any

import pytest

from a2e_async._core.typeguards import (
    MAX_PRICE,
    as_integer,
    failure_text,
    is_list,
    is_mapping,
    is_nested_deeper_than,
    is_sequence,
    parse_price,
)


def test_the_shapes_of_values() -> None:
    shapes = {is_mapping: [{}, {"a": 1}, MappingProxyType({})], is_list: [[], [1]]}
    shapes[is_sequence] = [[], [1], (), (1,)]
    every: list[Any] = [*shapes[is_mapping], *shapes[is_sequence], "", "text", b"", 1, None, {1}]
    for test, right in shapes.items():
        for value in every:
            assert test(value) is any(value is one or value == one for one in right), (test, value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((0, 0), (13, 13), (-13, -13), (13.0, 13), (-0.0, 0), (10**400, 10**400)),
        *((bad, None) for bad in (13.5, True, False, math.nan, math.inf, "13", None, [])),
    ],
)
def test_whole_numbers(value: Any, number: int | None) -> None:
    made = as_integer(value)
    assert made == number
    assert made is None or type(made) is int


@pytest.mark.parametrize(
    ("value", "coins"),
    [
        *[(0, 0), (7, 7), (7.0, 7), (2.1, 3), ("7", 7), (-0.0, 0), (MAX_PRICE, MAX_PRICE)],
        *[("2.5", 3), (" 7 ", 7), ("0" * 39 + "7", 7), ("0" * 40 + "7", None)],
        *[(bad, None) for bad in (-1, -0.5, MAX_PRICE + 1, MAX_PRICE + 0.5, 10**400, True, False)],
        *[(bad, None) for bad in (math.nan, math.inf, -math.inf, None, "", "x", "-5", "nan")],
        *[(bad, None) for bad in ("1e999", "9" * 5000, [], {}, b"7", (7,))],
    ],
    ids=repr,
)
def test_a_price_is_whole_coins_or_none(value: Any, coins: int | None) -> None:
    made = parse_price(value)
    assert made == coins
    assert made is None or type(made) is int


@pytest.mark.parametrize(
    ("value", "levels"),
    [
        *((1, 0), ("text", 0), ((1,), 0), ([], 1), ({}, 1), ([1, 2], 1), ({"a": 1}, 1)),
        *(([[]], 2), ({"a": {}}, 2), ([1, {"a": [1]}], 3), ({"a": 1, "b": [[2]]}, 3)),
        *(([{"a": [{"b": 1}]}], 4),),
    ],
)
def test_levels_are_counted(value: Any, levels: int) -> None:
    for most in range(7):
        assert is_nested_deeper_than(value, most) is (levels > most)


def test_any_depth_is_counted() -> None:
    value: Any = []
    for _ in range(10_000):
        value = [value]
    assert is_nested_deeper_than(value, 200)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"failed_message": " no face "}, "no face"),
        ({"faild_message": "no face"}, "no face"),
        ({"failed_message": " ", "faild_message": "no face"}, "no face"),
        ({"failed_message": 7, "message": "no face"}, None),
        ([{"failed_message": "no face"}], None),
        ("no face", None),
        (None, None),
    ],
)
def test_the_reason_of_a_failure(data: object, text: str | None) -> None:
    assert failure_text(data) == text
