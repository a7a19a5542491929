"""Each step of the schedule: one polled task, one poll, one moment."""

from typing import Any

import pytest
from attrs import evolve

from a2e_async._core.polling.polled_tasks import MissOutcome, PolledTask, PollMode, PollRequest
from a2e_async._core.polling.schedule import (
    DELEGATED_POLL_INTERVAL,
    DETAIL_AFTER_ABSENCES,
    DISABLE_SECONDS,
    MAX_BACKOFF,
    MAX_MISSED_EVENTS,
    NOT_FOUND_SECONDS,
    RETRY_SHARED_SECONDS,
    UNCONFIRMED_NOT_FOUND_SECONDS,
    PollSchedule,
)
from a2e_async._core.tasks.kind import ListPaging, TaskKind
from a2e_async.errors import A2EError

from .world import BATCH, BATCH_ONLY, DETAIL, LIST_ONLY, LISTED, PROCESSING, PROCESSING_ONLY, kind

BATCH_OR_DETAIL = kind("batch_or_detail", "batch", "detail")
ERROR = A2EError("failed")
NEVER = float("inf")


def schedule(**options: Any) -> PollSchedule:
    """Return a schedule with an interval of 10 s and no rate limit."""
    return PollSchedule(**{"interval": 10.0, "poll_rate": None, "jitter": lambda: 0.5, **options})


def add(
    s: PollSchedule,
    id: str = "a",
    of: TaskKind[..., Any] = DETAIL,
    *,
    due: float = 0.0,
    now: float = 0.0,
    **options: Any,
) -> PolledTask:
    return s.add(of, id, now=now, due_at=due, **options)


def many(s: PollSchedule, count: int, of: TaskKind[..., Any], due: float = 0.0) -> list[PolledTask]:
    return [add(s, f"t{n}", of, due=due) for n in range(count)]


def one(s: PollSchedule, now: float) -> PollRequest:
    """Return the only request that is due now."""
    (request,) = s.plan(now)
    return request


def shown(request: PollRequest) -> tuple[PollMode, list[str], PollMode | None, bool, float]:
    return (
        request.mode,
        [w.id for w in request.polled_tasks],
        request.replaces,
        request.confirms_absence,
        request.planned_at,
    )


def queue(s: PollSchedule, of: TaskKind[..., Any]) -> Any:
    return s._queues[of.name]


# -- polled tasks ----------------------------------------------------------------------------------


def test_a_watch_begins() -> None:
    s = schedule()
    assert len(s) == 0
    assert list(s) == []
    assert s.next_wake() is None
    polled = add(s, "a", DETAIL, now=3.0, due=5.0)
    other = add(s, "a", BATCH, now=3.0, due=3.0, webhook_id="h", hinted=True)
    assert (polled.kind, polled.id, polled.due_at, polled.last_success_at) == (
        DETAIL,
        "a",
        5.0,
        3.0,
    )
    assert (polled.hinted, polled.had_time_for_event, polled.webhook_id, polled.webhook_backed) == (
        False,
        True,
        None,
        False,
    )
    assert (other.hinted, other.had_time_for_event, other.webhook_id, other.webhook_backed) == (
        True,
        False,
        "h",
        False,
    )
    assert len(s) == 2
    assert list(s) == [polled, other]
    assert s.get(DETAIL, "a") is s.find("detail", "a") is polled
    assert s.get(BATCH, "a") is other
    assert s.get(LISTED, "a") is s.get(DETAIL, "b") is None
    assert s.next_wake() == 3.0


def test_a_watch_ends() -> None:
    s = schedule()
    ended: list[PolledTask] = []
    s.on_dropped = ended.append
    a, b = add(s, "a", webhook_id="h"), add(s, "b", webhook_id="h")
    s._set_needs_detail(a, True)
    s.drop(a)
    s.drop(a)
    assert ended == [a]
    assert a.dropped
    assert (len(s), list(s), s.get(DETAIL, "a")) == (1, [b], None)
    assert (queue(s, DETAIL).needs_detail_count, queue(s, DETAIL).webhook_backed_count) == (0, 1)
    assert s._tasks_by_webhook_id == {"h": [b]}
    s.delegate(b, 0.0)
    assert queue(s, DETAIL).delegated_count == 1
    s.drop(b)
    assert (s._queues, s._tasks_by_webhook_id, len(s), s.next_wake()) == ({}, {}, 0, None)
    assert ended == [a, b]


def test_dropping_works_without_a_callback() -> None:
    s = schedule()
    s.drop(add(s))
    assert len(s) == 0


def test_a_watch_has_one_name() -> None:
    s = schedule()
    polled = add(s)
    s.set_webhook_id(polled, None)
    assert (polled.webhook_id, s._tasks_by_webhook_id, queue(s, DETAIL).webhook_backed_count) == (
        None,
        {},
        0,
    )
    s.set_webhook_id(polled, "h")
    s.set_webhook_id(polled, "other")
    assert (polled.webhook_id, s._tasks_by_webhook_id, queue(s, DETAIL).webhook_backed_count) == (
        "h",
        {"h": [polled]},
        1,
    )
    hinted_task = add(s, "b", webhook_id="h", hinted=True)
    assert s._tasks_by_webhook_id == {"h": [polled, hinted_task]}
    assert queue(s, DETAIL).webhook_backed_count == 1


