"""Waits for everything that a journal has open, and saves it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from a2e_async.cli.batch.bar import Tally, bar
from a2e_async.cli.batch.report import status_of
from a2e_async.cli.desk import Desk, lost_word, message_of, where
from a2e_async.cli.journal.entries import each
from a2e_async.cli.outages import outages
from a2e_async.cli.show import instead
from a2e_async.errors import TaskFailed
from a2e_async.tasks.batch import STOPPING
from a2e_async.tasks.book import recovery_of
from a2e_async.tasks.journal import State
from a2e_async.tasks.task import save_outputs

if TYPE_CHECKING:
    from a2e_async.client import A2E
    from a2e_async.models import Record
    from a2e_async.tasks.journal import Entry, Journal
    from a2e_async.tasks.task import Task


@define(kw_only=True)
class Resumed:
    """What became of the open entries. ``foreign``: another process is at work on them."""

    tally: Tally
    items: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    foreign: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything is done and saved. The total only bounds the bar."""
        return self.tally.good == self.tally.over and not self.foreign


async def resume_all(
    desk: Desk, a2e: "A2E", journal: "Journal", found: Resumed, *, out: Path, limit: int
) -> None:
    """Wait for, and save, every open task, ``limit`` at a time; tell which starts are unknown.

    Raises what makes waiting for all of them vain: a key that is refused, a journal that fails.
    """
    seen = set[str]()
    async with aclosing(each(journal, open_only=True)) as entries:
        async for _ in entries:
            found.tally.total += 1
    with bar(desk.printer, found.tally) as update, outages(desk):
        stopped = await _wait_for_all(desk, a2e, found, seen, update, out=out, limit=limit)
    if stopped is not None:
        raise stopped
    async with aclosing(each(journal, open_only=True)) as entries:
        async for entry in entries:
            if entry.ref not in seen:
                await _tell_left(desk, journal, found, entry)


async def _wait_for_all(
    desk: Desk,
    a2e: "A2E",
    found: Resumed,
    seen: set[str],
    update: Callable[[], None],
    *,
    out: Path,
    limit: int,
) -> Exception | None:
    """Return what makes it vain to go on, None when all were waited for."""
    room, stopped = asyncio.Semaphore(limit), list[Exception]()

    async def one(task: "Task[Any]") -> None:
        try:
            error = await _one(desk, found, task, out)
            if isinstance(error, STOPPING):
                stopped.append(error)
            update()
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as group, aclosing(a2e.unfinished()) as tasks:
            async for task in tasks:
                seen.add(task.ref)
                await room.acquire()
                if stopped:
                    break
                group.create_task(one(task))
    except BaseExceptionGroup as errors:  # of the loop's own: what is waited for raises nothing
        raise errors.exceptions[0] from None
    return stopped[0] if stopped else None


async def _one(desk: Desk, found: Resumed, task: "Task[Any]", out: Path) -> Exception | None:
    paths: list[Path] = []
    record: Record | None = None
    error: Exception | None = None
    try:
        record, error = await _ended(task)
        if record.outputs:  # a failed one's good ones, too
            paths = await save_outputs(record, out)
    except Exception as other:
        error = other
    made = instead(record) if record else None
    for line in [*map(str, paths), *([made[1]] if made else [])]:
        desk.printer.out(line)
    if error is not None:
        desk.printer.error(f"{task.ref}: {message_of(error)}")
    status = status_of(error)
    found.tally.counts[status] += 1
    found.items.append(
        {
            "key": task.key,
            "kind": task.kind.name,
            "ref": task.ref,
            "status": status,
            "error": message_of(error) if error else None,
            "paths": [str(path) for path in paths],
            "coins": task.coins,
            **({made[0]: made[1]} if made else {}),
        }
    )
    return error


async def _ended(task: "Task[Any]") -> "tuple[Record, TaskFailed | None]":
    try:
        return await task.wait(), None
    except TaskFailed as failed:
        return failed.record, failed


async def _tell_left(desk: Desk, journal: "Journal", found: Resumed, entry: "Entry") -> None:
    """Tell of a start that was not found, and count what is another process's."""
    if not await journal.take(entry.key):
        found.foreign += 1
        return
    if entry.state is not State.INTENT:
        return
    found.tally.counts["unknown"] += 1
    recovery = recovery_of(entry)
    named = f"Look for the name {recovery.name!r} in" if recovery.name else "Look in"
    said = lost_word(recovery)
    desk.printer.error(
        f"{entry.key}: {said[0].lower()}{said[1:]} was sent and not found: it may have been "
        f"charged. {named}: {where(recovery)}. Then: a2e journal settle"
    )
    found.items.append(
        {
            "key": entry.key,
            "kind": entry.kind,
            "ref": None,
            "status": "unknown",
            "error": None,
            "paths": [],
            "coins": None,
        }
    )
