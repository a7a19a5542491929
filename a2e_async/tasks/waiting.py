"""The registry of one client's waiters: attaches them to polled tasks and resolves them."""

import copy
import math
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import A2EError, TaskTimeout
from a2e_async.models import Record
from a2e_async.tasks.schedule import Schedule
from a2e_async.tasks.waits import Deadlines, Ended, Wait, gone, result_missing, timed_out
from a2e_async.tasks.watches import Watch

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task
    from a2e_async.tasks.telling import Teller

LAST_LOOK: Final = 2.0
"""Maximum duration (s) of the last poll that is made at a waiter's deadline."""

RESULT_WITHIN: Final = 120.0
"""How long (s) a completed task is polled for a result that it does not show yet."""


class Waits:
    """Attaches waiters to the tasks of a schedule and resolves them by the records that arrive.

    Owned by the `Poller`; used on its loop only.
    """

    def __init__(self, schedule: Schedule, teller: "Teller | None") -> None:
        self.ended: Ended | None = None
        """Called for each remote task that has ended, or that is no longer polled."""
        self._schedule = schedule
        self._teller = teller
        self._deadlines = Deadlines()
        self._waiting = 0

    def add(self, wait: Wait, watches: list[Watch]) -> None:
        """Add a waiter to these polled tasks."""
        for polled in watches:
            polled.waits += (wait,)
        self._waiting += 1
        if wait.deadline < math.inf:
            self._deadlines.add(wait)

    def leave(self, wait: Wait) -> None:
        """Remove a waiter; a polled task without waiters is dropped."""
        for id in wait.task.ids:
            polled = self._schedule.get(wait.task.kind, id)
            # The task may have been dropped already, for instance because it has ended.
            if polled is None or wait not in polled.waits:
                continue
            polled.waits = tuple(other for other in polled.waits if other is not wait)
            # A request in flight is kept: a waiter that joins before its response shares it.
            if not polled.in_flight:
                self.spare(polled)
        self._waiting -= 1
        self._deadlines.tidy(self._waiting)

    def spare(self, watch: Watch) -> None:
        """Stop polling if no local or remote waiter remains."""
        if not watch.waits and not watch.guests:
            self._schedule.drop(watch)

    def waited_for(self, task: "Task[Any]") -> bool:
        """Return whether a caller waits for the task."""
        polled_tasks = (self._schedule.get(task.kind, id) for id in task.ids)
        waits = (waiter for polled in polled_tasks if polled for waiter in polled.waits)
        return any(not waiter.quiet and not waiter.future.done() for waiter in waits)

    # -- deadlines -------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """Return the next time at which `expire` has something to do."""
        first = self._deadlines.first()
        return None if first is None else first.deadline

    def expire(self, now: float, *, held: bool) -> None:
        """Poll tasks of expired waiters one last time, then end these waits.

        ``rate_limited``: the service asked for a pause, so no poll can be made.
        """
        while (waiter := self._deadlines.pop(now)) is not None:
            if waiter.last or held:
                waiter.end(self._timeout(waiter))
                continue
            # The last poll may take `LAST_POLL_TIMEOUT` seconds; then the waiter expires for good.
            waiter.last = True
            waiter.deadline = now + LAST_LOOK
            self._deadlines.add(waiter)
            for id in waiter.missing:
                polled = self._schedule.get(waiter.task.kind, id)
                if polled is not None:
                    self._schedule.hasten(polled, now)

    def last_look(self, watch: Watch) -> None:
        """End the waiters that were waiting for their last poll: it showed nothing new."""
        for waiter in watch.waits:
            if waiter.last:
                waiter.end(self._timeout(waiter))

    # -- ends ------------------------------------------------------------------------------

    def deliver(self, watch: Watch, record: Record, now: float) -> None:
        """Pass a record to all waiters of its task."""
        changed: dict[Task[Any], bool] = {}
        told: set[tuple[str, ...]] = set()
        over = watch.kind.is_over(record)
        for waiter in watch.waits:
            task = waiter.task
            if task not in changed:
                before = task.looked_at
                changed[task] = task.observe(record, now)
                tells = changed[task] and not waiter.quiet and task.ids not in told
                if self._teller is not None and tells:
                    told.add(task.ids)  # one event a task, however many handles it has
                    self._teller.seen(task, record, before, now)
            if over:
                waiter.missing = tuple(id for id in waiter.missing if id != watch.id)
            if not waiter.missing or (waiter.change and changed[task]):
                waiter.end()
            elif waiter.last and not over:
                waiter.end(self._timeout(waiter))
        if over:
            self._tell_ended(watch, seen=True)
        elif record.done:
            self._await_result(watch, now)
        elif watch.result_by < math.inf:
            watch.result_by = math.inf  # it runs again: a later completion gets the full time

    def _await_result(self, watch: Watch, now: float) -> None:
        """Poll for a late result; after `RESULT_GRACE_SECONDS` end the waits."""
        if watch.result_by == math.inf:
            watch.result_by = now + RESULT_WITHIN
            if watch.rare:
                self._schedule.nudge(watch, now)  # no further event will announce the result
        if now < watch.result_by:
            return
        self._tell_ended(watch, seen=False)
        for waiter in watch.waits:
            record = waiter.task.record
            if record is not None and record.done:
                waiter.end(result_missing(waiter.task))

    def gone(self, watch: Watch) -> None:
        """End the waits for a task that the service does not know with `TaskGone`."""
        self._tell_ended(watch, seen=False)
        self._schedule.drop(watch)
        if self._teller is not None:
            for task in {waiter.task for waiter in watch.waits if not waiter.quiet}:
                self._teller.gone(task)
        for waiter in watch.waits:
            waiter.end(gone(waiter.task, watch))

    def give_up(self, watches: list[Watch], error: A2EError) -> None:
        """End all waits for these tasks with an error."""
        for polled in watches:
            self._tell_ended(polled, seen=False)
            self._schedule.drop(polled)
            for waiter in polled.waits:
                # Each waiter gets its own exception: a shared one would collect the tracebacks of
                # all.
                mine = copy.copy(error)
                mine.__cause__ = error.__cause__
                mine.add_note(
                    f"while waiting for {polled.kind.ref((polled.id,))}; the task keeps running"
                )
                waiter.end(mine)

    def fail_all(self, error: A2EError) -> None:
        """End all waits with an error."""
        self.give_up(list(self._schedule), error)

    def _tell_ended(self, watch: Watch, *, seen: bool) -> None:
        if self.ended is not None:
            self.ended(watch.kind, watch.id, seen=seen)

    def _timeout(self, wait: Wait) -> TaskTimeout:
        kind = wait.task.kind
        return timed_out(wait.task, (self._schedule.get(kind, id) for id in wait.missing))