def test_stale_entries_of_the_queue_are_forgotten() -> None:
    s = schedule()
    a, b = add(s, "a"), add(s, "b")
    for n in range(100):
        s._reschedule(a, float(n))
    s.drop(b)
    assert len(queue(s, DETAIL).heap) == 1


# -- requests --------------------------------------------------------------------------------------


def test_only_due_tasks_are_polled_and_once() -> None:
    s = schedule()
    a, b = add(s, "a", due=5.0), add(s, "b", due=6.0)
    assert s.plan(4.9) == []
    request = one(s, 5.0)
    assert request.kind is DETAIL
    assert shown(request) == (PollMode.DETAIL, ["a"], None, False, 5.0)
    assert (a.in_flight, b.in_flight) == (True, False)
    assert s.plan(5.0) == []
    assert s.next_wake() == 6.0
    assert shown(one(s, 7.0)) == (PollMode.DETAIL, ["b"], None, False, 7.0)
    assert s.next_wake() is None


def test_a_shared_call_takes_those_that_are_due_soonest() -> None:
    s = schedule()
    of = evolve(BATCH, max_batch_size=3)
    for n, due in enumerate([1.0, 9.0, 3.0, 5.0]):
        add(s, f"t{n}", of, due=due)
    assert shown(one(s, 1.0)) == (PollMode.BATCH, ["t0", "t2", "t3"], None, False, 1.0)
    assert shown(one(s, 9.0))[:2] == (PollMode.DETAIL, ["t1"])


def test_a_list_shows_all() -> None:
    s = schedule()
    many(s, 3, LIST_ONLY, due=1.0)
    add(s, "late", LIST_ONLY, due=99.0)
    assert shown(one(s, 1.0))[:2] == (PollMode.LIST, ["t0", "t1", "t2", "late"])


def test_a_task_polled_by_detail_is_not_in_a_shared_request() -> None:
    s = schedule()
    a, b, c = many(s, 3, BATCH)
    s._set_needs_detail(b, True)
    assert [shown(request)[:2] for request in s.plan(0.0)] == [
        (PollMode.BATCH, ["t0", "t2"]),
        (PollMode.DETAIL, ["t1"]),
    ]
    assert a.in_flight
    assert b.in_flight
    assert c.in_flight
    s = schedule()
    a, b = many(s, 2, BATCH)
    b.due_at = 5.0
    queue(s, BATCH).push(b)
    s._set_needs_detail(b, True)
    assert shown(one(s, 0.0))[:2] == (PollMode.DETAIL, ["t0"])
    assert not b.in_flight
    assert s.next_wake() == 5.0


def test_one_of_a_batch_kind_without_details_is_still_a_batch() -> None:
    s = schedule()
    add(s, "a", BATCH_ONLY)
    assert shown(one(s, 0.0))[:2] == (PollMode.BATCH, ["a"])


def test_the_kinds_have_their_turns() -> None:
    s = schedule()
    many(s, 4, DETAIL)
    many(s, 4, BATCH)
    many(s, 4, LIST_ONLY)
    requests = s.plan(0.0, max_requests=4)
    assert [(request.kind.name, request.mode) for request in requests] == [
        ("detail", PollMode.DETAIL),
        ("batch", PollMode.BATCH),
        ("list_only", PollMode.LIST),
        ("detail", PollMode.DETAIL),
    ]
    assert len(s.plan(0.0, max_requests=1)) == 1
    assert s.plan(0.0, max_requests=0) == []
    assert len(s.plan(0.0)) == 1


def test_halves_come_first_and_take_room() -> None:
    s = schedule()
    many(s, 4, BATCH)
    request = one(s, 0.0)
    add(s, "b", DETAIL)
    s.split(request)
    assert s.next_wake() == float("-inf")
    assert [shown(half)[:2] for half in s.plan(1.0, max_requests=2)] == [
        (PollMode.BATCH, ["t0", "t1"]),
        (PollMode.BATCH, ["t2", "t3"]),
    ]
    assert s.next_wake() == 0.0
    assert len(s.plan(1.0)) == 1
    assert s.next_wake() is None


# -- the interval --------------------------------------------------------------------------------


def test_the_interval_is_the_users_unless_the_rate_is_passed() -> None:
    s = schedule(poll_rate=2.0)
    many(s, 20, DETAIL)
    assert s.interval() == 10.0
    for n in range(20):
        add(s, f"u{n}")
    assert s.interval() == 20.0
    many(s, 401, BATCH)
    assert s.interval() == 21.5
    assert s.interval(webhook_backed=True) == 21.5
    s = schedule(poll_rate=2.0, rate_share=lambda: 0.25)
    many(s, 10, DETAIL)
    assert s.interval() == 20.0
    s = schedule(poll_rate=0)
    many(s, 1000, DETAIL)
    assert s.interval() == 10.0


