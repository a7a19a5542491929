"""Closes an entry whose start, or other charged call, cannot be found. This cannot be undone."""

import time
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import frozen

from a2e_async._core.journal.keys import start_key_of_remaining_tasks
from a2e_async._core.journal.protocol import ClosedBy, Entry, State
from a2e_async._core.journal.recorder import clear_expected_tasks
from a2e_async._core.submission.recovery_match import MIN_AGE_FOR_RESEND
from a2e_async._core.tasks.kind import split_ref
from a2e_async.cli.formatting import format_coins
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Journal

SettledAs = Literal["paid", "unpaid"]

LOST: Final = "closed by hand: paid, and its result was never found"
REFUNDED: Final = "closed by hand: its coins were refunded"


@frozen(kw_only=True)
class Settlement:
    """How an entry is closed. ``ref`` is the task that the user found, if any."""

    entry: Entry
    verdict: SettledAs
    ref: str | None
    coins: int | None

    @property
    def question(self) -> str:
        """The question that asks for confirmation."""
        entry, paid = self.entry, self.entry.reserved if self.coins is None else self.coins
        what = f"{entry.key} ({entry.kind}, sent {_format_age(entry)} ago)"
        if self.verdict == "unpaid" and entry.missing:
            return f"Close {what}, whose coins were refunded? Its key then starts nothing."
        if self.verdict == "unpaid":
            free = (
                "" if entry.own_key else " Its key is free again: a batch with it is charged again."
            )
            return f"Delete {what}, because the service has no such task?{free}"
        if paid is None:
            paid = entry.coins
        price = "an unknown price" if paid is None else format_coins(paid)
        if self.ref is not None:
            return f"Record that {what} is {self.ref}, for {price}?"
        return f"Close {what} as paid ({price}) and lost? Its key then starts nothing."


async def prepare(
    journal: "Journal", entry: Entry, verdict: SettledAs, *, ref: str | None, coins: int | None
) -> Settlement:
    """Take over the entry and check that it can be closed now. Raises `InvalidInput`."""
    if entry.state is not State.INTENT and not entry.missing:
        raise InvalidInput(_NOT_SETTLEABLE[entry.state].format(key=entry.key), field="key")
    if not await journal.acquire(entry.key):
        raise InvalidInput(
            f"Another process works on {entry.key!r}. Wait until it ends, then try again.",
            field="key",
        )
    if verdict == "unpaid":
        if ref is not None or coins is not None:
            raise InvalidInput("--task and --coins can only be given with --as paid.", field="as")
        remaining = MIN_AGE_FOR_RESEND - (time.time() - _sent(entry))
        if remaining > 0 and not entry.missing:
            raise InvalidInput(
                f"It was sent {_format_age(entry)} ago, and the service may list it late. Its "
                f"absence is certain only {remaining:.0f} s from now; try again then.",
                field="as",
            )
    if ref is not None:
        if entry.missing:
            raise InvalidInput(f"{entry.key!r} already has a task: {entry.ref}.", field="task")
        await _check_task(journal, entry, ref)
    return Settlement(entry=entry, verdict=verdict, ref=ref, coins=coins)


async def settle(journal: "Journal", what: Settlement) -> None:
    """Close the entry. Raises `InvalidInput` if it has changed since."""
    entry, coins = what.entry, what.coins
    if coins is None:
        coins = entry.reserved if entry.coins is None else entry.coins
    if await journal.get(entry.key) != entry and not await journal.acquire(entry.key):
        raise InvalidInput(
            f"{entry.key!r} has changed since; run a2e journal show first.", field="key"
        )
    if entry.missing:
        unpaid = what.verdict == "unpaid"
        failure, coins = (REFUNDED, 0) if unpaid else (LOST, coins)
    elif what.verdict == "unpaid":
        if not await journal.drop(entry.key):
            raise InvalidInput(
                f"{entry.key!r} has changed since; run a2e journal show first.", field="key"
            )
        if (start := start_key_of_remaining_tasks(entry.key)) is not None:
            await clear_expected_tasks(journal, start)
        return
    else:
        failure = LOST
    changes: dict[str, Any] = {} if coins is None else {"coins": coins}
    if what.ref is not None:
        _, ids = split_ref(what.ref)
        await journal.advance(entry.key, State.ACCEPTED, ids=ids, **changes)
    else:
        changes |= {"succeeded": False, "failure": failure, "closed_by": ClosedBy.SETTLED}
        await journal.advance(entry.key, State.FINISHED, **changes)


def describe(what: Settlement) -> str:
    """Return how an entry was closed."""
    if what.ref is not None:
        return what.ref
    refunded = what.verdict == "unpaid"
    return "refunded" if refunded else "paid and lost"


_NOT_SETTLEABLE: Final = {
    State.RESERVED: "Nothing was sent for {key!r}: the next run of its batch starts it.",
    State.ACCEPTED: "The task of {key!r} is known: a2e journal resume waits for it and saves it.",
    State.FINISHED: "{key!r} has ended: there is nothing to settle.",
    State.SAVED: "{key!r} is done: there is nothing to settle.",
}


async def _check_task(journal: "Journal", entry: Entry, ref: str) -> None:
    kind, ids = split_ref(ref)
    if kind != entry.kind:
        raise InvalidInput(
            f"{ref} is a task of {kind}, but {entry.key!r} is a start of {entry.kind}.",
            field="task",
        )
    for id in ids:
        other = await journal.find(kind, id)
        if other is not None:
            raise InvalidInput(f"{ref} is already the task of {other.key!r}.", field="task")


def _sent(entry: Entry) -> float:
    return entry.created_at if entry.sent_at is None else entry.sent_at


def _format_age(entry: Entry) -> str:
    seconds = max(0.0, time.time() - _sent(entry))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
