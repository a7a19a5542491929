"""A service in virtual time: answers the polls of a `PollSchedule` and checks its guarantees."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field

from a2e_async._core.polling.polled_tasks import MissOutcome, PolledTask, PollMode, PollRequest
from a2e_async._core.polling.schedule import PollSchedule
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async.errors import A2EError
from a2e_async.models import Record

AT = Endpoint("GET", "/x/{id}")
EPS = 1e-6

OPERATIONS = {
    "detail": "detail",
    "list": "list",
    "processing": "processing_list",
    "batch": "batch_detail",
}
"""The field of `TaskKind` for each operation that a kind here may have."""


def kind(name: str, *modes: str) -> TaskKind[..., Any]:
    """Return a kind that has the operations named: detail, list, processing, batch."""
    return TaskKind(
        name=name,
        input=TaskInput,
        record=Record,
        start=Endpoint("POST", "/x"),
        **{OPERATIONS[mode]: AT for mode in modes},
    )


BATCH = kind("batch", "batch", "detail", "list")
BATCH_ONLY = kind("batch_only", "batch")
PROCESSING = kind("processing", "processing", "detail", "list")
LISTED = kind("listed", "list", "detail")
LIST_ONLY = kind("list_only", "list")
DETAIL = kind("detail", "detail")
PROCESSING_LIST = kind("processing_list", "processing", "list")
PROCESSING_ONLY = kind("processing_only", "processing")
KINDS = (BATCH, BATCH_ONLY, PROCESSING, LISTED, LIST_ONLY, DETAIL, PROCESSING_LIST)


class FailedCall(Exception):
    """The request fails with a 5xx."""


class Refused(Exception):
    """The request is refused (400 or 404)."""


Answer = Callable[["World", PollRequest], set[str]]


def all_shown(world: "World", request: PollRequest) -> set[str]:
    """Answer with every requested id."""
    return {polled.id for polled in request.polled_tasks}


@define(eq=False)
class World:
    """Runs a schedule; ``answer`` gives the ids shown, or raises `FailedCall` or `Refused`."""

    schedule: PollSchedule
    answer: Answer = all_shown
    latency: Callable[[], float] = lambda: 0.2
    ends: dict[str, float] = field(factory=dict)
    now: float = 0.0
    polls: list[tuple[float, PollMode, tuple[str, ...]]] = field(factory=list)
    delays: list[float] = field(factory=list)
    distrust_count: int = 0
    """How often webhook events have proved unreliable."""
    given_up: dict[str, float] = field(factory=dict)
    gaps: list[tuple[float, float]] = field(factory=list)
    widest: float = 0.0
    _in_flight: Counter[str] = field(factory=Counter)
    _planned: dict[str, float] = field(factory=dict)
    _events: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _order: int = 0

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Schedule an action at an instant."""
        self._order += 1
        heapq.heappush(self._events, (when, self._order, act))

    def add(
        self,
        of: TaskKind[..., Any],
        id: str,
        *,
        due: float | None = None,
        hook: str | None = None,
    ) -> PolledTask:
        """Start polling a task now."""
        due = self.now if due is None else due
        polled = self.schedule.add(of, id, now=self.now, due_at=due, webhook_id=hook)
        self._planned[id] = due
        return polled

    def drop(self, polled: PolledTask) -> None:
        """Stop polling a task."""
        self.schedule.drop(polled)
        self._planned.pop(polled.id, None)

    def run(self, until: float) -> None:
        """Advance the virtual time."""
        while True:
            wake = self.schedule.next_wake()
            event = self._events[0][0] if self._events else float("inf")
            when = min(float("inf") if wake is None else wake, event)
            if when > until:
                self.now = until
                return
            self.now = max(self.now, when)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            self.widest = max(self.widest, self.schedule.interval())
            for request in self.schedule.plan(self.now):
                self._send(request)
            left = self.schedule.next_wake()
            assert left is None or left > self.now

    def calls(self, since: float = 0.0) -> list[tuple[float, PollMode, tuple[str, ...]]]:
        """Return the requests made from an instant on."""
        return [request for request in self.polls if request[0] >= since]

    def _send(self, request: PollRequest) -> None:
        assert request.polled_tasks
        assert request.planned_at == self.now
        assert len(request.polled_tasks) == 1 or request.mode is not PollMode.DETAIL
        assert (
            len(request.polled_tasks) <= request.kind.max_batch_size
            or request.mode is not PollMode.BATCH
        )
        for polled in request.polled_tasks:
            assert not polled.dropped
            assert polled.in_flight
            assert self.schedule.get(request.kind, polled.id) is polled
            self._in_flight[polled.id] += 1
            assert self._in_flight[polled.id] == 1
            self.gaps.append((self.now - self._planned[polled.id], self.now))
            self._planned[polled.id] = self.now
        self.polls.append((self.now, request.mode, tuple(w.id for w in request.polled_tasks)))
        self.at(self.now + self.latency(), lambda: self._answered(request))

    def _answered(self, request: PollRequest) -> None:
        self._in_flight.subtract([polled.id for polled in request.polled_tasks])
        try:
            shown = self.answer(self, request)
        except FailedCall:
            self.schedule.request_failed(request, A2EError("failed"), self.now)
            return
        except Refused:
            self._refused(request)
            return
        self.schedule.request_succeeded(request, self.now)
        for polled in request.polled_tasks:
            if polled.dropped:
                continue
            if polled.id not in shown:
                if self.schedule.record_absent(polled, request, self.now) is MissOutcome.GIVE_UP:
                    self._over(polled)
            elif self.ends.get(polled.id, float("inf")) <= request.planned_at:
                self.delays.append(self.now - self.ends[polled.id])
                self.distrust_count += self.schedule.record_end(polled, self.now)
                self._planned.pop(polled.id, None)
            else:
                self.schedule.record_unfinished(polled, request, self.now)

    def _refused(self, request: PollRequest) -> None:
        if all(polled.dropped for polled in request.polled_tasks):
            return  # as the poller does
        if request.mode is not PollMode.DETAIL and (
            len(request.polled_tasks) > 1 or request.kind.detail
        ):
            self.schedule.split(request)
        elif (
            self.schedule.record_absent(request.polled_tasks[0], request, self.now)
            is MissOutcome.GIVE_UP
        ):
            self._over(request.polled_tasks[0])

    def _over(self, polled: PolledTask) -> None:
        self.given_up[polled.id] = self.now
        self.drop(polled)


def world(answer: Answer = all_shown, *, seed: int = 0, **options: Any) -> World:
    """Return a world with an interval of 1 s and no rate limit by default."""
    latency = options.pop("latency", lambda: 0.2)
    rng = random.Random(seed)
    options = {"interval": 1.0, "poll_rate": None, "jitter": rng.random} | options
    return World(PollSchedule(**options), answer, latency)
