"""Runs the poll schedule of one client and resolves its waiters.

One asyncio task per client runs while there is at least one waiter. A waiter has no timer, cancel
scope or task of its own: it is a small object attached to the `PolledTask` of each of its ids, and
one heap holds all deadlines. This keeps ten thousand waiters cheap.
"""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import asyncio
import copy
import logging
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.http.loop_affinity import LoopAffinity
from a2e_async._core.polling.fetch import StatusFetcher
from a2e_async._core.polling.leader import LeaderPolling
from a2e_async._core.polling.polled_tasks import MissOutcome, PolledTask, PollMode, PollRequest
from a2e_async._core.polling.schedule import (
    FALLBACK_AFTER_FAILURES,
    MAX_MISSED_EVENTS,
    PollSchedule,
)
from a2e_async._core.polling.waiters import WaiterRegistry, poller_crashed_error
from a2e_async._core.polling.wakeups import Wakeups
from a2e_async._core.tasks.kind import check_pollable
from a2e_async._core.tasks.parsing import fingerprint, read_record
from a2e_async._core.tasks.waiter import Waiter
from a2e_async._core.webhooks.tokens import webhook_poll_factor
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

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.http.rate_limit import RateLimiter
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.journal.peers import PeerGroup
    from a2e_async._core.journal.protocol import Journal
    from a2e_async._core.tasks.kind_registry import KindRegistry
    from a2e_async._core.tasks.task import Task

logger = logging.getLogger("a2e_async.polling")

MAX_CONCURRENT_POLLS: Final = 32
"""Maximum number of concurrent poll requests: half of the default connection limit."""

WARN_AFTER_FAILURES: Final = 5
"""Consecutive failed polls of a task after which a warning is logged."""

# Refusals that end a wait if the API itself sent them: no later poll can succeed.
_DENIED_ERRORS: Final = (AuthenticationError, PermissionDenied)

_DENIED_CODES: Final = frozenset({401, 403})