def test_webhook_backed_tasks_cost_less_and_are_polled_later() -> None:
    s = schedule(poll_rate=1.0, webhook_factor=4.0)
    for n in range(80):
        add(s, f"t{n}", webhook_id="h")
    assert s.interval() == 20.0
    assert s.interval(webhook_backed=True) == 80.0
    s._missed_events = MAX_MISSED_EVENTS - 1
    assert s.interval(webhook_backed=True) == 80.0
    s._missed_events = MAX_MISSED_EVENTS
    assert s.interval() == s.interval(webhook_backed=True) == 80.0


@pytest.mark.parametrize(
    ("polled_at", "answered", "due"), [(5, 5.2, 15), (5, 13, 15.5), (5, 12, 15)]
)
def test_the_interval_counts_from_the_planned_poll(
    polled_at: float, answered: float, due: float
) -> None:
    """A request that took longer is not followed by the next one at once."""
    s = schedule()
    polled = add(s)
    s.record_unfinished(polled, one(s, polled_at), answered)
    assert (polled.due_at, polled.in_flight, s.next_wake()) == (due, False, due)


def test_a_webhook_backed_task_has_the_longer_interval() -> None:
    s = schedule(webhook_factor=3.0)
    polled = add(s, webhook_id="h")
    s.record_unfinished(polled, one(s, 1.0), 1.0)
    assert polled.due_at == 31.0
    s.webhook_event("h", 2.0)
    s.record_unfinished(polled, one(s, 2.0), 2.0)
    assert polled.due_at == 12.0


# -- what a response showed ------------------------------------------------------------------------


def test_a_record_that_is_seen_forgets_what_went_wrong() -> None:
    s = schedule()
    polled = add(s)
    polled.error_count, polled.last_error, polled.not_found_count, polled.absent_count = (
        3,
        ERROR,
        2,
        1,
    )
    request = one(s, 0.0)
    s.record_unfinished(polled, request, 4.0)
    assert (
        polled.error_count,
        polled.last_error,
        polled.not_found_count,
        polled.last_success_at,
    ) == (
        0,
        None,
        0,
        4.0,
    )
    assert polled.absent_count == 1
    shared = PollRequest(DETAIL, PollMode.LIST, [polled], 4.0)
    s.record_unfinished(polled, shared, 4.0)
    assert polled.absent_count == 0


def test_an_answer_that_says_nothing_forgets_errors_only() -> None:
    s = schedule()
    polled = add(s, "a", BATCH)
    request = one(s, 0.0)
    polled.error_count, polled.last_error, polled.not_found_count, polled.absent_count = (
        3,
        ERROR,
        2,
        1,
    )
    s.record_inconclusive(polled, request, 4.0)
    assert (
        polled.error_count,
        polled.last_error,
        polled.not_found_count,
        polled.last_success_at,
    ) == (
        0,
        None,
        0,
        4.0,
    )
    assert (polled.absent_count, polled.due_at, polled.in_flight) == (1, 10.0, False)


def test_what_the_list_confirms_is_polled_by_the_list() -> None:
    s = schedule()
    polled = add(s, "a", BATCH)
    s.record_unfinished(
        polled, PollRequest(BATCH, PollMode.LIST, [polled], 0.0, confirms_absence=True), 5.0
    )
    until = 5.0 + RETRY_SHARED_SECONDS
    assert queue(s, BATCH).disabled_until == dict.fromkeys(
        (PollMode.BATCH, PollMode.PROCESSING, PollMode.DETAIL), until
    )
    polled.due_at = 0.0
    queue(s, BATCH).push(polled)
    assert shown(one(s, 6.0))[0] is PollMode.LIST
    s.record_unfinished(polled, PollRequest(BATCH, PollMode.LIST, [polled], 6.0), 6.0)
    assert shown(one(s, until))[0] is PollMode.DETAIL
    assert queue(s, BATCH).disabled_until == {}


def test_a_task_missing_from_a_shared_response_is_polled_by_detail_at_once() -> None:
    s = schedule()
    a, _ = many(s, 2, BATCH)
    request = one(s, 0.0)
    assert s.record_absent(a, request, 3.0) is MissOutcome.POLL_DETAIL
    assert (a.needs_detail, a.absent_count, a.due_at, a.in_flight, a.not_found_count) == (
        True,
        1,
        3.0,
        False,
        0,
    )
    assert queue(s, BATCH).needs_detail_count == 1
    assert a.last_success_at == 3.0
    alone = one(s, 3.0)
    assert shown(alone)[:2] == (PollMode.DETAIL, ["t0"])
    s.record_unfinished(a, alone, 4.0)
    assert (a.needs_detail, a.absent_count, queue(s, BATCH).needs_detail_count) == (False, 1, 0)


