"""Reports when the service cannot be reached, stops answering, or does not show a task."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from a2e_async._core.polling.schedule import NOT_FOUND_SECONDS, UNCONFIRMED_NOT_FOUND_SECONDS
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_duration
from a2e_async.events import Attempt, Event, Polled

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E

SILENCE: Final = 2.0
"""Seconds without a first response after which a command says that it waits."""

UNSEEN: Final = 2.0
"""Seconds after the first answer, if it does not show the task, until a command says so."""


@contextmanager
def report_outages(context: CommandContext) -> Generator[None]:
    """In the block, report failing polls, too: they are repeated for as long as the task runs."""
    context.waiting = True
    try:
        yield
    finally:
        context.waiting = False


@contextmanager
def report_unknown(
    context: CommandContext, task: "Task[Any]", timeout: float | None
) -> Generator[None]:
    """In the block, say once if the service answers and does not show the task.

    A task that was just started may not be shown yet, so the wait goes on.
    """
    timer: asyncio.TimerHandle | None = None
    listed = task.kind.list is not None
    seconds = NOT_FOUND_SECONDS if listed else UNCONFIRMED_NOT_FOUND_SECONDS
    seconds = seconds if timeout is None else min(seconds, timeout)

    def report() -> None:
        if task.record is None:
            context.printer.note(
                f"the service does not show {task.ref} (yet); looking for it for up to "
                f"{format_duration(seconds)}"
            )

    def on_event(event: Event) -> None:
        nonlocal timer
        if (
            isinstance(event, Polled)
            and event.error in (None, "NotFound", "InvalidRequest")
            and timer is None
        ):
            timer = asyncio.get_running_loop().call_later(UNSEEN, report)

    context.event_listeners.append(on_event)
    try:
        yield
    finally:
        context.event_listeners.remove(on_event)
        if timer is not None:
            timer.cancel()


@contextmanager
def report_failures(context: CommandContext, a2e: "A2E") -> Generator[None]:
    """Print one line to stderr when requests begin to fail, and one when they succeed again."""
    listener = OutageListener(context=context)
    context.event_listeners.append(listener.on_event)
    timer = asyncio.get_running_loop().call_later(SILENCE, listener.report_silence, a2e)
    try:
        yield
    finally:
        timer.cancel()
        context.event_listeners.remove(listener.on_event)


@define(kw_only=True, eq=False)
class OutageListener:
    """Listens to the client's events. ``failing`` is true from an outage to the next answer.

    Created for one client; changed by its events alone.
    """

    context: CommandContext
    failing: bool = False
    answered: bool = False

    def on_event(self, event: Event) -> None:
        """Handle one event of the client."""
        if not isinstance(event, Attempt):
            return
        if event.error == "CancelledError":  # cancelled by us: says nothing about the service
            return
        self.answered = True
        outage = _describe_outage(event, self.context.host)
        if outage is None:
            if self.failing:
                self.context.printer.note(f"{self.context.host} answers again")
            self.failing = False
        elif not self.failing and (self.context.waiting or event.retry_in is not None):
            self.failing = True
            after = "still retrying, the task continues" if self.context.waiting else "retrying"
            self.context.printer.note(f"{outage}; {after}")

    def report_silence(self, a2e: "A2E") -> None:
        """Say that the first request has no response yet, if it is being sent."""
        if not self.answered and a2e.stats().connections:
            self.context.printer.note(f"no response from {self.context.host} yet; still waiting")


def _describe_outage(event: Attempt, host: str) -> str | None:
    """Return what is wrong with the service; None if it answered, even with a 4xx status."""
    if event.error is None:
        return None
    if event.status is None:
        what = "no response from" if event.sends else "cannot reach"
        return f"{what} {host}: {event.error}"
    if event.status >= 500:
        return f"{host} responds with {event.status}: {event.error}"
    return None
