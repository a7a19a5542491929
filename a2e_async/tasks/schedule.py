"""Decides which tasks to poll now, with which requests, and when to wake next (pure).

Every polled task is due once per interval. When one is due, its request is filled with the tasks of
the same kind that are due next: they add nothing to the cost of a request that is sent anyway. So
the tasks of one kind synchronise by themselves, and the number of requests depends on the interval
and not on the number of tasks.

Modes, cheapest first:

- batch detail: up to 200 ids per request;
- the processing list: one request for all; tasks that are absent there are polled by detail;
- the list: where there is no detail endpoint, or enough tasks to make a page cheaper;
- detail: one request per task.

A mode that keeps failing is replaced by the next one that works. The replacement is tried with a
single request first: if the whole service is down, one shared request must not become hundreds of
detail requests. The cheaper mode is retried now and then.

The interval is the user's ``poll_interval``, stretched so that polls use at most their share of the
rate limit. It does not grow while a task runs: a long-running task is no less likely to end now.
Only errors back off, and they never end a wait; only its own deadline does.

A task whose start asked for webhook events is polled less often while events do arrive: polls then
only guard against a lost event. Once its event has arrived, the normal interval applies.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from a2e_async.errors import A2EError
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.watches import After, Lane, Look, Mode, Watch

NOT_FOUND_POLLS: Final = 3
"""Consecutive polls that must not find a task before it counts as gone."""
NOT_FOUND_FOR: Final = 120.0
"""Time (s) over which these polls must be spread.