def test_absent_often_stays_alone_until_the_kind_tries_again() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH)
    s._set_needs_detail(a, True)
    a.absent_count = DETAIL_AFTER_ABSENCES
    for now in (5.0, 5.0 + RETRY_SHARED_SECONDS - 1):
        s.record_unfinished(a, PollRequest(BATCH, PollMode.DETAIL, [a], now), now)
        assert a.needs_detail
        assert queue(s, BATCH).retry_shared_at == 5.0 + RETRY_SHARED_SECONDS
    b.absent_count = DETAIL_AFTER_ABSENCES + 5
    s.record_unfinished(
        a, PollRequest(BATCH, PollMode.DETAIL, [a], now), 5.0 + RETRY_SHARED_SECONDS
    )
    assert not a.needs_detail
    assert (a.absent_count, b.absent_count) == (
        DETAIL_AFTER_ABSENCES - 1,
        DETAIL_AFTER_ABSENCES - 1,
    )
    assert queue(s, BATCH).retry_shared_at is None
    assert queue(s, BATCH).needs_detail_count == 0
    a.absent_count = 0
    s._set_needs_detail(a, True)
    s.record_unfinished(a, PollRequest(BATCH, PollMode.DETAIL, [a], now), now)
    assert (a.needs_detail, queue(s, BATCH).retry_shared_at) == (False, None)


@pytest.mark.parametrize(
    ("of", "min_seconds"), [(DETAIL, UNCONFIRMED_NOT_FOUND_SECONDS), (LISTED, NOT_FOUND_SECONDS)]
)
def test_a_task_is_given_up_after_several_answers_over_minutes(
    of: TaskKind[..., Any], min_seconds: float
) -> None:
    s = schedule()
    polled = add(s, "a", of)
    request = one(s, 0.0)
    for n, now in enumerate((5.0, 6.0, 5.0 + min_seconds - 0.1), 1):
        assert s.record_absent(polled, request, now) is MissOutcome.POLL_AGAIN
        assert (polled.not_found_count, polled.not_found_since) == (n, 5.0)
        assert s._follow_up_requests == []
        assert polled.due_at == max(10.0, now + 2.5)
    last = s.record_absent(polled, request, 5.0 + min_seconds)
    if of is DETAIL:
        assert last is MissOutcome.GIVE_UP
        return
    assert last is MissOutcome.POLL_AGAIN
    assert s.next_wake() == float("-inf")
    (confirming,) = s._follow_up_requests
    assert confirming.planned_at == 5.0 + min_seconds
    confirming = one(s, 6.0 + min_seconds)
    assert shown(confirming) == (PollMode.LIST, ["a"], None, True, 6.0 + min_seconds)
    assert confirming.kind is of
    assert s.record_absent(polled, confirming, 7.0 + min_seconds) is MissOutcome.GIVE_UP


def test_a_few_answers_are_not_enough_however_far_apart() -> None:
    s = schedule()
    polled = add(s)
    request = one(s, 0.0)
    assert s.record_absent(polled, request, 0.0) is MissOutcome.POLL_AGAIN
    assert s.record_absent(polled, request, 1e6) is MissOutcome.POLL_AGAIN
    assert s.record_absent(polled, request, 1e6) is MissOutcome.GIVE_UP


def test_absent_from_the_only_shared_call_counts() -> None:
    s = schedule()
    polled = add(s, "a", LIST_ONLY)
    assert s.record_absent(polled, one(s, 0.0), 0.0) is MissOutcome.POLL_AGAIN
    assert (polled.not_found_count, polled.needs_detail, polled.absent_count) == (1, False, 0)


def test_a_confirming_poll_of_a_dropped_task_is_not_made() -> None:
    s = schedule()
    polled = add(s, "a", LISTED, due=99.0)
    s._follow_up_requests.append(
        PollRequest(LISTED, PollMode.LIST, [polled], 0.0, confirms_absence=True)
    )
    s.drop(polled)
    assert s.plan(0.0) == []


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "jitter", "pause"),
    [
        *((0, 0.0, 10.0), (0, 0.5, 15.0), (0, 0.9, 19.0)),
        *((1, 0.0, 15.0), (1, 0.5, 22.5), (50, 0.5, 22.5)),
    ],
)
def test_the_pause_after_an_error_grows(errors: int, jitter: float, pause: float) -> None:
    s = schedule(jitter=lambda: jitter)
    polled = add(s)
    request = one(s, 0.0)
    polled.error_count, polled.not_found_count, polled.poll_again_at = errors, 2, 5.0
    s.request_failed(request, ERROR, 4.0)
    assert polled.due_at == pytest.approx(4.0 + pause)
    assert (polled.error_count, polled.last_error, polled.not_found_count) == (errors + 1, ERROR, 0)
    assert (polled.poll_again_at, polled.in_flight) == (NEVER, False)
    assert MAX_BACKOFF == 30.0


def test_the_pause_is_never_shorter_than_the_interval() -> None:
    s = schedule(interval=50.0)
    polled = add(s)
    s.request_failed(one(s, 0.0), ERROR, 0.0)
    assert polled.due_at == 50.0
    s = schedule(interval=0.01, jitter=lambda: 1.0)
    polled = add(s)
    polled.error_count = 40
    s.request_failed(one(s, 0.0), ERROR, 0.0)
    assert polled.due_at == 30.0


