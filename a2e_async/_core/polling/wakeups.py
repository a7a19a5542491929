"""Early polls: triggered by webhook events and by what other clients write into the journal.

Neither source is trusted. Each only moves a poll to now, at most once per poll interval.
"""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from a2e_async._core.journal.protocol import Entry, Journal, State
from a2e_async._core.polling.schedule import PollSchedule
from a2e_async._core.webhooks.tokens import RecentEvents
from a2e_async.errors import JournalError

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task


class Wakeups:
    """Triggers early polls for the waiters of one client.

    ``wake`` makes the poller read its schedule. ``journal`` is the client's, if it has one.
    ``has_webhooks``: webhook events are expected, which can arrive before a waiter exists.

    Owned by the `Poller`, which closes it; changed on the client's event loop only.
    """

    def __init__(
        self,
        schedule: PollSchedule,
        *,
        wake: Callable[[], None],
        journal: Journal | None = None,
        has_webhooks: bool = False,
    ) -> None:
        self._schedule = schedule
        self._wake = wake
        self._journal = journal
        self._has_webhooks = has_webhooks
        self._recent_events = RecentEvents()
        self._stop_listening: Callable[[], None] | None = None
        self.should_listen: bool = journal is not None
        """There is a journal, and its changes are not listened to yet."""
        self._listening_since = float("-inf") if journal is None else float("inf")

    def listen(self) -> None:
        """Start listening to the journal changes of other clients, if it `should_listen`."""
        if self._journal is not None and self._stop_listening is None:
            with suppress(JournalError):  # polling works without it; the next write reports it
                self._stop_listening = self._journal.watch_all(self._entry_changed)
                self._listening_since = asyncio.get_running_loop().time()
                self.should_listen = False

    def close_if_idle(self) -> None:
        """Stop listening when there are no waiters, unless webhook events are expected."""
        if not self._has_webhooks:
            self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening, self._listening_since = None, float("inf")
            self.should_listen = True

    def webhook_event(self, webhook_id: str) -> bool:
        """Handle a webhook event of a start; return False if one arrived just before."""
        now = asyncio.get_running_loop().time()
        is_new = self._recent_events.record(webhook_id, now, self._schedule.interval())
        if is_new:
            self._schedule.webhook_event(webhook_id, now)
            self._wake()
        return is_new

    def entry_ended(self, entry: Entry) -> None:
        """Poll the tasks of a journal entry that is reported to have ended.

        Delegated tasks are skipped: the leader that polls them gets the same report.
        """
        now = asyncio.get_running_loop().time()
        for id in entry.ids:
            polled = self._schedule.find(entry.kind, id)
            if polled is not None and not polled.delegated:
                self._schedule.poll_early(polled, now)
                self._wake()

    def first_poll(self, task: "Task[Any]", now: float) -> tuple[float, bool]:
        """Return when a new waiter polls first, and whether an event has reported the end."""
        last_poll, last_event = task._last_polled_at, None
        if task._webhook_token_id is not None:
            last_event = self._recent_events.last_received_at(task._webhook_token_id)
        if last_poll is None:
            return now, last_event is not None
        if last_event is not None and (last_event >= last_poll or last_poll == task._created_at):
            # The event may have overtaken the response of the start.
            return now, True
        # An event that arrived before this client listened cannot have been seen.
        webhook_backed = (
            task._webhook_token_id is not None
            and last_event is None
            and self._listening_since <= last_poll
        )
        return max(
            now, last_poll + self._schedule.interval(webhook_backed=webhook_backed)
        ), last_event is not None

    def _entry_changed(self, entry: Entry) -> None:
        if entry.event_at is not None and entry.hook is not None:
            self.webhook_event(entry.hook)
        if entry.event_at is not None or entry.state >= State.FINISHED:
            self.entry_ended(entry)
