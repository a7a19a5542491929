"""What several inputs demand of each other: shared checks of the kinds, made before money is spent.

Each raises `InvalidInput` that names the input to change. Values the package does not know (a
newer model, a newer mode) are left to the service.
"""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

from a2e_async.errors import InvalidInput
from a2e_async.inputs import TaskInput


@frozen
class Use:
    """What one value of a deciding input needs and takes; a tuple in ``needs``: one of these."""

    needs: tuple[str | tuple[str, ...], ...] = ()
    takes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every input that goes with it."""
        needed = (name if isinstance(name, tuple) else (name,) for name in self.needs)
        return (*(name for group in needed for name in group), *self.takes)


def given(inputs: TaskInput, name: str) -> bool:
    """Return whether an input has a value; blank text and empty lists count as none."""
    value = getattr(inputs, name)
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != [] and value != ()


def check_use(
    inputs: TaskInput, by: str, uses: Mapping[str, Use], *, usual: str | None = None
) -> None:
    """Check what the input ``by`` decides: what its value needs, and what goes with others only.

    ``usual`` is the value that the service takes when none is given.
    """
    said = getattr(inputs, by)
    value = usual if said is None else said
    use = uses.get(value) if value is not None else None
    if use is None:
        return
    label = f"{by}={value!r:.60}" + (" (the service's default)" if said is None else "")
    for group in use.needs:
        names = group if isinstance(group, tuple) else (group,)
        if not any(given(inputs, name) for name in names):
            raise InvalidInput(f"{label} needs {' or '.join(names)}.", field=names[0])
    decided = dict.fromkeys(name for other in uses.values() for name in other.names)
    for name in decided:
        if name not in use.names and given(inputs, name):
            raise InvalidInput(f"{name} does not go with {label}.", field=name)


def check_least(inputs: TaskInput, least: float, *names: str) -> None:
    """Refuse numbers below ``least``; for those whose upper bound nobody knows."""
    for name in names:
        value = getattr(inputs, name)
        if value is not None and value < least:
            raise InvalidInput(f"{name} must be {least:g} or more, got {value}.", field=name)


def check_among(inputs: TaskInput, name: str, values: Collection[Any], when: str) -> None:
    """Refuse a value that is not among these; ``when`` tells the condition ("with version 2.6")."""
    value = getattr(inputs, name)
    if value is not None and value not in values:
        listed = ", ".join(map(str, values))
        raise InvalidInput(f"{name} must be one of {listed} {when}.", field=name)