def test_the_pause_is_that_of_the_one_that_failed_most() -> None:
    s = schedule(interval=1.0, jitter=lambda: 1.0)
    a, b, c = many(s, 3, BATCH)
    request = one(s, 0.0)
    b.error_count = 2
    s.drop(c)
    s.request_failed(request, ERROR, 0.0)
    assert (a.due_at, b.due_at, a.error_count, b.error_count, c.error_count) == (8.0, 8.0, 1, 3, 0)
    s.request_failed(PollRequest(BATCH, PollMode.BATCH, [], 0.0), ERROR, 0.0)


def test_a_task_with_an_unreadable_record_is_polled_by_detail() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH)
    request = one(s, 0.0)
    s.record_unreadable(a, request, ERROR, 3.0)
    assert (a.needs_detail, a.absent_count, a.error_count, a.last_error, a.due_at) == (
        True,
        1,
        1,
        ERROR,
        3.0,
    )
    assert b.in_flight
    s.record_unreadable(a, one(s, 3.0), ERROR, 4.0)
    assert (a.error_count, a.last_error, a.in_flight) == (2, ERROR, False)
    assert a.due_at == 4.0 + 22.5
    assert a.absent_count == 1


def test_without_a_detail_operation_it_is_polled_later() -> None:
    s = schedule()
    a, b = many(s, 2, LIST_ONLY)
    s.record_unreadable(a, one(s, 0.0), ERROR, 3.0)
    assert (a.needs_detail, a.error_count, a.last_error, a.due_at, b.error_count) == (
        False,
        1,
        ERROR,
        18.0,
        0,
    )


def test_a_refused_shared_request_is_repeated_one_by_one() -> None:
    s = schedule()
    a, b, c = many(s, 3, BATCH)
    request = one(s, 0.0)
    s.drop(c)
    assert s.poll_each_by_detail(request, 2.0) is True
    assert [(w.needs_detail, w.absent_count, w.due_at) for w in (a, b)] == [(True, 1, 2.0)] * 2
    assert [shown(one)[:2] for one in s.plan(2.0)] == [(PollMode.DETAIL, [n]) for n in ("t0", "t1")]
    assert s.poll_each_by_detail(PollRequest(BATCH, PollMode.DETAIL, [a], 0.0), 2.0) is False
    d, e = many(s, 2, LIST_ONLY)
    assert s.poll_each_by_detail(one(s, 2.0), 2.0) is False
    assert (d.needs_detail, e.needs_detail) == (False, False)
    gone = PollRequest(BATCH_ONLY, PollMode.BATCH, [], 0.0)
    assert s.poll_each_by_detail(gone, 2.0) is False


def test_a_refused_batch_is_halved_until_one_remains() -> None:
    s = schedule()
    polled_tasks = many(s, 3, BATCH)
    s.split(one(s, 0.0))
    requests = s.plan(1.0)
    assert [shown(request) for request in requests] == [
        (PollMode.BATCH, ["t0", "t1"], None, False, 1.0),
        (PollMode.DETAIL, ["t2"], None, False, 1.0),
    ]
    assert [(w.needs_detail, w.absent_count) for w in polled_tasks] == [
        (False, 0),
        (False, 0),
        (True, 1),
    ]
    assert requests[1].kind is BATCH


def test_without_a_detail_the_last_one_stays_in_a_batch() -> None:
    s = schedule()
    many(s, 2, BATCH_ONLY)
    s.split(one(s, 0.0))
    assert [shown(request)[:2] for request in s.plan(1.0)] == [
        (PollMode.BATCH, ["t0"]),
        (PollMode.BATCH, ["t1"]),
    ]


def test_tasks_of_a_refused_list_are_polled_one_by_one() -> None:
    """Halves of a list are the list again."""
    s = schedule()
    polled_tasks = many(s, 9, LISTED)
    s.split(one(s, 0.0))
    requests = s.plan(1.0)
    assert {shown(request)[0] for request in requests} == {PollMode.DETAIL}
    assert sorted(id for request in requests for id in shown(request)[1]) == [
        f"t{n}" for n in range(9)
    ]
    assert [(w.needs_detail, w.absent_count) for w in polled_tasks] == [(True, 1)] * 9


def test_dropped_tasks_are_omitted_from_halves() -> None:
    s = schedule()
    a, b, c = many(s, 3, BATCH)
    s.split(one(s, 0.0))
    s.drop(a)
    s.drop(c)
    assert [shown(request)[:2] for request in s.plan(1.0)] == [(PollMode.DETAIL, ["t1"])]
    assert b.needs_detail


def test_the_list_may_be_read_instead() -> None:
    s = schedule()
    many(s, 2, LIST_ONLY)
    request = one(s, 0.0)
    s.poll_list_instead(request)
    again = one(s, 1.0)
    assert shown(again) == (PollMode.LIST, ["t0", "t1"], None, False, 1.0)
    assert again.kind is LIST_ONLY


# -- another call in place of one that fails -----------------------------------------------------


def fail(s: PollSchedule, request: PollRequest, now: float) -> None:
    s.request_failed(request, ERROR, now)


