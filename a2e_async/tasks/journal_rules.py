"""What a step does to an entry: the rules of `Journal`, for whatever stores it (pure)."""

from collections.abc import Collection
from typing import Any

from attrs import evolve

from a2e_async.errors import ConfigurationError
from a2e_async.narrow import price
from a2e_async.tasks.journal import Changes, Entry, State, TakenOver


def same_start(found: Entry, entry: Entry) -> bool:
    """Whether two entries of one key are of the same start."""
    return (found.kind, found.digest) == (entry.kind, entry.digest)


def bound(before: str | None, account: str) -> str:
    """Return the account that a journal serves; raise `ConfigurationError` for a second one."""
    if before not in (None, account):
        raise ConfigurationError(
            "A journal object serves one account. Make another one for this account."
        )
    return account


def priced(entry: Entry) -> Entry:
    """Return a new entry without prices that cannot be kept."""
    coins, reserved = price(entry.coins), price(entry.reserved)
    if (coins, reserved) == (entry.coins, entry.reserved):
        return entry
    return evolve(entry, coins=coins, reserved=reserved)


def without(entry: Entry, held: Collection[str]) -> Entry:
    """Return a new entry without the ids that other entries hold."""
    ids = tuple(id for id in entry.ids if id not in held)
    return evolve(entry, ids=ids, state=entry.state if ids else min(entry.state, State.INTENT))


def new_ids(entry: Entry, values: Changes) -> tuple[str, ...]:
    """Return the ids of a step that the entry does not hold yet, each once."""
    return tuple(id for id in dict.fromkeys(values.get("ids", ())) if id not in entry.ids)


def stepped(
    entry: Entry | None,
    owner: str,
    state: State,
    values: Changes,
    now: float,
    *,
    account: str | None = None,
    held: Collection[str] = (),
) -> tuple[Entry, tuple[str, ...]] | None:
    """Return an entry after a step of ``owner``, and the ids that are new to it.

    ``held`` are ids that other entries hold: they are left out. ``account`` is the client's, to
    which an entry without one belongs once it is brought forward. None when there is no entry.
    Raises `TakenOver` for a step before sending that is not its to take.
    """
    if state <= State.INTENT and (
        entry is None or entry.owner != owner or entry.state > State.INTENT
    ):
        raise TakenOver("Another client goes on with this start; nothing was sent by this one.")
    if entry is None:
        return None
    changes: dict[str, Any] = {**values, "updated_at": now}
    wanted = new_ids(entry, values)
    new = tuple(id for id in wanted if id not in held)
    changes["ids"] = entry.ids + new
    if "reserved" in changes:
        changes["reserved"] = price(changes["reserved"])
    coins = price(changes.pop("coins", None))
    if wanted and not new and not entry.ids:
        # Nothing of it is this entry's: its own task is still to be found.
        state = min(state, State.INTENT)
        coins = None
    elif new:
        state = max(state, State.ACCEPTED)
        if entry.ids and coins is not None:
            coins = price(coins + (entry.coins or 0))
    if coins is not None:  # what is known to be paid stays known
        changes["coins"] = coins
    changes["state"] = max(entry.state, state)
    if account and not entry.account and changes["state"] > entry.state:
        changes["account"] = account
    return evolve(entry, **changes), new
