"""Tells when the service stops answering the looks of a wait, and when it answers again."""

from collections.abc import Generator
from contextlib import contextmanager

from attrs import define

from a2e_async.cli.desk import Desk
from a2e_async.events import Attempt, Event


@contextmanager
def outages(desk: Desk) -> Generator[None]:
    """Say on stderr, once each time, that looks begin to fail and that they work again."""
    listener = Outages(desk=desk)
    desk.listeners.append(listener.hear)
    try:
        yield
    finally:
        desk.listeners.remove(listener.hear)


@define(kw_only=True, eq=False)
class Outages:
    """Listens to the client's events; ``failing`` since the last look that had an answer."""

    desk: Desk
    failing: bool = False

    def hear(self, event: Event) -> None:
        """Take in one event."""
        if not isinstance(event, Attempt):
            return
        if event.error == "CancelledError":  # our own doing: it tells nothing
            return
        trouble = _trouble(event, self.desk.host)
        if trouble is None:
            if self.failing:
                self.desk.printer.note(f"{self.desk.host} answers again")
            self.failing = False
        elif not self.failing:
            self.failing = True
            self.desk.printer.note(f"{trouble}; still trying, the task goes on")


def _trouble(event: Attempt, host: str) -> str | None:
    """Return what is wrong with the service; None where it answered, if only to refuse."""
    if event.error is None:
        return None
    if event.status is None:
        return f"no answer from {host}: {event.error}"
    if event.status >= 500:
        return f"{host} answers {event.status}: {event.error}"
    return None
