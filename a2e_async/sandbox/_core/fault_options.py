"""Faults as the command line gives them: ``NAME`` or ``NAME,OPTION=VALUE,…``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
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
    if name not in FAULT_NAMES:
        msg = f"no such fault: {name}; faults: {', '.join(sorted(FAULT_NAMES))}"
        raise ValueError(msg)
    method: Callable[..., None] = getattr(faults, name)
    signature, hints = inspect.signature(method), get_type_hints(method)
    options: dict[str, Any] = {}
    for part in given:
        option, equals, value = part.partition("=")
        if not equals or option not in signature.parameters or option in options:
            msg = f"{name}: {part} is no option; options: {', '.join(signature.parameters)}"
            raise ValueError(msg)
        options[option] = _parse_value(name, option, value, hints[option])
    for option, parameter in signature.parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            msg = f"{name} needs a value: {name},{option}=…"
            raise ValueError(msg)
    method(**options)


def _parse_value(name: str, option: str, text: str, hint: Any) -> Any:
    types = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for item in types:
        if item is NoneType:
            if option == "times" and text == ALWAYS:
                return None
        elif (value := _parse_as(text, item)) is not None:
            return value
    msg = f"{name}: {option}={text} is unusable; {option} takes {_describe(option, types)}"
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


def _describe(option: str, types: tuple[Any, ...]) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    parts = [
        " or ".join(map(str, get_args(item))) if get_origin(item) is Literal else words[item]
        for item in types
        if item is not NoneType
    ]
    return " or ".join([*parts, ALWAYS] if option == "times" else parts)
