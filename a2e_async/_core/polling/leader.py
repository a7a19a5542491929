"""One client polls the tasks that all clients of the account wait for (pure).

This is the leader of their `PeerGroup`. A follower delegates each task to the leader once it has
polled it itself (or has just started it). The leader then sends it every status change and the
final record, as the service returned them. So a fleet sends as many poll requests as one client.

Nothing depends on the leader alone. A follower still polls by itself at long intervals, at the
deadline of a wait, and when the leader asks it to; without a leader all clients poll as usual.
Records from the leader are decoded and checked like a response of the service.

Webhook-backed tasks are polled rarely anyway and stay with their own client.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from a2e_async._core.journal.peers import PeerGroup
from a2e_async._core.polling.polled_tasks import PolledTask, RemoteFollower
from a2e_async._core.polling.schedule import DELEGATED_POLL_INTERVAL, PollSchedule
from a2e_async._core.tasks.kind import TaskKind, check_pollable, is_task_id
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.errors import A2EError
from a2e_async.models import Record

# Clients of different versions exchange these messages, so their words never change: want, want_all
# and leave go to the leader; saw (a record) and look (poll it yourself) come from it.
MAX_MESSAGE_BYTES: Final = 7_000
"""Maximum size of a message: the payload limit of PostgreSQL's NOTIFY is 8,000 bytes."""

MAX_IDS_PER_MESSAGE: Final = 50
"""Ids per message; even ids of maximum length fit."""

RESIGN_AFTER_FAILURES: Final = 3
"""Consecutive failed polls after which another client should try to lead."""


@define(eq=False)
class _PendingIds:
    """Ids to send, by the names of their kinds, in order.

    Created and emptied by `LeaderPolling` alone.
    """

    by_kind: dict[str, dict[str, bool]] = field(factory=dict[str, dict[str, bool]])

    def add(self, kind: str, id: str, *, every_change: bool = False) -> None:
        self.by_kind.setdefault(kind, {})[id] = every_change

    def remove(self, kind: str, id: str) -> None:
        self.by_kind.get(kind, {}).pop(id, None)

    def take_chunks(self) -> Iterable[tuple[str, list[str], bool]]:
        """Yield the ids in chunks of one message each, and clear them."""
        taken, self.by_kind = self.by_kind, {}
        for kind, ids in taken.items():
            for every in (False, True):
                some = [id for id, one in ids.items() if one is every]
                for at in range(0, len(some), MAX_IDS_PER_MESSAGE):
                    yield kind, some[at : at + MAX_IDS_PER_MESSAGE], every


