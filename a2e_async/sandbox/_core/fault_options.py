"""Faults as the command line gives them: ``NAME`` or ``NAME,OPTION=VALUE,…``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from .faults import CONTROLLABLE_FAULTS, Faults

FAULT_NAMES: Final = CONTROLLABLE_FAULTS - {"clear"}
"""The faults that the command line can inject."""

ALWAYS: Final = "always"
"""The value of ``times`` for a fault that fires until it is cleared."""


def inject_fault(faults: Faults, text: str) -> None:
    """Inject the fault that a text describes, such as ``http_error,status=503,times=2``.

    Raises:
        ValueError: the fault or an option does not exist, one is missing, or a value is unusable.
    """
    name, *given = (part.strip() for part in text.split(","))
    hints = _option_types(faults, name)
    options: dict[str, Any] = {}
    for part in given:
        option, equals, value = part.partition("=")
        if not equals or option not in hints or option in options:
            msg = f"{name}: {part} is no option; options: {', '.join(hints)}"
            raise ValueError(msg)
        options[option] = _parse_value(name, option, value, hints[option])
    if (missing := _missing_option(faults, name, options)) is not None:
        msg = f"{name} needs a value: {name},{missing}=…"
        raise ValueError(msg)
    getattr(faults, name)(**options)


def queue_fault(faults: Faults, name: str, options: Mapping[str, Any]) -> None:
    """Inject a fault with options that are given as Python values.

    Raises:
        ValueError: as `inject_fault` does.
    """
    hints = _option_types(faults, name)
    for option, value in options.items():
        if option not in hints:
            msg = f"{name} has no option {option}; options: {', '.join(hints)}"
            raise ValueError(msg)
        types = _types_of(hints[option])
        if not any(_is_a(value, item) for item in types):
            msg = f"{option}={value!r} is unusable; {option} takes {_describe(types, 'None')}"
            raise ValueError(msg)
    if (missing := _missing_option(faults, name, options)) is not None:
        msg = f"{name} needs the option {missing}"
        raise ValueError(msg)
    getattr(faults, name)(**options)


def _option_types(faults: Faults, name: str) -> dict[str, Any]:
    """Return the type of each option of a fault, in their order."""
    if name not in FAULT_NAMES:
        msg = f"no such fault: {name}; faults: {', '.join(sorted(FAULT_NAMES))}"
        raise ValueError(msg)
    method = getattr(faults, name)
    hints = get_type_hints(method)
    return {option: hints[option] for option in inspect.signature(method).parameters}


def _missing_option(faults: Faults, name: str, options: Mapping[str, Any]) -> str | None:
    """Return the first option that has no default and is not given."""
    for option, parameter in inspect.signature(getattr(faults, name)).parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            return option
    return None


def _types_of(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def _is_a(value: Any, hint: Any) -> bool:
    """Return whether a value has this type; a whole number is also a number."""
    if get_origin(hint) is Literal:
        return any(value is choice or value == choice for choice in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, hint)


def _parse_value(name: str, option: str, text: str, hint: Any) -> Any:
    types = _types_of(hint)
    for item in types:
        if item is NoneType:
            if option == "times" and text == ALWAYS:
                return None
        elif (value := _parse_as(text, item)) is not None:
            return value
    takes = _describe(types, ALWAYS if option == "times" else "")
    msg = f"{name}: {option}={text} is unusable; {option} takes {takes}"
    raise ValueError(msg)


def _parse_as(text: str, hint: Any) -> Any:
    """Return the value of this type; None if the text has none."""
    if get_origin(hint) is Literal:
        return next((choice for choice in get_args(hint) if str(choice) == text), None)
    if hint is bool:
        return {"true": True, "false": False}.get(text)
    if hint is str:
        return text or None
    try:
        number = hint(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _describe(types: tuple[Any, ...], nothing: str) -> str:
    """Return what an option takes; ``nothing`` is how None is given, if it can be."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    parts = [
        " or ".join(map(str, get_args(item))) if get_origin(item) is Literal else words[item]
        for item in types
        if item is not NoneType
    ]
    return " or ".join([*parts, nothing] if nothing and NoneType in types else parts)
