"""The rules of `Journal` for changing entries, shared by all stores (pure)."""

from collections.abc import Collection
from typing import Any, Final

from attrs import evolve

from a2e_async._core.journal.protocol import Entry, EntryChanges, LeaseLost, State
from a2e_async._core.typeguards import parse_price
from a2e_async.errors import ConfigurationError
from a2e_async.models import Recovery


def has_same_inputs(existing: Entry, entry: Entry) -> bool:
    """Whether two entries with the same key belong to the same start."""
    return (existing.kind, existing.digest) == (entry.kind, entry.digest)


def check_account_binding(current: str | None, account: str) -> str:
    """Return the account to bind to; raise `ConfigurationError` if another one is bound."""
    if current not in (None, account):
        raise ConfigurationError(
            "A journal object serves one account. Create another journal object for this account."
        )
    return account


def with_valid_prices(entry: Entry) -> Entry:
    """Return a new entry without invalid prices."""
    coins, reserved = parse_price(entry.coins), parse_price(entry.reserved)
    if (coins, reserved) == (entry.coins, entry.reserved):
        return entry
    return evolve(entry, coins=coins, reserved=reserved)


def without_ids(entry: Entry, held_ids: Collection[str]) -> Entry:
    """Return a new entry without ids that other entries hold; without ids it is not accepted."""
    ids = tuple(id for id in entry.ids if id not in held_ids)
    return evolve(entry, ids=ids, state=entry.state if ids else min(entry.state, State.INTENT))


def new_ids(entry: Entry, changes: EntryChanges) -> tuple[str, ...]:
    """Return the ids in the changes that the entry does not have yet, without duplicates."""
    return tuple(id for id in dict.fromkeys(changes.get("ids", ())) if id not in entry.ids)


def apply_step(
    entry: Entry | None,
    owner: str,
    state: State,
    step_changes: EntryChanges,
    now: float,
    *,
    account: str | None = None,
    held_ids: Collection[str] = (),
) -> tuple[Entry, tuple[str, ...]] | None:
    """Return the entry after a step by ``owner``, and its new ids; None if there is no entry.

    ``held_ids`` are ids that other entries hold; they are left out. ``account`` is the client's
    account: an entry without one gets it when its state advances. Raises `LeaseLost` for a step
    up to `State.INTENT` by a client that does not own the entry.
    """
    # Decisions need the lease. Facts do not: any client must be able to record what was paid.
    if state <= State.INTENT and (
        entry is None or entry.owner != owner or entry.state > State.INTENT
    ):
        raise LeaseLost("Another client has taken over this start; nothing was sent by this one.")
    if entry is None:
        return None
    updates: dict[str, Any] = {**step_changes, "updated_at": now}
    wanted = new_ids(entry, step_changes)
    new = tuple(id for id in wanted if id not in held_ids)
    updates["ids"] = entry.ids + new
    if "reserved" in updates:
        updates["reserved"] = parse_price(updates["reserved"])
    coins = parse_price(updates.pop("coins", None))
    if wanted and not new and not entry.ids:
        # All ids belong to other entries, so this start's own task is still to be found.
        state = min(state, State.INTENT)
        coins = None
    elif new:
        state = max(state, State.ACCEPTED)
        # The price of further ids is that of these ids alone.
        if entry.ids and coins is not None:
            coins = parse_price(coins + (entry.coins or 0))
    if coins is not None:  # a known price is never replaced by an unknown one
        updates["coins"] = coins
    updates["state"] = max(entry.state, state)
    if account and not entry.account and updates["state"] > entry.state:
        updates["account"] = account
    return evolve(entry, **updates), new


MAX_TIME_IN_FLIGHT: Final = 600.0
"""Seconds after which a start of a dead process is certainly no longer in flight.

A gateway may hold a request for as long before it passes it on.
"""


def is_same_start(one: Recovery, other: Recovery) -> bool:
    """Return whether two recoveries belong to one start; a journal rounds their times."""
    difference = abs((one.sent_at - other.sent_at).total_seconds())
    return (one.kind, one.digest, one.name, one.mark) == (
        other.kind,
        other.digest,
        other.name,
        other.mark,
    ) and difference < 0.001
