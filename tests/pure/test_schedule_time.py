"""When the schedule polls: back-off, giving up, waking, and its cost over hours."""

import math
import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async._core.polling.polled_tasks import PollMode, PollRequest
from a2e_async._core.polling.schedule import (
    MAX_BACKOFF,
    NOT_FOUND_SECONDS,
    UNCONFIRMED_NOT_FOUND_SECONDS,
    PollSchedule,
)
from a2e_async.errors import A2EError

from .world import (
    BATCH,
    DETAIL,
    KINDS,
    LISTED,
    PROCESSING,
    FailedCall,
    World,
    all_shown,
    kind,
    world,
)


def failing(w: World, request: PollRequest) -> set[str]:
    """Fail every request."""
    raise FailedCall


@settings(max_examples=30, deadline=None)
@given(interval=st.floats(0.5, 120.0), jitter=st.floats(0.0, 0.999))
def test_the_pause_after_errors_grows_and_is_bounded(interval: float, jitter: float) -> None:
    """Pauses never shrink, never pass the bound, and are never shorter than the interval."""
    w = world(failing, interval=interval, jitter=lambda: jitter, latency=lambda: 0.0)
    w.add(DETAIL, "t")
    w.run(interval * 5 + 200.0)
    times = [t for t, _, _ in w.polls]
    pauses = [b - a for a, b in pairwise(times)]
    assert all(b >= a - 1e-6 for a, b in pairwise(pauses))
    assert all(interval - 1e-6 <= p <= max(MAX_BACKOFF, interval) + 1e-6 for p in pauses)
    if interval < 5:
        assert pauses[-1] >= MAX_BACKOFF / 2 - 1e-6
        assert pauses[-1] > pauses[0]


def test_a_success_resets_the_pause() -> None:
    """After one successful poll the interval is normal again, and so is the next pause."""
    bad = iter([True] * 6 + [False] + [True] + [False] * 1000)

    def answer(w: World, request: PollRequest) -> set[str]:
        if next(bad):
            raise FailedCall
        return all_shown(w, request)

    w = world(answer, jitter=lambda: 0.999, latency=lambda: 0.0)
    w.add(DETAIL, "t")
    w.run(200.0)
    times = [t for t, _, _ in w.polls]
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses[5] > 25.0
    assert pauses[6] == pytest.approx(1.0)
    assert pauses[7] == pytest.approx(2.0, rel=0.01)
    assert pauses[8] == pytest.approx(1.0)


@pytest.mark.parametrize("of", KINDS, ids=lambda k: k.name)
def test_failures_never_end_a_wait(of) -> None:  # type: ignore[no-untyped-def]
    """However many and however long: the wait's own deadline does, which is not seen here."""
    w = world(failing, latency=lambda: 0.0)
    w.add(of, "t")
    w.run(20_000.0)
    assert not w.given_up
    assert len(w.schedule) == 1
    assert len(w.polls) >= 20_000 / MAX_BACKOFF


@settings(max_examples=25, deadline=None)
@given(good_every=st.integers(2, 9))
def test_one_successful_poll_in_ten_keeps_a_wait_alive(good_every: int) -> None:
    """Errors interrupted by successes never end a wait, however long they go on."""
    count = iter(range(10**9))

    def answer(w: World, request: PollRequest) -> set[str]:
        if next(count) % good_every:
            raise FailedCall
        return all_shown(w, request)

    w = world(answer, latency=lambda: 0.0)
    w.add(DETAIL, "t")
    w.run(4000.0)
    assert not w.given_up


@pytest.mark.parametrize("of", KINDS, ids=lambda k: k.name)
def test_an_unknown_task_is_given_up_after_minutes(of) -> None:  # type: ignore[no-untyped-def]
    """However old it is: several answers in a row, over some minutes, must not know it."""
    w = world(lambda w, request: set())
    w.add(of, "t")
    min_seconds = NOT_FOUND_SECONDS if of.list is not None else UNCONFIRMED_NOT_FOUND_SECONDS
    w.run(min_seconds - 0.5)
    assert not w.given_up
    w.run(min_seconds + 5.0)
    assert min_seconds <= w.given_up["t"] <= min_seconds + 3.0
    if of.list is not None:
        assert w.polls[-1][1] is PollMode.LIST, "the list has confirmed it"


