"""Everything begun and not yet saved, out of the journal: for who comes back after a restart."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.tasks.flight import start_of_rest
from a2e_async.tasks.journal import Entry, State
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.task import Task

if TYPE_CHECKING:
    from a2e_async.tasks.book import Book
    from a2e_async.tasks.charged import ChargedCalls
    from a2e_async.tasks.starter import Starter

logger = logging.getLogger("a2e_async.journal")

PAGE: Final = 500
"""Entries that are read and taken over at once."""


async def unfinished(
    book: "Book",
    starter: "Starter",
    charged: "ChargedCalls",
    kind_of: Callable[[str], TaskKind[..., Any] | None],
    *,
    missing: bool = False,
) -> AsyncGenerator[Task[Any]]:
    """Yield every open task of the journal that no other process is at work on.

    Tasks whose ids are known come first, in the order they were begun; then those whose start
    had no answer, as they are found. One that is not found is logged, and stays in the journal;
    so does a paid call that starts no task, which nobody can look for: ``charged`` is told of it.
    ``kind_of`` gives the kind of a name, None for what is no task. Tasks that are missing at the
    service are left out, unless ``missing``.
    """
    searches: list[asyncio.Task[Task[Any] | None]] = []
    searched: set[str] = set()
    try:
        await book.ready()
        after = 0
        while True:
            entries, after = await book.journal.entries(open_only=True, after=after, limit=PAGE)
            busy = starter.busy() | charged.busy()
            left = [
                entry
                for entry in entries
                if entry.key not in busy | searched and (missing or not entry.missing)
            ]
            ours = await asyncio.gather(*(book.journal.take(entry.key) for entry in left))
            for entry, mine in zip(left, ours, strict=True):
                kind = kind_of(entry.kind)
                if not mine or entry.key in searched:
                    continue
                if kind is None:
                    if entry.state is State.INTENT:
                        charged.lost_before(entry)
                    continue
                if entry.state < State.ACCEPTED and not await _still(book, starter, entry):
                    continue
                if entry.state is State.RESERVED:
                    await book.journal.drop(entry.key)  # nothing was sent
                elif entry.state is State.INTENT:
                    find = starter.resume if start_of_rest(entry.key) is None else starter.rest
                    searches.append(asyncio.create_task(find(kind, entry)))
                else:
                    if (rest := await book.rest_of(entry)) is not None:
                        searched.add(rest.key)  # it is read again on a later page
                        searches.append(asyncio.create_task(starter.rest(kind, rest)))
                    yield starter.attach(kind, entry)
            if not after:
                break
        for search in asyncio.as_completed(searches):
            try:
                task = await search
            except StartOutcomeUnknown as error:
                logger.warning("%s", error)  # kept by the journal, and by unknown()
                continue
            except A2EError as error:
                logger.warning("a start could not be looked for: %s", error)
                continue
            if task is not None:
                yield task
    finally:
        for search in searches:
            search.cancel()
        if searches:
            await asyncio.gather(*searches, return_exceptions=True)


async def _still(book: "Book", starter: "Starter", entry: Entry) -> bool:
    """Whether an entry is as it was read: meanwhile a start of this client may have taken it up."""
    now = await book.journal.get(entry.key)
    return now is not None and now.state is entry.state and entry.key not in starter.busy()
