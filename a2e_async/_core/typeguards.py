"""Type guards and strict conversions for decoded JSON (pure)."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

MAX_PRICE: Final = 2**40
"""Highest credible price in coins; sums of such prices fit into any database's integers."""

FAILURE_TEXT_FIELDS: Final = ("failed_message", "faild_message")
"""The fields with which the service gives the reason of a failure; one is misspelt by it."""

_CONTAINERS: Final = frozenset({dict, list})


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether ``value`` is a mapping, such as a JSON object."""
    # The identity test is a fast path: isinstance of an ABC is slow.
    return value.__class__ is dict or isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return whether ``value`` is a list."""
    return isinstance(value, list)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Return whether ``value`` is a list or a tuple."""
    return isinstance(value, list | tuple)


def as_integer(value: object) -> int | None:
    """Return an integral number as int (13.0 gives 13); None for anything else."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_price(value: object) -> int | None:
    """Return a price in whole coins, rounded up; None if ``value`` is not a price.

    All prices from the service pass through here. A number may be given as text. Negative and
    non-finite numbers, numbers above `MAX_PRICE` and bools are not prices.
    """
    if isinstance(value, str):
        # Longer texts are not prices, and would take long to parse.
        try:
            value = float(value) if len(value) <= 40 else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return math.ceil(value) if 0 <= value <= MAX_PRICE else None


def failure_text(data: object) -> str | None:
    """Return the reason that a response gives for a failure; None if it gives none."""
    if not is_mapping(data):
        return None
    texts = (data.get(name) for name in FAILURE_TEXT_FIELDS)
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)


def is_nested_deeper_than(value: object, max_depth: int) -> bool:
    """Return whether lists and objects are nested more than ``max_depth`` levels deep.

    Iterative, because a recursive walk of such a value would itself raise RecursionError.
    """
    level: list[Any] = [value] if value.__class__ in _CONTAINERS else []
    for _ in range(max_depth + 1):
        if not level:
            return False
        # Only containers are kept: a response of 200 records has thousands of other values.
        level = [
            inner
            for part in level
            for inner in (part.values() if part.__class__ is dict else part)
            if inner.__class__ in _CONTAINERS
        ]
    return True