@pytest.mark.parametrize("of", KINDS, ids=lambda k: k.name)
@pytest.mark.parametrize("between", ["shown", "failed"])
def test_only_answers_in_a_row_count(of, between: str) -> None:  # type: ignore[no-untyped-def]
    """One that shows the task, and one that fails, restart the time."""
    times = iter([100.0 * n for n in range(1, 1000)])
    due = [next(times)]

    def answer(w: World, request: PollRequest) -> set[str]:
        if request.planned_at < due[0]:
            return set()
        due[0] = next(times)
        if between == "failed":
            raise FailedCall
        return all_shown(w, request)

    w = world(answer)
    w.add(of, "t")
    w.run(3000.0)
    assert not w.given_up


@pytest.mark.parametrize("of", [BATCH, LISTED], ids=lambda k: k.name)
def test_what_the_list_shows_is_not_gone(of) -> None:  # type: ignore[no-untyped-def]
    """Where the detail does not know what the list shows, the list is asked from there on."""
    w = world(lambda w, request: all_shown(w, request) if request.mode is PollMode.LIST else set())
    w.ends["t"] = 500.0
    w.add(of, "t")
    w.run(510.0)
    assert not w.given_up
    assert w.delays
    assert w.delays[0] < 2.0


BROKEN = [
    (BATCH, 20, {PollMode.BATCH}),
    (BATCH, 3, {PollMode.BATCH}),
    (BATCH, 20, {PollMode.BATCH, PollMode.LIST}),
    (BATCH, 20, {PollMode.BATCH, PollMode.DETAIL}),
    (BATCH, 1, {PollMode.DETAIL}),
    (PROCESSING, 5, {PollMode.PROCESSING}),
    (PROCESSING, 5, {PollMode.PROCESSING, PollMode.LIST}),
    (LISTED, 20, {PollMode.LIST}),
    (LISTED, 3, {PollMode.DETAIL}),
    (kind("flaky", "detail", "list", "batch"), 5, {PollMode.BATCH}),
]


@pytest.mark.parametrize(("of", "count", "broken"), BROKEN)
def test_a_call_that_fails_is_replaced_by_one_that_works(of, count, broken) -> None:  # type: ignore[no-untyped-def]
    """The end is seen by another call, the broken one is tried now and then, at little cost."""

    def answer(w: World, request: PollRequest) -> set[str]:
        if request.mode in broken:
            raise FailedCall
        return all_shown(w, request)

    w = world(answer, latency=lambda: 0.05)
    for n in range(count):
        w.ends[f"t{n}"] = 300.0
        w.add(of, f"t{n}")
    w.run(290.0)
    late = w.calls(60.0)
    good = [ids for _, mode, ids in late if mode not in broken]
    assert sum(map(len, good)) >= 0.8 * 230 * count
    assert len(late) - len(good) <= 16
    assert any(mode in broken for _, mode, _ in late), "it is tried again"
    w.run(310.0)
    assert len(w.delays) == count
    assert not w.given_up


def test_a_call_that_works_again_is_used_again() -> None:
    def answer(w: World, request: PollRequest) -> set[str]:
        if request.mode is PollMode.BATCH and request.planned_at < 5.0:
            raise FailedCall
        return all_shown(w, request)

    w = world(answer, latency=lambda: 0.05)
    for n in range(20):
        w.add(BATCH, f"t{n}")
    w.run(200.0)
    assert {mode for _, mode, _ in w.calls(100.0)} == {PollMode.BATCH}
    assert len(w.calls(100.0)) <= 102


@pytest.mark.parametrize("of", [BATCH, PROCESSING, LISTED], ids=lambda k: k.name)
def test_an_outage_does_not_turn_one_call_into_many(of) -> None:  # type: ignore[no-untyped-def]
    """Where nothing works, one task alone tries another call."""
    w = world(failing, latency=lambda: 0.05)
    for n in range(180):
        w.add(of, f"t{n}")
    w.run(600.0)
    assert len(w.polls) <= 3 * 600 / (MAX_BACKOFF / 2) + 20


def test_a_record_that_cannot_be_read_concerns_itself_alone() -> None:
    s = PollSchedule(interval=1.0, poll_rate=None, jitter=lambda: 0.5)
    polled_tasks = [s.add(BATCH, f"t{n}", now=0.0, due_at=0.0) for n in range(3)]
    (request,) = s.plan(0.0)
    error = A2EError("odd")
    s.request_succeeded(request, 0.1)
    s.record_unreadable(polled_tasks[0], request, error, 0.1)
    for polled in polled_tasks[1:]:
        s.record_unfinished(polled, request, 0.1)
    (alone,) = s.plan(0.1)
    assert (alone.mode, [w.id for w in alone.polled_tasks]) == (PollMode.DETAIL, ["t0"])
    s.record_unreadable(polled_tasks[0], alone, error, 0.2)
    assert [w.error_count for w in polled_tasks] == [2, 0, 0]
    assert polled_tasks[0].due_at > 0.2
    assert polled_tasks[1].due_at == polled_tasks[2].due_at == pytest.approx(1.0)


