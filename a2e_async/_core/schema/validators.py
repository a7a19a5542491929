"""Turn the type annotation of an input into a predicate and a description (pure)."""

import math
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeGuard, Union, get_args, get_origin

from a2e_async._core.typeguards import is_mapping, is_sequence

_TOO_LARGE: Final = 2**63
"""Bound for integers. Python even refuses to format one with thousands of digits."""

_SEQUENCE_TYPES: Final = (Sequence, list, tuple)

TypePredicate = Callable[[Any], bool]
"""Returns whether a value matches an annotation."""


def predicate_for(hint: Any) -> TypePredicate:
    """Return a predicate for values that match the annotation ``hint``."""
    origin = get_origin(hint)
    if hint is Any:
        return lambda value: True
    if origin is Annotated:
        return predicate_for(get_args(hint)[0])
    if origin in (Union, UnionType):
        tests = [predicate_for(part) for part in get_args(hint)]
        return lambda value: any(fits(value) for fits in tests)
    if origin is Literal:
        words = get_args(hint)
        return lambda value: any(value == word and type(value) is type(word) for word in words)
    if accepts_sequence(origin):
        fits = predicate_for(get_args(hint)[0])
        return lambda value: is_sequence(value) and all(map(fits, value))
    if Mapping in (hint, origin):
        return is_mapping
    if hint in (None, NoneType):
        return lambda value: value is None
    if hint is float:
        return lambda value: (
            math.isfinite(value) if isinstance(value, float) else _is_bounded_int(value)
        )
    if hint is int:
        return _is_bounded_int
    return lambda value: isinstance(value, hint)


def is_integer(value: Any) -> TypeGuard[int]:
    """Return whether a value is an int of any size, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def accepts_sequence(hint: Any) -> bool:
    """Return whether ``hint`` allows a list."""
    parts = (hint, *get_args(hint))
    return any(part in _SEQUENCE_TYPES or get_origin(part) in _SEQUENCE_TYPES for part in parts)


def accepts_mapping(hint: Any) -> bool:
    """Return whether ``hint`` allows a mapping, directly or within a list."""
    return (
        hint is Mapping or get_origin(hint) is Mapping or any(map(accepts_mapping, get_args(hint)))
    )


def accepts_free_text(hint: Any) -> bool:
    """Return whether ``hint`` allows any text, and names no values."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return str in parts and not any(get_origin(part) is Literal for part in parts)


def describe_type(hint: Any) -> str:
    """Describe ``hint`` for messages, such as ``text or a whole number``."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = [w for part in parts if part is not NoneType for w in _describe_parts(part)]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _is_bounded_int(value: Any) -> bool:
    return is_integer(value) and -_TOO_LARGE < value < _TOO_LARGE


def _describe_parts(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [repr(word) for word in get_args(hint)]
    if get_origin(hint) in _SEQUENCE_TYPES:
        return ["a list of " + describe_type(get_args(hint)[0])]
    names = {str: "text", int: "a whole number", float: "a number", bool: "True or False"}
    return [names.get(hint, "a mapping" if get_origin(hint) is Mapping else str(hint))]
