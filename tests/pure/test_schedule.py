"""The schedule's guarantees, for any mixture of poll outcomes."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from a2e_async._core.polling.polled_tasks import PollMode, PollRequest
from a2e_async._core.polling.schedule import (
    RETRY_SHARED_SECONDS,
    UNCONFIRMED_NOT_FOUND_SECONDS,
    PollSchedule,
)

from .world import (
    BATCH,
    BATCH_ONLY,
    DETAIL,
    EPS,
    KINDS,
    LIST_ONLY,
    LISTED,
    PROCESSING,
    PROCESSING_LIST,
    PROCESSING_ONLY,
    FailedCall,
    Refused,
    World,
    all_shown,
    kind,
    world,
)


def modes(w: World, since: float = 0.0) -> set[PollMode]:
    """Return the operations that were used for polling."""
    return {mode for _, mode, _ in w.calls(since)}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kinds=st.sets(st.sampled_from(KINDS), min_size=1),
    population=st.integers(1, 450),
    poll_rate=st.sampled_from([None, 5.0, 50.0]),
    trouble=st.sampled_from(["none", "absent", "failed", "refused", "all"]),
)
def test_any_mixture_keeps_every_promise(
    seed: int, kinds: set[object], population: int, poll_rate: float | None, trouble: str
) -> None:
    """No id is in two polls at once, no task starves, and none returns after it is dropped."""
    rng = random.Random(seed)
    sorted_kinds = sorted(kinds, key=lambda k: k.name)  # type: ignore[attr-defined]

    def answer(w: World, request: PollRequest) -> set[str]:
        roll = rng.random()
        if trouble in ("failed", "all") and roll < 0.1:
            raise FailedCall
        if trouble in ("refused", "all") and 0.1 <= roll < 0.15:
            raise Refused
        missing = 0.1 if trouble in ("absent", "all") else 0.0
        return {x.id for x in request.polled_tasks if rng.random() >= missing}

    w = world(answer, poll_rate=poll_rate, seed=seed, latency=lambda: rng.uniform(0.0, 1.5))
    for n in range(population):
        of = rng.choice(sorted_kinds)
        created_at = rng.uniform(0.0, 10.0)

        def begin(of: object = of, n: int = n) -> None:
            polled = w.add(of, f"t{n}", due=w.now + rng.choice([0.0, 1.0, 5.0]))  # type: ignore[arg-type]
            if rng.random() < 0.4:
                w.at(w.now + rng.uniform(0.0, 20.0), lambda: w.drop(polled))
            if rng.random() < 0.2:
                w.at(w.now + rng.uniform(0.0, 20.0), lambda: poll_now(polled))

        w.at(created_at, begin)

    def poll_now(polled: object) -> None:
        if not polled.dropped:  # type: ignore[attr-defined]
            w.schedule.poll_now(polled, w.now)  # type: ignore[arg-type]

    w.run(40.0)
    allowed = max(w.widest, 30.0 if trouble in ("failed", "all") else 0.0) + 1.5
    splits = 1.5 * 9 if trouble in ("refused", "all") else 0.0
    assert max((gap for gap, _ in w.gaps), default=0.0) <= allowed + splits + EPS
    for polled in w.schedule:
        assert polled.in_flight or polled.due_at <= w.now + allowed
        assert w.now - w._planned[polled.id] <= allowed + splits + EPS
    if trouble == "none":
        assert not w.given_up


@pytest.mark.parametrize(
    ("of", "count", "mode"),
    [
        (BATCH, 1, PollMode.DETAIL),
        (BATCH, 2, PollMode.BATCH),
        (BATCH_ONLY, 1, PollMode.BATCH),
        (PROCESSING, 1, PollMode.DETAIL),
        (PROCESSING, 2, PollMode.PROCESSING),
        (PROCESSING_LIST, 3, PollMode.LIST),
        (PROCESSING_ONLY, 3, PollMode.PROCESSING),
        (LISTED, 7, PollMode.DETAIL),
        (LISTED, 8, PollMode.LIST),
        (LIST_ONLY, 1, PollMode.LIST),
        (DETAIL, 20, PollMode.DETAIL),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_the_cheapest_call_that_can_show_the_end_is_chosen(of, count, mode) -> None:  # type: ignore[no-untyped-def]
    """Each kind is polled with its cheapest operation that shows finished tasks."""
    w = world()
    for n in range(count):
        w.add(of, f"t{n}")
    w.run(0.0)
    assert modes(w) == {mode}
    assert sum(len(ids) for _, _, ids in w.polls) == count


def test_what_leaves_the_processing_list_is_found_in_the_list() -> None:
    """A kind with a processing list and a list, but no detail, sees its tasks end."""

    def answer(w: World, request: PollRequest) -> set[str]:
        running = {x.id for x in request.polled_tasks if w.ends[x.id] > request.planned_at}
        return running if request.mode is PollMode.PROCESSING else all_shown(w, request)

    w = world(answer)
    for n in range(5):
        w.ends[f"t{n}"] = 70.0 + n
        w.add(PROCESSING_LIST, f"t{n}")
    w.run(80.0)
    assert not w.given_up
    assert len(w.delays) == 5


def test_a_thousand_on_a_batch_kind_cost_five_calls_a_second() -> None:
    """1,000 tasks that began at any time fall into step: five calls of 200 ids a second."""
    rng = random.Random(1)
    w = world()
    for n in range(1000):
        w.add(BATCH, f"t{n}", due=rng.random())
    w.run(60.0)
    late = w.calls(10.0)
    assert 4.9 <= len(late) / 50.0 <= 5.3
    assert all(len(ids) <= 200 for _, _, ids in late)


@settings(max_examples=25, deadline=None)
@example(population=400, rate=2.0, broken=True, of=DETAIL)
@given(
    population=st.integers(1, 400),
    rate=st.sampled_from([2.0, 5.0, 20.0]),
    broken=st.booleans(),
    of=st.sampled_from([DETAIL, LISTED, PROCESSING, BATCH]),
)
def test_polls_keep_to_their_share_of_the_rate(
    population: int, rate: float, broken: bool, of: object
) -> None:
    """In any stretch of time there are at most poll_rate calls a second and one round more."""

    def answer(w: World, request: PollRequest) -> set[str]:
        if broken:
            raise FailedCall
        return all_shown(w, request)

    w = world(answer, poll_rate=rate)
    for n in range(population):
        w.add(of, f"t{n}")  # type: ignore[arg-type]
    span = 4.0 * w.schedule.interval()
    w.run(span)
    one_round = -(-population // 200) if of is BATCH else population if of is DETAIL else 8
    assert len(w.polls) <= rate * span + one_round + 1


def test_a_kind_whose_list_is_always_refused_settles_on_details() -> None:
    """A shared request that is refused repeatedly is given up: the rate limit holds."""

    def answer(w: World, request: PollRequest) -> set[str]:
        if request.mode is PollMode.PROCESSING:
            raise Refused
        return all_shown(w, request)

    w = world(answer, poll_rate=5.0)
    for n in range(200):
        w.add(PROCESSING, f"t{n}")
    w.run(1000.0)
    later = w.calls(200.0)
    shared = [mode for _, mode, _ in later if mode is PollMode.PROCESSING]
    assert len(shared) <= 1 + 800.0 / RETRY_SHARED_SECONDS
    assert len(later) / 800.0 <= 5.5


def test_a_task_missing_from_a_shared_response_is_polled_by_detail_at_once() -> None:
    """A task missing from a batch is polled by detail at once, then shared again."""
    missing = ["t3"]

    def answer(w: World, request: PollRequest) -> set[str]:
        gone = set(missing) if request.mode is PollMode.BATCH else set()
        missing.clear() if gone else None
        return all_shown(w, request) - gone

    w = world(answer)
    for n in range(10):
        w.add(BATCH, f"t{n}")
    w.run(5.0)
    alone = [request for request in w.polls if request[1] is PollMode.DETAIL]
    assert [(round(t, 3), ids) for t, _, ids in alone] == [(0.2, ("t3",))]
    assert "t3" in w.polls[-1][2]
    assert len(w.polls[-1][2]) == 10


@pytest.mark.parametrize("of", [BATCH, PROCESSING, LISTED], ids=lambda k: k.name)
def test_absent_three_times_stays_alone(of) -> None:  # type: ignore[no-untyped-def]
    """A running task missing from three shared responses is polled alone from then on."""

    def answer(w: World, request: PollRequest) -> set[str]:
        return all_shown(w, request) - ({"t3"} if request.mode is not PollMode.DETAIL else set())

    w = world(answer)
    for n in range(10):
        w.add(of, f"t{n}")
    w.run(30.0)
    shared = [t for t, mode, ids in w.polls if mode is not PollMode.DETAIL and "t3" in ids]
    alone = [t for t, mode, ids in w.polls if mode is PollMode.DETAIL and ids == ("t3",)]
    assert len(shared) == 3
    assert len(alone) >= 25
    assert not w.given_up


def test_seen_in_a_shared_answer_forgets_old_absences() -> None:
    """Only consecutive absences count: one shared response with the task clears them."""
    turns = iter([True, True, False] * 100)
    skip = {"now": False}

    def answer(w: World, request: PollRequest) -> set[str]:
        if request.mode is PollMode.DETAIL:
            return all_shown(w, request)
        skip["now"] = next(turns)
        return all_shown(w, request) - ({"t3"} if skip["now"] else set())

    w = world(answer)
    for n in range(10):
        w.add(BATCH, f"t{n}")
    w.run(30.0)
    shared = [t for t, mode, ids in w.polls if mode is PollMode.BATCH and "t3" in ids]
    assert len(shared) >= 20


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2, 200), data=st.data())
def test_bisecting_isolates_one_poisoned_id(size: int, data: st.DataObject) -> None:
    """One id that breaks a batch is isolated after 2*log2(200)+2 requests; the others go on."""
    bad = f"t{data.draw(st.integers(0, size - 1))}"

    def answer(w: World, request: PollRequest) -> set[str]:
        if request.mode is PollMode.BATCH and bad in {x.id for x in request.polled_tasks}:
            raise Refused
        return all_shown(w, request)

    w = world(answer, latency=lambda: 0.05)
    for n in range(size):
        w.add(BATCH, f"t{n}")
    w.run(0.95)
    assert len(w.polls) <= 2 * 7.7 + 2
    assert any(mode is PollMode.DETAIL and ids == (bad,) for _, mode, ids in w.polls)
    w.run(30.0)
    assert not w.given_up
    assert max(gap for gap, _ in w.gaps) <= 1.0 + 0.05 * 10
    late = [ids for _, mode, ids in w.calls(10.0) if mode is PollMode.BATCH]
    assert all(bad not in ids for ids in late)
    assert len(w.calls(10.0)) <= 20 * 3 + 3


@settings(max_examples=30, deadline=None)
@given(size=st.integers(2, 200), data=st.data())
def test_bisecting_without_a_detail_gives_up_only_the_poisoned_id(
    size: int, data: st.DataObject
) -> None:
    """Without a detail operation the failing id ends alone, after some minutes."""
    bad = f"t{data.draw(st.integers(0, size - 1))}"

    def answer(w: World, request: PollRequest) -> set[str]:
        if bad in {x.id for x in request.polled_tasks}:
            raise Refused
        return all_shown(w, request)

    w = world(answer, latency=lambda: 0.05)
    for n in range(size):
        w.add(BATCH_ONLY, f"t{n}")
    w.run(UNCONFIRMED_NOT_FOUND_SECONDS + 10.0)
    assert set(w.given_up) == {bad}
    assert len(w.schedule) == size - 1


def test_two_kinds_of_one_name_do_not_share_a_queue_by_accident() -> None:
    """Tasks of different kinds never share a request."""
    w = world()
    for n in range(20):
        w.add(BATCH, f"b{n}")
        w.add(kind("other", "batch", "detail"), f"o{n}")
    w.run(5.0)
    assert all(len({id[0] for id in ids}) == 1 for _, _, ids in w.polls)


def test_early_is_free_within_one_call() -> None:
    """A request includes tasks that are due soon, up to the batch limit."""
    s = PollSchedule(interval=10.0, poll_rate=None, jitter=lambda: 0.5)
    s.add(BATCH, "first", now=0.0, due_at=0.0)
    for n in range(300):
        s.add(BATCH, f"t{n}", now=0.0, due_at=1.0 + n / 100)
    (request,) = s.plan(0.0)
    assert [w.id for w in request.polled_tasks] == ["first", *(f"t{n}" for n in range(199))]