def test_nothing_leaks_in_a_hundred_thousand_watches() -> None:
    """The queue stays bounded while 100,000 tasks come and go and one stays."""
    s = PollSchedule(interval=1.0, poll_rate=None, jitter=lambda: 0.5)
    s.add(BATCH, "stays", now=0.0, due_at=1e9)
    most = 0
    for n in range(100_000):
        polled = s.add(BATCH, f"t{n}", now=0.0, due_at=1e6 + n)
        if n % 3 == 0:
            s.poll_now(polled, 0.0)
        s.drop(polled)
        s.drop(polled)
        most = max(most, len(s._queues["batch"].heap))
    assert most <= 70
    assert [w.id for w in s] == ["stays"]
    (stays,) = s
    s.drop(stays)
    assert len(s) == 0
    assert not s._queues
    assert s.next_wake() is None


@settings(max_examples=80, deadline=None)
@given(
    dues=st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0.0, 100.0)), max_size=30),
    dropped=st.sets(st.integers(0, 29)),
    polled_early=st.sets(st.integers(0, 29)),
)
def test_next_wake_is_the_earliest_due(dues, dropped, polled_early) -> None:  # type: ignore[no-untyped-def]
    """`next_wake` is exactly when the earliest polled task is due, and `plan` is quiet before."""
    s = PollSchedule(interval=1.0, poll_rate=None, jitter=lambda: 0.5)
    polled_tasks = [s.add(k, f"t{n}", now=0.0, due_at=due) for n, (k, due) in enumerate(dues)]
    for n, polled in enumerate(polled_tasks):
        if n in polled_early:
            s.poll_now(polled, 2.5)
        if n in dropped:
            s.drop(polled)
    live = [min(due, 2.5) if n in polled_early else due for n, (_, due) in enumerate(dues)]
    live = [due for n, due in enumerate(live) if n not in dropped]
    assert s.next_wake() == (min(live) if live else None)
    if live and min(live) > 0:
        assert s.plan(min(live) - 1e-9 * (1 + min(live))) == []
        assert s.plan(min(live)) != []


def test_halves_wake_at_once_and_skip_the_dropped() -> None:
    """After a split there is something to do now; a task dropped meanwhile is not polled."""
    s = PollSchedule(interval=1.0, poll_rate=None, jitter=lambda: 0.5)
    polled_tasks = [s.add(BATCH, f"t{n}", now=0.0, due_at=0.0) for n in range(8)]
    (request,) = s.plan(0.0)
    s.split(request)
    assert s.next_wake() == -math.inf
    for polled in polled_tasks[:5]:
        s.drop(polled)
    (half,) = s.plan(0.1)
    assert [w.id for w in half.polled_tasks] == ["t5", "t6", "t7"]
    assert half.planned_at == 0.1
    assert s.next_wake() is None


def test_poll_now_causes_one_poll_and_not_a_second_one() -> None:
    """A task polled with `poll_now` is polled once; one in flight or already due is unchanged."""
    s = PollSchedule(interval=10.0, poll_rate=None, jitter=lambda: 0.5)
    polled = s.add(DETAIL, "t", now=0.0, due_at=10.0)
    assert s.plan(1.0) == []
    s.poll_now(polled, 1.0)
    s.poll_now(polled, 1.0)
    (request,) = s.plan(1.0)
    s.poll_now(polled, 1.5)
    assert s.plan(9.0) == []
    s.record_unfinished(polled, request, 9.0)
    assert s.next_wake() == pytest.approx(11.5)


def test_poll_now_and_drop_have_no_effect_on_a_poll_in_flight() -> None:
    """`poll_now` changes nothing for a task in flight; one dropped in flight never returns."""
    s = PollSchedule(interval=10.0, poll_rate=None, jitter=lambda: 0.5)
    polled = s.add(DETAIL, "t", now=0.0, due_at=0.0)
    gone = s.add(DETAIL, "gone", now=0.0, due_at=0.0)
    requests = s.plan(0.0)
    polled.due_at = 99.0
    s.poll_now(polled, 1.0)
    assert s.next_wake() is None
    s.drop(gone)
    for request in requests:
        s.request_failed(request, A2EError("failed"), 1.0)
    assert gone.error_count == 0
    assert [w.id for request in s.plan(1e6) for w in request.polled_tasks] == ["t"]


