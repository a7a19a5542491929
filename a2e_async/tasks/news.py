"""Early polls: triggered by webhook events and by what other clients write into the journal.

Neither source is trusted. Each only moves a poll to now, at most once per poll interval.
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
"""Signature of `Journal.watch_all`."""


class News:
    """Triggers early polls for the waiters of one client.

    ``wake`` makes the poller read its schedule. ``listen_to_all`` is the journal's
    `Journal.watch_all`, if there is a journal. ``has_webhooks``: webhook events are expected, which
    can arrive before a waiter exists.
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
        """Start listening to the journal changes of other clients, if not started yet."""
        if self._watch_all is not None and self._end is None:
            with suppress(JournalError):  # polling works without it; the next write reports it
                self._end = self._watch_all(self._changed)
                self._since = asyncio.get_running_loop().time()

    def rest(self) -> None:
        """Stop listening when there are no waiters, unless webhook events are expected."""
        if not self._always:
            self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._end is not None:
            self._end()
            self._end, self._since = None, float("inf")

    def event(self, hook: str) -> bool:
        """Handle a webhook event of a start; return False if one arrived just before."""
        now = asyncio.get_running_loop().time()
        news = self._heard.note(hook, now, self._schedule.interval())
        if news:
            self._schedule.event(hook, now)
            self._wake()
        return news

    def ended(self, entry: Entry) -> None:
        """Poll the tasks of a journal entry that is reported to have ended.

        Delegated tasks are skipped: the leader that polls them gets the same report.
        """
        now = asyncio.get_running_loop().time()
        for id in entry.ids:
            polled = self._schedule.find(entry.kind, id)
            if polled is not None and not polled.elsewhere:
                self._schedule.nudge(polled, now)
                self._wake()

    def first_look(self, task: "Task[Any]", now: float) -> tuple[float, bool]:
        """Return when a new waiter polls first, and whether an event has reported the end."""
        looked, heard = task.looked_at, self._heard.at(task.hook)
        if looked is None:
            return now, heard is not None
        if heard is not None and (heard >= looked or looked == task.born):
            # The event may have overtaken the response of the start.
            return now, True
        # An event that arrived before this client listened cannot have been seen.
        rare = task.hook is not None and heard is None and self._since <= looked
        return max(now, looked + self._schedule.interval(rare=rare)), heard is not None

    def _changed(self, entry: Entry) -> None:
        if entry.event_at is not None and entry.hook is not None:
            self.event(entry.hook)
        if entry.event_at is not None or entry.state >= State.FINISHED:
            self.ended(entry)
