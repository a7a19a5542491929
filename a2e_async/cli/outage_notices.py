"""Reports when the service stops answering status requests, and when it answers again."""

from collections.abc import Generator
from contextlib import contextmanager

from attrs import define

from a2e_async.cli.context import CommandContext
from a2e_async.events import Attempt, Event


@contextmanager
def report_outages(context: CommandContext) -> Generator[None]:
    """Print one line to stderr when requests begin to fail, and one when they succeed again."""
    listener = OutageListener(context=context)
    context.event_listeners.append(listener.on_event)
    try:
        yield
    finally:
        context.event_listeners.remove(listener.on_event)


@define(kw_only=True, eq=False)
class OutageListener:
    """Listens to the client's events. ``failing`` is true from an outage to the next answer.

    Created for one command; changed by its client's events alone.
    """

    context: CommandContext
    failing: bool = False

    def on_event(self, event: Event) -> None:
        """Handle one event of the client."""
        if not isinstance(event, Attempt):
            return
        if event.error == "CancelledError":  # cancelled by us: says nothing about the service
            return
        outage = _describe_outage(event, self.context.host)
        if outage is None:
            if self.failing:
                self.context.printer.note(f"{self.context.host} answers again")
            self.failing = False
        elif not self.failing:
            self.failing = True
            self.context.printer.note(f"{outage}; still retrying, the task continues")


def _describe_outage(event: Attempt, host: str) -> str | None:
    """Return what is wrong with the service; None if it answered, even with a 4xx status."""
    if event.error is None:
        return None
    if event.status is None:
        return f"no response from {host}: {event.error}"
    if event.status >= 500:
        return f"{host} responds with {event.status}: {event.error}"
    return None
