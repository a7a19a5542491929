"""The registry of waiters, their deadlines, and the errors that a wait can end with."""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import copy
import heapq
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from a2e_async._core.polling.polled_tasks import PolledTask
from a2e_async._core.polling.schedule import PollSchedule
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.waiter import Waiter
from a2e_async.errors import A2EError, ResultMissing, TaskGone, TaskTimeout
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.tasks.task import Task

LAST_POLL_TIMEOUT: Final = 2.0
"""Maximum duration (s) of the last poll that is made at a waiter's deadline."""

RESULT_GRACE_SECONDS: Final = 120.0
"""How long (s) a completed task is polled for a result that it does not show yet."""


class OnTaskEnded(Protocol):
    """Called when a remote task has ended (``observed``) or is no longer polled."""

    def __call__(self, kind: TaskKind[..., Any], id: str, *, end_was_observed: bool) -> None: ...


class WaiterRegistry:
    """Attaches waiters to the tasks of a schedule and resolves them by the records that arrive.

    Owned by the `Poller`; used on its loop only.
    """

    def __init__(self, schedule: PollSchedule, emitter: "EventEmitter | None") -> None:
        self.on_task_ended: OnTaskEnded | None = None
        """Called for each remote task that has ended, or that is no longer polled."""
        self._schedule = schedule
        self._emitter = emitter
        self._deadlines: list[Waiter] = []
        """Heap of the waiters that have a deadline. The entries are the waiters, to save memory."""
        self._waiter_count = 0

    def add(self, waiter: Waiter, polled_tasks: list[PolledTask]) -> None:
        """Add a waiter to these polled tasks."""
        for polled in polled_tasks:
            polled.waiters += (waiter,)
        self._waiter_count += 1
        if waiter.deadline < math.inf:
            heapq.heappush(self._deadlines, waiter)

    def remove(self, waiter: Waiter) -> None:
        """Remove a waiter; a polled task without waiters is dropped."""
        for id in waiter.task.ids:
            polled = self._schedule.get(waiter.task.kind, id)
            # The task may have been dropped already, for instance because it has ended.
            if polled is None or waiter not in polled.waiters:
                continue
            polled.waiters = tuple(other for other in polled.waiters if other is not waiter)
            # A request in flight is kept: a waiter that joins before its response shares it.
            if not polled.in_flight:
                self.drop_if_unused(polled)
        self._waiter_count -= 1
        # Drop resolved waiters once they outnumber the others: each keeps its task alive.
        if not self._waiter_count:
            self._deadlines.clear()
        elif len(self._deadlines) > 64 and len(self._deadlines) > 4 * self._waiter_count:
            self._deadlines = [waiter for waiter in self._deadlines if not waiter.future.done()]
            heapq.heapify(self._deadlines)

    def drop_if_unused(self, polled: PolledTask) -> None:
        """Stop polling if no local or remote waiter remains."""
        if not polled.waiters and not polled.followers:
            self._schedule.drop(polled)

    def count_callers(self) -> int:
        """Return how many callers wait, of however many tasks each."""
        waiters = {waiter for polled in self._schedule for waiter in polled.waiters}
        return sum(not waiter.internal and not waiter.future.done() for waiter in waiters)

    def has_waiter(self, task: "Task[Any]") -> bool:
        """Return whether a caller waits for the task."""
        polled_tasks = (self._schedule.get(task.kind, id) for id in task.ids)
        waits = (waiter for polled in polled_tasks if polled for waiter in polled.waiters)
        return any(not waiter.internal and not waiter.future.done() for waiter in waits)

    # -- deadlines -------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return the next time at which `expire` has something to do."""
        heap = self._deadlines
        while heap and heap[0].future.done():
            heapq.heappop(heap)
        return heap[0].deadline if heap else None

    def expire(self, now: float, *, rate_limited: bool) -> None:
        """Poll tasks of expired waiters one last time, then end these waits.

        ``rate_limited``: the service asked for a pause, so no poll can be made.
        """
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            waiter = heapq.heappop(self._deadlines)
            if waiter.last_poll or rate_limited:
                waiter.resolve(self._timeout_error(waiter))
                continue
            # The last poll may take `LAST_POLL_TIMEOUT` seconds; then the waiter expires for good.
            waiter.last_poll = True
            waiter.deadline = now + LAST_POLL_TIMEOUT
            heapq.heappush(self._deadlines, waiter)
            for id in waiter.task._unfinished_ids:
                polled = self._schedule.get(waiter.task.kind, id)
                if polled is not None:
                    self._schedule.poll_now(polled, now)

    def end_last_polls(self, polled: PolledTask) -> None:
        """End the waiters that were waiting for their last poll: it showed nothing new."""
        for waiter in polled.waiters:
            if waiter.last_poll:
                waiter.resolve(self._timeout_error(waiter))

    # -- ends ------------------------------------------------------------------------------

    def deliver(self, polled: PolledTask, record: Record, now: float, *, ended: bool) -> None:
        """Pass a record to all waiters of its task; ``ended`` if it is the final one."""
        changed: list[Task[Any]] = []
        announced: list[tuple[str, ...]] = []
        for waiter in polled.waiters:
            task = waiter.task
            before = task._last_polled_at
            if task._observe(record, now):
                changed.append(task)
                is_first_report = not waiter.internal and task.ids not in announced
                if self._emitter is not None and is_first_report:
                    announced.append(task.ids)  # one event a task, however many handles it has
                    self._emitter.record_changed(task, record, before, now)
            if not task._unfinished_ids or (waiter.any_change and task in changed):
                waiter.resolve()
            elif waiter.last_poll and not ended:
                waiter.resolve(self._timeout_error(waiter))
        if ended:
            self._notify_ended(polled, observed=True)
        elif record.done:
            self._await_late_result(polled, now)
        elif polled.result_deadline < math.inf:
            polled.result_deadline = (
                math.inf
            )  # it runs again: a later completion gets the full time

    def _await_late_result(self, polled: PolledTask, now: float) -> None:
        """Poll for a late result; after `RESULT_GRACE_SECONDS` end the waits."""
        if polled.result_deadline == math.inf:
            polled.result_deadline = now + RESULT_GRACE_SECONDS
            if polled.webhook_backed:
                self._schedule.poll_early(polled, now)  # no further event will announce the result
        if now < polled.result_deadline:
            return
        self._notify_ended(polled, observed=False)
        for waiter in polled.waiters:
            record = waiter.task.record
            if record is not None and record.done:
                waiter.resolve(_result_missing_error(waiter.task, record))

    def end_gone(self, polled: PolledTask) -> None:
        """End the waits for a task that the service does not know with `TaskGone`."""
        self._notify_ended(polled, observed=False)
        self._schedule.drop(polled)
        if self._emitter is not None:
            for task in {waiter.task for waiter in polled.waiters if not waiter.internal}:
                self._emitter.task_gone(task)
        for waiter in polled.waiters:
            waiter.resolve(task_gone_error(waiter.task, polled))

    def fail(self, polled_tasks: list[PolledTask], error: A2EError) -> None:
        """End all waits for these tasks with an error."""
        for polled in polled_tasks:
            self._notify_ended(polled, observed=False)
            self._schedule.drop(polled)
            for waiter in polled.waiters:
                # Each waiter gets its own exception: a shared one would collect the tracebacks of
                # all.
                mine = copy.copy(error)
                mine.__cause__ = error.__cause__
                mine.add_note(
                    f"while waiting for {polled.kind.ref((polled.id,))}; the task keeps running"
                )
                waiter.resolve(mine)

    def fail_all(self, error: A2EError) -> None:
        """End all waits with an error."""
        self.fail(list(self._schedule), error)

    def _notify_ended(self, polled: PolledTask, *, observed: bool) -> None:
        if self.on_task_ended is not None:
            self.on_task_ended(polled.kind, polled.id, end_was_observed=observed)

    def _timeout_error(self, waiter: Waiter) -> TaskTimeout:
        kind = waiter.task.kind
        return timeout_error(
            waiter.task, (self._schedule.get(kind, id) for id in waiter.task._unfinished_ids)
        )