class LeaderPolling:
    """This client's side of leader polling, over its schedule (the `PeerCallbacks` of its group).

    ``kind_named`` raises `A2EError` for a kind that this client does not know. ``deliver`` handles
    a record as the service returned it, and returns whether it could be decoded. ``drop_if_unused``
    drops a task without waiters. ``wake`` makes the poller read its schedule; ``ensure_running``
    starts the poller if it is idle.

    Created by the `Poller`, whose schedule it changes; used on the client's event loop only, until
    the poller closes it.
    """

    def __init__(
        self,
        peers: PeerGroup,
        schedule: PollSchedule,
        *,
        clock: Callable[[], float],
        kind_named: Callable[[str], TaskKind[..., Any]],
        deliver: Callable[[PolledTask, Any], bool],
        drop_if_unused: Callable[[PolledTask], None],
        wake: Callable[[], None],
        ensure_running: Callable[[], None],
    ) -> None:
        self._peers = peers
        self._schedule = schedule
        self._clock = clock
        self._kind_named = kind_named
        self._deliver = deliver
        self._drop_if_unused = drop_if_unused
        self._wake = wake
        self._ensure_running = ensure_running
        self._joined = self._closed = False
        self._leader: str | None = None
        self._declined_by_leader: set[tuple[str, str]] = set()
        """Tasks that the leader cannot poll."""
        self._every_change: set[tuple[str, str]] = set()
        """Tasks whose every change is needed here."""
        self._to_delegate = _PendingIds()
        self._to_withdraw = _PendingIds()
        self._outgoing: list[tuple[str, str]] = []
        self._delivering: PolledTask | None = None
        schedule.on_dropped = self._on_dropped

    @property
    def is_leader(self) -> bool:
        """Whether this client polls for all."""
        return self._leader is not None and self._leader == self._peers.name

    @property
    def has_leader(self) -> bool:
        """Whether one client, this one or another, polls for all."""
        return self._leader is not None

    def join(self) -> None:
        """Join the group if not joined yet. Raises `JournalError`."""
        if not self._joined:
            self._peers.join(self)
            self._joined = True

    def close(self) -> None:
        """Stop taking part."""
        self._closed = True
        self._leader = None
        for polled in self._schedule:
            polled.followers = None

    # -- following -------------------------------------------------------------------------

    def offer_to_leader(
        self, polled: PolledTask, now: float, *, every_change: bool = False
    ) -> None:
        """Delegate a task to the leader, now that this client knows its state.

        ``every_change``: every change is needed here, not only status changes.
        """
        task_key = polled.kind.name, polled.id
        if every_change:
            self._every_change.add(task_key)
        if polled.webhook_backed:
            self._dismiss_followers(polled)
        if not self.has_leader or self.is_leader or polled.webhook_backed or polled.dropped:
            return
        if task_key in self._declined_by_leader:
            return
        if (
            polled.delegated
            and not every_change
            and now - polled.last_success_at < DELEGATED_POLL_INTERVAL
        ):
            return
        # Otherwise it is new, or the silence was so long that the leader may not know the task.
        self._schedule.delegate(polled, now)
        self._to_withdraw.remove(*task_key)
        self._to_delegate.add(*task_key, every_change=task_key in self._every_change)
        self._peers.request_flush()

    def _receive_record(self, kind: str, id: str, raw: Any) -> None:
        polled = self._schedule.find(kind, id)
        if polled is None or not polled.delegated:
            return
        self._delivering = polled
        try:
            read = self._deliver(polled, raw)
        finally:
            self._delivering = None
        if not read:
            self._reclaim(kind, [id])

    def _reclaim(self, kind: str, ids: list[str]) -> None:
        for id in ids:
            polled = self._schedule.find(kind, id)
            if polled is not None and polled.delegated:
                # Not offered again to this leader: it would refuse again.
                self._declined_by_leader.add((kind, id))
                self._schedule.reclaim(polled, self._clock())
                self._to_withdraw.add(kind, id)
                self._peers.request_flush()
                self._wake()

    # -- leading ---------------------------------------------------------------------------

    def notify_followers(self, polled: PolledTask, raw: Any, record: Record) -> None:
        """Send a record to the followers of its task, if it is new to them."""
        ended = polled.kind.is_final(record)
        for name, follower in (polled.followers or {}).items():
            shown = raw if follower.wants_every_change else record.raw_status or record.status
            if ended or shown != follower.last_sent:
                follower.last_sent = shown
                self._queue_message(name, {"saw": [polled.kind.name, polled.id, raw]}, polled)
        if ended:
            polled.followers = None

    def poll_failed(self, polled_tasks: list[PolledTask], *, final: bool = False) -> None:
        """A poll failed: resign after several failures, or at once if ``final``.

        Another client may be able to poll, for instance where this client's key is refused.
        """
        bad = final or any(polled.error_count >= RESIGN_AFTER_FAILURES for polled in polled_tasks)
        if self.is_leader and bad and any(polled.followers for polled in self._schedule):
            self._peers.resign()

    def _add_follower(self, sender: str, kind: str, ids: list[str], *, every_change: bool) -> None:
        try:
            known = self._kind_named(kind)
            check_pollable(known)
        except A2EError:  # a kind of a later version
            self._queue_message(sender, {"look": [kind, ids]})
            return
        now = self._clock()
        webhook_backed_ids: list[str] = []
        for id in ids:
            polled = self._schedule.get(known, id)
            if polled is not None and polled.webhook_backed:
                # Polled rarely here: too rarely for a follower without webhooks.
                webhook_backed_ids.append(id)
                continue
            if polled is None:
                due = now + self._schedule.interval()
                polled = self._schedule.add(known, id, now=now, due_at=due)
            if polled.followers is None:
                polled.followers = {}
            # Also replaces an existing follower, which may have missed the last message.
            polled.followers[sender] = RemoteFollower(every_change)
        if webhook_backed_ids:
            self._queue_message(sender, {"look": [kind, webhook_backed_ids]})
        self._ensure_running()

    def _dismiss_followers(self, polled: PolledTask) -> None:
        """Tell followers to poll this task themselves."""
        for follower in polled.followers or ():
            self._queue_message(follower, {"look": [polled.kind.name, [polled.id]]})
        polled.followers = None

    def _remove_follower(self, sender: str, polled_tasks: Iterable[PolledTask | None]) -> None:
        for polled in polled_tasks:
            if polled is not None and polled.followers and sender in polled.followers:
                del polled.followers[sender]
                if not polled.followers:
                    polled.followers = None
                    self._drop_if_unused(polled)

    def _queue_message(
        self, recipient: str, message: Mapping[str, Any], polled: PolledTask | None = None
    ) -> None:
        text = json.dumps(message, separators=(",", ":"))
        # A record that is too large for a message is not sent: the follower polls the task itself.
        if polled is not None and len(text) > MAX_MESSAGE_BYTES:
            text = json.dumps({"look": [polled.kind.name, [polled.id]]})
        self._outgoing.append((recipient, text))
        self._peers.request_flush()

    def _on_dropped(self, polled: PolledTask) -> None:
        task_key = polled.kind.name, polled.id
        self._declined_by_leader.discard(task_key)
        self._every_change.discard(task_key)
        self._to_delegate.remove(*task_key)
        # While the leader's final record is delivered, it has dropped the task itself.
        if polled.delegated and polled is not self._delivering and not self._closed:
            self._to_withdraw.add(*task_key)
            self._peers.request_flush()
        self._dismiss_followers(polled)  # this client no longer polls it

    # -- callbacks of the group ------------------------------------------------------------

    def leader_changed(self, leader: str | None) -> None:
        """This client leads from now on, or another one, or no reachable one (None)."""
        if self._closed:
            return
        self._leader = leader
        # Whatever was queued was meant for the previous leader.
        self._to_delegate, self._to_withdraw, self._outgoing = _PendingIds(), _PendingIds(), []
        self._declined_by_leader.clear()
        now = self._clock()
        for polled in list(self._schedule):
            if not self.is_leader and polled.followers is not None:
                polled.followers = None
                self._drop_if_unused(polled)
            if polled.delegated:
                self._schedule.reclaim(polled, now)
            if polled.had_time_for_event:
                self.offer_to_leader(polled, now)
        self._wake()

    def message_received(self, sender: str, message: str) -> None:
        """Handle a message: a task to poll, or a record that the leader has seen."""
        try:
            document: Any = json.loads(message)
        except (ValueError, RecursionError):
            return
        for what, value in document.items() if is_mapping(document) and not self._closed else ():
            match value:
                case [str(kind), ids] if what != "saw" and is_list(ids):
                    known = [id for id in ids if isinstance(id, str) and is_task_id(id)]
                    if what in ("want", "want_all") and self.is_leader:
                        self._add_follower(sender, kind, known, every_change=what == "want_all")
                    elif what == "leave":
                        self._remove_follower(
                            sender, [self._schedule.find(kind, id) for id in known]
                        )
                    elif what == "look" and sender == self._leader:
                        self._reclaim(kind, known)
                case [str(kind), str(id), row] if what == "saw" and sender == self._leader:
                    self._receive_record(kind, id, row)
                case _:
                    pass  # a message of a later version

    def peer_left(self, name: str) -> None:
        """Another client has gone: it no longer waits for any task."""
        self._remove_follower(name, list(self._schedule))

    def take_outbox(self) -> list[tuple[str, str]]:
        """Return and clear the messages to send, as (recipient, message), in order."""
        outbox, self._outgoing = self._outgoing, []
        to_withdraw, to_delegate = (
            list(self._to_withdraw.take_chunks()),
            list(self._to_delegate.take_chunks()),
        )
        if self._leader is not None and not self.is_leader:
            requests = [
                *(("leave", kind, ids) for kind, ids, _ in to_withdraw),
                *(("want_all" if every else "want", kind, ids) for kind, ids, every in to_delegate),
            ]
            outbox += [
                (self._leader, json.dumps({what: [kind, ids]}, separators=(",", ":")))
                for what, kind, ids in requests
            ]
        return outbox
