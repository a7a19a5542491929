"""Finishes every task of a client: those of earlier runs, and each one as it is started."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from attrs import define, field

from a2e_async._core.journal.protocol import ClosedBy, Entry
from a2e_async._core.redact import redact
from a2e_async._core.tasks.task import Task, save_outputs
from a2e_async.errors import ClientClosed, TaskFailed, TaskGone

logger = logging.getLogger("a2e_async.tasks")

FIRST_RETRY_DELAY: Final = 1.0
"""Delay (s) before a task whose end could not be handled is tried again; it doubles."""

MAX_RETRY_DELAY: Final = 300.0
"""Maximum of that delay (s)."""

RESCAN_INTERVAL: Final = 120.0
"""How often (s) the journal is read for tasks that a process left behind."""

MAX_SEARCH_INTERVAL: Final = 3600.0
"""Maximum time (s) between two searches for starts whose response was lost; it doubles, too."""

MAX_CONCURRENT_DELIVERIES: Final = 20
"""How many ended tasks are saved and handed over at the same time."""

CLOSE_TIMEOUT: Final = 10.0
"""Seconds that closing waits for ended tasks that are being saved or handed over."""

T = TypeVar("T")

_HANDLED: Final = (ClosedBy.SAVED, ClosedBy.ACKNOWLEDGED, ClosedBy.SETTLED)
"""Reasons for a closed entry with which the program has finished the task by itself."""

TaskCallback = Callable[[Task[Any]], Awaitable[object]]

ErrorFilter = type[Exception] | tuple[type[Exception], ...]
"""The exceptions that an ``except`` clause of the same form catches."""


class IterUnfinished(Protocol):
    """Yields the unfinished tasks of the journal; see `iter_unfinished`."""

    def __call__(self, *, find_lost: bool) -> AsyncGenerator[Task[Any]]: ...


@define(eq=False)
class Follower:
    """Follows all tasks of a client until their results are handed over: `A2E.follow_all`.

    Created and closed by the client; changed on the client's event loop only.
    """

    _iter_unfinished: IterUnfinished
    _find_entry: Callable[[Task[Any]], Coroutine[Any, Any, Entry | None]]
    _download_to: Path | None = field(kw_only=True, alias="download_to")
    _on_end: TaskCallback | None = field(kw_only=True, alias="on_end")
    _on_update: TaskCallback | None = field(kw_only=True, alias="on_update")
    _undeliverable: ErrorFilter = field(kw_only=True, alias="undeliverable")
    _following: dict[str, asyncio.Task[None]] = field(
        factory=dict[str, asyncio.Task[None]], init=False
    )
    """The asyncio task for each remote task that is followed, by ref."""
    _delivering: set[str] = field(factory=set[str], init=False)
    """Those of them that have ended and are being saved or handed over."""
    _delivery_slots: asyncio.Semaphore = field(
        factory=lambda: asyncio.Semaphore(MAX_CONCURRENT_DELIVERIES), init=False
    )
    _scanned: asyncio.Event = field(factory=asyncio.Event, init=False)
    """Set once the journal was read for tasks of earlier runs."""
    _scan_task: asyncio.Task[None] | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)
    """True after `aclose` was called."""

    @property
    def in_progress(self) -> int:
        """How many tasks are followed now."""
        return len(self._following)

    def open(self) -> None:
        """Begin to follow the tasks of earlier runs."""
        self._scan_task = _spawn(self._scan_repeatedly())

    def add(self, task: Task[Any]) -> None:
        """Follow a task from now on, unless that is done already."""
        if self.closed or task.ref in self._following:
            return
        following = _spawn(self._follow(task))
        if not following.done():  # an eager task may be done already
            self._following[task.ref] = following

    async def join(self) -> None:
        """Wait until no task is left to follow.

        A task whose ``on_end`` keeps failing is tried again for as long as the client is open.
        """
        await self._scanned.wait()
        while self._following:
            await asyncio.wait(self._following.values())
            await asyncio.sleep(0)  # the last of them may have started others

    async def aclose(self) -> None:
        """Stop following. Tasks keep running at the service; a later run continues.

        What is being saved or handed over may finish, for up to 10 s. A callback that closes the
        follower or its client is not waited for.
        """
        self.closed = True
        self._scanned.set()
        if self._scan_task is not None:
            self._scan_task.cancel()
        own = asyncio.current_task()
        others = {ref: one for ref, one in self._following.items() if one is not own}
        for ref, following in others.items():
            if ref not in self._delivering:
                following.cancel()
        if others:
            _, late = await asyncio.wait(others.values(), timeout=CLOSE_TIMEOUT)
            for following in late:
                following.cancel()
            if late:
                await asyncio.wait(late)

    # -- which tasks -------------------------------------------------------------------------

    async def _scan_repeatedly(self) -> None:
        clock = asyncio.get_running_loop().time
        search_interval, next_search = RESCAN_INTERVAL, clock()
        while True:
            search = clock() >= next_search
            if search:
                next_search = clock() + search_interval
                search_interval = min(2 * search_interval, MAX_SEARCH_INTERVAL)
            try:
                async with aclosing(self._iter_unfinished(find_lost=search)) as tasks:
                    async for task in tasks:
                        self.add(task)
            except ClientClosed:
                return
            except Exception as error:  # the journal is away
                logger.warning("the journal is read again in %.0f s: %s", RESCAN_INTERVAL, error)
            self._scanned.set()
            await asyncio.sleep(RESCAN_INTERVAL)

    # -- one task ----------------------------------------------------------------------------

    async def _follow(self, task: Task[Any]) -> None:
        ref = task.ref
        try:
            await self._until_it_succeeds(task, self._wait)
            if not await self._until_it_succeeds(task, self._is_handled):
                # Each step by itself: what failed is repeated, and not what was done before.
                for step in (self._save, self._hand_over, self._acknowledge):
                    await self._until_it_succeeds(task, partial(self._in_slot, step))
        except ClientClosed:
            pass
        except TaskGone as error:
            logger.warning("%s", error)  # its entry stays, marked as missing
        finally:
            self._following.pop(ref, None)

    async def _until_it_succeeds(
        self, task: Task[Any], step: Callable[[Task[Any]], Awaitable[T]]
    ) -> T:
        delay = FIRST_RETRY_DELAY
        while True:
            try:
                return await step(task)
            except (ClientClosed, TaskGone):
                raise
            except Exception as error:  # `on_end` may raise anything
                if self.closed:
                    raise ClientClosed("The client was closed.") from error
                reason = f"{type(error).__name__}: {redact(str(error))}"
                logger.warning(
                    "%s is not finished (%s); next attempt in %.0f s", task.ref, reason, delay
                )
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_RETRY_DELAY)

    async def _in_slot(self, step: TaskCallback, task: Task[Any]) -> None:
        async with self._delivery_slots:
            self._delivering.add(task.ref)
            try:
                await step(task)
            finally:
                self._delivering.discard(task.ref)

    async def _wait(self, task: Task[Any]) -> None:
        """Wait for the end of a task, successful or not."""
        if self._on_update is None:
            try:
                await task.wait()
            except TaskFailed:
                logger.info("%s failed at the service", task.ref)
            return
        async for record in task.updates():
            if not record.done:
                try:
                    await _call(self._on_update, task)
                except self._undeliverable:
                    pass  # as a text that has not changed; `on_end` will report what is permanent
                except Exception:
                    logger.exception("on_update failed for %s", task.ref)

    async def _is_handled(self, task: Task[Any]) -> bool:
        """Return whether the program has saved or acknowledged the task by itself."""
        entry = await self._find_entry(task)
        return entry is not None and entry.closed_by in _HANDLED

    async def _save(self, task: Task[Any]) -> None:
        if self._download_to is not None and task.record is not None and task.record.outputs:
            await save_outputs(task.record, self._download_to)

    async def _hand_over(self, task: Task[Any]) -> None:
        if self._on_end is None:
            return
        try:
            await _call(self._on_end, task)
        except ClientClosed:
            raise  # whatever is undeliverable: the next process hands it over
        except self._undeliverable as error:
            reason = f"{type(error).__name__}: {redact(str(error))}"
            logger.warning("%s cannot be delivered and is acknowledged (%s)", task.ref, reason)

    async def _acknowledge(self, task: Task[Any]) -> None:
        if self._download_to is None:
            await task.ack()


async def _call(callback: TaskCallback, task: Task[Any]) -> None:
    """Call a callback of the user; what it awaits may be cancelled, which is an error like any."""
    try:
        await callback(task)
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise
        raise RuntimeError("the callback was cancelled") from error


def _spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # An empty context: a copy of the caller's would keep its values (a request, a session) alive.
    return asyncio.get_running_loop().create_task(work, context=Context())
