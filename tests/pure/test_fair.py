"""The fair queue in virtual time: no cap is exceeded, nothing starves, nothing is left over."""

import heapq
import math
from collections import Counter
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async.errors import InvalidInput
from a2e_async.tasks.fair import (
    AT_LEAST,
    IN_LINE,
    Caller,
    FairQueue,
    Stage,
    Ticket,
    check_caller,
    left_of,
    room_in,
)


@define(eq=False)
class Job(Ticket):
    """A start in virtual time: when it is sent, and how long its tasks run."""

    asked: float = 0.0
    lasts: float = 1.0
    patience: float = math.inf
    went: float | None = None


@define(eq=False)
class World:
    """Runs jobs through a queue; ``rate`` starts a second leave it, in the order of turns."""

    fair: FairQueue[Job]
    rate: float = 10.0
    now: float = 0.0
    pace: float = 0.0
    going: list[Job] = field(factory=list)
    gave_up: list[Job] = field(factory=list)
    _events: list[tuple[float, int, Any]] = field(factory=list)
    _order: int = 0

    def at(self, when: float, act: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, act))

    def ask(self, job: Job) -> None:
        job.asked = self.now
        if self.fair.join(job):
            self._go([job])
        elif job.patience < math.inf:
            self.at(self.now + job.patience, lambda: self._give_up(job))
        self.check()

    def run(self) -> None:
        while self._events:
            self.now, _, act = heapq.heappop(self._events)
            act()
            self.check()

    def check(self) -> None:
        """Check the invariants."""
        by_caller = Counter[str | None]()
        line = Counter[str | None]()
        for job in self.going:
            if job.stage is not Stage.OVER:
                by_caller[job.caller] += job.cost
                line[job.caller] += job.stage is Stage.IN_LINE
        assert by_caller.total() == self.fair.used
        for caller, used in by_caller.items():
            assert used == self.fair.unfinished(caller)
            assert line[caller] <= IN_LINE

    def _go(self, jobs: Any) -> None:
        for job in jobs:
            assert job.went is None
            job.went = self.now
            self.going.append(job)
            # At the instant of its turn no cap is passed, unless it is alone.
            used, own = self.fair.used, self.fair.unfinished(job.caller)
            others = sum(j.cost for j in jobs if j is not job)
            assert self.fair.most is None or used <= self.fair.most or used - others == job.cost
            assert job.most is None or own <= job.most or own == job.cost
            self.pace = max(self.pace, self.now) + 1 / self.rate
            self.at(self.pace, lambda job=job: self._sent(job))

    def _sent(self, job: Job) -> None:
        self._go(self.fair.sent(job))
        self.at(self.now + job.lasts, lambda: self._ended(job))

    def _ended(self, job: Job) -> None:
        if job.cost > 1:  # one of its tasks ends before the others
            self._go(self.fair.resize(job, job.cost - 1))
            self.at(self.now + 0.25, lambda: self._ended(job))
        else:
            self._go(self.fair.leave(job))
            assert self.fair.leave(job) == ()

    def _give_up(self, job: Job) -> None:
        if job.stage is Stage.WAITING:
            self.gave_up.append(job)
            self._go(self.fair.leave(job))


JOBS = st.lists(
    st.tuples(
        st.floats(0, 20),  # when it is asked for
        st.sampled_from([None, "a", "b", "c"]),
        st.integers(1, 4),  # remote tasks
        st.floats(0.1, 10),  # how long they run
        st.one_of(st.just(math.inf), st.floats(0, 5)),  # how long its caller waits
    ),
    max_size=60,
)


