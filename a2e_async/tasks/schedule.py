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

The interval is the user's ``poll_interval``, stretched so that looks take at most the share of
the rate that is theirs. It does not grow with waiting: what has run for long is no less likely
to end now. Only errors back off.
"""

import heapq
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Final

from attrs import define, field

from a2e_async.tasks.kind import TaskKind

FORGIVEN: Final = 60.0
"""Seconds after its start in which a task may be unknown to the service."""

ERRORS_IN_A_ROW: Final = 10
SILENCE: Final = 300.0
"""A wait ends with an error after this many failed looks in a row and seconds without one."""

BACKOFF_MOST: Final = 30.0
LIST_WORTH: Final = 8
"""Tasks of one kind from which a page of the list is cheaper than their details."""

STAY_ALONE: Final = 3
"""A running task that was absent from the shared answer so often is asked for alone."""

ALONE_FOR: Final = 600.0
"""Seconds after which a kind tries its shared call again: a hiccup must not cost for hours."""

GONE_AFTER: Final = 3
"""Looks in a row that must miss a task whose kind has no detail, before it counts as gone."""


class Mode(StrEnum):
    """The call a look is made with."""

    BATCH = "batch_detail"
    PROCESSING = "list_processing"
    LIST = "list"
    DETAIL = "detail"


class After(StrEnum):
    """What becomes of a watch after a look that did not show its record."""

    AGAIN = "again"
    GIVE_UP = "give up"


@define(eq=False)
class Watch:
    """One remote task that somebody waits for. Times are seconds on the caller's clock."""

    kind: TaskKind[..., Any]
    id: str
    due: float
    born: float
    """When its start was answered; far in the past for tasks started elsewhere."""
    good_at: float
    """When a look last succeeded (or the watch began)."""
    errors: int = 0
    why: str = ""
    """What the last of these errors was."""
    absent: int = 0
    alone: bool = False
    in_flight: bool = False
    dropped: bool = False
    queued: int = 0
    """Number of its newest queue entry; older entries are stale."""


@define(eq=False)
class Look:
    """One call to make now and the watches it is made for."""

    kind: TaskKind[..., Any]
    mode: Mode
    watches: list[Watch]
    at: float


@define(eq=False)
class _Lane:
    """All watches of one kind."""

    kind: TaskKind[..., Any]
    watches: dict[str, Watch] = field(factory=dict[str, Watch])
    heap: list[tuple[float, int, Watch]] = field(factory=list[tuple[float, int, Watch]])
    alone: int = 0
    share_at: float | None = None
    """When those that are asked for alone may share a call again."""


