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

from a2e_async.errors import A2EError
from a2e_async.models import Record
from a2e_async.narrow import is_list, is_map
from a2e_async.tasks.crew import Crew
from a2e_async.tasks.kind import TaskKind, check_watchable, is_id
from a2e_async.tasks.schedule import BACKUP, Schedule
from a2e_async.tasks.watches import Guest, Watch

# Clients of different versions exchange these messages, so their words never change: want, want_all
# and leave go to the leader; saw (a record) and look (poll it yourself) come from it.
MESSAGE: Final = 7_000
"""Maximum size of a message: the payload limit of PostgreSQL's NOTIFY is 8,000 bytes."""

IDS: Final = 50
"""Ids per message; even ids of maximum length fit."""

TROUBLE: Final = 3
"""Consecutive failed polls after which another client should try to lead."""


@define(eq=False)
class _Ids:
    """Ids to send, by the names of their kinds, in order."""

    by_kind: dict[str, dict[str, bool]] = field(factory=dict[str, dict[str, bool]])

    def add(self, kind: str, id: str, *, every: bool = False) -> None:
        self.by_kind.setdefault(kind, {})[id] = every

    def remove(self, kind: str, id: str) -> None:
        self.by_kind.get(kind, {}).pop(id, None)

    def take(self) -> Iterable[tuple[str, list[str], bool]]:
        """Yield the ids in chunks of one message each, and clear them."""
        taken, self.by_kind = self.by_kind, {}
        for kind, ids in taken.items():
            for every in (False, True):
                some = [id for id, one in ids.items() if one is every]
                for at in range(0, len(some), IDS):
                    yield kind, some[at : at + IDS], every


