"""The tenants of a client, for which `A2E.for_caller` starts tasks."""

import math
from typing import Any

from attrs import frozen

from a2e_async.errors import InvalidInput


@frozen
class Tenant:
    """The owner of some starts. ``max_wait`` limits how long a start waits for its slot (s)."""

    name: str
    max_unfinished: int | None = None
    max_wait: float | None = None


def validate_tenant(name: Any, max_unfinished: Any, max_wait: Any) -> Tenant:
    """Return a tenant with these options. Raises `InvalidInput`."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(
            f"caller must be a non-empty str, such as str(user.id), not {type(name).__name__}.",
            field="caller",
        )
    is_integer = isinstance(max_unfinished, int) and not isinstance(max_unfinished, bool)
    if max_unfinished is not None and not (is_integer and max_unfinished > 0):
        raise InvalidInput(
            f"max_unfinished must be an integer of at least 1, got {max_unfinished!r:.60}.",
            field="max_unfinished",
        )
    is_number = isinstance(max_wait, int | float) and not isinstance(max_wait, bool)
    if max_wait is not None and not (is_number and 0 <= max_wait < math.inf):
        raise InvalidInput(
            f"max_wait must be a number of seconds, 0 or more, got {max_wait!r:.60}.",
            field="max_wait",
        )
    return Tenant(name, max_unfinished, max_wait)
