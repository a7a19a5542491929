"""Rules between several inputs of a kind, checked before anything is charged.

Each check raises `InvalidInput`, whose ``field`` is the input to change. Values that the package
does not know, such as a newer model or mode, are not checked: the service decides.
"""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

from a2e_async._core.schema.inputs import TaskInput
from a2e_async.errors import InvalidInput


@frozen
class InputRule:
    """The other inputs that one value of a selecting input requires and allows.

    A tuple in ``requires`` means: at least one of these.
    """

    requires: tuple[str | tuple[str, ...], ...] = ()
    allows: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All inputs that may be combined with the value."""
        needed = (name if isinstance(name, tuple) else (name,) for name in self.requires)
        return (*(name for group in needed for name in group), *self.allows)


def is_given(inputs: TaskInput, name: str) -> bool:
    """Return whether an input has a value; blank text and empty lists do not count."""
    value = getattr(inputs, name)
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != [] and value != ()


def check_rules(
    inputs: TaskInput, selector: str, rules: Mapping[str, InputRule], *, default: str | None = None
) -> None:
    """Check the rule of the value of ``selector``, such as a mode.

    Raises if an input is missing that the value requires, or if one is given that only other
    values allow. ``default`` is the value that the service uses if none is given.
    """
    given = getattr(inputs, selector)
    value = default if given is None else given
    use = rules.get(value) if value is not None else None
    if use is None:
        return
    label = f"{selector}={value!r:.60}" + (" (the service's default)" if given is None else "")
    for group in use.requires:
        names = group if isinstance(group, tuple) else (group,)
        if not any(is_given(inputs, name) for name in names):
            raise InvalidInput(f"{label} requires {' or '.join(names)}.", field=names[0])
    decided = dict.fromkeys(name for other in rules.values() for name in other.names)
    for name in decided:
        if name not in use.names and is_given(inputs, name):
            raise InvalidInput(f"{name} cannot be combined with {label}.", field=name)


def check_min(inputs: TaskInput, minimum: float, *names: str) -> None:
    """Raise for numbers below ``minimum``; for inputs whose upper bound is unknown."""
    for name in names:
        value = getattr(inputs, name)
        if value is not None and value < minimum:
            raise InvalidInput(f"{name} must be at least {minimum:g}, got {value}.", field=name)


def check_one_of(inputs: TaskInput, name: str, values: Collection[Any], condition: str) -> None:
    """Raise for a value that is not in ``values``; ``condition`` is, say, "with version 2.6"."""
    value = getattr(inputs, name)
    if value is not None and value not in values:
        listed = ", ".join(map(str, values))
        raise InvalidInput(f"{name} must be one of {listed} {condition}.", field=name)


def check_any_given(inputs: TaskInput, *names: str) -> None:
    """Raise if none of these inputs is given, unless ``extra`` may hold another in their place."""
    if not inputs.extra and not any(is_given(inputs, name) for name in names):
        raise InvalidInput(f"Give {' or '.join(names)}.", field=names[0])
