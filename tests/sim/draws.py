"""Decisions of a world, drawn from its tape. 0 on the tape is the harmless choice everywhere."""

from collections.abc import Sequence
from typing import TypeVar

import simloom

T = TypeVar("T")


def pick(label: str, *values: T) -> T:
    """Draw one value; the first is the harmless one."""
    return values[simloom.draw(label, len(values))]


def pick_from(label: str, values: Sequence[T]) -> T:
    """Draw one of a sequence; the first is the harmless one."""
    return values[simloom.draw(label, len(values))]


def chance(label: str, percent: int) -> bool:
    """Draw whether something happens."""
    return percent > 0 and simloom.draw(label, 100) >= 100 - percent


def part(label: str, steps: int = 4) -> float:
    """Draw a share from 0 up to 1."""
    return simloom.draw(label, steps) / max(1, steps - 1)
