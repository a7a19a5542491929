"""Who may send now: the pace (GCRA), priorities, the hold after a 429, the connection gate.

The pace is a generic cell rate: one number, the *theoretical arrival time* (tat), moves on by
cost / rate with every request taken and may run ahead of the clock by burst / rate. So within
any t seconds at most ``rate * t + burst`` requests leave.

Who must wait stands in one queue, ordered by arrival plus the patience of its priority. A
start passes the looks that came within the last seconds, but never those that have waited
longer than their patience: lower classes are delayed, not starved. Where thousands of starts
came before a look, it does not wait for all of them either: looks that have waited longer than
their patience have every second turn, so that ends are seen while a crowd is being started.

Nothing here runs in the background. A queue has at most one timer; a place or a grant goes
straight from who gives it to who is next.
"""

import asyncio
import copy
import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, Protocol

from attrs import define

from a2e_async.errors import InvalidInput


class Priority(IntEnum):
    """Who goes first when requests must wait for the pace."""

    START = 0
    CALL = 1
    LOOK = 2
    LIST = 3


PATIENCE: Final = (0.0, 0.5, 2.0, 4.0)
"""Seconds a later start may cut in, by priority.

A call somebody sits before gives way for less than is noticed; a look gives way for one tick
of the poller (2 s), so that a burst of starts costs one tick of news; a list for two.
"""

_EXTENDED: Final = 1.0
_NEAR: Final = 1e-9
# The loop fires a timer up to one tick of its clock early (15 ms on Windows): without this the
# queue would set the same timer again and again within that tick.
_TICK: Final = max(_NEAR, time.get_clock_info("monotonic").resolution)


class HeldTooLong(Exception):  # a signal inside the transport, never shown to users
    """The turn would come too late. ``held``: because of a 429, not of the own pace."""

    def __init__(self, seconds: float, *, held: bool) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.held = held


class Bucket(Protocol):
    """The state of a pace; `Gcra` is that of one client alone."""

    @property
    def interval(self) -> float: ...
    @property
    def burst(self) -> float: ...
    def ready_at(self, now: float, cost: float = 1) -> float: ...
    def take(self, now: float, cost: float = 1) -> None: ...
    def try_take(self, now: float, cost: float = 1) -> bool: ...
    def give_back(self, cost: float) -> None: ...
    def drain(self, now: float) -> None: ...


class Gcra:
    """The state of the pace, without a clock. ``rate`` per second; None or inf: no limit."""

    __slots__ = ("_tat", "burst", "interval")

    def __init__(self, rate: float | None, burst: float) -> None:
        if rate is not None and not rate > 0:
            raise InvalidInput(
                f"rate must be above 0 (or None for none), not {rate}.", field="rate"
            )
        if not burst >= 1:
            raise InvalidInput(f"burst must be at least 1, not {burst}.", field="burst")
        self.interval = 0.0 if rate is None or math.isinf(rate) else 1.0 / rate
        self.burst = burst
        self._tat = -math.inf

    def ready_at(self, now: float, cost: float = 1) -> float:
        """Return when ``cost`` may be taken, ``now`` if at once.

        A cost above the burst is ready when the bucket is full.
        """
        if not self.interval:
            return now
        ready = self._tat - max(0.0, self.burst - cost) * self.interval
        return ready if ready > now + _NEAR else now

    def take(self, now: float, cost: float = 1) -> None:
        """Count ``cost`` as sent now; the caller has asked `ready_at` before."""
        self._tat = max(self._tat, now) + cost * self.interval

    def try_take(self, now: float, cost: float = 1) -> bool:
        """Take ``cost`` if it is ready now."""
        if self.interval:
            tat = self._tat
            if tat - max(0.0, self.burst - cost) * self.interval > now + _NEAR:
                return False
            self._tat = (max(now, tat)) + cost * self.interval
        return True

    def give_back(self, cost: float) -> None:
        """Undo a `take` whose request was not sent."""
        self._tat -= cost * self.interval

    def drain(self, now: float) -> None:
        """Leave room for one request at ``now`` and then the bare rate, without a burst."""
        if self.interval:
            self._tat = max(self._tat, now + max(0.0, self.burst - 1) * self.interval)


@define(eq=False)
class _Turn:
    future: "asyncio.Future[None]"
    cost: float
    deadline: float
    max_hold: float


