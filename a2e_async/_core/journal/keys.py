"""Keys of starts: those generated for the journal, and the error for a key that is taken."""

import secrets
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from a2e_async.errors import KeyConflict

CALL_KEY_PREFIX: Final = "call:"
"""Begins the keys of paid calls that start no task."""

_REMAINING_KEY_PREFIX: Final = "auto:rest:"


def generate_key(prefix: str) -> str:
    """Return a unique journal key for a start without a key of its own.

    It begins with the time, so keys generated together are neighbours in the journal's index
    and a group commit writes few index pages.
    """
    return f"{prefix}:{time.time_ns():016x}{secrets.token_hex(8)}"


def call_key(key: str) -> str:
    """Return the journal key of a paid call without a task that has this key of the user."""
    return f"{CALL_KEY_PREFIX}{key}"


def is_call_key(key: str) -> bool:
    """Return whether a key is that of a paid call that starts no task."""
    return key.startswith(CALL_KEY_PREFIX)


def remaining_tasks_key(key: str, sent_at: datetime) -> str:
    """Return the key of the entry for tasks that the response to a start left out.

    It is derived from the start's key and time, so that all clients use the same entry, and a
    later start with the same key, after the first one was pruned, has another one.
    """
    return f"{_REMAINING_KEY_PREFIX}{round(sent_at.timestamp() * 1000):x}:{key}"


def start_key_of_remaining_tasks(key: str) -> str | None:
    """Return the key of the start that a `remaining_tasks_key` belongs to, else None."""
    if not key.startswith(_REMAINING_KEY_PREFIX):
        return None
    return key.removeprefix(_REMAINING_KEY_PREFIX).partition(":")[2]


def key_conflict(
    key: str, ref: str | None, *, changed: Sequence[str] = (), paths: Iterable[str] = ()
) -> KeyConflict:
    """Return the error for a key that another start has.

    ``ref`` is that of its task, if known, and ``paths`` are its saved files; ``changed`` are the
    inputs that differ, if known.
    """
    how = f"another {' and another '.join(changed)}" if changed else "other inputs"
    saved = ", ".join(paths)
    paid = f" The paid task is {ref}{saved and f', saved as {saved}'}." if ref else ""
    return KeyConflict(
        f"key {key!r:.60} was used before with {how}.{paid} To start again (charged again), use "
        "another key; to use that result, the same inputs.",
        key=key,
        ref=ref,
    )
