"""Resumes unfinished tasks from the journal after a restart."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from a2e_async._core.journal.keys import is_call_key, start_key_of_remaining_tasks
from a2e_async._core.journal.protocol import Entry, State, entry_pages
from a2e_async._core.journal.recorder import JournalRecorder
from a2e_async._core.submission.calls import ChargedCalls
from a2e_async._core.submission.starts import StartRegistry
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task
from a2e_async.errors import A2EError, StartOutcomeUnknown

logger = logging.getLogger("a2e_async.journal")

PAGE_SIZE: Final = 500
"""How many entries are read and acquired at a time."""


async def iter_unfinished(
    recorder: JournalRecorder,
    start_registry: StartRegistry,
    charged_calls: ChargedCalls,
    find_kind: Callable[[str], TaskKind[..., Any] | None],
    *,
    missing: bool = False,
    find_lost: bool = True,
) -> AsyncGenerator[Task[Any]]:
    """Yield every open task of the journal that no other process is working on.

    Tasks with known ids come first, in the order of their starts. Then come tasks whose start got
    no response, as a search finds them; one that is not found is logged and stays in the journal.
    Paid calls without a task cannot be searched for: they are added to ``charged_calls``.

    ``find_kind`` returns the kind with a name, None if the client does not know it: entries of
    such kinds are skipped with a warning, and another client may continue them. Tasks that the
    service does not know are left out unless ``missing``; without ``find_lost``, so are those whose
    start got no response.
    """
    searches: list[asyncio.Task[Task[Any] | None]] = []
    searched: set[str] = set()
    undeclared: Counter[str] = Counter()
    try:
        await recorder.flush_and_report_others()
        pages = entry_pages(recorder.journal, open_only=True, limit=PAGE_SIZE)
        async with aclosing(pages):
            async for entries in pages:
                busy = start_registry.keys_in_progress() | charged_calls.keys_in_progress()
                open_entries = [
                    entry
                    for entry in entries
                    if entry.key not in busy | searched
                    and (missing or not entry.missing)
                    and (find_lost or entry.state >= State.ACCEPTED)
                ]
                # Not acquired: a client that knows the kind, in another process, may want it.
                unknown_kinds = [entry for entry in open_entries if is_undeclared(entry, find_kind)]
                undeclared.update(entry.kind for entry in unknown_kinds)
                open_entries = [entry for entry in open_entries if entry not in unknown_kinds]
                acquired = await asyncio.gather(
                    *(recorder.journal.acquire(entry.key) for entry in open_entries)
                )
                for entry, is_owner in zip(open_entries, acquired, strict=True):
                    kind = find_kind(entry.kind)
                    if not is_owner or entry.key in searched:
                        continue
                    if kind is None:
                        if entry.state is State.INTENT:
                            charged_calls.add_unknown(entry)
                        continue
                    if entry.state < State.ACCEPTED and not await _is_unchanged(
                        recorder, start_registry, entry
                    ):
                        continue
                    if entry.state is State.RESERVED:
                        await recorder.journal.drop(entry.key)  # nothing was sent
                    elif entry.state is State.INTENT:
                        # Searches take up to half a minute; known tasks are yielded meanwhile.
                        find = (
                            start_registry.resume
                            if start_key_of_remaining_tasks(entry.key) is None
                            else start_registry.find_remaining_tasks
                        )
                        searches.append(asyncio.create_task(find(kind, entry)))
                    else:
                        if (rest := await recorder.split_remaining(entry)) is not None:
                            searched.add(rest.key)  # a later page has this new entry, too
                            searches.append(
                                asyncio.create_task(start_registry.find_remaining_tasks(kind, rest))
                            )
                        yield start_registry.attach(kind, entry)
        _warn_of_undeclared(undeclared)
        for search in asyncio.as_completed(searches):
            try:
                task = await search
            except StartOutcomeUnknown as error:
                logger.warning("%s", error)  # stays in the journal and in unknown()
                continue
            except A2EError as error:
                logger.warning("the search for a start failed: %s", error)
                continue
            if task is not None:
                yield task
    finally:
        for search in searches:
            search.cancel()
        if searches:
            await asyncio.gather(*searches, return_exceptions=True)


def is_undeclared(entry: Entry, find_kind: Callable[[str], TaskKind[..., Any] | None]) -> bool:
    """Return whether an entry is a start of a kind that this client does not know."""
    is_call = entry.own_key and is_call_key(entry.key)  # a user's key may look like any other
    return find_kind(entry.kind) is None and not is_call


def _warn_of_undeclared(kinds: Counter[str]) -> None:
    for kind, count in kinds.items():
        logger.warning(
            "skipped %d unfinished %s %s in the journal: this client does not know the kind. "
            "Declare it with A2E(kinds=…), or A2E_KINDS for the command line; its entries are "
            "kept until then",
            count,
            kind,
            "start" if count == 1 else "starts",
        )


async def _is_unchanged(
    recorder: JournalRecorder, start_registry: StartRegistry, entry: Entry
) -> bool:
    """Whether an entry is unchanged: a start in this client may have continued it meanwhile."""
    current = await recorder.journal.get(entry.key)
    return (
        current is not None
        and current.state is entry.state
        and entry.key not in start_registry.keys_in_progress()
    )