def timeout_error(task: "Task[Any]", polled_tasks: Iterable[PolledTask | None]) -> TaskTimeout:
    """Return the error for a wait whose deadline has passed.

    ``polled_tasks`` are those that have not ended.
    """
    record = task.record
    if record is not None and record.done and not task.done:
        return _result_missing_error(task, record)
    known = (
        "never polled" if record is None else f"last status {record.raw_status or record.status}"
    )
    worst = max(
        (w for w in polled_tasks if w is not None), key=lambda w: w.error_count, default=None
    )
    failures, cause = "", None
    if worst is not None and worst.last_error is not None:
        failures = (
            f"; the last {worst.error_count} polls failed with {type(worst.last_error).__name__}"
        )
        cause = copy.copy(worst.last_error)
    error = TaskTimeout(
        f"{task.ref} is not finished ({known}, {task.elapsed:.0f} s old{failures}). "
        "It keeps running and is already paid for: wait again, or later use "
        "a2e.attach(error.ref).",
        task=task,
    )
    error.__cause__ = cause
    return error


def _result_missing_error(task: "Task[Any]", record: Record) -> ResultMissing:
    """Return the error for a task whose ``record`` is completed and whose result is missing."""
    some = (
        f" The results that are available ({len(record.outputs)}) are in error.record."
        if record.outputs
        else ""
    )
    return ResultMissing(
        f"The service reports {task.ref} as completed but without its result, or without all of "
        f"its results.{some} It is already paid for and stays unfinished here: wait again in a "
        "few minutes, or later use a2e.attach(error.ref). If the result stays missing, contact "
        "the service's support.",
        task=task,
        record=record,
    )


def task_gone_error(task: "Task[Any]", polled: PolledTask) -> TaskGone:
    """Return the error for a task that the service does not know."""
    return TaskGone(
        f"The service does not know {polled.kind.ref((polled.id,))}: it was deleted, "
        "has expired, or belongs to another account. If its result was saved, nothing is "
        "lost. Otherwise search for it with list(), or wait again later. The last records "
        "seen are in error.task.parts.",
        task=task,
    )


def poller_crashed_error(cause: Exception) -> A2EError:
    """Return the error with which all waits end if the poller itself fails."""
    crashed = A2EError(
        f"The poller crashed ({type(cause).__name__}: {cause}). This is a bug in a2e_async; "
        "please report it. The tasks keep running; get each one back with a2e.attach(task.ref)."
    )
    crashed.__cause__ = cause
    return crashed