def due_again(s: PollSchedule, of: TaskKind[..., Any], now: float) -> PollRequest:
    """Return the next call for this kind, whose tasks are all due now."""
    for polled in s:
        if polled.kind is of and not polled.in_flight:
            polled.due_at = now
            queue(s, of).push(polled)
    return one(s, now)


def test_a_call_that_fails_twice_is_replaced_by_one_that_works() -> None:
    s = schedule()
    many(s, 2, BATCH_OR_DETAIL)
    of = BATCH_OR_DETAIL
    fail(s, one(s, 0.0), 0.0)
    second = due_again(s, of, 1.0)
    assert shown(second)[0] is PollMode.BATCH
    fail(s, second, 1.0)
    trial, *others = due_again_all(s, of, 2.0)
    assert shown(trial) == (PollMode.DETAIL, ["t0"], PollMode.BATCH, False, 2.0)
    assert [shown(request)[:3] for request in others] == [(PollMode.DETAIL, ["t1"], None)]
    s.request_succeeded(trial, 3.0)
    assert queue(s, of).disabled_until == {PollMode.BATCH: 3.0 + DISABLE_SECONDS}
    assert queue(s, of).disabled_seconds == {PollMode.BATCH: DISABLE_SECONDS}
    assert queue(s, of).last_worked_at == {PollMode.DETAIL: 3.0}


def due_again_all(s: PollSchedule, of: TaskKind[..., Any], now: float) -> list[PollRequest]:
    for polled in s:
        if polled.kind is of and not polled.in_flight:
            polled.due_at = now
            queue(s, of).push(polled)
    return s.plan(now)


def test_a_mode_that_fails_again_is_disabled_for_twice_as_long() -> None:
    s = schedule()
    (a,) = many(s, 1, BATCH_OR_DETAIL)
    of = BATCH_OR_DETAIL
    until = 0.0
    for span in (
        DISABLE_SECONDS,
        2 * DISABLE_SECONDS,
        4 * DISABLE_SECONDS,
        8 * DISABLE_SECONDS,
        RETRY_SHARED_SECONDS,
        RETRY_SHARED_SECONDS,
    ):
        trial = PollRequest(of, PollMode.DETAIL, [a], until, PollMode.BATCH)
        s.request_succeeded(trial, until)
        assert queue(s, of).disabled_seconds[PollMode.BATCH] == span
        s.request_succeeded(trial, until)  # is down already
        assert queue(s, of).disabled_seconds[PollMode.BATCH] == span
        until += span
        assert queue(s, of).disabled_until == {PollMode.BATCH: until}
        queue(s, of).disabled_until.clear()
    s.request_succeeded(PollRequest(of, PollMode.BATCH, [a], 0.0), 0.0)
    assert queue(s, of).disabled_seconds == {}


def test_a_call_that_failed_before_is_replaced_at_once() -> None:
    s = schedule()
    many(s, 2, BATCH_OR_DETAIL)
    of = BATCH_OR_DETAIL
    queue(s, of).disabled_seconds[PollMode.BATCH] = 60.0
    fail(s, one(s, 0.0), 0.0)
    assert queue(s, of).trial == (PollMode.DETAIL, PollMode.BATCH)


def test_what_works_for_others_is_not_replaced() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH_OR_DETAIL)
    of = BATCH_OR_DETAIL
    request = one(s, 0.0)
    a.error_count, a.last_success_at, b.last_success_at = 1, 5.0, 7.0
    for worked, instead in ((7.0, PollMode.BATCH), (7.1, None)):
        queue(s, of).last_worked_at[PollMode.BATCH] = worked
        fail(s, request, 8.0)
        assert queue(s, of).trial == (PollMode.DETAIL, instead)
        a.error_count = b.error_count = 1


def test_what_was_tried_in_vain_is_not_tried_again() -> None:
    s = schedule()
    (a,) = many(s, 1, BATCH)
    of = BATCH
    a.error_count = 1
    fail(s, PollRequest(of, PollMode.DETAIL, [a], 0.0), 0.0)
    assert queue(s, of).trial == (PollMode.BATCH, PollMode.DETAIL)
    first = due_again(s, of, 1.0)
    assert shown(first)[:3] == (PollMode.BATCH, ["t0"], PollMode.DETAIL)
    assert queue(s, of).trial is None
    fail(s, first, 1.0)
    assert queue(s, of).failed_replacements == [PollMode.BATCH]
    assert queue(s, of).trial is None
    fail(s, due_again(s, of, 2.0), 2.0)
    assert queue(s, of).trial == (PollMode.LIST, PollMode.DETAIL)
    fail(s, due_again(s, of, 3.0), 3.0)
    assert queue(s, of).failed_replacements == [PollMode.BATCH, PollMode.LIST]
    fail(s, due_again(s, of, 4.0), 4.0)
    assert (queue(s, of).failed_replacements, queue(s, of).trial) == ([], None)
    queue(s, of).failed_replacements.append(PollMode.BATCH)
    s.request_succeeded(PollRequest(of, PollMode.DETAIL, [a], 0.0), 4.0)
    assert queue(s, of).failed_replacements == []


