"""Emits the events of starts and tasks. A client without ``on_event`` has no `EventEmitter`."""

from collections.abc import Callable
from contextvars import Context
from itertools import count
from typing import TYPE_CHECKING, Any

from a2e_async.events import (
    Accepted,
    Asked,
    Attached,
    Closed,
    Event,
    Finished,
    Looked,
    NotStarted,
    Resumed,
    StartLost,
    Update,
    WaitEnded,
)
from a2e_async.models import Record, Recovery
from a2e_async.transport.watch import START

if TYPE_CHECKING:
    from a2e_async.tasks.flight import Flight
    from a2e_async.tasks.task import Task
    from a2e_async.tasks.watches import Look


class Teller:
    """Emits the events of one client's starts and tasks. ``emit`` never raises."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self._numbers = count(1)

    # -- a start -----------------------------------------------------------------------------

    def asked(self, flight: "Flight", context: Context) -> None:
        """A start was requested; ``context`` is the context that its asyncio task runs in."""
        flight.number = next(self._numbers)
        # Requests that are made in this context then carry the number of the start.
        context.run(START.set, flight.number)
        self.emit(Asked(start=flight.number, kind=flight.kind.name))

    def accepted(self, flight: "Flight", task: "Task[Any]", *, claimed: bool, found: bool) -> None:
        """A start has its task, which may have ended already."""
        ref = task.kind.ref(task.ids)
        self.emit(
            Accepted(
                ref=ref,
                kind=task.kind.name,
                coins=task.coins,
                claimed=claimed,
                start=flight.number,
                found=found,
            )
        )
        if task.done and task.kind.watchable:
            self._finished(task, None)

    def resumed(self, task: "Task[Any]", start: int | None = None) -> None:
        """The task of a start was found in the journal."""
        self.emit(Resumed(ref=task.kind.ref(task.ids), kind=task.kind.name, start=start))

    def lost(self, recovery: Recovery, start: int | None = None) -> None:
        """The outcome of a start, or of another paid call, is unknown."""
        self.emit(StartLost(recovery=recovery, start=start))

    def not_started(self, flight: "Flight", error: BaseException | None) -> None:
        """A start ended without a task; ``error`` is None if it was withdrawn."""
        if flight.number is not None:
            name = None if error is None else type(error).__name__
            self.emit(NotStarted(start=flight.number, kind=flight.kind.name, error=name))

    # -- a task ------------------------------------------------------------------------------

    def waited_for(self, task: "Task[Any]") -> None:
        """A wait for a task begins."""
        if task.looked_at is None:
            self.emit(Attached(ref=task.kind.ref(task.ids), kind=task.kind.name))

    def looked(self, look: "Look", duration: float, error: BaseException | None) -> None:
        """A poll has finished."""
        self.emit(
            Looked(
                kind=look.kind.name,
                mode=look.mode.value,
                tasks=len(look.watches),
                duration=duration,
                error=None if error is None else type(error).__name__,
            )
        )

    def seen(self, task: "Task[Any]", record: Record, before: float | None, now: float) -> None:
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
            self._finished(task, None if before is None else now - before)

    def gone(self, task: "Task[Any]") -> None:
        """The service does not know a task any more."""
        self._finished(task, None, gone=True)

    def wait_ended(self, task: "Task[Any]", error: BaseException, *, last: bool) -> None:
        """A wait ended before its task did."""
        ref, name = task.kind.ref(task.ids), type(error).__name__
        self.emit(WaitEnded(ref=ref, kind=task.kind.name, error=name, last=last))

    def closed(self) -> None:
        """The client is closed."""
        self.emit(Closed())

    def _finished(self, task: "Task[Any]", delay: float | None, *, gone: bool = False) -> None:
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