def test_a_task_polled_by_detail_is_forgotten_when_dropped() -> None:
    """The rest of the queue is shared and priced as if the task polled by detail had never been."""
    s = PollSchedule(interval=1.0, poll_rate=1.0, jitter=lambda: 0.5)
    polled_tasks = [s.add(BATCH, f"t{n}", now=0.0, due_at=0.0) for n in range(250)]
    for request in s.plan(0.0):
        for polled in request.polled_tasks:
            if polled in polled_tasks[:100]:
                s.record_absent(polled, request, 0.1)
            else:
                s.record_unfinished(polled, request, 0.1)
    assert s.interval() == 101.0
    for polled in polled_tasks[:100]:
        s.drop(polled)
    assert s.interval() == 1.0


def test_a_slow_response_is_not_followed_by_a_poll_at_once() -> None:
    """When an answer took longer than the interval, a quarter of it passes before the next."""
    w = world(latency=lambda: 7.0, interval=4.0)
    w.add(DETAIL, "t")
    w.run(30.0)
    times = [t for t, _, _ in w.polls]
    assert [b - a for a, b in pairwise(times)] == pytest.approx([8.0] * 3)


def simulate_steady_load(*, in_flight: int, mean: float, span: float) -> tuple[float, float]:
    """Return calls per finished job and the mean delay in seconds of a long steady load."""
    rng = random.Random(7)
    sigma = 0.5
    mu = math.log(mean) - sigma * sigma / 2
    w = world(latency=lambda: rng.uniform(0.05, 0.15))
    count = iter(range(10**9))

    def begin(duration: float, due: float) -> None:
        id = f"t{next(count)}"
        w.ends[id] = w.now + duration
        w.add(BATCH, id, due=due)

    def arrive() -> None:
        begin(rng.lognormvariate(mu, sigma), w.now + w.schedule.interval())
        w.at(w.now + rng.expovariate(in_flight / mean), arrive)

    # The residual life of a running job: of a length-biased duration, a uniform rest.
    for _ in range(in_flight):
        begin(rng.lognormvariate(mu + sigma * sigma, sigma) * rng.random(), rng.random())
    w.at(0.0, arrive)
    w.run(10.0)
    requests, done = len(w.polls), len(w.delays)
    w.run(10.0 + span)
    assert 0.7 * in_flight <= len(w.schedule) <= 1.3 * in_flight
    return (len(w.polls) - requests) / (len(w.delays) - done), statistics.fmean(w.delays[done:])


def test_steady_load_costs_less_than_a_call_a_job() -> None:
    """1,000 jobs of 90 s in flight: at most 0.6 requests a job and 0.7 s until the end is known."""
    calls, delay = simulate_steady_load(in_flight=1000, mean=90.0, span=120.0)
    assert calls <= 0.6
    assert delay <= 0.7
    assert delay >= 0.3  # half an interval is the floor of any honest simulation


def test_the_interval_stretches_with_the_cost_and_returns() -> None:
    """The interval is calls per round over the rate, and never below the user's."""
    s = PollSchedule(interval=2.0, poll_rate=5.0, jitter=lambda: 0.5)
    polled_tasks = [s.add(DETAIL, f"t{n}", now=0.0, due_at=0.0) for n in range(100)]
    assert s.interval() == pytest.approx(20.0)
    for n in range(450):
        s.add(BATCH, f"b{n}", now=0.0, due_at=0.0)
    assert s.interval() == pytest.approx(103 / 5)
    for polled in polled_tasks:
        s.drop(polled)
    assert s.interval() == 2.0
    assert {request.mode for request in s.plan(0.0)} == {PollMode.BATCH}


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_workers_of_one_account_divide_the_polls(share: float) -> None:
    """A worker that waits for its part of the tasks polls as often as one that waits for all."""
    s = PollSchedule(interval=1.0, poll_rate=5.0, jitter=lambda: 0.5, rate_share=lambda: share)
    for n in range(int(400 * share)):
        s.add(DETAIL, f"t{n}", now=0.0, due_at=0.0)
    assert s.interval() == 80.0
