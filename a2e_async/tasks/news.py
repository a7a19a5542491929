"""What tells a wait to look before its time: webhook events, and what other clients saw.

Neither is believed: each only moves the next look to now, and no more than one look an interval.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from a2e_async.errors import JournalError
from a2e_async.tasks.hooks import Heard
from a2e_async.tasks.journal import Entry, State
from a2e_async.tasks.schedule import Schedule

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task

WatchAll = Callable[[Callable[[Entry], None]], Callable[[], None]]
"""`Journal.watch_all`."""


class News:
    """Takes news in for the waits of one client. ``wake`` lets the poller look at its schedule.

    ``watch_all`` is the journal's, where there is one. ``always``: webhook events are awaited,
    which can come before anybody waits.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        wake: Callable[[], None],
        watch_all: WatchAll | None = None,
        always: bool = False,
    ) -> None:
        self._schedule = schedule
        self._wake = wake
        self._watch_all = watch_all
        self._always = always
        self._heard = Heard()
        self._end: Callable[[], None] | None = None
        self._since = float("-inf") if watch_all is None else float("inf")

    def listen(self) -> None:
        """Begin to hear of what other clients of the journal do, if that has not begun."""
        if self._watch_all is not None and self._end is None:
            with suppress(JournalError):  # who needs it will be told; looks go on without
                self._end = self._watch_all(self._changed)
                self._since = asyncio.get_running_loop().time()

    def rest(self) -> None:
        """Nobody waits: only events are still listened for."""
        if not self._always:
            self.close()

    def close(self) -> None:
        """Hear nothing more."""
        if self._end is not None:
            self._end()
            self._end, self._since = None, float("inf")

    def event(self, hook: str) -> bool:
        """A webhook event came for the start of this hook; return whether that is news."""
        now = asyncio.get_running_loop().time()
        news = self._heard.note(hook, now, self._schedule.interval())
        if news:
            self._schedule.event(hook, now)
            self._wake()
        return news

    def ended(self, entry: Entry) -> None:
        """Something says that the tasks of an entry have ended: look at those waited for.

        Who looks at them for this client hears so, too.
        """
        now = asyncio.get_running_loop().time()
        for id in entry.ids:
            watch = self._schedule.find(entry.kind, id)
            if watch is not None and not watch.elsewhere:
                self._schedule.nudge(watch, now)
                self._wake()

    def first_look(self, task: "Task[Any]", now: float) -> tuple[float, bool]:
        """Return when a wait looks first, and whether an event has told of an end already."""
        looked, heard = task.looked_at, self._heard.at(task.hook)
        if looked is None:
            return now, heard is not None
        if heard is not None and (heard >= looked or looked == task.born):
            # The event may have overtaken the start's own answer.
            return now, True
        # What came before anybody listened cannot have been heard.
        rare = task.hook is not None and heard is None and self._since <= looked
        return max(now, looked + self._schedule.interval(rare=rare)), heard is not None

    def _changed(self, entry: Entry) -> None:
        if entry.event_at is not None and entry.hook is not None:
            self.event(entry.hook)
        if entry.event_at is not None or entry.state >= State.FINISHED:
            self.ended(entry)
