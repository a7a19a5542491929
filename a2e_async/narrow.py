"""Tells what decoded JSON and other values are, so that type checkers follow (pure)."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

MAX_PRICE: Final = 2**40
"""Coins; no paid call costs as much, and sums of such prices fit into any database."""


def is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return True for a JSON object."""
    return value.__class__ is dict or isinstance(value, Mapping)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Return True for a JSON list."""
    return isinstance(value, list)


def is_sequence(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Return True for a list or a tuple."""
    return isinstance(value, list | tuple)


def whole(value: object) -> int | None:
    """Return a number without a fraction as int (13.0 counts), None for anything else."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def price(value: object) -> int | None:
    """Return a price in whole coins, rounded up; None for anything that can be none.

    Every price that the service gives passes through here. A number as text counts; what is
    negative, not finite, above `MAX_PRICE`, a bool or no number at all does not.
    """
    if isinstance(value, str):
        # Longer texts are no prices, and would cost time to read.
        try:
            value = float(value) if len(value) <= 40 else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return math.ceil(value) if 0 <= value <= MAX_PRICE else None


def deeper_than(value: object, most: int) -> bool:
    """Return whether lists and objects are nested more than ``most`` levels deep.

    Without recursion: what is nested too deeply breaks whoever walks, compares or copies it.
    """
    level: list[Any] = [value]
    for _ in range(most + 1):
        level = [part for part in level if part.__class__ is dict or part.__class__ is list]
        if not level:
            return False
        level = [
            inner for part in level for inner in (part.values() if part.__class__ is dict else part)
        ]
    return True
