"""Runs the poll schedule of one client and resolves its waiters.

One asyncio task per client runs while there is at least one waiter. A waiter has no timer, cancel
scope or task of its own: it is a small object attached to the `PolledTask` of each of its ids, and
one heap holds all deadlines. This keeps ten thousand waiters cheap.
"""

import asyncio
import copy
import logging
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import (
    A2EError,
    ApiError,
    AuthenticationError,
    ClientClosed,
    DecodeError,
    InvalidRequest,
    JournalError,
    NotFound,
    PermissionDenied,
    TaskGone,
)
from a2e_async.models import OutputSource, Record
from a2e_async.tasks.hooks import rarity
from a2e_async.tasks.kind import TaskKind, check_watchable
from a2e_async.tasks.looks import Looker
from a2e_async.tasks.news import News, WatchAll
from a2e_async.tasks.schedule import FALL_BACK_AFTER, MISSED, Schedule
from a2e_async.tasks.shared_looks import SharedLooks
from a2e_async.tasks.status import read_record
from a2e_async.tasks.waiting import Waits
from a2e_async.tasks.waits import Wait, broken
from a2e_async.tasks.watches import After, Look, Mode, Watch
from a2e_async.transport.loops import Home

if TYPE_CHECKING:
    from a2e_async.tasks.crew import Crew
    from a2e_async.tasks.task import Task
    from a2e_async.tasks.telling import Teller
    from a2e_async.transport.session import Session

logger = logging.getLogger("a2e_async.poller")

LOOKS_AT_ONCE: Final = 32
"""Maximum number of concurrent poll requests: half of the default connection limit."""

WARN_AFTER: Final = 5
"""Consecutive failed polls of a task after which a warning is logged."""

# Refusals that end a wait if the API itself sent them: no later poll can succeed.
_DENIED: Final = (AuthenticationError, PermissionDenied)

_DENYING: Final = frozenset({401, 403})