class SharedLooks:
    """This client's side of leader polling, over its schedule (the `PeerCallbacks` of its group).

    ``kind_named`` raises `A2EError` for a kind that this client does not know. ``deliver`` handles
    a record as the service returned it, and returns whether it could be decoded. ``drop_if_unused``
    drops a task without waiters. ``wake`` makes the poller read its schedule; ``ensure_running``
    starts the poller if it is idle.
    """

    def __init__(
        self,
        crew: Crew,
        schedule: Schedule,
        *,
        clock: Callable[[], float],
        kind_named: Callable[[str], TaskKind[..., Any]],
        show: Callable[[Watch, Any], bool],
        spare: Callable[[Watch], None],
        wake: Callable[[], None],
        start: Callable[[], None],
    ) -> None:
        self._crew = crew
        self._schedule = schedule
        self._clock = clock
        self._kind_named = kind_named
        self._show = show
        self._spare = spare
        self._wake = wake
        self._start = start
        self._joined = self._closed = False
        self._leader: str | None = None
        self._refused: set[tuple[str, str]] = set()
        """Tasks that the leader cannot poll."""
        self._every: set[tuple[str, str]] = set()
        """Tasks whose every change is needed here."""
        self._wants = _Ids()
        self._leaves = _Ids()
        self._news: list[tuple[str, str]] = []
        self._telling: Watch | None = None
        schedule.dropped = self._dropped

    @property
    def leads(self) -> bool:
        """Whether this client polls for all."""
        return self._leader is not None and self._leader == self._crew.name

    @property
    def settled(self) -> bool:
        """Whether one client, this one or another, polls for all."""
        return self._leader is not None

    def join(self) -> None:
        """Join the group if not joined yet. Raises `JournalError`."""
        if not self._joined:
            self._crew.join(self)
            self._joined = True

    def close(self) -> None:
        """Stop taking part."""
        self._closed = True
        self._leader = None
        for polled in self._schedule:
            polled.guests = None

    # -- following -------------------------------------------------------------------------

    def offer(self, watch: Watch, now: float, *, every: bool = False) -> None:
        """Delegate a task to the leader, now that this client knows its state.

        ``every_change``: every change is needed here, not only status changes.
        """
        place = watch.kind.name, watch.id
        if every:
            self._every.add(place)
        if watch.rare:
            self._decline(watch)
        if not self.settled or self.leads or watch.rare or watch.dropped:
            return
        if place in self._refused:
            return
        if watch.elsewhere and not every and now - watch.good_at < BACKUP:
            return
        # Otherwise it is new, or the silence was so long that the leader may not know the task.
        self._schedule.hand_over(watch, now)
        self._leaves.remove(*place)
        self._wants.add(*place, every=place in self._every)
        self._crew.stir()

    def _take_in(self, kind: str, id: str, row: Any) -> None:
        polled = self._schedule.find(kind, id)
        if polled is None or not polled.elsewhere:
            return
        self._telling = polled
        try:
            read = self._show(polled, row)
        finally:
            self._telling = None
        if not read:
            self._take_back(kind, [id])

    def _take_back(self, kind: str, ids: list[str]) -> None:
        for id in ids:
            polled = self._schedule.find(kind, id)
            if polled is not None and polled.elsewhere:
                # Not offered again to this leader: it would refuse again.
                self._refused.add((kind, id))
                self._schedule.take_back(polled, self._clock())
                self._leaves.add(kind, id)
                self._crew.stir()
                self._wake()

    # -- leading ---------------------------------------------------------------------------

    def saw(self, watch: Watch, row: Any, record: Record) -> None:
        """Send a record to the followers of its task, if it is news to them."""
        over = watch.kind.is_over(record)
        for name, follower in (watch.guests or {}).items():
            shown = row if follower.every else record.raw_status or record.status
            if over or shown != follower.shown:
                follower.shown = shown
                self._tell(name, {"saw": [watch.kind.name, watch.id, row]}, watch)
        if over:
            watch.guests = None

    def failed(self, watches: list[Watch], *, final: bool = False) -> None:
        """A poll failed: resign after several failures, or at once if ``final``.

        Another client may be able to poll, for instance where this client's key is refused.
        """
        bad = final or any(polled.errors >= TROUBLE for polled in watches)
        if self.leads and bad and any(polled.guests for polled in self._schedule):
            self._crew.resign()

    def _invite(self, sender: str, kind: str, ids: list[str], *, every: bool) -> None:
        try:
            known = self._kind_named(kind)
            check_watchable(known)
        except A2EError:  # a kind of a later version
            self._tell(sender, {"look": [kind, ids]})
            return
        now = self._clock()
        rare: list[str] = []
        for id in ids:
            polled = self._schedule.get(known, id)
            if polled is not None and polled.rare:
                rare.append(id)  # polled rarely here: too rarely for a follower without webhooks
                continue
            if polled is None:
                due = now + self._schedule.interval()
                polled = self._schedule.add(known, id, now=now, due=due)
            if polled.guests is None:
                polled.guests = {}
            # Also replaces an existing follower, which may have missed the last message.
            polled.guests[sender] = Guest(every)
        if rare:
            self._tell(sender, {"look": [kind, rare]})
        self._start()

    def _decline(self, watch: Watch) -> None:
        """Tell followers to poll this task themselves."""
        for follower in watch.guests or ():
            self._tell(follower, {"look": [watch.kind.name, [watch.id]]})
        watch.guests = None

    def _see_off(self, sender: str, watches: Iterable[Watch | None]) -> None:
        for polled in watches:
            if polled is not None and polled.guests and sender in polled.guests:
                del polled.guests[sender]
                if not polled.guests:
                    polled.guests = None
                    self._spare(polled)

    def _tell(self, to: str, message: Mapping[str, Any], watch: Watch | None = None) -> None:
        text = json.dumps(message, separators=(",", ":"))
        # A record that is too large for a message is not sent: the follower polls the task itself.
        if watch is not None and len(text) > MESSAGE:
            text = json.dumps({"look": [watch.kind.name, [watch.id]]})
        self._news.append((to, text))
        self._crew.stir()

    def _dropped(self, watch: Watch) -> None:
        place = watch.kind.name, watch.id
        self._refused.discard(place)
        self._every.discard(place)
        self._wants.remove(*place)
        # While the leader's final record is delivered, it has dropped the task itself.
        if watch.elsewhere and watch is not self._telling and not self._closed:
            self._leaves.add(*place)
            self._crew.stir()
        self._decline(watch)  # this client no longer polls it

    # -- callbacks of the group ------------------------------------------------------------

    def led_by(self, leader: str | None) -> None:
        """This client leads from now on, or another one, or no reachable one (None)."""
        if self._closed:
            return
        self._leader = leader
        # Whatever was queued was meant for the previous leader.
        self._wants, self._leaves, self._news = _Ids(), _Ids(), []
        self._refused.clear()
        now = self._clock()
        for polled in list(self._schedule):
            if not self.leads and polled.guests is not None:
                polled.guests = None
                self._spare(polled)
            if polled.elsewhere:
                self._schedule.take_back(polled, now)
            if polled.awaited:
                self.offer(polled, now)
        self._wake()

    def heard(self, sender: str, message: str) -> None:
        """Handle a message: a task to poll, or a record that the leader has seen."""
        try:
            text: Any = json.loads(message)
        except (ValueError, RecursionError):
            return
        for what, value in text.items() if is_map(text) and not self._closed else ():
            match value:
                case [str(kind), ids] if what != "saw" and is_list(ids):
                    known = [id for id in ids if isinstance(id, str) and is_id(id)]
                    if what in ("want", "want_all") and self.leads:
                        self._invite(sender, kind, known, every=what == "want_all")
                    elif what == "leave":
                        self._see_off(sender, [self._schedule.find(kind, id) for id in known])
                    elif what == "look" and sender == self._leader:
                        self._take_back(kind, known)
                case [str(kind), str(id), row] if what == "saw" and sender == self._leader:
                    self._take_in(kind, id, row)
                case _:
                    pass  # a message of a later version

    def left(self, name: str) -> None:
        """Another client has gone: it no longer waits for any task."""
        self._see_off(name, list(self._schedule))

    def outbox(self) -> list[tuple[str, str]]:
        """Return and clear the messages to send, as (recipient, message), in order."""
        text, self._news = self._news, []
        to_withdraw, to_delegate = list(self._leaves.take()), list(self._wants.take())
        if self._leader is not None and not self.leads:
            words = [
                *(("leave", kind, ids) for kind, ids, _ in to_withdraw),
                *(("want_all" if every else "want", kind, ids) for kind, ids, every in to_delegate),
            ]
            text += [
                (self._leader, json.dumps({what: [kind, ids]}, separators=(",", ":")))
                for what, kind, ids in words
            ]
        return text
