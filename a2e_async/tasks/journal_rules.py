"""What a step does to an entry: the rules of `Journal`, for whatever stores it (pure)."""

from typing import Any

from attrs import evolve

from a2e_async.tasks.journal import Changes, Entry, State, TakenOver


def same_start(found: Entry, entry: Entry) -> bool:
    """Whether two entries of one key are of the same start."""
    return (found.kind, found.digest) == (entry.kind, entry.digest)


def stepped(
    entry: Entry | None, owner: str, state: State, values: Changes, now: float
) -> tuple[Entry, tuple[str, ...]] | None:
    """Return an entry after a step of ``owner``, and the ids that are new to it.

    None when there is no entry. Raises `TakenOver` for a step before sending that is not its to
    take.
    """
    if state <= State.INTENT and (
        entry is None or entry.owner != owner or entry.state > State.INTENT
    ):
        raise TakenOver("Another client goes on with this start; nothing was sent by this one.")
    if entry is None:
        return None
    changes: dict[str, Any] = {**values, "updated_at": now}
    ids = dict.fromkeys(values.get("ids", ()))
    new = tuple(id for id in ids if id not in entry.ids)
    changes["ids"] = entry.ids + new
    if new:
        state = max(state, State.ACCEPTED)
    if new and entry.ids and changes.get("coins") is not None:
        changes["coins"] += entry.coins or 0
    changes["state"] = max(entry.state, state)
    return evolve(entry, **changes), new
