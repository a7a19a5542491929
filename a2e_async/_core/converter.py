"""The converter between JSON values and this package's classes (pure).

Records, journal entries and recovery data are structured and unstructured here, with functions
that cattrs generates. It converts strictly: a value of another type raises one of `UNREADABLE`,
fields of a later version are ignored, and absent ones get their default. What is done about an
unreadable value is the caller's business: a record keeps it in ``extra``.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, TypeVar, Union, get_args, get_origin

from a2e_async._core.typeguards import as_integer, is_list

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

Hook = Callable[[Any, Any], Any]
"""Converts a value (first argument) to a type (second argument)."""

UNREADABLE: Final = (
    TypeError, ValueError, AttributeError, LookupError, OverflowError, OSError
)  # fmt: skip
"""The errors of a value that does not fit."""


def structure(values: Any, target: type[T]) -> T:
    """Return an object of class ``target``. Raises one of `UNREADABLE`."""
    return converter().structure(values, target)


def unstructure(value: Any) -> Any:
    """Return a JSON value: objects as mappings, times in ISO 8601, paths as text."""
    return converter().unstructure(value)


@cache
def converter() -> "Converter":
    """Return the converter.

    Created on first use: importing cattrs takes a quarter of this package's import time.
    """
    from cattrs import Converter

    made = Converter(detailed_validation=False)
    for kind, hook in _STRICT_HOOKS.items():
        made.register_structure_hook(kind, hook)
    for enum in (IntEnum, StrEnum):  # otherwise the hooks of int and str would serve them
        made.register_structure_hook(enum, lambda value, kind: kind(value))
    made.register_structure_hook(datetime, parse_time)
    made.register_structure_hook_func(lambda t: t is Any, lambda value, _: value)
    made.register_structure_hook_factory(_is_tuple, _tuple_hook)
    made.register_structure_hook_factory(_is_optional, _optional_hook)
    made.register_unstructure_hook(datetime, datetime.isoformat)
    made.register_unstructure_hook(Path, str)
    return made


def parse_time(value: Any, _: Any = None) -> datetime:
    """Return an aware datetime from ISO text, epoch seconds or epoch milliseconds."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) > 8:
        value = int(value)  # fromisoformat would parse "1712101512345" as a date in 1712
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    raise TypeError(f"expected a time, got {type(value).__name__}")


def time_or_none(value: Any) -> datetime | None:
    """Return the result of `parse_time`, None if the value is not a time."""
    try:
        return parse_time(value)
    except UNREADABLE:
        return None


def _strict(kind: type) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if value.__class__ is kind or isinstance(value, kind):
            return value
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")

    return hook


def _strict_float(value: Any, _: Any) -> float:
    # NaN differs from itself: a record containing it would seem to change with every poll.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise TypeError(f"expected a number, got {type(value).__name__}")


def strict_int(value: Any, _: Any = None) -> int:
    """Return an integral number as int (13.0 gives 13). Raises `TypeError` for anything else."""
    if value.__class__ is int:
        return value
    if (number := as_integer(value)) is not None:
        return number
    raise TypeError(f"expected int, got {type(value).__name__}")


_STRICT_HOOKS: Final[dict[type, Hook]] = {
    str: _strict(str),
    bool: _strict(bool),
    float: _strict_float,
    int: strict_int,
}


def _is_tuple(target: Any) -> bool:
    origin: Any = get_origin(target)
    return origin is tuple


def _tuple_hook(target: Any) -> Hook:
    inner = get_args(target)[0]
    hook = converter().get_structure_hook(inner)

    def read(value: Any, _: Any) -> tuple[Any, ...]:
        if not is_list(value):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        return tuple([hook(item, inner) for item in value])

    return read


def _is_optional(target: Any) -> bool:
    parts = get_args(target)
    return len(parts) == 2 and NoneType in parts and get_origin(target) in (Union, UnionType)


def _optional_hook(target: Any) -> Hook:
    """Return the hook of an optional value: cattrs's own searches for the inner hook each time."""
    inner = next(part for part in get_args(target) if part is not NoneType)
    hook = converter().get_structure_hook(inner)
    return lambda value, _: None if value is None else hook(value, inner)