class Poller:
    """Polls every task that has a waiter. Times are seconds of the running loop's clock.

    ``webhooks``: starts of this client ask for webhook events. ``listen_to_all`` is the journal's
    `Journal.watch_all`; changes that other clients write there trigger a poll. ``rate_share``
    returns the fraction of ``poll_rate`` that belongs to this client. With ``peers`` one client
    polls for the whole group; ``kind_named`` finds the kinds of the other clients' tasks.

    Created once per client; only the client's event loop changes it.
    """

    def __init__(
        self,
        session: "Session",
        *,
        interval: float,
        look_rate: float | None,
        request_timeout: float,
        held: Callable[[], bool],
        teller: "Teller | None" = None,
        webhooks: bool = False,
        watch_all: WatchAll | None = None,
        share: Callable[[], float] = lambda: 1.0,
        crew: "Crew | None" = None,
        kind_named: Callable[[str], TaskKind[..., Any]] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.home = Home()
        self.source: OutputSource | None = None
        self._looker = Looker(session, request_timeout)
        self._schedule = Schedule(
            interval=interval,
            look_rate=look_rate,
            jitter=jitter,
            rarity=rarity(interval) if webhooks else 1.0,
            share=self._look_share,
        )
        self.waits = Waits(self._schedule, teller)
        self._share = share
        self._shared: SharedLooks | None = None
        if crew is not None and kind_named is not None:
            self._shared = SharedLooks(
                crew,
                self._schedule,
                clock=lambda: asyncio.get_running_loop().time(),
                kind_named=kind_named,
                show=self._show_told,
                spare=self.waits.spare,
                wake=self._wake,
                start=self._start,
            )
        self.news = News(self._schedule, wake=self._wake, watch_all=watch_all, always=webhooks)
        self._held = held
        self._teller = teller
        self._runner: asyncio.Task[None] | None = None
        self._looking: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Future[None] | None = None
        self._closed: ClientClosed | None = None
        self._warned = False
        """Failing polls were logged; they are not logged again until a poll succeeds."""

    def __len__(self) -> int:
        return len(self._schedule)

    async def wait(self, task: "Task[Any]", *, deadline: float, change: bool = False) -> None:
        """Return when the task is done or, with ``any_change``, when its record has changed.

        ``deadline`` is a time of the loop's clock (s). Raises `TaskTimeout` after one last poll of
        the task, `ResultMissing`, `TaskGone`, `ClientClosed`, or the API's own 401 or 403 error.
        """
        waiter = self.begin(task, deadline=deadline, change=change)
        try:
            await waiter.future
        except BaseException as error:
            self.end(waiter, error)
            raise
        self.end(waiter)

    def begin(self, task: "Task[Any]", *, deadline: float, change: bool = False) -> Wait:
        """Register a waiter, as `wait` does.

        The caller awaits its ``future`` and then calls `remove_waiter`.
        """
        if self._closed is not None:
            # Each caller gets its own copy: a shared exception would collect the tracebacks of all.
            raise copy.copy(self._closed)
        check_watchable(task.kind)
        loop = self.home.check()
        waiter = Wait(task, loop.create_future(), deadline, task.open_ids, change)
        # The task has ended already: its future is resolved, so awaiting it returns at once.
        if not waiter.missing:
            waiter.end()
        self._join(waiter)
        if self._teller is not None:
            self._teller.waited_for(task)
        return waiter

    def end(self, wait: Wait, error: BaseException | None = None) -> None:
        """Remove a waiter; ``error`` is what its wait ended with, if it failed or was cancelled."""
        self.waits.leave(wait)
        # Without polled tasks the loop must end now, not at its next scheduled wake-up.
        if not len(self._schedule):
            self._wake()
        task, emitter = wait.task, self._teller
        if emitter is not None and error is not None and not isinstance(error, TaskGone):
            emitter.wait_ended(task, error, last=not self.waits.waited_for(task))

    def follow(self, task: "Task[Any]") -> Callable[[], object]:
        """Poll a task without a waiter until it ends. Return a function that stops polling."""
        loop = self.home.check()
        waiter = Wait(task, loop.create_future(), math.inf, task.open_ids, False, quiet=True)

        def over(future: "asyncio.Future[None]") -> None:
            if not future.cancelled():
                future.exception()  # mark it as retrieved; `on_task_ended` has been called
            self.waits.leave(waiter)

        if waiter.missing and self._closed is None:
            # No caller awaits this waiter, so a callback removes it when its future is resolved.
            waiter.future.add_done_callback(over)
            self._join(waiter)
        return waiter.future.cancel

    def _look_share(self) -> float:
        """Return this client's fraction of the poll rate.

        That is all of it while one client polls for the group: the others do not poll.
        """
        return 1.0 if self._shared is not None and self._shared.settled else self._share()

    def interval(self) -> float:
        """Return the current interval between two polls of a task (s)."""
        return self._schedule.interval()

    def at_home(self, call: Callable[[], None]) -> bool:
        """Call ``callback`` on the client's loop, from any thread; return False once closed."""
        if self._closed is None:
            self.home.call(call)
        return self._closed is None

    async def aclose(self) -> None:
        """End every wait with `ClientClosed` and stop polling."""
        self._closed = ClientClosed(
            "The client was closed while it was waiting for tasks. The tasks keep running; "
            "get each one back with a2e.attach(task.ref)."
        )
        self.news.close()
        if self._shared is not None:
            self._shared.close()
        # The loop has ended, and with it every waiter and poll: nothing is left to be cancelled.
        if self.home.outlived():
            return
        self.waits.fail_all(self._closed)
        self._wake()
        tasks = [*self._looking, *([self._runner] if self._runner else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- the loop --------------------------------------------------------------------------

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while len(self._schedule):
                now = loop.time()
                self.waits.expire(now, held=self._held())
                for request in self._schedule.plan(now, LOOKS_AT_ONCE - len(self._looking)):
                    looking = loop.create_task(self._look(request, loop))
                    self._looking.add(looking)
                    looking.add_done_callback(self._looked)
                await self._sleep(loop, self._next_wake())
        except asyncio.CancelledError:
            self.waits.fail_all(self._closed or ClientClosed("The event loop is shutting down."))
            raise
        except Exception as error:
            self._break(error)
        finally:
            self._runner = None
            self.news.rest()

    async def _sleep(self, loop: asyncio.AbstractEventLoop, until: float | None) -> None:
        if until is not None and until <= loop.time():
            # Yield to other tasks even if a poll is due now; otherwise a busy schedule would block
            # the loop.
            await asyncio.sleep(0)
            return
        self._alarm = loop.create_future()
        timer = None if until is None else loop.call_at(until, self._wake)
        try:
            await self._alarm
        finally:
            self._alarm = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def _next_wake(self) -> float | None:
        # At the limit of concurrent polls, the end of a poll wakes the loop.
        full = len(self._looking) >= LOOKS_AT_ONCE
        due = None if full else self._schedule.next_wake()
        deadline = self.waits.next_deadline()
        return min((when for when in (due, deadline) if when is not None), default=None)

    # -- one poll --------------------------------------------------------------------------

    async def _look(self, look: Look, loop: asyncio.AbstractEventLoop) -> None:
        try:
            rows, whole = await self._fetch(look, loop)
        except A2EError as error:
            self._failed(look, error, loop.time())
        except Exception as error:
            logger.exception("unexpected error while polling %s", look.kind.name)
            self._failed(look, _unreadable(look, error), loop.time())
        else:
            self._warned = False
            self._schedule.answered(look, loop.time())
            self._show(look, rows, whole, loop.time())
        # Waiters that left during the request kept their tasks in the schedule: drop these now.
        for polled in look.watches:
            self.waits.spare(polled)
        self._wake()

    async def _fetch(
        self, look: Look, loop: asyncio.AbstractEventLoop
    ) -> tuple[Mapping[str, Any], bool]:
        if self._teller is None:
            return await self._looker.fetch(look)
        began, failed = loop.time(), None
        try:
            return await self._looker.fetch(look)
        except BaseException as error:
            failed = error
            raise
        finally:
            self._teller.looked(look, loop.time() - began, failed)

    def _show(self, look: Look, rows: Mapping[str, Any], whole: bool, now: float) -> None:
        for polled in look.watches:
            if polled.dropped:
                continue
            raw = rows.get(polled.id)
            if raw is None:
                if whole:
                    self._absent(polled, look, now)
                else:
                    self._schedule.inconclusive(polled, look, now)
                    self.waits.last_look(polled)
                continue
            try:
                record = read_record(look.kind, raw, self.source)
            except Exception as error:
                self._schedule.unreadable(polled, look, _unreadable(look, error), now)
                self._after_failure(polled)
                continue
            over = look.kind.is_over(record)
            if self._shared is not None:
                self._shared.saw(polled, raw, record)
                if not over:
                    self._shared.offer(polled, now)
            self._take_in(polled, record, look, now)

    def _show_told(self, watch: Watch, raw: Any) -> bool:
        """Handle a record that the leader sent; return False if it is not a record of this task."""
        try:
            record = read_record(watch.kind, raw, self.source)
        except Exception:
            return False
        if record.id != watch.id:
            return False
        self._take_in(watch, record, None, asyncio.get_running_loop().time())
        return True

    def _take_in(self, watch: Watch, record: Record, look: Look | None, now: float) -> None:
        if watch.kind.is_over(record):
            if self._schedule.ended(watch, now):
                logger.warning(
                    "no webhook event arrived for the last %d tasks; polling at the normal "
                    "interval again. Check that the service can reach webhook_url.",
                    MISSED,
                )
        elif look is None:
            self._schedule.told(watch, now)
        else:
            self._schedule.seen(watch, look, now)
        self.waits.deliver(watch, record, now)

    def _absent(self, watch: Watch, look: Look, now: float) -> None:
        if watch.dropped:
            return
        after = self._schedule.absent(watch, look, now)
        if after is After.GIVE_UP:
            self.waits.gone(watch)
        elif after is After.AGAIN:
            self.waits.last_look(watch)

    # -- failed polls ----------------------------------------------------------------------

    def _failed(self, look: Look, error: A2EError, now: float) -> None:
        # Only the API itself can end a wait here; everything else is retried until the deadline.
        if isinstance(error, ClientClosed):
            self.waits.give_up(look.watches, error)
        # A failure that does not come from the API itself (a proxy, a gateway) says nothing about
        # the task.
        elif not isinstance(error, ApiError) or not error.from_api:
            self._unanswered(look, error, now)
        elif isinstance(error, _DENIED) and _DENYING & {error.http_status, error.code}:
            self._denied(look, error, now)
        elif isinstance(error, NotFound | InvalidRequest):
            self._refused(look, error, now)
        else:
            self._unanswered(look, error, now)

    def _denied(self, look: Look, error: A2EError, now: float) -> None:
        """Let a 401 or 403 of the API end the waits that it concerns."""
        if self._shared is not None:
            self._shared.failed(look.watches, final=True)
        # One response must not end many waits. Each task is polled by its own detail request; where
        # that is impossible the shared request is sent again, or another request in its place.
        if self._schedule.ask_alone(look, now):
            return
        shared = look.mode is not Mode.DETAIL and len(look.watches) > 1
        again = [w for w in look.watches if isinstance(w.error, _DENIED)]
        ends = [w for w in again if w.errors >= FALL_BACK_AFTER] if shared else look.watches
        self.waits.give_up(ends, error)
        if shared:
            self._unanswered(look, error, now)

    def _refused(self, look: Look, error: A2EError, now: float) -> None:
        kind, shared = look.kind, look.mode is not Mode.DETAIL
        # A refused request with several ids may be refused because of any one of them.
        single = look.mode is Mode.BATCH and len(look.watches) == 1 and not kind.look_at
        if single and kind.list_at is not None:
            self._schedule.list_instead(look)
        elif shared and not single and (look.mode is Mode.BATCH or kind.look_at is not None):
            self._schedule.split(look)
        elif isinstance(error, NotFound) and (single or (not shared and kind.look_at is not None)):
            self._absent(look.watches[0], look, now)
        else:
            self._unanswered(look, error, now)

    def _unanswered(self, look: Look, error: A2EError, now: float) -> None:
        logger.debug("poll of %d %s failed: %s", len(look.watches), look.kind.name, error)
        self._schedule.failed(look, error, now)
        if self._shared is not None:
            self._shared.failed(look.watches)
        for polled in look.watches:
            self._after_failure(polled)

    def _after_failure(self, watch: Watch) -> None:
        if watch.errors == WARN_AFTER and not self._warned and not watch.dropped:
            self._warned = True
            logger.warning(
                "the last %d polls of %s failed; polling continues until the wait times out: %s",
                watch.errors,
                watch.kind.ref((watch.id,)),
                watch.error,
            )
        self.waits.last_look(watch)

    # -- waiters ---------------------------------------------------------------------------

    def _join(self, wait: Wait) -> None:
        now = asyncio.get_running_loop().time()
        self.news.listen()
        if self._shared is not None:
            with suppress(JournalError):  # polling works without peers; the next write reports it
                self._shared.join()
        polled_tasks = [self._watch(wait.task, id, now) for id in wait.missing]
        self.waits.add(wait, polled_tasks)
        if self._shared is not None:
            for polled in polled_tasks:
                if polled.awaited or wait.change:
                    self._shared.offer(polled, now, every=wait.change)
        self._start()

    def _start(self) -> None:
        """Start the poll loop, or wake it if it is running."""
        # An eager task (Python 3.12+) may have finished before `create_task` returned.
        if self._runner is None or self._runner.done():
            loop = asyncio.get_running_loop()
            self.news.listen()
            # An empty context: the first caller's context variables must not leak into later polls.
            runner = loop.create_task(self._run(loop), context=Context())
            if not runner.done():  # an eager task may be
                self._runner = runner
        else:
            self._wake()

    def _watch(self, task: "Task[Any]", id: str, now: float) -> Watch:
        polled = self._schedule.get(task.kind, id)
        if polled is None:
            due, told = self.news.first_look(task, now)
            polled = self._schedule.add(task.kind, id, now=now, due=due, hook=task.hook, told=told)
        self._schedule.name(polled, task.hook)
        return polled

    def _break(self, error: Exception) -> None:
        logger.error("the poller crashed; all waits end with an error", exc_info=error)
        self.waits.fail_all(broken(error))

    def _looked(self, looking: "asyncio.Task[None]") -> None:
        self._looking.discard(looking)
        self._wake()
        if not looking.cancelled() and (error := looking.exception()) is not None:
            assert isinstance(error, Exception)  # noqa: S101  # a BaseException stops the loop
            self._break(error)


def _unreadable(look: Look, error: Exception) -> DecodeError:
    """Return the error for a response that cannot be decoded, whatever is wrong with it."""
    if isinstance(error, DecodeError):
        return error
    made = DecodeError(f"A {look.kind.name} response cannot be decoded ({type(error).__name__}).")
    made.__cause__ = error
    return made
