"""A service in virtual time: answers the polls of a `Schedule` and checks its guarantees."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field

from a2e_async.errors import A2EError
from a2e_async.inputs import TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, TaskKind
from a2e_async.tasks.schedule import Schedule
from a2e_async.tasks.watches import After, Look, Mode, Watch

AT = Endpoint("GET", "/x/{id}")
EPS = 1e-6


def kind(name: str, *modes: str) -> TaskKind[..., Any]:
    """Return a kind that has the operations named: detail, list, processing, batch."""
    return TaskKind(
        name=name,
        input=TaskInput,
        record=Record,
        start_at=Endpoint("POST", "/x"),
        **{f"{mode}_at": AT for mode in modes},
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


Answer = Callable[["World", Look], set[str]]


def all_shown(world: "World", look: Look) -> set[str]:
    """Answer with every requested id."""
    return {watch.id for watch in look.watches}


@define(eq=False)
class World:
    """Runs a schedule; ``answer`` gives the ids shown, or raises `FailedCall` or `Refused`."""

    schedule: Schedule
    answer: Answer = all_shown
    latency: Callable[[], float] = lambda: 0.2
    ends: dict[str, float] = field(factory=dict)
    now: float = 0.0
    looks: list[tuple[float, Mode, tuple[str, ...]]] = field(factory=list)
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
    ) -> Watch:
        """Begin to watch a task now."""
        due = self.now if due is None else due
        watch = self.schedule.add(of, id, now=self.now, due=due, hook=hook)
        self._planned[id] = due
        return watch

    def drop(self, watch: Watch) -> None:
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

    def calls(self, since: float = 0.0) -> list[tuple[float, Mode, tuple[str, ...]]]:
        """Return the requests made from an instant on."""
        return [look for look in self.looks if look[0] >= since]

    def _send(self, look: Look) -> None:
        assert look.watches
        assert look.at == self.now
        assert len(look.watches) == 1 or look.mode is not Mode.DETAIL
        assert len(look.watches) <= look.kind.batch_most or look.mode is not Mode.BATCH
        for watch in look.watches:
            assert not watch.dropped
            assert watch.in_flight
            assert self.schedule.get(look.kind, watch.id) is watch
            self._flying[watch.id] += 1
            assert self._flying[watch.id] == 1
            self.gaps.append((self.now - self._planned[watch.id], self.now))
            self._planned[watch.id] = self.now
        self.looks.append((self.now, look.mode, tuple(w.id for w in look.watches)))
        self.at(self.now + self.latency(), lambda: self._answered(look))

    def _answered(self, look: Look) -> None:
        self._flying.subtract([watch.id for watch in look.watches])
        try:
            shown = self.answer(self, look)
        except FailedCall:
            self.schedule.failed(look, A2EError("failed"), self.now)
            return
        except Refused:
            self._refused(look)
            return
        self.schedule.answered(look, self.now)
        for watch in look.watches:
            if watch.dropped:
                continue
            if watch.id not in shown:
                if self.schedule.absent(watch, look, self.now) is After.GIVE_UP:
                    self._over(watch)
            elif self.ends.get(watch.id, float("inf")) <= look.at:
                self.delays.append(self.now - self.ends[watch.id])
                self.distrusted += self.schedule.ended(watch, self.now)
                self._planned.pop(watch.id, None)
            else:
                self.schedule.seen(watch, look, self.now)

    def _refused(self, look: Look) -> None:
        if look.mode is not Mode.DETAIL and (len(look.watches) > 1 or look.kind.detail_at):
            self.schedule.split(look)
        elif self.schedule.absent(look.watches[0], look, self.now) is After.GIVE_UP:
            self._over(look.watches[0])

    def _over(self, watch: Watch) -> None:
        self.given_up[watch.id] = self.now
        self.drop(watch)


def world(answer: Answer = all_shown, *, seed: int = 0, **options: Any) -> World:
    """Return a world with an interval of 1 s and no rate limit by default."""
    latency = options.pop("latency", lambda: 0.2)
    rng = random.Random(seed)
    options = {"interval": 1.0, "look_rate": None, "jitter": rng.random} | options
    return World(Schedule(**options), answer, latency)