class Pacer:
    """The pace of one client. ``rate`` requests per second, ``burst`` of them at once.

    ``clock`` must be the running loop's time (the default).
    """

    def __init__(
        self, rate: float | None, burst: float, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._gcra: Bucket = Gcra(rate, burst)
        self._clock = clock
        self._hold = -math.inf
        self._queue: list[tuple[float, int, _Turn]] = []
        self._looks: deque[tuple[float, _Turn]] = deque()
        self._passed = False
        """The last turn went to a look before its place in the queue."""
        self._ends: list[tuple[float, int, _Turn]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed: BaseException | None = None

    def __len__(self) -> int:
        return sum(not turn.future.done() for _, _, turn in self._queue)

    def look_share(self) -> float:
        """Return which part of all looks at tasks is this client's (above 0, at most 1)."""
        return 1.0

    def held_for(self, now: float) -> float:
        """Return the seconds that the service's pause still lasts, 0 if there is none."""
        return max(0.0, self._hold - now)

    def try_acquire(self, cost: float = 1) -> bool:
        """Take a turn if there is one now and nobody waits; never blocks."""
        if self._queue or self._closed is not None:
            return False
        now = (self._clock or self._find_clock())()
        return self._hold <= now and self._gcra.try_take(now, cost)

    def is_free(self, cost: float = 1) -> bool:
        """Return whether `try_acquire` would take a turn now."""
        if self._queue or self._closed is not None:
            return False
        now = self._now()
        return self._hold <= now and self._gcra.ready_at(now, cost) <= now

    async def acquire(
        self,
        cost: float = 1,
        priority: Priority = Priority.CALL,
        deadline: float | None = None,
        max_hold: float | None = None,
    ) -> None:
        """Wait for a turn.

        ``deadline``: an instant of the loop's clock; ``max_hold``: the longest pause of the
        service, in seconds, worth waiting for. Raises `HeldTooLong` as soon as the turn is
        known to come too late. A cancelled caller gives its turn back.
        """
        if self._closed is not None:
            raise copy.copy(self._closed)
        if self.try_acquire(cost):
            return
        loop = asyncio.get_running_loop()
        now = self._now()
        turn = _Turn(
            loop.create_future(),
            cost,
            math.inf if deadline is None else deadline,
            math.inf if max_hold is None else max_hold,
        )
        self._refuse(turn, now)
        ready = self._soonest(now, cost)
        if ready > turn.deadline:
            raise HeldTooLong(ready - now, held=False)
        self._count += 1
        heapq.heappush(self._queue, (now + PATIENCE[priority], self._count, turn))
        if priority is Priority.LOOK:
            self._looks.append((now + PATIENCE[priority], turn))
        if turn.deadline < math.inf:
            heapq.heappush(self._ends, (turn.deadline, self._count, turn))
            if len(self._ends) > 2 * len(self._queue) + 64:
                # Mostly turns long taken, whose far deadlines would keep them here for hours.
                self._ends = [end for end in self._ends if not end[2].future.done()]
                heapq.heapify(self._ends)
        self._pump()
        try:
            await turn.future
        except asyncio.CancelledError:
            if not turn.future.cancelled() and turn.future.exception() is None:
                self._gcra.give_back(cost)
            self._pump()
            raise

    def give_back(self, cost: float = 1) -> None:
        """Undo a turn that was not used for sending."""
        self._gcra.give_back(cost)
        self._pump()

    def pause_until(self, until: float) -> bool:
        """Hold everybody until ``until`` (loop time); return whether that is news.

        Not news: another answer to the same burst that says about the same. After the hold
        the bucket is empty, so that the first second does not bring the next 429.
        """
        now = self._now()
        if until <= max(now, self._hold):
            return False
        news = self._hold <= now or until > self._hold + _EXTENDED
        self._hold = until
        self._gcra.drain(until)
        for _, _, turn in self._queue:
            if not turn.future.done():
                try:
                    self._refuse(turn, now)
                except HeldTooLong as error:
                    turn.future.set_exception(error)
        self._pump()
        return news

    def close(self, error: BaseException) -> None:
        """Fail everybody who waits, and who comes later, with (copies of) ``error``."""
        self._closed = error
        for _, _, turn in self._queue:
            if not turn.future.done():
                turn.future.set_exception(copy.copy(error))
        self._pump()

    def _soonest(self, now: float, cost: float) -> float:
        """Return when a turn can come at the earliest."""
        return self._gcra.ready_at(now, cost)

    def _now(self) -> float:
        return (self._clock or self._find_clock())()

    def _find_clock(self) -> Callable[[], float]:
        self._clock = asyncio.get_running_loop().time
        return self._clock

    def _refuse(self, turn: _Turn, now: float) -> None:
        left = self._hold - now
        if left > 0 and (left > turn.max_hold or self._hold > turn.deadline):
            raise HeldTooLong(left, held=True)

    def _pump(self) -> None:
        """Give out the turns that are due, end those that are late, set the one timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        queue, ends, now = self._queue, self._ends, self._now()
        wake = math.inf
        while queue:
            first = queue[0][2]
            if first.future.done():
                heapq.heappop(queue)
                continue
            turn = self._overdue(now) or first
            ready = max(self._hold, self._gcra.ready_at(now, turn.cost))
            if ready > now + _TICK:
                wake = ready
                break
            self._gcra.take(now, turn.cost)
            turn.future.set_result(None)
            self._passed = turn is not first
        while ends:
            end, _, turn = ends[0]
            if not turn.future.done():
                if end > now:
                    wake = min(wake, end)
                    break
                held = self._hold > now
                seconds = self._hold - now if held else max(0.0, wake - now)
                turn.future.set_exception(HeldTooLong(seconds, held=held))
            heapq.heappop(ends)
        if wake < math.inf:
            self._timer = asyncio.get_running_loop().call_at(wake, self._pump)

    def _overdue(self, now: float) -> _Turn | None:
        """Return the look whose turn it is before its place in the queue, if there is one."""
        looks = self._looks
        while looks and looks[0][1].future.done():
            looks.popleft()
        return looks[0][1] if looks and looks[0][0] <= now and not self._passed else None


class Gate:
    """``limit`` connections, first come first served; starts hold at most ``start_share``.

    A start can be answered after minutes; the share keeps places for looks, so that results
    are seen while many starts are under way.
    """

    def __init__(self, limit: int, start_share: float = 0.75) -> None:
        if limit < 1:
            raise InvalidInput(
                f"max_connections must be at least 1, not {limit}.", field="max_connections"
            )
        self.limit = limit
        self.start_limit = max(1, int(limit * start_share))
        self.used = 0
        self.starts = 0
        self._count = 0
        self._looks: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._starts: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._closed: BaseException | None = None

    def try_enter(self, is_start: bool = False) -> bool:
        """Take a place if one is free for this caller; never blocks."""
        if self.used >= self.limit or self._closed is not None:
            return False
        if is_start:
            if self.starts >= self.start_limit:
                return False
            self.starts += 1
        self.used += 1
        return True

    def is_free(self, is_start: bool = False) -> bool:
        """Return whether `try_enter` would take a place now."""
        full = self.used >= self.limit or (is_start and self.starts >= self.start_limit)
        return not full and self._closed is None

    async def enter(self, is_start: bool = False, deadline: float | None = None) -> None:
        """Wait for a place. Raises `HeldTooLong` at ``deadline`` (loop time).

        A cancelled caller that was given a place meanwhile passes it on.
        """
        if self._closed is not None:
            raise copy.copy(self._closed)
        if self.try_enter(is_start):
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._count += 1
        (self._starts if is_start else self._looks).append((self._count, future))
        timer = None if deadline is None else loop.call_at(deadline, _expire, future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self.leave(is_start)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self, is_start: bool = False) -> None:
        """Give the place back; the next in line has it at once."""
        self.used -= 1
        if is_start:
            self.starts -= 1
        looks, starts = self._looks, self._starts
        while self.used < self.limit:
            while looks and looks[0][1].done():
                looks.popleft()
            while starts and starts[0][1].done():
                starts.popleft()
            start = bool(starts) and self.starts < self.start_limit
            if start and looks:
                start = starts[0][0] < looks[0][0]
            if start:
                self.starts += 1
                starts.popleft()[1].set_result(None)
            elif looks:
                looks.popleft()[1].set_result(None)
            else:
                return
            self.used += 1

    def close(self, error: BaseException) -> None:
        """Fail everybody who waits, and who comes later, with (copies of) ``error``."""
        self._closed = error
        for _, future in (*self._looks, *self._starts):
            if not future.done():
                future.set_exception(copy.copy(error))
        self._looks.clear()
        self._starts.clear()


def _expire(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(HeldTooLong(0.0, held=False))
