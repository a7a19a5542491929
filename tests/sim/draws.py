"""Random choices of a world, drawn from its tape. 0 on the tape is always the harmless choice."""

from collections.abc import Sequence
from typing import TypeVar

import simloom

T = TypeVar("T")


def pick(label: str, *values: T) -> T:
    """Choose one of the values; the first is the harmless one."""
    return values[simloom.draw(label, len(values))]


def pick_from(label: str, values: Sequence[T]) -> T:
    """Choose one of a sequence; the first is the harmless one."""
    return values[simloom.draw(label, len(values))]


def chance(label: str, percent: int) -> bool:
    """Return True with the given probability."""
    return percent > 0 and simloom.draw(label, 100) >= 100 - percent


def part(label: str, steps: int = 4) -> float:
    """Return a random fraction from 0 to 1."""
    return simloom.draw(label, steps) / max(1, steps - 1)
