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


def all_shown(world: "World", look: PollRequest) -> set[str]:
    """Answer with every requested id."""
    return {watch.id for watch in look.polled_tasks}


@define(eq=False)
class World:
    """Runs a schedule; ``answer`` gives the ids shown, or raises `FailedCall` or `Refused`."""

    schedule: PollSchedule
    answer: Answer = all_shown
    latency: Callable[[], float] = lambda: 0.2
    ends: dict[str, float] = field(factory=dict)
    now: float = 0.0
    looks: list[tuple[float, PollMode, tuple[str, ...]]] = field(factory=list)
    delays: list[float] = field(factory=list)
    distrusted: int = 0
    """How often webhook events have proved unreliable."""
    given_up: dict[str, float] = field(factory=dict)
    gaps: list[tuple[float, float]] = field(factory=list)
    widest: float = 0.0
    _flying: Counter[str] = field(factory=Counter)
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
        """Begin to watch a task now."""
        due = self.now if due is None else due
        watch = self.schedule.add(of, id, now=self.now, due_at=due, webhook_id=hook)
        self._planned[id] = due
        return watch

    def drop(self, watch: PolledTask) -> None:
        """Stop watching a task."""
        self.schedule.drop(watch)
        self._planned.pop(watch.id, None)

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
            for look in self.schedule.plan(self.now):
                self._send(look)
            left = self.schedule.next_wake()
            assert left is None or left > self.now

    def calls(self, since: float = 0.0) -> list[tuple[float, PollMode, tuple[str, ...]]]:
        """Return the requests made from an instant on."""
        return [look for look in self.looks if look[0] >= since]

    def _send(self, look: PollRequest) -> None:
        assert look.polled_tasks
        assert look.planned_at == self.now
        assert len(look.polled_tasks) == 1 or look.mode is not PollMode.DETAIL
        assert len(look.polled_tasks) <= look.kind.max_batch_size or look.mode is not PollMode.BATCH
        for watch in look.polled_tasks:
            assert not watch.dropped
            assert watch.in_flight
            assert self.schedule.get(look.kind, watch.id) is watch
            self._flying[watch.id] += 1
            assert self._flying[watch.id] == 1
            self.gaps.append((self.now - self._planned[watch.id], self.now))
            self._planned[watch.id] = self.now
        self.looks.append((self.now, look.mode, tuple(w.id for w in look.polled_tasks)))
        self.at(self.now + self.latency(), lambda: self._answered(look))

    def _answered(self, look: PollRequest) -> None:
        self._flying.subtract([watch.id for watch in look.polled_tasks])
        try:
            shown = self.answer(self, look)
        except FailedCall:
            self.schedule.request_failed(look, A2EError("failed"), self.now)
            return
        except Refused:
            self._refused(look)
            return
        self.schedule.request_succeeded(look, self.now)
        for watch in look.polled_tasks:
            if watch.dropped:
                continue
            if watch.id not in shown:
                if self.schedule.record_absent(watch, look, self.now) is MissOutcome.GIVE_UP:
                    self._over(watch)
            elif self.ends.get(watch.id, float("inf")) <= look.planned_at:
                self.delays.append(self.now - self.ends[watch.id])
                self.distrusted += self.schedule.record_end(watch, self.now)
                self._planned.pop(watch.id, None)
            else:
                self.schedule.record_unfinished(watch, look, self.now)

    def _refused(self, look: PollRequest) -> None:
        if look.mode is not PollMode.DETAIL and (len(look.polled_tasks) > 1 or look.kind.detail):
            self.schedule.split(look)
        elif (
            self.schedule.record_absent(look.polled_tasks[0], look, self.now) is MissOutcome.GIVE_UP
        ):
            self._over(look.polled_tasks[0])

    def _over(self, watch: PolledTask) -> None:
        self.given_up[watch.id] = self.now
        self.drop(watch)


def world(answer: Answer = all_shown, *, seed: int = 0, **options: Any) -> World:
    """Return a world with an interval of 1 s and no rate limit by default."""
    latency = options.pop("latency", lambda: 0.2)
    rng = random.Random(seed)
    options = {"interval": 1.0, "poll_rate": None, "jitter": rng.random} | options
    return World(PollSchedule(**options), answer, latency)
