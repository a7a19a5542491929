"""Decides which tasks are looked at now, in which calls, and when to wake next (pure).

Every watched task is due once per interval. When one is due, the call it needs is filled with
the others of its kind that are due soonest: a call that is made anyway costs nothing more, so
tasks of one kind fall into step by themselves and the number of calls follows the interval and
not the number of tasks.

How a kind is looked at, cheapest first:

- batchDetail, up to 200 ids a call;
- the list of what is being processed, one call for all; who is absent there is asked for alone;
- the list, where there is no detail or enough tasks to make a page cheaper than details;
- detail, one call a task.

A call that keeps failing is replaced by the next one of these that works, which is tried once
first: where the whole service is down, one shared call must not become hundreds of details. Now
and then the cheaper call is tried again.

The interval is the user's ``poll_interval``, stretched so that looks take at most the share of
the rate that is theirs. It does not grow with waiting: what has run for long is no less likely
to end now. Only errors back off, and they never end a wait: its own deadline does.

A task whose start carried a webhook is looked at more rarely, as long as events do come: a look
is only needed lest one was lost. Once its event has come, the interval is the usual one again.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from a2e_async.errors import A2EError
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.watches import After, Lane, Look, Mode, Watch

NOT_FOUND_POLLS: Final = 3
NOT_FOUND_FOR: Final = 120.0
"""So many polls in a row, over so many seconds, must not find a task before it counts as gone.

