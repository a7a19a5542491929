"""Closes an entry whose start, or paid call, nobody can find any more: by hand, once, for good."""

import time
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import frozen

from a2e_async.cli.show import coins_word
from a2e_async.errors import InvalidInput
from a2e_async.tasks.book import complete
from a2e_async.tasks.flight import start_of_rest
from a2e_async.tasks.journal import ClosedBy, Entry, State
from a2e_async.tasks.kind import split_ref
from a2e_async.tasks.recovery import RESEND_AFTER

if TYPE_CHECKING:
    from a2e_async.tasks.journal import Journal

Verdict = Literal["paid", "unpaid"]

LOST: Final = "closed by hand: paid, and its result was never found"
REFUNDED: Final = "closed by hand: its coins were given back"


@frozen(kw_only=True)
class Settling:
    """What is to become of an entry. ``ref`` is the task that was found by hand, if any."""

    entry: Entry
    verdict: Verdict
    ref: str | None
    coins: int | None

    @property
    def question(self) -> str:
        """What is asked before it is done."""
        entry, paid = self.entry, self.entry.reserved if self.coins is None else self.coins
        what = f"{entry.key} ({entry.kind}, sent {_ago(entry)} ago)"
        if self.verdict == "unpaid" and entry.missing:
            return f"Close {what}, whose coins were given back? Its key starts nothing any more."
        if self.verdict == "unpaid":
            free = "" if entry.own_key else " Its key is free again: a batch with it pays for it."
            return f"Forget {what}, as nothing of it is at the service?{free}"
        if paid is None:
            paid = entry.coins
        price = "an unknown price" if paid is None else coins_word(paid)
        if self.ref is not None:
            return f"Note that {what} is {self.ref}, paid {price}?"
        return f"Close {what} as paid ({price}) and lost? Its key starts nothing any more."


async def prepare(
    journal: "Journal", entry: Entry, verdict: Verdict, *, ref: str | None, coins: int | None
) -> Settling:
    """Check that it can be done now; this process owns the entry then. Raises `InvalidInput`."""
    if entry.state is not State.INTENT and not entry.missing:
        raise InvalidInput(_NO_NEED[entry.state].format(key=entry.key), field="key")
    if not await journal.take(entry.key):
        raise InvalidInput(
            f"Another process is at work on {entry.key!r}. Let it end, then try again.", field="key"
        )
    if verdict == "unpaid":
        if ref is not None or coins is not None:
            raise InvalidInput("--task and --coins go with --as paid.", field="as")
        left = RESEND_AFTER - (time.time() - _sent(entry))
        if left > 0 and not entry.missing:
            raise InvalidInput(
                f"It was sent {_ago(entry)} ago, and the service may show it late: that nothing is "
                f"there can be told {left:.0f} s from now.",
                field="as",
            )
    if ref is not None:
        if entry.missing:
            raise InvalidInput(f"{entry.key!r} has its task: {entry.ref}.", field="task")
        await _check_task(journal, entry, ref)
    return Settling(entry=entry, verdict=verdict, ref=ref, coins=coins)


async def settle(journal: "Journal", what: Settling) -> None:
    """Do it. Raises `InvalidInput` when the entry has changed meanwhile."""
    entry, coins = what.entry, what.coins
    if coins is None:
        coins = entry.reserved if entry.coins is None else entry.coins
    if await journal.get(entry.key) != entry and not await journal.take(entry.key):
        raise InvalidInput(f"{entry.key!r} has changed meanwhile; look at it again.", field="key")
    if entry.missing:
        unpaid = what.verdict == "unpaid"
        failure, coins = (REFUNDED, 0) if unpaid else (LOST, coins)
    elif what.verdict == "unpaid":
        if not await journal.drop(entry.key):
            raise InvalidInput(f"{entry.key!r} has changed meanwhile.", field="key")
        if (start := start_of_rest(entry.key)) is not None:
            await complete(journal, start)
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


def word(what: Settling) -> str:
    """Return what an entry was settled as."""
    if what.ref is not None:
        return what.ref
    refunded = what.verdict == "unpaid"
    return "given back" if refunded else "paid and lost"


_NO_NEED: Final = {
    State.RESERVED: "Nothing was sent for {key!r}: the next run of its batch goes on with it.",
    State.ACCEPTED: "The task of {key!r} is known: a2e journal resume waits for it and saves it.",
    State.FINISHED: "{key!r} has ended: there is nothing to settle.",
    State.SAVED: "{key!r} is done: there is nothing to settle.",
}


async def _check_task(journal: "Journal", entry: Entry, ref: str) -> None:
    kind, ids = split_ref(ref)
    if kind != entry.kind:
        raise InvalidInput(
            f"{ref} is a task of {kind}, and {entry.key!r} a start of {entry.kind}.", field="task"
        )
    for id in ids:
        other = await journal.find(kind, id)
        if other is not None:
            raise InvalidInput(f"{ref} is the task of {other.key!r} already.", field="task")


def _sent(entry: Entry) -> float:
    return entry.created_at if entry.sent_at is None else entry.sent_at


def _ago(entry: Entry) -> str:
    seconds = max(0.0, time.time() - _sent(entry))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