def test_what_is_down_or_only_confirms_is_not_replaced() -> None:
    s = schedule()
    (a,) = many(s, 1, BATCH)
    a.error_count = 5
    fail(s, PollRequest(BATCH, PollMode.LIST, [a], 0.0, confirms_absence=True), 0.0)
    queue(s, BATCH).disabled_until[PollMode.DETAIL] = 99.0
    fail(s, PollRequest(BATCH, PollMode.DETAIL, [a], 0.0), 0.0)
    assert queue(s, BATCH).trial is None
    assert queue(s, BATCH).failed_replacements == []
    fail(s, PollRequest(BATCH, PollMode.BATCH, [a], 0.0), 0.0)
    assert queue(s, BATCH).trial == (PollMode.LIST, PollMode.BATCH)
    fail(s, PollRequest(DETAIL, PollMode.DETAIL, [], 0.0), 0.0)
    s.request_succeeded(PollRequest(DETAIL, PollMode.DETAIL, [], 0.0), 0.0)


def test_a_trial_includes_tasks_polled_by_detail() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH)
    s._set_needs_detail(a, True)
    s._set_needs_detail(b, True)
    queue(s, BATCH).trial = (PollMode.BATCH, None)
    assert shown(one(s, 0.0))[:3] == (PollMode.BATCH, ["t0", "t1"], None)
    s = schedule()
    add(s, "a", BATCH)
    queue(s, BATCH).trial = (PollMode.BATCH, None)
    assert shown(one(s, 0.0))[:2] == (PollMode.BATCH, ["a"])


def test_after_a_replacement_the_failed_tasks_are_polled_soon() -> None:
    """Not all at once where each is a call of its own."""
    s = schedule()
    of = BATCH_OR_DETAIL
    a, b, c, d = many(s, 4, of, due=50.0)
    e = add(s, "e", of, due=1.0)
    for polled in (a, b, e):
        polled.error_count = 1
    d.error_count, d.in_flight = 1, True
    s.request_succeeded(PollRequest(of, PollMode.DETAIL, [c], 0.0, PollMode.BATCH), 2.0)
    step = 10.0 / 3
    assert [w.due_at for w in (a, b, c, d, e)] == pytest.approx([2.0, 2.0 + step, 50.0, 50.0, 1.0])
    assert queue(s, of).first() is e
    s.drop(e)
    assert s.next_wake() == 2.0
    s = schedule()
    a, b = many(s, 2, BATCH, due=50.0)
    a.error_count = b.error_count = 1
    s.request_succeeded(PollRequest(BATCH, PollMode.BATCH, [], 0.0, PollMode.DETAIL), 2.0)
    assert (a.due_at, b.due_at) == (2.0, 2.0)


# -- events, hurry, other clients ----------------------------------------------------------------


def test_a_task_is_polled_now() -> None:
    s = schedule()
    polled = add(s, due=50.0)
    s.poll_now(polled, 7.0)
    assert (polled.due_at, s.next_wake()) == (7.0, 7.0)
    s.poll_now(polled, 8.0)
    assert polled.due_at == 7.0
    one(s, 8.0)
    s.poll_now(polled, 5.0)
    assert polled.due_at == 7.0
    assert s.next_wake() is None


def test_an_event_moves_the_poll() -> None:
    s = schedule(webhook_factor=3.0)
    a, b = add(s, "a", due=50.0, webhook_id="h"), add(s, "b", due=50.0, webhook_id="h")
    other = add(s, "c", due=50.0, webhook_id="x")
    s._missed_events = 2
    s._ends_without_event["h"] = 1.0
    s.webhook_event("h", 7.0)
    s.webhook_event("unknown", 7.0)
    assert [(w.due_at, w.hinted, w.hinted_poll_at) for w in (a, b)] == [(7.0, True, 7.0)] * 2
    assert (other.due_at, other.hinted, other.hinted_poll_at) == (50.0, False, float("-inf"))
    assert (s._missed_events, s._ends_without_event, queue(s, DETAIL).webhook_backed_count) == (
        0,
        {},
        1,
    )
    s.webhook_event("h", 8.0)
    assert (a.due_at, queue(s, DETAIL).webhook_backed_count) == (7.0, 1)
    assert s.next_wake() == 7.0


def test_a_second_event_waits_for_the_interval() -> None:
    s = schedule()
    polled = add(s, due=50.0)
    s.poll_early(polled, 7.0)
    s.record_unfinished(polled, one(s, 7.0), 7.5)
    polled.due_at = 50.0
    queue(s, DETAIL).push(polled)
    s.poll_early(polled, 9.0)
    assert (polled.due_at, polled.hinted_poll_at) == (17.0, 7.0)
    s.poll_early(polled, 17.0)
    assert polled.hinted_poll_at == 17.0


def test_an_event_during_a_poll_causes_another_poll() -> None:
    s = schedule()
    polled = add(s)
    request = one(s, 0.0)
    s.poll_early(polled, 1.0)
    s.poll_early(polled, 2.0)
    assert polled.poll_again_at == 1.0
    s.record_unfinished(polled, request, 3.0)
    assert (polled.due_at, polled.poll_again_at) == (1.0, NEVER)
    s.record_unfinished(polled, one(s, 3.0), 3.0)
    assert polled.due_at == 13.0