A record can be invisible for a while after its start, and a gateway may answer "not found" for
minutes. No clock of another machine, and no age of the task, counts here.
"""

NOT_FOUND_UNCONFIRMED_FOR: Final = 300.0
"""The same where the kind has no list that could confirm it."""

FALL_BACK_AFTER: Final = 2
"""Failures in a row after which another call is tried in place of the one that fails."""

DOWN_FOR: Final = 60.0
"""Seconds for which a call that fails is replaced by one that works; doubled at each relapse."""

BACKOFF_MOST: Final = 30.0
STAY_ALONE: Final = 3
"""A running task that was absent from the shared answer so often is asked for alone."""

ALONE_FOR: Final = 600.0
"""Seconds after which a kind tries its shared call again: a hiccup must not cost for hours."""

MISSED: Final = 3
"""Ends in a row of which no webhook event told, before tasks are looked at as often as without."""

BACKUP: Final = 300.0
"""Seconds of silence after which a task that another client looks at is looked at here."""


class Schedule:
    """The state of all looks of one client. Times are absolute seconds; no I/O, no clock.

    ``interval`` in seconds, ``look_rate`` in calls per second (None: no bound), ``jitter``
    returns a number in [0, 1). ``rarity``: how many intervals pass between two looks at a task
    whose webhook event is awaited. ``share`` returns which part of ``look_rate`` is this
    client's, as others of its account look, too.
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
        """When ends were seen of which no event had told, oldest first."""
        self._hooks: dict[str, list[Watch]] = {}
        self._look_rate = look_rate
        self._jitter = jitter
        self._lanes: dict[str, Lane] = {}
        self._halves: list[Look] = []
        self.dropped: Callable[[Watch], None] = _nothing
        """Told of each watch that ends."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watch]:
        for lane in self._lanes.values():
            yield from lane.watches.values()

    def get(self, kind: TaskKind[..., Any], id: str) -> Watch | None:
        """Return the watch on this task, None if there is none."""
        return self.find(kind.name, id)

    def find(self, kind: str, id: str) -> Watch | None:
        """Return the watch on a task by its kind's name."""
        lane = self._lanes.get(kind)
        return lane.watches.get(id) if lane else None

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
        """Begin to watch a task that is not watched; it is due first at ``due``.

        ``hook`` names its start in webhook events; ``told``: one has come already.
        """
        lane = self._lanes.get(kind.name)
        if lane is None:
            lane = self._lanes[kind.name] = Lane(kind)
        watch = Watch(kind, id, due, now, told=told, awaited=due > now)
        lane.watches[id] = watch
        self._count += 1
        self.name(watch, hook)
        lane.push(watch)
        return watch

    def name(self, watch: Watch, hook: str | None) -> None:
        """Say what names a watch in webhook events, unless that is known."""
        if hook is not None and watch.hook is None:
            watch.hook = hook
            self._hooks.setdefault(hook, []).append(watch)
            self._lanes[watch.kind.name].rare += watch.rare

    def drop(self, watch: Watch) -> None:
        """Stop watching; what a call under way says about it no longer matters."""
        if watch.dropped:
            return
        watch.dropped = True
        lane = self._lanes[watch.kind.name]
        del lane.watches[watch.id]
        lane.alone -= watch.alone
        lane.rare -= watch.rare
        lane.elsewhere -= watch.elsewhere
        self._count -= 1
        if watch.hook is not None:
            named = self._hooks[watch.hook]
            named.remove(watch)
            if not named:
                del self._hooks[watch.hook]
        if not lane.watches:
            del self._lanes[watch.kind.name]
        else:
            lane.tidy()
        self.dropped(watch)

    def hand_over(self, watch: Watch, now: float) -> None:
        """Another client looks at it from here on; here only after a long silence."""
        if not watch.elsewhere:
            watch.elsewhere = True
            self._lanes[watch.kind.name].elsewhere += 1
            self._set_alone(watch, False)
        self._move(watch, now + BACKUP)

    def take_back(self, watch: Watch, now: float) -> None:
        """Look at it here again, now."""
        if watch.elsewhere:
            watch.elsewhere = False
            self._lanes[watch.kind.name].elsewhere -= 1
            self._move(watch, now)

    def told(self, watch: Watch, now: float) -> None:
        """The client that looks at it has told how it stands: not terminal."""
        self._answered(watch, now)
        watch.not_found = 0
        watch.awaited = True
        self._move(watch, now + BACKUP)

    def hasten(self, watch: Watch, now: float) -> None:
        """Make a watch due now: its wait is about to end."""
        if not watch.in_flight and watch.due > now:
            watch.due = now
            self._lanes[watch.kind.name].push(watch)

    def event(self, hook: str, now: float) -> None:
        """A webhook event came for the start of this hook: look at what is watched of it."""
        self._missed = 0
        self._unheard.pop(hook, None)
        for watch in self._hooks.get(hook, ()):
            self.nudge(watch, now)

    def nudge(self, watch: Watch, now: float) -> None:
        """Something says that a task is over: look now, but so at most once an interval.

        It may be forged or come too early: the usual interval holds from here on.
        """
        lane = self._lanes[watch.kind.name]
        lane.rare -= watch.rare
        watch.told = True
        if lane.mode is Mode.PROCESSING and watch.kind.look_at is not None:
            self._set_alone(watch, True)  # it shows no ends
        when = max(now, watch.nudged + self.interval())
        if when == now:
            watch.nudged = now
        if watch.in_flight:
            watch.again = min(watch.again, when)
        elif when < watch.due:
            watch.due = when
            lane.push(watch)

    def ended(self, watch: Watch, now: float) -> bool:
        """Its end was seen: stop watching. Return whether events have just proved unreliable."""
        if watch.hook is not None and watch.rare and watch.awaited and self._rarity > 1:
            self._unheard[watch.hook] = now
        self.drop(watch)
        # The look for another task may show an end before its event is there.
        late = now - self._interval * self._rarity
        trusted = self._missed < MISSED
        while self._unheard and (oldest := next(iter(self._unheard.items())))[1] <= late:
            del self._unheard[oldest[0]]
            self._missed += 1
        return trusted and self._missed >= MISSED

    def plan(self, now: float, room: int = sys.maxsize) -> list[Look]:
        """Return the calls to make now; their watches count as in flight until told otherwise.

        At most ``room`` calls, the kinds by turns: thousands of details of one kind must not
        stand before the one call that serves all tasks of another.
        """
        looks = [look for half in self._halves if (look := self._half(half, now))]
        self._halves = []
        lanes = list(self._lanes.values())
        while lanes and len(looks) < room:
            lanes = [lane for lane in lanes if lane.due(now)]
            looks += [self._fill(lane, now) for lane in lanes[: room - len(looks)]]
        return looks

    def next_wake(self) -> float | None:
        """Return when `plan` has something to do next, None while all is in flight."""
        if self._halves:
            return float("-inf")
        firsts = (lane.first() for lane in self._lanes.values())
        return min((w.due for w in firsts if w is not None), default=None)

    def interval(self, *, rare: bool = False) -> float:
        """Return the seconds between two looks at one task, as things stand.

        ``rare``: at one whose webhook event is awaited.
        """
        interval = self._interval
        if self._look_rate:
            calls = sum(lane.calls(self._rare) for lane in self._lanes.values())
            interval = max(interval, calls / (self._look_rate * self._share()))
        return interval * self._rare if rare else interval

    @property
    def _rare(self) -> float:
        """How many intervals pass between two looks where an event is awaited."""
        return self._rarity if self._missed < MISSED else 1.0

    # -- what a look showed --------------------------------------------------------------

    def answered(self, look: Look, now: float) -> None:
        """The call of a look works. One that was tried in place of another replaces it."""
        lane = self._lanes.get(look.kind.name)
        if lane is None:
            return
        lane.worked[look.mode] = now
        lane.spans.pop(look.mode, None)
        lane.tried.clear()
        if look.instead_of is not None:
            self._replace(lane, look.instead_of, now)

    def seen(self, watch: Watch, look: Look, now: float) -> None:
        """The look showed the record, and it is not terminal: look again in due time."""
        self._answered(watch, now)
        watch.not_found = 0
        if look.confirms:  # the list shows what other calls do not
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
        """The answer is fine and does not tell whether the service knows it: look again."""
        self._answered(watch, now)
        watch.not_found = 0
        self._again(watch, look, now)

    def absent(self, watch: Watch, look: Look, now: float) -> After:
        """The answer did not hold the record, and it is one that should.

        After a shared call the task is asked for alone, at once. It is given up when several
        answers in a row, over some minutes, did not know it, and the list confirms that.
        """
        self._answered(watch, now)
        if look.confirms:
            return After.GIVE_UP
        if look.mode is not Mode.DETAIL and self._lanes[watch.kind.name].asks_alone:
            self._ask_alone(watch, now)
            return After.ALONE
        if not watch.not_found:
            watch.not_found_since = now
        watch.not_found += 1
        listed = watch.kind.list_at is not None
        least = NOT_FOUND_FOR if listed else NOT_FOUND_UNCONFIRMED_FOR
        if watch.not_found < NOT_FOUND_POLLS or now - watch.not_found_since < least:
            self._again(watch, look, now)
            return After.AGAIN
        if not listed:
            return After.GIVE_UP
        self._halves.append(Look(watch.kind, Mode.LIST, [watch], now, confirms=True))
        return After.AGAIN

    def failed(self, look: Look, error: A2EError, now: float) -> None:
        """The call failed: look again after a growing, jittered pause, perhaps by another call."""
        tries = 1 + max((w.errors for w in look.watches), default=0)
        bound = min(BACKOFF_MOST, self._interval * 2.0 ** min(tries, 16))
        # Never sooner than without the error: the share of the rate holds in bad times, too.
        pause = max(self.interval(), bound * (0.5 + 0.5 * self._jitter()))
        for watch in look.watches:
            if watch.dropped:
                continue
            watch.errors += 1
            watch.error = error
            watch.not_found = 0
            watch.again = float("inf")
            self._requeue(watch, now + pause)
        self._find_another(look, tries)

    def unreadable(self, watch: Watch, look: Look, error: A2EError, now: float) -> None:
        """The answer is fine but for this record: ask for it alone, or later."""
        if look.mode is not Mode.DETAIL and self._lanes[watch.kind.name].asks_alone:
            self._ask_alone(watch, now)
            watch.errors += 1
            watch.error = error
        else:
            self.failed(Look(look.kind, look.mode, [watch], look.at), error, now)

    def ask_alone(self, look: Look, now: float) -> bool:
        """A shared call was refused, which says nothing of one task: ask for each by its detail.

        Return False where that cannot be.
        """
        lane = self._lanes.get(look.kind.name)
        if look.mode is Mode.DETAIL or lane is None or not lane.asks_alone:
            return False
        for watch in look.watches:
            if not watch.dropped:
                self._ask_alone(watch, now)
        return True

    def split(self, look: Look) -> None:
        """A shared call was refused as such: ask again in halves until the cause stands alone."""
        middle = -(-len(look.watches) // 2)
        for half in (look.watches[:middle], look.watches[middle:]):
            self._halves.append(Look(look.kind, look.mode, half, look.at))

    def list_instead(self, look: Look) -> None:
        """A shared call was refused though nothing is asked for alone: read the list at once."""
        self._halves.append(Look(look.kind, Mode.LIST, look.watches, look.at))

    # -- inside --------------------------------------------------------------------------

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
        kept: list[Watch] = []
        chosen = [first]
        while len(chosen) < most and lane.first() is not None:
            watch = lane.pop()
            (kept if watch.alone and not tried else chosen).append(watch)
        for watch in kept:
            watch.in_flight = False
            lane.push(watch)
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
        # Counted as an absence, lest a call that is always refused be tried again for ever.
        for watch in half.watches:
            watch.absent += 1
            self._set_alone(watch, True)
        for watch in half.watches[1:]:
            self._requeue(watch, now)
        return Look(half.kind, Mode.DETAIL, half.watches[:1], now)

    def _find_another(self, look: Look, tries: int) -> None:
        """Have another call tried in place of one that keeps failing."""
        lane = self._lanes.get(look.kind.name)
        if lane is None or look.confirms or look.mode in lane.down:
            return
        failing = look.instead_of
        if failing is not None:
            lane.tried.append(look.mode)
        # One that has failed before is known: its next failure is enough.
        elif tries >= FALL_BACK_AFTER or look.mode in lane.spans:
            other = lane.choose((look.mode, *lane.down, *lane.tried))
            if other is None:
                lane.tried.clear()
            else:
                # What works for others is not replaced: it fails for this task.
                since = max(watch.good_at for watch in look.watches)
                works = lane.worked.get(look.mode, float("-inf")) > since
                lane.trial = other, None if works else look.mode

    def _replace(self, lane: Lane, failing: Mode, now: float) -> None:
        """Leave a call alone for a while; look soon by another, and not at all tasks at once."""
        if failing in lane.down:
            return
        span = lane.spans[failing] = min(2 * lane.spans.get(failing, DOWN_FOR / 2), ALONE_FOR)
        lane.down[failing] = now + span
        waiting = [w for w in lane.watches.values() if w.errors and not w.in_flight]
        step = self.interval() / max(1, len(waiting)) if lane.mode is Mode.DETAIL else 0.0
        for place, watch in enumerate(waiting):
            if now + step * place < watch.due:
                watch.due = now + step * place
                lane.push(watch)

    def _answered(self, watch: Watch, now: float) -> None:
        watch.errors, watch.error = 0, None
        watch.good_at = now

    def _ask_alone(self, watch: Watch, now: float) -> None:
        watch.absent += 1
        self._set_alone(watch, True)
        self._requeue(watch, now)

    def _share_again(self, lane: Lane, now: float) -> None:
        """Now and then let a whole kind try the shared call again: one call tells for all."""
        if lane.share_at is None:
            lane.share_at = now + ALONE_FOR
        elif now >= lane.share_at:
            lane.share_at = None
            for watch in lane.watches.values():
                watch.absent = min(watch.absent, STAY_ALONE - 1)
                self._set_alone(watch, False)

    def _set_alone(self, watch: Watch, alone: bool) -> None:
        if watch.alone is not alone and not watch.dropped:
            watch.alone = alone
            self._lanes[watch.kind.name].alone += 1 if alone else -1

    def _again(self, watch: Watch, look: Look, now: float) -> None:
        # The interval counts from when the look was planned, so that it stays constant; a call
        # that itself took longer must not make the next one follow at once.
        interval = BACKUP if watch.elsewhere else self.interval(rare=watch.rare)
        self._requeue(watch, max(look.at + interval, now + interval / 4))

    def _requeue(self, watch: Watch, due: float) -> None:
        if watch.dropped:
            return
        watch.in_flight = False
        watch.due, watch.again = min(due, watch.again), float("inf")
        self._lanes[watch.kind.name].push(watch)

    def _move(self, watch: Watch, due: float) -> None:
        """Have it due then; after a look under way that is decided by what it shows."""
        if not watch.in_flight:
            watch.due = due
            self._lanes[watch.kind.name].push(watch)


def _nothing(_: Watch) -> None:
    """Nobody wants to know."""
