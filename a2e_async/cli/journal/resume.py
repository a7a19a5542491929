"""Waits for all open tasks of a journal and saves their results."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from a2e_async._core.batch.batch import FATAL_ERRORS
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.submission.resume import is_undeclared
from a2e_async._core.tasks.task import ResultNaming, save_good_outputs, save_outputs
from a2e_async.cli.batch.progress_bar import BatchProgress, progress_bar
from a2e_async.cli.batch.report import result_item, status_of
from a2e_async.cli.context import CommandContext
from a2e_async.cli.error_messages import describe_lost_start, error_message, where_to_search
from a2e_async.cli.formatting import text_result
from a2e_async.cli.journal.entries import iter_entries
from a2e_async.cli.known_kinds import VARIABLE, known_kinds
from a2e_async.cli.outage_notices import report_outages
from a2e_async.errors import TaskFailed

if TYPE_CHECKING:
    from a2e_async._core.files.name_template import NameTemplate
    from a2e_async._core.journal.protocol import Entry, Journal
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E
    from a2e_async.models import Record


@define(kw_only=True)
class ResumeProgress:
    """The outcomes of the open entries. ``foreign`` counts those that another process holds.

    Created by the command for one run, which adds each outcome.
    """

    progress: BatchProgress
    items: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    foreign: int = 0
    undeclared: int = 0
    """Entries of kinds that this process does not know."""

    @property
    def complete(self) -> bool:
        """Whether everything is done and saved. The total is only for the progress bar."""
        others = self.foreign + self.undeclared
        return self.progress.succeeded == self.progress.ended and not others


async def resume_all(
    context: CommandContext,
    a2e: "A2E",
    journal: "Journal",
    found: ResumeProgress,
    *,
    out: Path,
    name: "NameTemplate | None",
    limit: int,
) -> None:
    """Wait for every open task and save it, ``limit`` at a time; report starts of unknown outcome.

    Raises errors that would stop every task, such as a rejected API key or a failing journal.
    """
    seen = set[str]()
    async with aclosing(iter_entries(journal, open_only=True)) as entries:
        async for _ in entries:
            found.progress.total += 1
    with progress_bar(context.printer, found.progress) as update, report_outages(context):
        stopped = await _wait_for_all(
            context, a2e, found, seen, update, out=out, name=name, limit=limit
        )
    if stopped is not None:
        raise stopped
    async with aclosing(iter_entries(journal, open_only=True)) as entries:
        async for entry in entries:
            if entry.ref not in seen:
                await _report_unfinished(context, journal, found, entry)


async def _wait_for_all(
    context: CommandContext,
    a2e: "A2E",
    found: ResumeProgress,
    seen: set[str],
    update: Callable[[], None],
    *,
    out: Path,
    name: "NameTemplate | None",
    limit: int,
) -> Exception | None:
    """Return the error that stopped waiting; None if all tasks were waited for."""
    slots, stopped = asyncio.Semaphore(limit), list[Exception]()

    async def wait_for_one(task: "Task[Any]") -> None:
        try:
            error = await _save_task(context, found, task, out, name)
            if isinstance(error, FATAL_ERRORS):
                stopped.append(error)
            update()
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as group, aclosing(a2e.unfinished()) as tasks:
            async for task in tasks:
                seen.add(task.ref)
                await slots.acquire()
                if stopped:
                    break
                group.create_task(wait_for_one(task))
    except BaseExceptionGroup as errors:  # never from the tasks: `_save_task` returns its error
        raise errors.exceptions[0] from None
    return stopped[0] if stopped else None


async def _save_task(
    context: CommandContext,
    found: ResumeProgress,
    task: "Task[Any]",
    out: Path,
    name: "NameTemplate | None",
) -> Exception | None:
    paths: list[Path] = []
    record: Record | None = None
    error: Exception | None = None
    naming: ResultNaming | None = None
    try:
        # A task without a key is named after its ref, as without a template: it must be saved.
        if name is not None and not (name.needs_key and task.key is None):
            naming = ResultNaming(name, task.key)
        ended: Record = await task.wait()
        record = ended
        if ended.outputs:
            paths = await save_outputs(ended, out, naming)
    except TaskFailed as failed:
        error, record = failed, failed.record
        if record.outputs:
            error, paths = await save_good_outputs(task, failed, out, naming)
    except Exception as other:
        error = other
    result = text_result(record) if record else None
    for line in [*map(str, paths), *([result[1]] if result else [])]:
        context.printer.out(line)
    if error is not None:
        context.printer.error(f"{task.ref}: {error_message(error)}")
    status = status_of(error)
    found.progress.counts[status] += 1
    item = result_item(
        task.kind.name,
        task.key,
        task.ref,
        status,
        error=error,
        record=record,
        paths=paths,
        coins=task.coins,
    )
    found.items.append(item)
    return error


async def _report_unfinished(
    context: CommandContext, journal: "Journal", found: ResumeProgress, entry: "Entry"
) -> None:
    """Report a start that was not found; count an entry that another process holds.

    An entry of a kind that is not declared is reported as not handled.
    """
    if is_undeclared(entry, known_kinds().find):
        found.undeclared += 1
        context.printer.error(
            f"{entry.key}: this command does not know the kind {entry.kind}; name the file that "
            f"declares it in {VARIABLE}"
        )
        return
    if not await journal.acquire(entry.key):
        found.foreign += 1
        return
    if entry.state is not State.INTENT:
        return
    found.progress.counts["unknown"] += 1
    recovery = recovery_from_entry(entry)
    search = f"Search for the name {recovery.name!r} in" if recovery.name else "Search in"
    start = describe_lost_start(recovery)
    context.printer.error(
        f"{entry.key}: {start[0].lower()}{start[1:]} was sent and not found: it may have been "
        f"charged. {search}: {where_to_search(recovery)}. Then: a2e journal settle"
    )
    found.items.append(result_item(entry.kind, entry.key, None, "unknown"))