class Poller:
    """Polls every task that has a waiter. Times are seconds of the running loop's clock.

    ``webhooks``: starts of this client ask for webhook events. Changes that other clients write
    into ``journal`` trigger a poll. ``rate_limiter`` knows pauses, and which fraction of
    ``poll_rate`` belongs to this client. With ``peers`` one client polls for the whole group;
    ``kinds`` has the kinds of the other clients' tasks.

    Created once per client; only the client's event loop changes it.
    """

    def __init__(
        self,
        session: "ApiSession",
        *,
        loop_affinity: LoopAffinity,
        output_source: OutputSource | None,
        interval: float,
        poll_rate: float | None,
        request_timeout: float,
        rate_limiter: "RateLimiter",
        kinds: "KindRegistry",
        emitter: "EventEmitter | None" = None,
        webhooks: bool = False,
        journal: "Journal | None" = None,
        peers: "PeerGroup | None" = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.loop_affinity = loop_affinity
        self._output_source = output_source
        self._fetcher = StatusFetcher(session, request_timeout)
        self._schedule = PollSchedule(
            interval=interval,
            poll_rate=poll_rate,
            jitter=jitter,
            webhook_factor=webhook_poll_factor(interval) if webhooks else 1.0,
            rate_share=self._poll_rate_share,
        )
        self.waiters: WaiterRegistry = WaiterRegistry(self._schedule, emitter)
        self._rate_limiter = rate_limiter
        self._leader_polling: LeaderPolling | None = None
        if peers is not None:
            self._leader_polling = LeaderPolling(
                peers,
                self._schedule,
                clock=lambda: asyncio.get_running_loop().time(),
                kind_named=kinds.named,
                deliver=self._handle_peer_record,
                drop_if_unused=self.waiters.drop_if_unused,
                wake=self._wake,
                ensure_running=self._ensure_running,
            )
        self.wakeups: Wakeups = Wakeups(
            self._schedule, wake=self._wake, journal=journal, has_webhooks=webhooks
        )
        self._emitter = emitter
        self._run_task: asyncio.Task[None] | None = None
        self._poll_tasks: set[asyncio.Task[None]] = set()
        self._wake_future: asyncio.Future[None] | None = None
        self._closed_error = _waits_closed_error() if loop_affinity.closed else None
        self._failure_logged = False
        """Failing polls were logged; they are not logged again until a poll succeeds."""

    def __len__(self) -> int:
        return len(self._schedule)

    async def wait(self, task: "Task[Any]", *, deadline: float, any_change: bool = False) -> None:
        """Return when the task is done or, with ``any_change``, when its record has changed.

        ``deadline`` is a time of the loop's clock (s). Raises `TaskTimeout` after one last poll of
        the task, `ResultMissing`, `TaskGone`, `ClientClosed`, or the API's own 401 or 403 error.
        """
        waiter = self.add_waiter(task, deadline=deadline, any_change=any_change)
        try:
            await waiter.future
        except BaseException as error:
            self.remove_waiter(waiter, error)
            raise
        self.remove_waiter(waiter)

    def add_waiter(self, task: "Task[Any]", *, deadline: float, any_change: bool = False) -> Waiter:
        """Register a waiter, as `wait` does.

        The caller awaits its ``future`` and then calls `remove_waiter`.
        """
        if self._closed_error is not None:
            # Each caller gets its own copy: a shared exception would collect the tracebacks of all.
            raise copy.copy(self._closed_error)
        check_pollable(task.kind)
        loop = self.loop_affinity.check()
        waiter = Waiter(task, loop.create_future(), deadline, any_change)
        # The task has ended already: its future is resolved, so awaiting it returns at once.
        if not task._unfinished_ids:
            waiter.resolve()
        self._register_waiter(waiter, loop.time())
        if self._emitter is not None:
            self._emitter.wait_started(waiter)
        return waiter

    def remove_waiter(self, waiter: Waiter, error: BaseException | None = None) -> None:
        """Remove a waiter; ``error`` is what its wait ended with, if it failed or was cancelled."""
        self.waiters.remove(waiter)
        # Without polled tasks the loop must end now, not at its next scheduled wake-up.
        if not self._schedule.count:
            self._wake()
        emitter = self._emitter
        if emitter is not None and error is not None and not isinstance(error, TaskGone):
            emitter.wait_ended(waiter, error, last=not self.waiters.has_waiter(waiter.task))

    def poll_in_background(self, task: "Task[Any]") -> Callable[[], object]:
        """Poll a task without a waiter until it ends. Return a function that stops polling."""
        loop = self.loop_affinity.check()
        waiter = Waiter(task, loop.create_future(), math.inf, False, internal=True)

        def remove(future: "asyncio.Future[None]") -> None:
            if not future.cancelled():
                future.exception()  # mark it as retrieved; `on_task_ended` has been called
            self.waiters.remove(waiter)

        if task._unfinished_ids and self._closed_error is None:
            # No caller awaits this waiter, so a callback removes it when its future is resolved.
            waiter.future.add_done_callback(remove)
            self._register_waiter(waiter, loop.time())
        return waiter.future.cancel

    def _poll_rate_share(self) -> float:
        """Return this client's fraction of the poll rate.

        That is all of it while one client polls for the group: the others do not poll.
        """
        return (
            1.0
            if self._leader_polling is not None and self._leader_polling.has_leader
            else self._rate_limiter.poll_share()
        )

    def count_waits(self) -> int:
        """Return how many callers wait for a task."""
        return self.waiters.count_callers()

    def interval(self) -> float:
        """Return the current interval between two polls of a task (s)."""
        return self._schedule.interval()

    def call_on_loop(self, callback: Callable[[], None]) -> bool:
        """Call ``callback`` on the client's loop, from any thread; return False once closed."""
        if self._closed_error is None:
            self.loop_affinity.run_on_loop(callback)
        return self._closed_error is None

    async def aclose(self) -> None:
        """End every wait with `ClientClosed` and stop polling."""
        self._closed_error = _waits_closed_error()
        self.wakeups.close()
        if self._leader_polling is not None:
            self._leader_polling.close()
        # The loop has ended, and with it every waiter and poll: nothing is left to be cancelled.
        if self.loop_affinity.loop_is_gone():
            return
        self.waiters.fail_all(self._closed_error)
        self._wake()
        tasks = [*self._poll_tasks, *([self._run_task] if self._run_task else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- the loop --------------------------------------------------------------------------

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._schedule.count:
                now = loop.time()
                wake_at = self.waiters.next_deadline()
                if wake_at is not None and wake_at <= now:
                    rate_limited = self._rate_limiter.remaining_hold(now) > 0
                    self.waiters.expire(now, rate_limited=rate_limited)
                    wake_at = self.waiters.next_deadline()
                for request in self._schedule.plan(
                    now, MAX_CONCURRENT_POLLS - len(self._poll_tasks)
                ):
                    poll_task = loop.create_task(self._poll(request, loop))
                    self._poll_tasks.add(poll_task)
                    poll_task.add_done_callback(self._poll_done)
                # At the limit of concurrent polls, the end of a poll wakes the loop.
                if len(self._poll_tasks) < MAX_CONCURRENT_POLLS:
                    due_at = self._schedule.next_wake()
                    if wake_at is None or (due_at is not None and due_at < wake_at):
                        wake_at = due_at
                await self._sleep(loop, wake_at)
        except asyncio.CancelledError:
            self.waiters.fail_all(
                self._closed_error or ClientClosed("The event loop is shutting down.")
            )
            raise
        except Exception as error:
            self._crash(error)
        finally:
            self._run_task = None
            self.wakeups.close_if_idle()

    async def _sleep(self, loop: asyncio.AbstractEventLoop, until: float | None) -> None:
        if until is not None and until <= loop.time():
            # Yield to other tasks even if a poll is due now; otherwise a busy schedule would block
            # the loop.
            await asyncio.sleep(0)
            return
        self._wake_future = loop.create_future()
        timer = None if until is None else loop.call_at(until, self._wake)
        try:
            await self._wake_future
        finally:
            self._wake_future = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._wake_future is not None and not self._wake_future.done():
            self._wake_future.set_result(None)

    # -- one poll --------------------------------------------------------------------------

    async def _poll(self, request: PollRequest, loop: asyncio.AbstractEventLoop) -> None:
        try:
            if self._emitter is None:
                rows, complete = await self._fetcher.fetch(request)
            else:
                rows, complete = await self._fetch_and_report(request, self._emitter, loop)
        except A2EError as error:
            self._handle_error(request, error, loop.time())
        except Exception as error:
            logger.exception("unexpected error while polling %s", request.kind.name)
            self._handle_error(request, _as_decode_error(request, error), loop.time())
        else:
            self._failure_logged = False
            self._schedule.request_succeeded(request, loop.time())
            self._handle_records(request, rows, complete, loop.time())
        # Waiters that left during the request kept their tasks in the schedule: drop these now.
        for polled in request.polled_tasks:
            if not (polled.waiters or polled.dropped):
                self.waiters.drop_if_unused(polled)

    async def _fetch_and_report(
        self, request: PollRequest, emitter: "EventEmitter", loop: asyncio.AbstractEventLoop
    ) -> tuple[Mapping[str, Any], bool]:
        began, failed = loop.time(), None
        waiters = (waiter for polled in request.polled_tasks for waiter in polled.waiters)
        emitter.poll_started(
            request.kind.name, request.mode.value, (waiter.task for waiter in waiters)
        )
        try:
            return await self._fetcher.fetch(request)
        except BaseException as error:
            failed = error
            raise
        finally:
            emitter.polled(
                request.kind.name,
                request.mode.value,
                len(request.polled_tasks),
                loop.time() - began,
                failed,
            )

    def _handle_records(
        self, request: PollRequest, records: Mapping[str, Any], complete: bool, now: float
    ) -> None:
        for polled in request.polled_tasks:
            if polled.dropped:
                continue
            raw = records.get(polled.id)
            if raw is None:
                if complete:
                    self._handle_absent(polled, request, now)
                else:
                    self._schedule.record_inconclusive(polled, request, now)
                    self.waiters.end_last_polls(polled)
                continue
            record, ended = polled.last_record, False
            try:
                seen = fingerprint(raw)
                # While a response repeats the last record, which was not final, nothing is decoded.
                if record is None or polled.last_fingerprint != seen:
                    record = read_record(polled.kind, raw, self._output_source)
                    ended = polled.kind.is_final(record)
                    polled.last_record, polled.last_fingerprint = record, seen
            except Exception as error:
                self._schedule.record_unreadable(
                    polled, request, _as_decode_error(request, error), now
                )
                self._after_failure(polled)
                continue
            if self._leader_polling is not None:
                self._leader_polling.notify_followers(polled, raw, record)
                if not ended:
                    self._leader_polling.offer_to_leader(polled, now)
            if ended:
                self._handle_end(polled, record, now)
            else:
                self._schedule.record_unfinished(polled, request, now)
                self.waiters.deliver(polled, record, now, ended=False)

    def _handle_peer_record(self, polled: PolledTask, raw: Any) -> bool:
        """Handle a record that the leader sent; return False if it is not a record of this task."""
        try:
            record = read_record(polled.kind, raw, self._output_source)
        except Exception:
            return False
        if record.id != polled.id:
            return False
        now = asyncio.get_running_loop().time()
        if polled.kind.is_final(record):
            self._handle_end(polled, record, now)
        else:
            self._schedule.reported_by_leader(polled, now)
            self.waiters.deliver(polled, record, now, ended=False)
        return True

    def _handle_end(self, polled: PolledTask, record: Record, now: float) -> None:
        if self._schedule.record_end(polled, now):
            logger.warning(
                "no webhook event arrived for the last %d tasks; polling at the normal "
                "interval again. Check that the service can reach webhook_url.",
                MAX_MISSED_EVENTS,
            )
        self.waiters.deliver(polled, record, now, ended=True)

    def _handle_absent(self, polled: PolledTask, request: PollRequest, now: float) -> None:
        if polled.dropped:
            return
        outcome = self._schedule.record_absent(polled, request, now)
        if outcome is MissOutcome.GIVE_UP:
            self.waiters.end_gone(polled)
        elif outcome is MissOutcome.POLL_AGAIN:
            self.waiters.end_last_polls(polled)

    # -- failed polls ----------------------------------------------------------------------

    def _handle_error(self, request: PollRequest, error: A2EError, now: float) -> None:
        # Only the API itself can end a wait here; everything else is retried until the deadline.
        if isinstance(error, ClientClosed):
            self.waiters.fail(request.polled_tasks, error)
        # A failure that does not come from the API itself (a proxy, a gateway) says nothing about
        # the task.
        elif not isinstance(error, ApiError) or not error.from_api:
            self._handle_failed_request(request, error, now)
        elif isinstance(error, _DENIED_ERRORS) and _DENIED_CODES & {error.http_status, error.code}:
            self._handle_denied(request, error, now)
        elif isinstance(error, NotFound | InvalidRequest):
            self._handle_refused(request, error, now)
        else:
            self._handle_failed_request(request, error, now)

    def _handle_denied(self, request: PollRequest, error: A2EError, now: float) -> None:
        """Let a 401 or 403 of the API end the waits that it concerns."""
        if self._leader_polling is not None:
            self._leader_polling.poll_failed(request.polled_tasks, final=True)
        # One response must not end many waits. Each task is polled by its own detail request; where
        # that is impossible the shared request is sent again, or another request in its place.
        if self._schedule.poll_each_by_detail(request, now):
            return
        shared = request.mode is not PollMode.DETAIL and len(request.polled_tasks) > 1
        denied_before = [
            w for w in request.polled_tasks if isinstance(w.last_error, _DENIED_ERRORS)
        ]
        to_fail = (
            [w for w in denied_before if w.error_count >= FALLBACK_AFTER_FAILURES]
            if shared
            else request.polled_tasks
        )
        self.waiters.fail(to_fail, error)
        if shared:
            self._handle_failed_request(request, error, now)

    def _handle_refused(self, request: PollRequest, error: A2EError, now: float) -> None:
        kind, shared = request.kind, request.mode is not PollMode.DETAIL
        # A refused request with several ids may be refused because of any one of them.
        single = (
            request.mode is PollMode.BATCH
            and len(request.polled_tasks) == 1
            and not kind.poll_endpoint
        )
        if single and kind.list is not None:
            self._schedule.poll_list_instead(request)
        elif (
            shared
            and not single
            and (request.mode is PollMode.BATCH or kind.poll_endpoint is not None)
        ):
            self._schedule.split(request)
        elif isinstance(error, NotFound) and (
            single or (not shared and kind.poll_endpoint is not None)
        ):
            self._handle_absent(request.polled_tasks[0], request, now)
        else:
            self._handle_failed_request(request, error, now)

    def _handle_failed_request(self, request: PollRequest, error: A2EError, now: float) -> None:
        logger.debug(
            "poll of %d %s failed: %s", len(request.polled_tasks), request.kind.name, error
        )
        self._schedule.request_failed(request, error, now)
        if self._leader_polling is not None:
            self._leader_polling.poll_failed(request.polled_tasks)
        for polled in request.polled_tasks:
            self._after_failure(polled)

    def _after_failure(self, polled: PolledTask) -> None:
        if (
            polled.error_count == WARN_AFTER_FAILURES
            and not self._failure_logged
            and not polled.dropped
        ):
            self._failure_logged = True
            logger.warning(
                "the last %d polls of %s failed; polling continues until the wait times out: %s",
                polled.error_count,
                polled.kind.ref((polled.id,)),
                polled.last_error,
            )
        self.waiters.end_last_polls(polled)

    # -- waiters ---------------------------------------------------------------------------

    def _register_waiter(self, waiter: Waiter, now: float) -> None:
        if self._leader_polling is not None:
            with suppress(JournalError):  # polling works without peers; the next write reports it
                self._leader_polling.join()
        task, polled_tasks = waiter.task, list[PolledTask]()
        for id in task._unfinished_ids:
            polled = self._schedule.get(task.kind, id)
            if polled is None:
                due_at, hinted = self.wakeups.first_poll(task, now)
                polled = self._schedule.add(
                    task.kind,
                    id,
                    now=now,
                    due_at=due_at,
                    webhook_id=task._webhook_token_id,
                    hinted=hinted,
                )
            else:
                self._schedule.set_webhook_id(polled, task._webhook_token_id)
            polled_tasks.append(polled)
        self.waiters.add(waiter, polled_tasks)
        if self._leader_polling is not None:
            for polled in polled_tasks:
                if polled.had_time_for_event or waiter.any_change:
                    self._leader_polling.offer_to_leader(
                        polled, now, every_change=waiter.any_change
                    )
        self._ensure_running()

    def _ensure_running(self) -> None:
        """Start the poll loop, or wake it if it is running."""
        if self.wakeups.should_listen:
            self.wakeups.listen()
        # An eager task (Python 3.12+) may have finished before `create_task` returned.
        if self._run_task is None or self._run_task.done():
            loop = asyncio.get_running_loop()
            # An empty context: the first caller's context variables must not leak into later polls.
            runner = loop.create_task(self._run(loop), context=Context())
            if not runner.done():  # an eager task may be
                self._run_task = runner
        else:
            self._wake()

    def _crash(self, error: Exception) -> None:
        logger.error("the poller crashed; all waits end with an error", exc_info=error)
        self.waiters.fail_all(poller_crashed_error(error))

    def _poll_done(self, poll_task: "asyncio.Task[None]") -> None:
        self._poll_tasks.discard(poll_task)
        self._wake()
        if not poll_task.cancelled() and (error := poll_task.exception()) is not None:
            assert isinstance(error, Exception)  # noqa: S101  # a BaseException stops the loop
            self._crash(error)


def _waits_closed_error() -> ClientClosed:
    return ClientClosed(
        "The client was closed while it was waiting for tasks. The tasks keep running; "
        "get each one back with a2e.attach(task.ref)."
    )


def _as_decode_error(request: PollRequest, error: Exception) -> DecodeError:
    """Return the error for a response that cannot be decoded, whatever is wrong with it."""
    if isinstance(error, DecodeError):
        return error
    made = DecodeError(
        f"A {request.kind.name} response cannot be decoded ({type(error).__name__})."
    )
    made.__cause__ = error
    return made
