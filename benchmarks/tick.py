"""Polls against delay for several tick lengths and batching windows, in virtual time.

The package's own schedule polls a simulated population under the client's rate limit: starts and
polls share one rate, of which polls have half. A poll takes 0.2 s and returns the state at its
midpoint. There is no clock, network or noise: the results are the same on every machine.

With a batching window of w, a poll that is due includes the tasks that are due within w seconds.
The package includes all tasks of the kind (no window); narrower windows are simulated here to show
the benefit.
"""

import heapq
import itertools
import math
import random
import statistics
from collections import deque
from functools import cache
from typing import Any, Final

from a2e_async._core.http.rate_limit import PRIORITY_DELAYS, GcraBucket, Priority
from a2e_async._core.polling.schedule import PollMode, PollRequest, PollSchedule
from a2e_async._options import POLL_RATE_SHARE
from a2e_async.kinds.talking_video import TALKING_VIDEO
from benchmarks.common import Row, keep
from benchmarks.peers.population import bimodal, lognormal

RATE: Final = 10.0
BURST: Final = 10.0
TRIP: Final = 0.2
"""Seconds from sending a poll to reading its response."""

TICKS: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
DEFAULT: Final = 2.0
WINDOWS: Final = (0.0, 0.5, math.inf)
"""Batching windows, as fractions of the tick."""

LAWS: Final = {
    "videos, 90 s lognormal": (lognormal, 90.0),
    "videos, 60 or 240 s": (bimodal, 150.0),
    "images, 8 s lognormal": (lognormal, 8.0),
}


class Windowed(PollSchedule):
    """A schedule whose calls take along only tasks that are due within a window."""

    window = math.inf

    def _next_request(self, queue: Any, now: float) -> PollRequest:
        if math.isinf(self.window):
            return super()._next_request(queue, now)
        first = queue.pop()
        chosen = [first]
        while len(chosen) < queue.kind.max_batch_size:
            next_ = queue.first()
            if next_ is None or next_.due_at > now + self.window:
                break
            chosen.append(queue.pop())
        return PollRequest(queue.kind, PollMode.BATCH, chosen, now)


class Queue:
    """The queue of the client's rate limiter.

    Ordered by arrival. Later starts overtake a poll until its priority delay is over; after that,
    polls get every second turn.
    """

    def __init__(self) -> None:
        self.starts: deque[tuple[float, str, Any]] = deque()
        self.polls: deque[tuple[float, str, Any]] = deque()
        self.passed = False

    def __len__(self) -> int:
        return len(self.starts) + len(self.polls)

    def push(self, now: float, what: str, value: Any) -> None:
        is_poll = what == "poll"
        patience = PRIORITY_DELAYS[Priority.POLL if is_poll else Priority.START]
        (self.polls if is_poll else self.starts).append((now + patience, what, value))

    def pop(self, now: float) -> tuple[str, Any]:
        first = min((q for q in (self.starts, self.polls) if q), key=lambda q: q[0][0])
        overdue = self.polls and self.polls[0][0] <= now and not self.passed
        taken = self.polls if overdue else first
        self.passed = taken is not first
        _, what, value = taken.popleft()
        return what, value


def begins(pattern: str, mean: float, jobs: int) -> list[float]:
    """Return the start time of each job: all at once, or so that 300 are in flight."""
    gap = 0.0 if pattern == "burst" else max(mean / 300, 2 / RATE)
    return [n * gap for n in range(jobs)]


@cache
def simulate(law: str, pattern: str, tick: float, share: float, jobs: int) -> dict[str, float]:
    """Return polls per job, and mean and p95 delay (s), of one population."""
    quantile, mean = LAWS[law]
    shares = [(n + 0.5) / jobs for n in range(jobs)]
    random.Random(1).shuffle(shares)
    rng = random.Random(2)
    schedule = Windowed(interval=tick, poll_rate=RATE * POLL_RATE_SHARE, jitter=rng.random)
    schedule.window = share * tick
    pace = GcraBucket(RATE, BURST)
    ends: dict[str, float] = {}
    delays: list[float] = []
    calls = 0
    order = itertools.count()
    events: list[tuple[float, int, str, Any]] = []
    queue = Queue()

    def at(when: float, what: str, value: Any = None) -> None:
        heapq.heappush(events, (when, next(order), what, value))

    alarm = math.inf

    def wake() -> None:
        nonlocal alarm
        when = schedule.next_wake()
        if when is not None and when < alarm:
            alarm = when
            at(when, "wake")

    for n, when in enumerate(begins(pattern, mean, jobs)):
        at(when, "start", n)
    while events:
        now, _, what, value = heapq.heappop(events)
        if what in ("start", "poll"):
            queue.push(now, what, value)
            if len(queue) == 1:
                at(pace.ready_at(now), "turn")
        elif what == "turn":
            what, value = queue.pop(now)
            pace.take(now)
            if len(queue):
                at(pace.ready_at(now), "turn")
            if what == "start":
                ends[f"{value:024x}"] = now + TRIP / 2 + quantile(mean, shares[value])
                at(now + TRIP, "started", f"{value:024x}")
            else:
                calls += 1
                at(now + TRIP, "answer", value)
        elif what == "started":
            due = now + schedule.interval()
            schedule.add(TALKING_VIDEO, value, now=now, due_at=due)
            wake()
        elif what == "answer":
            for polled in value.polled_tasks:
                if ends[polled.id] <= now - TRIP / 2:
                    schedule.drop(polled)
                    delays.append(now - ends[polled.id])
                else:
                    schedule.record_unfinished(polled, value, now)
            wake()
        elif what == "wake" and now >= alarm:
            alarm = math.inf
            for request in schedule.plan(now):
                at(now, "poll", request)
            wake()
    delays.sort()
    return {
        "calls_per_job": calls / jobs,
        "mean_delay": statistics.fmean(delays),
        "p95_delay": delays[int(len(delays) * 0.95)],
    }


def run(short: bool) -> list[Row]:
    """Return the results of the default tick; store the whole sweep for the docs."""
    jobs = 200 if short else 800
    ticks = (1.0, DEFAULT) if short else TICKS
    laws = list(LAWS)[:1] if short else list(LAWS)
    points = [
        {
            "law": law,
            "pattern": pattern,
            "tick": tick,
            "window": None if math.isinf(share) else share,
            **simulate(law, pattern, tick, share, jobs),
        }
        for law in laws
        for pattern in ("steady", "burst")
        for tick in ticks
        for share in (WINDOWS if law == laws[0] else WINDOWS[-1:])
    ]
    keep("tick", {"jobs": jobs, "rate": RATE, "default": DEFAULT, "points": points})
    whole = simulate(laws[0], "steady", DEFAULT, math.inf, jobs)
    none = simulate(laws[0], "steady", DEFAULT, 0.0, jobs)
    return [
        Row(
            what=f"polls per task, interval of {DEFAULT:.0f} s, 300 in flight, rate {RATE:.0f}/s",
            peer="only tasks that are due",
            peer_value=f"{none['calls_per_job']:.2f} at {none['mean_delay']:.2f} s",
            ours=f"{whole['calls_per_job']:.2f} at {whole['mean_delay']:.2f} s",
            ratio=whole["calls_per_job"] / none["calls_per_job"],
            goal="<= 1x",
            reached=whole["calls_per_job"] <= none["calls_per_job"],
        )
    ]
