"""Rate limiting (GCRA) with priorities, the hold after a 429, and the connection limit.

The rate limit is the generic cell rate algorithm: one number, the *theoretical arrival time*
(tat), advances by cost / rate with every request and may be ahead of the clock by burst / rate.
So within any t seconds at most ``rate * t + burst`` requests are sent.

Waiting requests form one queue, ordered by arrival time plus the delay of their priority. A start
overtakes polls that arrived within the last seconds, but not older ones: lower priorities are
delayed, not starved. If thousands of starts arrived before a poll, the poll does not wait for all
of them: polls that have waited longer than their delay get every second turn, so that finished
tasks are noticed while a large batch is being started.

There are no background tasks. A queue has at most one timer, and a released slot or turn goes
directly to the next waiter.
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
    """The order in which waiting requests are sent; lower values go first."""

    START = 0
    CALL = 1
    POLL = 2
    LIST = 3


PRIORITY_DELAYS: Final = (0.0, 0.5, 2.0, 4.0)
"""Seconds for which a later start may still overtake a request, by priority.

An interactive call gives way for less than a person notices. A poll gives way for one tick of the
poller (2 s), so that a burst of starts delays results by one tick; a list request for two.
"""

_MIN_EXTENSION: Final = 1.0
_ROUNDING: Final = 1e-9
# The loop fires a timer up to one clock tick early (15 ms on Windows). Without this tolerance the
# queue would set the same timer again and again within that tick.
_CLOCK_TICK: Final = max(_ROUNDING, time.get_clock_info("monotonic").resolution)


class AdmissionTimeout(Exception):  # a signal inside the transport, never shown to users
    """The turn would come too late. ``rate_limited``: due to a 429, not to our own limits."""

    def __init__(self, seconds: float, *, rate_limited: bool) -> None:
        super().__init__(seconds)
        self.seconds = seconds
        self.rate_limited = rate_limited


class TokenBucket(Protocol):
    """The state of a rate limit; `GcraBucket` is that of a single client."""

    @property
    def interval(self) -> float: ...
    @property
    def burst(self) -> float: ...
    def ready_at(self, now: float, cost: float = 1) -> float: ...
    def take(self, now: float, cost: float = 1) -> None: ...
    def try_take(self, now: float, cost: float = 1) -> bool: ...
    def refund(self, cost: float) -> None: ...
    def drain_burst(self, now: float) -> None: ...


class GcraBucket:
    """GCRA without a clock of its own. ``rate`` per second; None or inf: no limit.

    Created by a rate limiter, which is the only one to take from it.
    """

    __slots__ = ("_tat", "burst", "interval")

    def __init__(self, rate: float | None, burst: float) -> None:
        if rate is not None and not rate > 0:
            raise InvalidInput(
                f"rate must be above 0 (or None for no limit), not {rate}.", field="rate"
            )
        if not burst >= 1:
            raise InvalidInput(f"burst must be at least 1, not {burst}.", field="burst")
        self.interval = 0.0 if rate is None or math.isinf(rate) else 1.0 / rate
        self.burst = burst
        self._tat = -math.inf

    def ready_at(self, now: float, cost: float = 1) -> float:
        """Return the time at which ``cost`` may be taken; ``now`` if at once.

        A cost above the burst may be taken when the bucket is full.
        """
        if not self.interval:
            return now
        ready = self._tat - max(0.0, self.burst - cost) * self.interval
        return ready if ready > now + _ROUNDING else now

    def take(self, now: float, cost: float = 1) -> None:
        """Take ``cost`` now, without a check: the caller has called `ready_at` before."""
        self._tat = max(self._tat, now) + cost * self.interval

    def try_take(self, now: float, cost: float = 1) -> bool:
        """Take ``cost`` if it is ready now."""
        if self.interval:
            tat = self._tat
            if tat - max(0.0, self.burst - cost) * self.interval > now + _ROUNDING:
                return False
            self._tat = (max(now, tat)) + cost * self.interval
        return True

    def refund(self, cost: float) -> None:
        """Undo a `take` whose request was not sent."""
        self._tat -= cost * self.interval

    def drain_burst(self, now: float) -> None:
        """Allow one request at ``now`` and then the plain rate, without a burst."""
        if self.interval:
            self._tat = max(self._tat, now + max(0.0, self.burst - 1) * self.interval)


@define(eq=False)
class _Turn:
    future: "asyncio.Future[None]"
    cost: float
    deadline: float
    max_hold: float


class RateLimiter:
    """Limits a client to ``rate`` requests per second, with ``burst`` at once.

    ``clock`` must be the running loop's time (the default).

    Created once per client (by the journal, if that shares a rate); changed by the client's
    requests, on its event loop only; failed for good by the session when that is closed.
    """

    def __init__(
        self, rate: float | None, burst: float, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._bucket: TokenBucket = GcraBucket(rate, burst)
        self._clock = clock
        self._held_until = -math.inf
        self._queue: list[tuple[float, int, _Turn]] = []
        self._polls: deque[tuple[float, _Turn]] = deque()
        self._poll_went_first = False
        """The last turn went to a poll ahead of its position in the queue."""
        self._deadlines: list[tuple[float, int, _Turn]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed: BaseException | None = None

    def __len__(self) -> int:
        return sum(not turn.future.done() for _, _, turn in self._queue)

    def poll_share(self) -> float:
        """Return this client's share of all polls of the account (above 0, at most 1)."""
        return 1.0

    def remaining_hold(self, now: float) -> float:
        """Return the seconds left of the pause that the service asked for; 0 if there is none."""
        return max(0.0, self._held_until - now)

    def try_acquire(self, cost: float = 1) -> bool:
        """Take a turn if one is available and no request is waiting; never blocks."""
        if self._queue or self._closed is not None:
            return False
        now = (self._clock or self._find_clock())()
        return self._held_until <= now and self._bucket.try_take(now, cost)

    def is_available(self, cost: float = 1) -> bool:
        """Return whether `try_acquire` would succeed now."""
        if self._queue or self._closed is not None:
            return False
        now = self._now()
        return self._held_until <= now and self._bucket.ready_at(now, cost) <= now

    async def acquire(
        self,
        cost: float = 1,
        priority: Priority = Priority.CALL,
        deadline: float | None = None,
        max_hold: float | None = None,
    ) -> None:
        """Wait for a turn.

        ``deadline`` is a time of the loop's clock. ``max_hold`` is the longest pause by the
        service to wait for, in seconds. Raises `AdmissionTimeout` as soon as it is known that
        the turn will come too late. A cancelled caller returns its turn.
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
        self._check_hold(turn, now)
        ready = self._earliest_turn(now, cost)
        if ready > turn.deadline:
            raise AdmissionTimeout(ready - now, rate_limited=False)
        self._count += 1
        heapq.heappush(self._queue, (now + PRIORITY_DELAYS[priority], self._count, turn))
        if priority is Priority.POLL:
            self._polls.append((now + PRIORITY_DELAYS[priority], turn))
        if turn.deadline < math.inf:
            heapq.heappush(self._deadlines, (turn.deadline, self._count, turn))
            if len(self._deadlines) > 2 * len(self._queue) + 64:
                # Mostly granted turns, whose distant deadlines would keep them here for hours.
                self._deadlines = [end for end in self._deadlines if not end[2].future.done()]
                heapq.heapify(self._deadlines)
        self._grant_due_turns()
        try:
            await turn.future
        except asyncio.CancelledError:
            if not turn.future.cancelled() and turn.future.exception() is None:
                self._bucket.refund(cost)
            self._grant_due_turns()
            raise

    def refund(self, cost: float = 1) -> None:
        """Return a turn that was not used to send a request."""
        self._bucket.refund(cost)
        self._grant_due_turns()

    def hold_until(self, until: float) -> bool:
        """Hold all requests until ``until`` (loop time); return whether the hold is new.

        It is not new if another response to the same burst asks for about the same pause. After
        the hold the bucket is empty, so that a burst does not cause the next 429 at once.
        """
        now = self._now()
        if until <= max(now, self._held_until):
            return False
        is_new = self._held_until <= now or until > self._held_until + _MIN_EXTENSION
        self._held_until = until
        self._bucket.drain_burst(until)
        for _, _, turn in self._queue:
            if not turn.future.done():
                try:
                    self._check_hold(turn, now)
                except AdmissionTimeout as error:
                    turn.future.set_exception(error)
        self._grant_due_turns()
        return is_new

    def close(self, error: BaseException) -> None:
        """Fail all current and future waiters with (copies of) ``error``."""
        self._closed = error
        for _, _, turn in self._queue:
            if not turn.future.done():
                turn.future.set_exception(copy.copy(error))
        self._grant_due_turns()

    def _earliest_turn(self, now: float, cost: float) -> float:
        """Return the earliest time at which a turn can be granted."""
        return self._bucket.ready_at(now, cost)

    def _now(self) -> float:
        return (self._clock or self._find_clock())()

    def _find_clock(self) -> Callable[[], float]:
        self._clock = asyncio.get_running_loop().time
        return self._clock

    def _check_hold(self, turn: _Turn, now: float) -> None:
        seconds = self._held_until - now
        if seconds > 0 and (seconds > turn.max_hold or self._held_until > turn.deadline):
            raise AdmissionTimeout(seconds, rate_limited=True)

    def _grant_due_turns(self) -> None:
        """Grant the turns that are due, fail those past their deadline, and set the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        queue, ends, now = self._queue, self._deadlines, self._now()
        wake = math.inf
        while queue:
            first = queue[0][2]
            if first.future.done():
                heapq.heappop(queue)
                continue
            turn = self._overdue_poll(now) or first
            ready = max(self._held_until, self._bucket.ready_at(now, turn.cost))
            if ready > now + _CLOCK_TICK:
                wake = ready
                break
            self._bucket.take(now, turn.cost)
            turn.future.set_result(None)
            self._poll_went_first = turn is not first
        while ends:
            end, _, turn = ends[0]
            if not turn.future.done():
                if end > now:
                    wake = min(wake, end)
                    break
                on_hold = self._held_until > now
                seconds = self._held_until - now if on_hold else max(0.0, wake - now)
                turn.future.set_exception(AdmissionTimeout(seconds, rate_limited=on_hold))
            heapq.heappop(ends)
        if wake < math.inf:
            self._timer = asyncio.get_running_loop().call_at(wake, self._grant_due_turns)

    def _overdue_poll(self, now: float) -> _Turn | None:
        """Return the poll to serve ahead of its position in the queue, or None."""
        polls = self._polls
        while polls and polls[0][1].future.done():
            polls.popleft()
        return polls[0][1] if polls and polls[0][0] <= now and not self._poll_went_first else None