def test_an_event_where_the_shared_call_shows_no_ends() -> None:
    s = schedule()
    a, b = many(s, 2, PROCESSING, due=50.0)
    s.poll_early(a, 1.0)
    assert (a.needs_detail, b.needs_detail) == (True, False)
    for of in (BATCH, PROCESSING_ONLY):
        a, b = many(s, 2, of, due=50.0)
        s.poll_early(a, 1.0)
        assert not a.needs_detail


def test_ends_without_events_are_counted() -> None:
    s = schedule(webhook_factor=3.0)
    for n in range(MAX_MISSED_EVENTS):
        polled = add(s, f"t{n}", now=0.0, due=1.0, webhook_id=f"h{n}")
        assert s.record_end(polled, 5.0) is False
        assert polled.dropped
        assert s._ends_without_event[f"h{n}"] == 5.0
    assert s._missed_events == 0
    late = [add(s, f"u{n}", now=0.0, due=0.0, webhook_id=f"g{n}") for n in range(2)]
    assert s.record_end(late[0], 34.9) is False
    assert (s._missed_events, len(s._ends_without_event)) == (0, 3)
    assert s.record_end(late[1], 35.0) is True
    assert (s._missed_events, s._ends_without_event) == (MAX_MISSED_EVENTS, {})
    assert s.record_end(add(s, "v"), 99.0) is False


@pytest.mark.parametrize(
    "values", [{"webhook_id": None}, {"hinted": True}, {"due": 0.0}, {"of": None, "factor": 1.0}]
)
def test_some_ends_prove_nothing(values: dict[str, Any]) -> None:
    s = schedule(webhook_factor=values.pop("factor", 3.0))
    values.pop("of", None)
    polled = add(s, **{"due": 1.0, "webhook_id": "h", **values})
    assert s.record_end(polled, 5.0) is False
    assert s._ends_without_event == {}


def test_only_the_old_ones_are_counted() -> None:
    s = schedule(webhook_factor=3.0)
    s._ends_without_event = {"a": 1.0, "b": 2.0, "c": 3.0}
    s._missed_events = MAX_MISSED_EVENTS - 1
    assert s.record_end(add(s), 31.5) is True
    assert (s._missed_events, s._ends_without_event) == (MAX_MISSED_EVENTS, {"b": 2.0, "c": 3.0})
    assert s.record_end(add(s), 32.5) is False
    assert s._missed_events == MAX_MISSED_EVENTS + 1


def test_another_client_polls_it() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH)
    s._set_needs_detail(a, True)
    s.delegate(a, 3.0)
    assert (a.delegated, a.needs_detail, a.due_at) == (True, False, 3.0 + DELEGATED_POLL_INTERVAL)
    s.delegate(a, 4.0)
    assert (queue(s, BATCH).delegated_count, queue(s, BATCH).needs_detail_count, a.due_at) == (
        1,
        0,
        4.0 + DELEGATED_POLL_INTERVAL,
    )
    assert s.next_wake() == 0.0
    watch_look = one(s, 0.0)
    assert a in watch_look.polled_tasks
    s.record_unfinished(a, watch_look, 5.0)
    assert a.due_at == DELEGATED_POLL_INTERVAL
    a.error_count, a.last_error, a.not_found_count, a.had_time_for_event = 1, ERROR, 2, False
    s.reported_by_leader(a, 6.0)
    assert (a.error_count, a.last_error, a.not_found_count, a.had_time_for_event) == (
        0,
        None,
        0,
        True,
    )
    assert (a.last_success_at, a.due_at) == (6.0, 6.0 + DELEGATED_POLL_INTERVAL)
    s.reclaim(a, 8.0)
    s.reclaim(a, 9.0)
    assert (a.delegated, a.due_at, queue(s, BATCH).delegated_count) == (False, 8.0, 0)
    assert s.next_wake() == 8.0
    assert b.in_flight


def test_what_is_in_flight_is_not_moved() -> None:
    s = schedule()
    polled = add(s)
    one(s, 0.0)
    s.delegate(polled, 5.0)
    s.reclaim(polled, 6.0)
    assert (polled.due_at, s.next_wake()) == (0.0, None)


def test_what_is_dropped_comes_back_by_nothing() -> None:
    s = schedule()
    a, b = many(s, 2, BATCH)
    request = one(s, 0.0)
    s.drop(a)
    s.request_failed(request, ERROR, 1.0)
    s.record_unfinished(a, request, 1.0)
    s._set_needs_detail(a, True)
    s._poll_by_detail(a, 1.0)
    s.record_inconclusive(a, request, 1.0)
    assert (queue(s, BATCH).needs_detail_count, list(s), a.in_flight) == (0, [b], True)
    assert s.next_wake() == b.due_at


def test_a_kind_whose_pages_are_small_takes_more_calls() -> None:
    s = schedule(poll_rate=1.0)
    many(s, 45, evolve(LIST_ONLY, paging=ListPaging(max_size=2)))
    assert s.interval() == 23.0