@given(JOBS, st.none() | st.integers(1, 6), st.none() | st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_whatever_is_asked(jobs: Any, most: int | None, own: int | None) -> None:
    """Every start runs or is cancelled, tenants keep their order, and nothing is left over."""
    world = World(FairQueue(most))
    made: list[Job] = []
    for when, caller, cost, lasts, patience in jobs:
        job = Job(caller, cost, own if caller else None, lasts=lasts, patience=patience)
        made.append(job)
        world.at(when, lambda job=job: world.ask(job))
    world.run()
    assert all((job.went is not None) != (job in world.gave_up) for job in made)
    for caller in {job.caller for job in made}:
        went = [job for job in world.going if job.caller == caller]
        assert [job.asked for job in went] == sorted(job.asked for job in went)
    assert (world.fair.used, world.fair.waiting, len(world.fair)) == (0, 0, 0)


@given(st.integers(1, 300), st.integers(1, 6), st.none() | st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_one_start_beside_many(many: int, callers: int, most: int | None) -> None:
    """However many starts others queue, a single one waits for only a few of each of them."""
    world = World(FairQueue(most))
    single = Job("single")
    for caller in range(callers):
        for _ in range(many):
            world.ask(Job(f"busy-{caller}"))
    world.at(0.05, lambda: world.ask(single))
    world.run()
    before = [job for job in world.going if job.went <= single.went and job is not single]
    since = [job for job in before if job.went >= 0.05]
    # At most one more of each goes between its asking and its turn, wherever it stands in it.
    assert max(Counter(job.caller for job in since).values(), default=0) <= IN_LINE + 1
    assert len(since) <= callers * (IN_LINE + 1)


def test_shares_are_equal_while_all_want() -> None:
    """Under the client's cap, tenants with many starts get equally many slots."""
    world = World(FairQueue(6), rate=1000)
    for caller, many in (("a", 300), ("b", 50), ("c", 50)):
        for _ in range(many):
            world.ask(Job(caller))
    world.run()
    first = Counter(job.caller for job in world.going[6:126])
    assert max(first.values()) - min(first.values()) <= 2


def test_a_start_of_many_tasks_is_not_passed_for_ever() -> None:
    """A start that needs many slots waits at the head, and runs alone if the cap is too low."""
    fair = FairQueue[Job](3)
    running = Job("a", 2)
    assert fair.join(running)
    large, small = Job("b", 4), Job("c", 1)
    assert not fair.join(large)
    assert not fair.join(small)
    assert fair.leave(running) == [large]
    assert fair.leave(large) == [small]


def test_who_is_kept_by_what() -> None:
    """A queued start knows which cap blocks it and how many starts are ahead."""
    fair = FairQueue[Job](3)
    first = [Job("a", most=2), Job("a", most=2)]
    assert all(map(fair.join, first))
    waiting = Job("a", most=2)
    assert not fair.join(waiting)
    assert (fair.blocked(waiting), fair.ahead(waiting, "caller")) == ("caller", 0)
    assert fair.kept() == (False, {"a"})
    assert fair.join(Job("b"))
    late = Job("b")
    assert not fair.join(late)
    assert (fair.blocked(late), fair.ahead(late, "client")) == ("client", 0)
    later = Job("c")
    assert not fair.join(later)
    assert (fair.blocked(later), fair.ahead(later, "client")) == ("client", 1)
    assert fair.kept() == (True, {"a"})


def test_in_line_is_no_cap() -> None:
    """A start that only waits for its turn is blocked by no cap."""
    fair = FairQueue[Job]()
    jobs = [Job("a") for _ in range(IN_LINE + 1)]
    assert [fair.join(job) for job in jobs] == [True] * IN_LINE + [False]
    assert fair.blocked(jobs[-1]) is None
    assert fair.sent(jobs[0]) == [jobs[-1]]


def test_what_runs_already_is_counted() -> None:
    """A task that was found again counts at once, even beyond the cap."""
    fair = FairQueue[Job](1)
    found = [Job(None), Job(None)]
    for job in found:
        assert fair.add(job) == []
    new = Job("a")
    assert not fair.join(new)
    assert fair.leave(found[0]) == []
    assert fair.leave(found[1]) == [new]


def test_estimates() -> None:
    """The estimate is the time until enough tasks have ended, in rounds."""
    assert room_in(1, [30, 10, 20], 60) == 10
    assert room_in(3, [30, 10, 20], 60) == 30
    assert room_in(4, [30, 10, 20], 60) == 70
    assert room_in(1, [], 60) == AT_LEAST
    assert room_in(0, [0.2], 60) == AT_LEAST
    assert left_of(20, 60) == 40
    assert left_of(600, 60) == pytest.approx(6)


def test_a_caller() -> None:
    """A tenant is named by a string; invalid caps are refused."""
    assert check_caller("u", 3, 0) == Caller("u", 3, 0)
    for bad, field_name in (
        ((7, None, None), "caller"),
        (("", None, None), "caller"),
        (("u", 0, None), "max_unfinished"),
        (("u", True, None), "max_unfinished"),
        (("u", 2.5, None), "max_unfinished"),
        (("u", None, -1), "max_wait"),
        (("u", None, math.nan), "max_wait"),
        (("u", None, math.inf), "max_wait"),
        (("u", None, "2"), "max_wait"),
    ):
        with pytest.raises(InvalidInput) as caught:
            check_caller(*bad)
        assert caught.value.field == field_name