class Schedule:
    """The state of all looks of one client. Times are absolute seconds; no I/O, no clock.

    ``interval`` in seconds, ``look_rate`` in calls per second (None: no bound), ``jitter``
    returns a number in [0, 1).
    """

    def __init__(
        self,
        *,
        interval: float,
        look_rate: float | None,
        jitter: Callable[[], float],
    ) -> None:
        self._interval = interval
        self._look_rate = look_rate
        self._jitter = jitter
        self._lanes: dict[str, _Lane] = {}
        self._halves: list[Look] = []
        self._count = 0
        self._entry = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Watch]:
        for lane in self._lanes.values():
            yield from lane.watches.values()

    def get(self, kind: TaskKind[..., Any], id: str) -> Watch | None:
        """Return the watch on this task, None if there is none."""
        lane = self._lanes.get(kind.name)
        return lane.watches.get(id) if lane else None

    def add(
        self, kind: TaskKind[..., Any], id: str, *, now: float, due: float, born: float
    ) -> Watch:
        """Begin to watch a task that is not watched; it is due first at ``due``."""
        lane = self._lanes.get(kind.name)
        if lane is None:
            lane = self._lanes[kind.name] = _Lane(kind)
        watch = Watch(kind, id, due, born, now)
        lane.watches[id] = watch
        self._count += 1
        self._push(lane, watch)
        return watch

    def drop(self, watch: Watch) -> None:
        """Stop watching; what a call under way says about it no longer matters."""
        if watch.dropped:
            return
        watch.dropped = True
        lane = self._lanes[watch.kind.name]
        del lane.watches[watch.id]
        lane.alone -= watch.alone
        self._count -= 1
        if not lane.watches:
            del self._lanes[watch.kind.name]
        elif len(lane.heap) > 64 and len(lane.heap) > 4 * len(lane.watches):
            lane.heap = [entry for entry in lane.heap if self._live(entry)]
            heapq.heapify(lane.heap)

    def hasten(self, watch: Watch, now: float) -> None:
        """Make a watch due now (a webhook came, or its wait is about to end)."""
        if not watch.in_flight and watch.due > now:
            watch.due = now
            self._push(self._lanes[watch.kind.name], watch)

    def plan(self, now: float, room: int = sys.maxsize) -> list[Look]:
        """Return the calls to make now; their watches count as in flight until told otherwise.

        At most ``room`` calls, the kinds by turns: thousands of details of one kind must not
        stand before the one call that serves all tasks of another.
        """
        looks = [look for half in self._halves if (look := self._half(half, now))]
        self._halves = []
        lanes = list(self._lanes.values())
        while lanes and len(looks) < room:
            lanes = [lane for lane in lanes if self._due(lane, now)]
            looks += [self._fill(lane, now) for lane in lanes[: room - len(looks)]]
        return looks

    def next_wake(self) -> float | None:
        """Return when `plan` has something to do next, None while all is in flight."""
        if self._halves:
            return float("-inf")
        firsts = (self._first(lane) for lane in self._lanes.values())
        return min((w.due for w in firsts if w is not None), default=None)

    def interval(self) -> float:
        """Return the seconds between two looks at one task, as things stand."""
        if not self._look_rate:
            return self._interval
        return max(self._interval, sum(map(self._cost, self._lanes.values())) / self._look_rate)

    # -- what a look showed --------------------------------------------------------------

    def seen(self, watch: Watch, look: Look, now: float) -> None:
        """The look showed the record, and it is not terminal: look again in due time."""
        watch.errors = 0
        watch.good_at = now
        if look.mode is not Mode.DETAIL:
            watch.absent = 0
        elif watch.alone and watch.absent < STAY_ALONE:
            self._set_alone(watch, False)
        elif watch.alone:
            self._share_again(self._lanes[watch.kind.name], now)
        if watch.kind.look_at is None:
            watch.absent = 0
        self._again(watch, look, now)

    def absent(self, watch: Watch, look: Look, now: float) -> After:
        """The look did not show the record.

        After a shared call the task is asked for alone, at once; when the task's own detail
        does not know it, it is forgiven for a while after its start, then given up.
        """
        watch.errors = 0
        watch.good_at = now
        if look.mode is not Mode.DETAIL and watch.kind.look_at is not None:
            watch.absent += 1
            self._set_alone(watch, True)
            self._requeue(watch, now)
            return After.AGAIN
        if watch.kind.look_at is None:
            watch.absent += 1
        missed = watch.kind.look_at is None and watch.absent < GONE_AFTER
        if missed or now - watch.born < FORGIVEN:
            self._again(watch, look, now)
            return After.AGAIN
        return After.GIVE_UP

    def failed(self, look: Look, now: float) -> list[Watch]:
        """The call failed (transport, 5xx, unreadable). Return the watches to give up.

        The others are looked at again after a growing, jittered pause.
        """
        over: list[Watch] = []
        tries = 1 + max((w.errors for w in look.watches), default=0)
        bound = min(BACKOFF_MOST, self._interval * 2.0 ** min(tries, 16))
        # Never sooner than without the error: the share of the rate holds in bad times, too.
        pause = max(self.interval(), bound * (0.5 + 0.5 * self._jitter()))
        for watch in look.watches:
            if watch.dropped:
                continue
            watch.errors += 1
            if watch.errors >= ERRORS_IN_A_ROW and now - watch.good_at >= SILENCE:
                over.append(watch)
            else:
                self._requeue(watch, now + pause)
        return over

    def split(self, look: Look) -> None:
        """A shared call was refused as such: ask again in halves until the cause stands alone."""
        middle = -(-len(look.watches) // 2)
        for half in (look.watches[:middle], look.watches[middle:]):
            self._halves.append(Look(look.kind, look.mode, half, look.at))

    def list_instead(self, look: Look) -> None:
        """A shared call was refused though nothing is asked for alone: read the list at once."""
        self._halves.append(Look(look.kind, Mode.LIST, look.watches, look.at))

    # -- inside --------------------------------------------------------------------------

    def _fill(self, lane: _Lane, now: float) -> Look:
        mode = self._mode(lane)
        first = self._pop(lane)
        if first.alone or mode is Mode.DETAIL:
            return Look(lane.kind, Mode.DETAIL, [first], now)
        most = lane.kind.batch_most if mode is Mode.BATCH else len(lane.watches)
        kept: list[Watch] = []
        chosen = [first]
        while len(chosen) < most and self._first(lane) is not None:
            watch = self._pop(lane)
            (kept if watch.alone else chosen).append(watch)
        for watch in kept:
            watch.in_flight = False
            self._push(lane, watch)
        if mode is Mode.BATCH and len(chosen) == 1 and lane.kind.look_at is not None:
            mode = Mode.DETAIL
        return Look(lane.kind, mode, chosen, now)

    def _half(self, half: Look, now: float) -> Look | None:
        half.watches = [w for w in half.watches if not w.dropped]
        half.at = now
        if not half.watches:
            return None
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

    def _mode(self, lane: _Lane) -> Mode:
        kind, shared = lane.kind, len(lane.watches) - lane.alone
        if kind.batch_at is not None:
            return Mode.BATCH
        # What is over leaves the processing list: alone it can never show an end.
        shows_ends = kind.look_at is not None or kind.list_at is None
        if kind.processing_at is not None and shows_ends and (shared > 1 or not kind.look_at):
            return Mode.PROCESSING
        if kind.list_at is not None and (kind.look_at is None or shared >= LIST_WORTH):
            return Mode.LIST
        return Mode.DETAIL

    def _cost(self, lane: _Lane) -> int:
        """Return the calls that one look at everything in the lane takes."""
        mode, shared = self._mode(lane), len(lane.watches) - lane.alone
        if mode is Mode.DETAIL:
            return len(lane.watches)
        if mode is Mode.BATCH:
            return lane.alone + -(-shared // lane.kind.batch_most)
        pages = 1 if mode is Mode.PROCESSING else -(-shared // lane.kind.page_most)
        return lane.alone + (pages if shared else 0)

    def _share_again(self, lane: _Lane, now: float) -> None:
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
        interval = self.interval()
        self._requeue(watch, max(look.at + interval, now + interval / 4))

    def _requeue(self, watch: Watch, due: float) -> None:
        if watch.dropped:
            return
        watch.in_flight = False
        watch.due = due
        self._push(self._lanes[watch.kind.name], watch)

    def _push(self, lane: _Lane, watch: Watch) -> None:
        self._entry += 1
        watch.queued = self._entry
        heapq.heappush(lane.heap, (watch.due, self._entry, watch))

    def _pop(self, lane: _Lane) -> Watch:
        watch = heapq.heappop(lane.heap)[2]
        watch.in_flight = True
        return watch

    def _due(self, lane: _Lane, now: float) -> bool:
        first = self._first(lane)
        return first is not None and first.due <= now

    def _first(self, lane: _Lane) -> Watch | None:
        while lane.heap and not self._live(lane.heap[0]):
            heapq.heappop(lane.heap)
        return lane.heap[0][2] if lane.heap else None

    @staticmethod
    def _live(entry: tuple[float, int, Watch]) -> bool:
        watch = entry[2]
        return not watch.dropped and not watch.in_flight and watch.queued == entry[1]
