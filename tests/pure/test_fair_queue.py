"""The fair queue in virtual time: no cap is exceeded, nothing starves, nothing is left over."""

import heapq
import math
from collections import Counter
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async._core.submission.fair_queue import (
    MAX_ADMITTED_UNSENT,
    MIN_WAIT_ESTIMATE,
    FairQueue,
    QueuedStart,
    StartStage,
    estimate_wait,
    remaining_time,
)
from a2e_async._core.tasks.tenant import Tenant, validate_tenant
from a2e_async.errors import InvalidInput


@define(eq=False)
class Job(QueuedStart):
    """A start in virtual time: when it is sent, and how long its tasks run."""

    requested_at: float = 0.0
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
        job.requested_at = self.now
        if self.fair.enqueue(job):
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
            if job.stage is not StartStage.ENDED:
                by_caller[job.tenant] += job.task_count
                line[job.tenant] += job.stage is StartStage.ADMITTED
        assert by_caller.total() == self.fair.total_unfinished
        for caller, used in by_caller.items():
            assert used == self.fair.unfinished_of(caller)
            assert line[caller] <= MAX_ADMITTED_UNSENT

    def _go(self, jobs: Any) -> None:
        for job in jobs:
            assert job.went is None
            job.went = self.now
            self.going.append(job)
            # At the instant of its turn no cap is passed, unless it is alone.
            used, own = self.fair.total_unfinished, self.fair.unfinished_of(job.tenant)
            others = sum(other.task_count for other in jobs if other is not job)
            assert (
                self.fair.max_unfinished is None
                or used <= self.fair.max_unfinished
                or used - others == job.task_count
            )
            assert job.max_unfinished is None or own <= job.max_unfinished or own == job.task_count
            self.pace = max(self.pace, self.now) + 1 / self.rate
            self.at(self.pace, lambda job=job: self._sent(job))

    def _sent(self, job: Job) -> None:
        self._go(self.fair.mark_sent(job))
        self.at(self.now + job.lasts, lambda: self._ended(job))

    def _ended(self, job: Job) -> None:
        if job.task_count > 1:  # one of its tasks ends before the others
            self._go(self.fair.set_task_count(job, job.task_count - 1))
            self.at(self.now + 0.25, lambda: self._ended(job))
        else:
            self._go(self.fair.remove(job))
            assert self.fair.remove(job) == ()

    def _give_up(self, job: Job) -> None:
        if job.stage is StartStage.WAITING:
            self.gave_up.append(job)
            self._go(self.fair.remove(job))


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
    for caller in {job.tenant for job in made}:
        went = [job for job in world.going if job.tenant == caller]
        assert [job.requested_at for job in went] == sorted(job.requested_at for job in went)
    assert (world.fair.total_unfinished, world.fair.waiting_count, len(world.fair)) == (0, 0, 0)


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
    assert max(Counter(job.tenant for job in since).values(), default=0) <= MAX_ADMITTED_UNSENT + 1
    assert len(since) <= callers * (MAX_ADMITTED_UNSENT + 1)


def test_shares_are_equal_while_all_want() -> None:
    """Under the client's cap, tenants with many starts get equally many slots."""
    world = World(FairQueue(6), rate=1000)
    for caller, many in (("a", 300), ("b", 50), ("c", 50)):
        for _ in range(many):
            world.ask(Job(caller))
    world.run()
    first = Counter(job.tenant for job in world.going[6:126])
    assert max(first.values()) - min(first.values()) <= 2


def test_a_start_of_many_tasks_is_not_passed_for_ever() -> None:
    """A start that needs many slots waits at the head, and runs alone if the cap is too low."""
    fair = FairQueue[Job](3)
    running = Job("a", 2)
    assert fair.enqueue(running)
    large, small = Job("b", 4), Job("c", 1)
    assert not fair.enqueue(large)
    assert not fair.enqueue(small)
    assert fair.remove(running) == [large]
    assert fair.remove(large) == [small]


def test_who_is_kept_by_what() -> None:
    """A queued start knows which cap blocks it and how many starts are ahead."""
    fair = FairQueue[Job](3)
    first = [Job("a", max_unfinished=2), Job("a", max_unfinished=2)]
    assert all(map(fair.enqueue, first))
    waiting = Job("a", max_unfinished=2)
    assert not fair.enqueue(waiting)
    assert (fair.blocking_cap(waiting), fair.count_ahead(waiting, "caller")) == ("caller", 0)
    assert fair.blocked_tenants() == (False, {"a"})
    assert fair.enqueue(Job("b"))
    late = Job("b")
    assert not fair.enqueue(late)
    assert (fair.blocking_cap(late), fair.count_ahead(late, "client")) == ("client", 0)
    later = Job("c")
    assert not fair.enqueue(later)
    assert (fair.blocking_cap(later), fair.count_ahead(later, "client")) == ("client", 1)
    assert fair.blocked_tenants() == (True, {"a"})


def test_in_line_is_no_cap() -> None:
    """A start that only waits for its turn is blocked by no cap."""
    fair = FairQueue[Job]()
    jobs = [Job("a") for _ in range(MAX_ADMITTED_UNSENT + 1)]
    assert [fair.enqueue(job) for job in jobs] == [True] * MAX_ADMITTED_UNSENT + [False]
    assert fair.blocking_cap(jobs[-1]) is None
    assert fair.mark_sent(jobs[0]) == [jobs[-1]]


def test_what_runs_already_is_counted() -> None:
    """A task that was found again counts at once, even beyond the cap."""
    fair = FairQueue[Job](1)
    found = [Job(None), Job(None)]
    for job in found:
        assert fair.add_running(job) == []
    new = Job("a")
    assert not fair.enqueue(new)
    assert fair.remove(found[0]) == []
    assert fair.remove(found[1]) == [new]


def test_estimates() -> None:
    """The estimate is the time until enough tasks have ended, in rounds."""
    assert estimate_wait(1, [30, 10, 20], 60) == 10
    assert estimate_wait(3, [30, 10, 20], 60) == 30
    assert estimate_wait(4, [30, 10, 20], 60) == 70
    assert estimate_wait(1, [], 60) == MIN_WAIT_ESTIMATE
    assert estimate_wait(0, [0.2], 60) == MIN_WAIT_ESTIMATE
    assert remaining_time(20, 60) == 40
    assert remaining_time(600, 60) == pytest.approx(6)


def test_a_caller() -> None:
    """A tenant is named by a string; invalid caps are refused."""
    assert validate_tenant("u", 3, 0) == Tenant("u", 3, 0)
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
            validate_tenant(*bad)
        assert caught.value.field == field_name