A record can be invisible for a while after its start, and a gateway may answer "not found" for
minutes. Neither another machine's clock nor the task's age is considered.
"""

NOT_FOUND_UNCONFIRMED_FOR: Final = 300.0
"""The same time (s) for kinds that have no list to confirm the absence."""

FALL_BACK_AFTER: Final = 2
"""Consecutive failures after which another mode is tried in place of the failing one."""

DOWN_FOR: Final = 60.0
"""Time (s) for which a failing mode is skipped; doubled each time it fails again."""

BACKOFF_MOST: Final = 30.0
"""Maximum pause (s) after failed polls."""
STAY_ALONE: Final = 3
"""Absences from shared responses after which a running task stays polled by detail."""

ALONE_FOR: Final = 600.0
"""Time (s) after which a kind retries its shared request: one hiccup must not cost for hours."""

MISSED: Final = 3
"""Consecutive ends without a webhook event after which tasks are polled at the normal interval."""

BACKUP: Final = 300.0
"""Time (s) without a report from the leader after which a delegated task is polled here."""


class Schedule:
    """The state of all polls of one client. Times are absolute seconds; no I/O, no clock.

    ``interval`` in seconds; ``poll_rate`` in requests per second (None: unlimited); ``jitter``
    returns a number in [0, 1). ``webhook_factor``: how many intervals pass between two polls of a
    task whose webhook event is expected. ``rate_share`` returns the fraction of ``poll_rate`` that
    belongs to this client, as other clients of its account poll, too.

    Owned by the `Poller`, which is the only one to change it.
    """

    def __init__(
        self,
        *,
        interval: float,
        look_rate: float | None,
        jitter: Callable[[], float],
        rarity: float = 1.0,
        share: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self._interval = interval
        self._share = share
        self._rarity = rarity
        self._missed = 0
        self._unheard: dict[str, float] = {}
        """When ends were seen that no webhook event reported, by webhook id, oldest first."""
        self._hooks: dict[str, list[Watch]] = {}
        self._look_rate = look_rate
        self._jitter = jitter
        self._lanes: dict[str, Lane] = {}
        self._halves: list[Look] = []
        self.dropped: Callable[[Watch], None] = _nothing
        """Called with each task that is no longer polled."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watch]:
        for queue in self._lanes.values():
            yield from queue.watches.values()

    def get(self, kind: TaskKind[..., Any], id: str) -> Watch | None:
        """Return the polled task of this id, None if it is not polled."""
        return self.find(kind.name, id)

    def find(self, kind: str, id: str) -> Watch | None:
        """Return the polled task of this id, by the name of its kind."""
        queue = self._lanes.get(kind)
        return queue.watches.get(id) if queue else None

    def add(
        self,
        kind: TaskKind[..., Any],
        id: str,
        *,
        now: float,
        due: float,
        hook: str | None = None,
        told: bool = False,
    ) -> Watch:
        """Begin to poll a task that is not polled yet; its first poll is due at ``due_at``.

        ``webhook_id`` identifies its start in webhook events; ``hinted``: an event has arrived
        already.
        """
        queue = self._lanes.get(kind.name)
        if queue is None:
            queue = self._lanes[kind.name] = Lane(kind)
        polled = Watch(kind, id, due, now, told=told, awaited=due > now)
        queue.watches[id] = polled
        self._count += 1
        self.name(polled, hook)
        queue.push(polled)
        return polled

    def name(self, watch: Watch, hook: str | None) -> None:
        """Set the id that webhook events of the task carry, unless it is known."""
        if hook is not None and watch.hook is None:
            watch.hook = hook
            self._hooks.setdefault(hook, []).append(watch)
            self._lanes[watch.kind.name].rare += watch.rare

    def drop(self, watch: Watch) -> None:
        """Stop polling the task; a response in flight is ignored for it."""
        if watch.dropped:
            return
        watch.dropped = True
        queue = self._lanes[watch.kind.name]
        del queue.watches[watch.id]
        # The queue keeps counts, so that `interval` need not visit every task.
        queue.alone -= watch.alone
        queue.rare -= watch.rare
        queue.elsewhere -= watch.elsewhere
        self._count -= 1
        if watch.hook is not None:
            named = self._hooks[watch.hook]
            named.remove(watch)
            if not named:
                del self._hooks[watch.hook]
        if not queue.watches:
            del self._lanes[watch.kind.name]
        else:
            queue.tidy()
        self.dropped(watch)

    def hand_over(self, watch: Watch, now: float) -> None:
        """Let the leader poll the task; this client polls it only after a long silence."""
        if not watch.elsewhere:
            watch.elsewhere = True
            self._lanes[watch.kind.name].elsewhere += 1
            self._set_alone(watch, False)
        self._move(watch, now + BACKUP)

    def take_back(self, watch: Watch, now: float) -> None:
        """Poll a delegated task in this client again, now."""
        if watch.elsewhere:
            watch.elsewhere = False
            self._lanes[watch.kind.name].elsewhere -= 1
            self._move(watch, now)

    def told(self, watch: Watch, now: float) -> None:
        """The leader reported the task as not finished."""
        self._answered(watch, now)
        watch.not_found = 0
        watch.awaited = True
        self._move(watch, now + BACKUP)

    def hasten(self, watch: Watch, now: float) -> None:
        """Make the task due now because a wait for it is about to time out."""
        if not watch.in_flight and watch.due > now:
            watch.due = now
            self._lanes[watch.kind.name].push(watch)

    def event(self, hook: str, now: float) -> None:
        """Handle a webhook event of a start: poll its tasks early."""
        # One event that arrives proves that the service can reach the webhook URL.
        self._missed = 0
        self._unheard.pop(hook, None)  # late, but not lost
        for polled in self._hooks.get(hook, ()):
            self.nudge(polled, now)

    def nudge(self, watch: Watch, now: float) -> None:
        """Poll the task now, as its end was reported, but at most once per interval.

        The report may be forged or too early, so the normal interval applies from here on.
        """
        queue = self._lanes[watch.kind.name]
        queue.rare -= watch.rare
        watch.told = True
        if queue.mode is Mode.PROCESSING and watch.kind.look_at is not None:
            self._set_alone(watch, True)  # the processing list shows no ended tasks
        # At most one early poll per interval, however many events are replayed.
        when = max(now, watch.nudged + self.interval())
        if when == now:
            watch.nudged = now
        if watch.in_flight:
            watch.again = min(watch.again, when)
        elif when < watch.due:
            watch.due = when
            queue.push(watch)

    def ended(self, watch: Watch, now: float) -> bool:
        """Stop polling a task whose end was seen; return True if events just became unreliable."""
        if watch.hook is not None and watch.rare and watch.awaited and self._rarity > 1:
            self._unheard[watch.hook] = now
        self.drop(watch)
        # A poll made for another task may show an end before its event arrives.
        late = now - self._interval * self._rarity
        trusted = self._missed < MISSED
        while self._unheard and (oldest := next(iter(self._unheard.items())))[1] <= late:
            del self._unheard[oldest[0]]
            self._missed += 1
        return trusted and self._missed >= MISSED

    def plan(self, now: float, room: int = sys.maxsize) -> list[Look]:
        """Return the requests to send now; their tasks are in flight until a result is reported.

        Returns at most ``max_requests``, taking kinds in turn: thousands of detail requests of one
        kind must not delay the single request that serves all tasks of another.
        """
        requests = [request for half in self._halves if (request := self._half(half, now))]
        self._halves = []
        queues = list(self._lanes.values())
        while queues and len(requests) < room:
            queues = [queue for queue in queues if queue.due(now)]
            requests += [self._fill(queue, now) for queue in queues[: room - len(requests)]]
        return requests

    def next_wake(self) -> float | None:
        """Return when `plan` has something to do next, None while all tasks are in flight."""
        if self._halves:
            return float("-inf")
        firsts = (queue.first() for queue in self._lanes.values())
        return min((w.due for w in firsts if w is not None), default=None)

    def interval(self, *, rare: bool = False) -> float:
        """Return the current interval between two polls of a task (s).

        ``webhook_backed``: of a task whose webhook event is expected.
        """
        interval = self._interval
        if self._look_rate:
            calls = sum(queue.calls(self._rare) for queue in self._lanes.values())
            interval = max(interval, calls / (self._look_rate * self._share()))
        return interval * self._rare if rare else interval

    @property
    def _rare(self) -> float:
        """How many intervals currently pass between two polls of a webhook-backed task."""
        return self._rarity if self._missed < MISSED else 1.0

    # -- poll results --------------------------------------------------------------------

    def answered(self, look: Look, now: float) -> None:
        """The request succeeded. A mode that was tried in place of another now replaces it."""
        queue = self._lanes.get(look.kind.name)
        if queue is None:
            return
        queue.worked[look.mode] = now
        queue.spans.pop(look.mode, None)
        queue.tried.clear()
        if look.instead_of is not None:
            self._replace(queue, look.instead_of, now)

    def seen(self, watch: Watch, look: Look, now: float) -> None:
        """The response contained the record, and it is not terminal: poll again later."""
        self._answered(watch, now)
        watch.not_found = 0
        if look.confirms:  # the list shows a task that the other modes do not
            others = [mode for mode in Mode if mode is not Mode.LIST]
            self._lanes[watch.kind.name].down.update(dict.fromkeys(others, now + ALONE_FOR))
        if look.mode is not Mode.DETAIL:
            watch.absent = 0
        elif watch.alone and watch.absent < STAY_ALONE:
            self._set_alone(watch, False)
        elif watch.alone:
            self._share_again(self._lanes[watch.kind.name], now)
        self._again(watch, look, now)

    def inconclusive(self, watch: Watch, look: Look, now: float) -> None:
        """The response is valid but cannot tell whether the service knows the task: poll again."""
        self._answered(watch, now)
        watch.not_found = 0
        self._again(watch, look, now)

    def absent(self, watch: Watch, look: Look, now: float) -> After:
        """The response should have contained the record and did not.

        After a shared request the task is polled by detail, at once. It is given up once several
        consecutive responses, spread over some minutes, did not know it and the list confirms that.
        """
        self._answered(watch, now)
        if look.confirms:
            return After.GIVE_UP
        if look.mode is not Mode.DETAIL and self._lanes[watch.kind.name].asks_alone:
            self._ask_alone(watch, now)
            return After.ALONE
        # The first of the consecutive misses: the time over which they are spread counts from here.
        if not watch.not_found:
            watch.not_found_since = now
        watch.not_found += 1
        listed = watch.kind.list_at is not None
        min_seconds = NOT_FOUND_FOR if listed else NOT_FOUND_UNCONFIRMED_FOR
        if watch.not_found < NOT_FOUND_POLLS or now - watch.not_found_since < min_seconds:
            self._again(watch, look, now)
            return After.AGAIN
        if not listed:
            return After.GIVE_UP
        self._halves.append(Look(watch.kind, Mode.LIST, [watch], now, confirms=True))
        return After.AGAIN

    def failed(self, look: Look, error: A2EError, now: float) -> None:
        """The request failed: poll again after a growing, jittered pause, maybe in another mode."""
        tries = 1 + max((w.errors for w in look.watches), default=0)
        # The exponent is capped: a float overflows after about a thousand failures.
        bound = min(BACKOFF_MOST, self._interval * 2.0 ** min(tries, 16))
        # Never sooner than without the error: the rate share also applies while the service fails.
        pause = max(self.interval(), bound * (0.5 + 0.5 * self._jitter()))
        for polled in look.watches:
            if polled.dropped:
                continue
            polled.errors += 1
            polled.error = error
            polled.not_found = 0
            polled.again = float("inf")
            self._requeue(polled, now + pause)
        self._find_another(look, tries)

    def unreadable(self, watch: Watch, look: Look, error: A2EError, now: float) -> None:
        """The response is valid except for this record: poll it by detail, or later."""
        if look.mode is not Mode.DETAIL and self._lanes[watch.kind.name].asks_alone:
            self._ask_alone(watch, now)
            watch.errors += 1
            watch.error = error
        else:
            self.failed(Look(look.kind, look.mode, [watch], look.at), error, now)

    def ask_alone(self, look: Look, now: float) -> bool:
        """Poll each task by detail after a shared request was refused; return False if impossible.

        The refusal of a shared request says nothing about a single task.
        """
        queue = self._lanes.get(look.kind.name)
        if look.mode is Mode.DETAIL or queue is None or not queue.asks_alone:
            return False
        for polled in look.watches:
            if not polled.dropped:
                self._ask_alone(polled, now)
        return True

    def split(self, look: Look) -> None:
        """Send a refused shared request again in halves, until the offending id is alone."""
        # Halving finds one offending id among 200 with about 16 requests instead of 200.
        middle = -(-len(look.watches) // 2)
        for half in (look.watches[:middle], look.watches[middle:]):
            self._halves.append(Look(look.kind, look.mode, half, look.at))

    def list_instead(self, look: Look) -> None:
        """Read the list at once, for a kind whose refused shared request has no detail endpoint."""
        self._halves.append(Look(look.kind, Mode.LIST, look.watches, look.at))

    # -- internals -----------------------------------------------------------------------

    def _fill(self, lane: Lane, now: float) -> Look:
        if lane.down:
            lane.down = {mode: until for mode, until in lane.down.items() if until > now}
        mode, instead_of = lane.mode, None
        first = lane.pop()
        tried = lane.trial is not None
        if lane.trial is not None:
            (mode, instead_of), lane.trial = lane.trial, None
        elif first.alone and lane.asks_alone:
            mode = Mode.DETAIL
        if mode is Mode.DETAIL:
            return Look(lane.kind, mode, [first], now, instead_of)
        most = lane.kind.batch_most if mode is Mode.BATCH else len(lane.watches)
        # Tasks that need their detail request are taken out of the way and put back afterwards.
        kept: list[Watch] = []
        chosen = [first]
        while len(chosen) < most and lane.first() is not None:
            polled = lane.pop()
            (kept if polled.alone and not tried else chosen).append(polled)
        for polled in kept:
            polled.in_flight = False
            lane.push(polled)
        if mode is Mode.BATCH and len(chosen) == 1 and not tried and lane.asks_alone:
            mode = Mode.DETAIL
        return Look(lane.kind, mode, chosen, now, instead_of)

    def _half(self, half: Look, now: float) -> Look | None:
        half.watches = [w for w in half.watches if not w.dropped]
        half.at = now
        if not half.watches or half.confirms:
            return half if half.watches else None
        apart = len(half.watches) == 1 or half.mode is not Mode.BATCH
        if not apart or half.kind.look_at is None:
            return half
        # Counts as an absence; otherwise a request that is always refused would be retried for
        # ever.
        for polled in half.watches:
            polled.absent += 1
            self._set_alone(polled, True)
        for polled in half.watches[1:]:
            self._requeue(polled, now)
        return Look(half.kind, Mode.DETAIL, half.watches[:1], now)

    def _find_another(self, look: Look, tries: int) -> None:
        """Try another mode in place of one that keeps failing."""
        queue = self._lanes.get(look.kind.name)
        # A confirmation is sent once; a disabled mode has its replacement already.
        if queue is None or look.confirms or look.mode in queue.down:
            return
        failing = look.instead_of
        if failing is not None:
            queue.tried.append(look.mode)
        # A mode that was disabled before needs only one more failure.
        elif tries >= FALL_BACK_AFTER or look.mode in queue.spans:
            other = queue.choose((look.mode, *queue.down, *queue.tried))
            if other is None:
                queue.tried.clear()
            else:
                # A mode that works for other tasks is not replaced: it fails because of this task.
                since = max(polled.good_at for polled in look.watches)
                works = queue.worked.get(look.mode, float("-inf")) > since
                queue.trial = other, None if works else look.mode

    def _replace(self, lane: Lane, failing: Mode, now: float) -> None:
        """Skip a failing mode for a while; poll soon in another one, spread over an interval."""
        if failing in lane.down:
            return
        span = lane.spans[failing] = min(2 * lane.spans.get(failing, DOWN_FOR / 2), ALONE_FOR)
        lane.down[failing] = now + span
        waiting = [w for w in lane.watches.values() if w.errors and not w.in_flight]
        step = self.interval() / max(1, len(waiting)) if lane.mode is Mode.DETAIL else 0.0
        for place, polled in enumerate(waiting):
            if now + step * place < polled.due:
                polled.due = now + step * place
                lane.push(polled)

    def _answered(self, watch: Watch, now: float) -> None:
        watch.errors, watch.error = 0, None
        watch.good_at = now

    def _ask_alone(self, watch: Watch, now: float) -> None:
        watch.absent += 1
        self._set_alone(watch, True)
        self._requeue(watch, now)

    def _share_again(self, lane: Lane, now: float) -> None:
        """Now and then let the whole kind retry the shared request: it serves all tasks at once."""
        if lane.share_at is None:
            lane.share_at = now + ALONE_FOR
        elif now >= lane.share_at:
            lane.share_at = None
            for polled in lane.watches.values():
                polled.absent = min(polled.absent, STAY_ALONE - 1)
                self._set_alone(polled, False)

    def _set_alone(self, watch: Watch, alone: bool) -> None:
        if watch.alone is not alone and not watch.dropped:
            watch.alone = alone
            self._lanes[watch.kind.name].alone += 1 if alone else -1

    def _again(self, watch: Watch, look: Look, now: float) -> None:
        # The interval counts from when the request was planned, so that it stays constant. The next
        # request must not follow at once even if this one took longer than the interval.
        interval = BACKUP if watch.elsewhere else self.interval(rare=watch.rare)
        self._requeue(watch, max(look.at + interval, now + interval / 4))

    def _requeue(self, watch: Watch, due: float) -> None:
        if watch.dropped:
            return
        watch.in_flight = False
        watch.due, watch.again = min(due, watch.again), float("inf")
        self._lanes[watch.kind.name].push(watch)

    def _move(self, watch: Watch, due: float) -> None:
        """Set the due time; for a task in flight the result of its request decides instead."""
        if not watch.in_flight:
            watch.due = due
            self._lanes[watch.kind.name].push(watch)


def _nothing(_: Watch) -> None:
    """Default of ``on_dropped``: nothing has to be notified."""