class ConnectionLimiter:
    """``limit`` connections, first come, first served; starts use at most ``start_share`` of them.

    A start may take minutes to return. The share reserves connections for polls, so that results
    are noticed while many starts are in flight.

    Created once per client; changed by its requests, on its event loop only; failed for good by the
    session when that is closed.
    """

    def __init__(self, limit: int, start_share: float = 0.75) -> None:
        if limit < 1:
            raise InvalidInput(
                f"max_connections must be at least 1, not {limit}.", field="max_connections"
            )
        self.limit = limit
        self.start_limit: int = max(1, int(limit * start_share))
        self.in_use: int = 0
        self.starts_in_use: int = 0
        self._count = 0
        self._waiting_polls: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._waiting_starts: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._closed: BaseException | None = None

    def try_acquire(self, is_start: bool = False) -> bool:
        """Take a connection slot if one is available for this kind of call; never blocks."""
        if self.in_use >= self.limit or self._closed is not None:
            return False
        if is_start:
            if self.starts_in_use >= self.start_limit:
                return False
            self.starts_in_use += 1
        self.in_use += 1
        return True

    @property
    def waiting_count(self) -> int:
        """How many calls wait for a connection slot."""
        waiting = (*self._waiting_polls, *self._waiting_starts)
        return sum(not future.done() for _, future in waiting)

    def is_available(self, is_start: bool = False) -> bool:
        """Return whether `try_acquire` would succeed now."""
        full = self.in_use >= self.limit or (is_start and self.starts_in_use >= self.start_limit)
        return not full and self._closed is None

    async def acquire(self, is_start: bool = False, deadline: float | None = None) -> None:
        """Wait for a connection slot. Raises `AdmissionTimeout` at ``deadline`` (loop time).

        A caller that is cancelled after it was granted a slot passes the slot on.
        """
        if self._closed is not None:
            raise copy.copy(self._closed)
        if self.try_acquire(is_start):
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._count += 1
        (self._waiting_starts if is_start else self._waiting_polls).append((self._count, future))
        timer = None if deadline is None else loop.call_at(deadline, _expire, future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self.release(is_start)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def release(self, is_start: bool = False) -> None:
        """Release the slot; the next waiter gets it at once."""
        self.in_use -= 1
        if is_start:
            self.starts_in_use -= 1
        polls, starts = self._waiting_polls, self._waiting_starts
        while self.in_use < self.limit:
            while polls and polls[0][1].done():
                polls.popleft()
            while starts and starts[0][1].done():
                starts.popleft()
            start = bool(starts) and self.starts_in_use < self.start_limit
            if start and polls:
                start = starts[0][0] < polls[0][0]
            if start:
                self.starts_in_use += 1
                starts.popleft()[1].set_result(None)
            elif polls:
                polls.popleft()[1].set_result(None)
            else:
                return
            self.in_use += 1

    def close(self, error: BaseException) -> None:
        """Fail all current and future waiters with (copies of) ``error``."""
        self._closed = error
        for _, future in (*self._waiting_polls, *self._waiting_starts):
            if not future.done():
                future.set_exception(copy.copy(error))
        self._waiting_polls.clear()
        self._waiting_starts.clear()


def _expire(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(AdmissionTimeout(0.0, rate_limited=False))
