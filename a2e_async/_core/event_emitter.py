"""Emits the events of starts and tasks. A client without ``on_event`` has no `EventEmitter`."""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import re
from collections.abc import Callable, Iterable
from contextvars import Context
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

from a2e_async._core.http.request_events import CURRENT_START
from a2e_async._core.tasks.task import Task
from a2e_async.events import (
    Accepted,
    Attached,
    Closed,
    Event,
    Finished,
    NotStarted,
    Polled,
    PollStarted,
    Resumed,
    StartLost,
    StartRequested,
    Update,
    WaitEnded,
    WaitStarted,
)
from a2e_async.models import Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.tasks.waiter import Waiter

_TRACEPARENT: Final = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class NumberedStart(Protocol):
    """The part of a start that its events are about, see `StartAttempt`."""

    event_number: int | None


class EventEmitter:
    """Emits the events of one client's starts and tasks. ``emit`` never raises."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self._start_numbers = count(1)
        self._wait_numbers = count(1)

    # -- a start -----------------------------------------------------------------------------

    def start_requested(self, attempt: NumberedStart, kind: str, context: Context) -> None:
        """A start was requested; ``context`` is the context that its asyncio task runs in."""
        attempt.event_number = next(self._start_numbers)
        # Requests that are made in this context then carry the number of the start.
        context.run(CURRENT_START.set, attempt.event_number)
        self.emit(StartRequested(start=attempt.event_number, kind=kind))

    def start_accepted(
        self, attempt: NumberedStart, task: Task[Any], *, claimed: bool, found: bool
    ) -> None:
        """A start has its task, which may have ended already."""
        ref = task.kind.ref(task.ids)
        self.emit(
            Accepted(
                ref=ref,
                kind=task.kind.name,
                coins=task.coins,
                claimed=claimed,
                start=attempt.event_number,
                found=found,
            )
        )
        if task.done and task.kind.pollable:
            self._task_finished(task, None)

    def task_resumed(self, task: Task[Any], start: int | None = None) -> None:
        """The task of a start was found in the journal."""
        self.emit(
            Resumed(
                ref=task.kind.ref(task.ids),
                kind=task.kind.name,
                start=start,
                traceparent=_traceparent(task),
            )
        )

    def start_lost(self, recovery: Recovery, start: int | None = None) -> None:
        """The outcome of a start, or of another paid call, is unknown."""
        self.emit(StartLost(recovery=recovery, start=start))

    def not_started(self, attempt: NumberedStart, kind: str, error: BaseException | None) -> None:
        """A start ended without a task; ``error`` is None if it was withdrawn."""
        if attempt.event_number is not None:
            name = None if error is None else type(error).__name__
            self.emit(NotStarted(start=attempt.event_number, kind=kind, error=name))

    # -- a task ------------------------------------------------------------------------------

    def wait_started(self, waiter: "Waiter") -> None:
        """A wait for a task begins."""
        task = waiter.task
        ref, kind = task.kind.ref(task.ids), task.kind.name
        if task._last_polled_at is None:
            self.emit(Attached(ref=ref, kind=kind))
        if not waiter.any_change and not waiter.future.done():
            waiter.event_number = next(self._wait_numbers)
            self.emit(WaitStarted(wait=waiter.event_number, ref=ref, kind=kind))

    def poll_started(self, kind: str, mode: str, tasks: Iterable[Task[Any]]) -> None:
        """A poll for these tasks begins; a task may be given several times."""
        refs = dict.fromkeys(task.kind.ref(task.ids) for task in tasks)
        self.emit(PollStarted(kind=kind, mode=mode, refs=tuple(refs)))

    def polled(
        self, kind: str, mode: str, tasks: int, duration: float, error: BaseException | None
    ) -> None:
        """A poll of this many tasks has finished, after ``duration`` seconds."""
        self.emit(
            Polled(
                kind=kind,
                mode=mode,
                tasks=tasks,
                duration=duration,
                error=None if error is None else type(error).__name__,
            )
        )

    def record_changed(
        self, task: Task[Any], record: Record, previous_poll_at: float | None, now: float
    ) -> None:
        """A poll showed a changed record; ``previous_poll_at`` is when it was polled before."""
        self.emit(
            Update(
                ref=task.kind.ref(task.ids),
                kind=task.kind.name,
                status=record.status,
                raw_status=record.raw_status,
                progress=record.progress,
            )
        )
        if task.done:
            self._task_finished(task, None if previous_poll_at is None else now - previous_poll_at)

    def task_gone(self, task: Task[Any]) -> None:
        """The service does not know a task any more."""
        self._task_finished(task, None, gone=True)

    def wait_ended(self, waiter: "Waiter", error: BaseException, *, last: bool) -> None:
        """A wait ended before its task did."""
        kind = waiter.task.kind
        self.emit(
            WaitEnded(
                ref=kind.ref(waiter.task.ids),
                kind=kind.name,
                error=type(error).__name__,
                last=last,
                wait=waiter.event_number,
            )
        )

    def client_closed(self) -> None:
        """The client is closed."""
        self.emit(Closed())

    def _task_finished(self, task: Task[Any], delay: float | None, *, gone: bool = False) -> None:
        self.emit(
            Finished(
                ref=task.kind.ref(task.ids),
                kind=task.kind.name,
                status=None if gone else task.status,
                coins=task.coins,
                elapsed=task.elapsed,
                delay=delay,
            )
        )


def _traceparent(task: Task[Any]) -> str | None:
    """Return the W3C trace context in a task's ``meta``; nothing else of it is for events."""
    value = None if task.meta is None else task.meta.get("traceparent")
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None
