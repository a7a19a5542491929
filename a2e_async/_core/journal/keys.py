"""Keys under which the journal keeps starts whose user gave none."""

import secrets
import time
from typing import Final

_REMAINING_KEY_PREFIX: Final = "auto:rest:"


def generate_key(prefix: str) -> str:
    """Return a unique journal key for a start without a key of its own.

    It begins with the time, so keys generated together are neighbours in the journal's index
    and a group commit writes few index pages.
    """
    return f"{prefix}:{time.time_ns():016x}{secrets.token_hex(8)}"


def remaining_tasks_key(key: str) -> str:
    """Return the key of the entry for tasks that the response to this key's start left out.

    It is derived from the start's key, so that all clients use the same entry.
    """
    return f"{_REMAINING_KEY_PREFIX}{key}"


def key_of_incomplete_start(key: str) -> str | None:
    """Return the key of the start that a `remaining_tasks_key` belongs to; None for any other
    key."""
    return (
        key.removeprefix(_REMAINING_KEY_PREFIX) if key.startswith(_REMAINING_KEY_PREFIX) else None
    )
