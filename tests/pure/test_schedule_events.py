"""Polling of webhook-backed tasks: rarer, triggered early by events, never dependent on them."""

import random
import statistics
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from a2e_async._core.polling.polled_tasks import PollMode, PollRequest
from a2e_async._core.polling.schedule import MAX_MISSED_EVENTS
from a2e_async._core.webhooks.tokens import (
    MAX_WEBHOOK_POLL_INTERVAL,
    WEBHOOK_POLL_FACTOR,
    webhook_poll_factor,
)

from .world import BATCH, DETAIL, KINDS, PROCESSING, FailedCall, World, all_shown, world


def times(w: World, id: str = "t") -> list[float]:
    return [at for at, _, ids in w.polls if id in ids]


def test_rarer_while_an_event_is_awaited() -> None:
    """Every 15 intervals; a task without a webhook keeps the interval."""
    w = world(webhook_factor=15.0)
    w.add(DETAIL, "t", hook="h")
    w.add(DETAIL, "plain")
    w.run(100.0)
    assert times(w) == pytest.approx([0, 15, 30, 45, 60, 75, 90])
    assert len(times(w, "plain")) == 101


def test_how_rare_is_rare() -> None:
    """Fifteen intervals, but at most 30 s; a longer poll_interval stays as it is."""
    assert webhook_poll_factor(2.0) * 2.0 == MAX_WEBHOOK_POLL_INTERVAL == WEBHOOK_POLL_FACTOR * 2.0
    assert webhook_poll_factor(0.1) == WEBHOOK_POLL_FACTOR
    assert webhook_poll_factor(10.0) * 10.0 == MAX_WEBHOOK_POLL_INTERVAL
    assert webhook_poll_factor(60.0) == 1.0


def test_an_event_moves_the_poll_and_restores_the_interval() -> None:
    """The event may have come too early: the usual interval applies from then on."""
    w = world(webhook_factor=15.0)
    w.add(DETAIL, "t", due=15.0, hook="h")
    w.at(4.5, lambda: w.schedule.webhook_event("h", w.now))
    w.run(8.0)
    assert times(w) == pytest.approx([4.5, 5.5, 6.5, 7.5])


def test_an_event_of_another_start_moves_nothing() -> None:
    w = world(webhook_factor=15.0)
    w.add(DETAIL, "t", due=15.0, hook="h")
    w.at(4.5, lambda: w.schedule.webhook_event("other", w.now))
    w.run(14.0)
    assert not w.polls


def test_a_start_of_several_tasks_has_one_hook() -> None:
    """The event does not say which part has ended: all are polled."""
    w = world(webhook_factor=15.0)
    for id in ("a", "b"):
        w.add(DETAIL, id, due=15.0, hook="h")
    w.at(3.0, lambda: w.schedule.webhook_event("h", w.now))
    w.run(3.5)
    assert times(w, "a") == times(w, "b") == [3.0]


def test_a_poll_in_flight_may_have_been_sent_too_early() -> None:
    """Another poll follows at once."""
    w = world(webhook_factor=15.0, latency=lambda: 0.4)
    w.add(DETAIL, "t", hook="h")
    w.at(0.3, lambda: w.schedule.webhook_event("h", w.now))
    w.run(2.0)
    assert times(w) == pytest.approx([0.0, 0.4, 1.4])


@settings(max_examples=60, deadline=None)
@given(
    gap=st.floats(0.02, 3.0),
    kind=st.sampled_from(KINDS),
    latency=st.floats(0.0, 0.9),
    hooked=st.booleans(),
)
@example(gap=0.001, kind=BATCH, latency=0.3, hooked=True)
@example(gap=0.001, kind=DETAIL, latency=0.0, hooked=False)
def test_a_flood_of_events_causes_two_polls_an_interval_at_most(
    gap: float, kind: object, latency: float, hooked: bool
) -> None:
    """Replayed or not: each poll that a flood brings forward takes the place of a later one."""
    w = world(webhook_factor=15.0, latency=lambda: latency)
    polled = w.add(kind, "t", hook="h" if hooked else None)  # type: ignore[arg-type]
    n = 0
    while n * gap < 50:
        w.at(n * gap, lambda: w.schedule.poll_early(polled, w.now))
        n += 1
    w.run(50.0)
    seen = times(w)
    assert len(seen) <= 2 * 50 + 2
    for begin in seen:
        assert sum(begin <= at < begin + 0.999 for at in seen) <= 2


def test_events_that_stay_out_are_not_relied_on() -> None:
    """After three ends without an event, all tasks are polled as often as without webhooks."""
    w = world(webhook_factor=15.0, latency=lambda: 0.0)
    for n in range(MAX_MISSED_EVENTS + 1):
        w.ends[f"{n}"] = 1.0 + 16 * (n == MAX_MISSED_EVENTS)
        w.add(DETAIL, f"{n}", due=15.0, hook=f"h{n}")
    w.add(DETAIL, "t", due=15.0, hook="h")
    w.run(29.5)
    assert not w.distrust_count, "an event may come late"
    w.run(34.0)
    assert w.distrust_count == 1
    assert times(w) == pytest.approx([15, 30, 31, 32, 33, 34])
    w.at(34.4, lambda: w.schedule.webhook_event("h", w.now))
    w.run(34.5)
    w.add(DETAIL, "next", hook="h-next")
    w.run(60.0)
    assert times(w, "next") == pytest.approx([34.5, 49.5])


def test_an_end_that_is_seen_before_its_event_is_none_missed() -> None:
    """Many tasks end at once, and the poll for one shows the others."""
    w = world(webhook_factor=15.0, latency=lambda: 0.0)
    w.add(BATCH, "plain")
    for n in range(50):
        w.ends[f"{n}"] = 10.0 + n
        w.at(12.5 + n, lambda n=n: w.schedule.webhook_event(f"h{n}", w.now))
        w.add(BATCH, f"{n}", due=15.0, hook=f"h{n}")
    w.run(80.0)
    assert len(w.delays) == 50
    assert not w.distrust_count


def test_what_had_ended_before_it_was_watched_proves_nothing() -> None:
    """As after a restart: its event went to the previous process."""
    w = world(webhook_factor=15.0)
    for n in range(10):
        w.ends[f"{n}"] = -5.0
        w.add(DETAIL, f"{n}", hook=f"h{n}")
    w.run(1.0)
    assert len(w.delays) == 10
    w.add(DETAIL, "t", hook="h")
    w.run(20.0)
    assert times(w) == pytest.approx([1, 16])
    assert not w.distrust_count


def test_tasks_in_one_call_share_it() -> None:
    """A request for another task also shows the webhook-backed ones, at no cost."""
    w = world(webhook_factor=15.0)
    w.add(BATCH, "plain")
    for n in range(50):
        w.add(BATCH, f"{n}", hook=f"h{n}")
    w.run(10.0)
    assert len(w.polls) == 11
    assert all(len(ids) == 51 for _, _, ids in w.polls)


def test_an_ended_task_is_polled_by_detail_where_the_shared_request_shows_no_ends() -> None:
    """One call instead of two; should it run still, it shares the call again."""
    w = world(webhook_factor=15.0, interval=1.0)
    for id in ("a", "b"):
        w.add(PROCESSING, id, due=15.0, hook=f"h-{id}")
    w.at(3.0, lambda: w.schedule.webhook_event("h-a", w.now))
    w.run(4.5)
    assert [(mode, ids) for _, mode, ids in w.polls] == [
        (PollMode.DETAIL, ("a",)),
        (PollMode.PROCESSING, ("a", "b")),
    ]


def test_an_error_backs_off_whatever_events_say() -> None:
    def failing(w: World, request: PollRequest) -> set[str]:
        raise FailedCall

    w = world(failing, webhook_factor=15.0, latency=lambda: 0.5, jitter=lambda: 0.999)
    w.add(DETAIL, "t", hook="h")
    w.at(0.2, lambda: w.schedule.webhook_event("h", w.now))
    w.run(2.0)
    assert times(w) == [0.0]


def test_the_rate_is_kept_and_used() -> None:
    """1,000 single polls at 5 a second: 200 s a round, and not fifteen times that."""
    w = world(webhook_factor=15.0, poll_rate=5.0, latency=lambda: 0.0, interval=2.0)
    for n in range(1000):
        w.add(DETAIL, f"{n}", due=n / 5.0, hook=f"h{n}")
    w.run(1000.0)
    assert len(w.calls(200.0)) == pytest.approx(5.0 * 800, rel=0.05)
    gaps = [b - a for a, b in pairwise(times(w, "7"))]
    assert gaps == pytest.approx([200.0] * len(gaps), rel=0.05)
    for n in range(900):
        w.drop(w.schedule.find("detail", f"{n}"))  # type: ignore[arg-type]
    w.run(2000.0)
    # Its few tasks now fit into the rate: 15 ticks of 2 s are the interval again.
    later = [b - a for a, b in pairwise(t for t in times(w, "950") if t > 1300)]
    assert later == pytest.approx([30.0] * len(later), rel=0.05)


def test_delay_and_calls() -> None:
    """One event in 15 lost: the mean delay is as of polls alone, at a fraction of the requests."""

    def run(factor: float, lost: float) -> tuple[float, float]:
        chance = random.Random(5)
        w = world(all_shown, webhook_factor=factor, interval=2.0, latency=lambda: 0.1)
        for n in range(300):
            start, lasts = n * 30.0, chance.uniform(60, 120)
            w.ends[f"{n}"] = start + lasts
            w.at(start, lambda n=n: w.add(DETAIL, f"{n}", due=w.now + 2.0 * factor, hook=f"h{n}"))
            if chance.random() >= lost:
                w.at(start + lasts, lambda n=n: w.schedule.webhook_event(f"h{n}", w.now))
        w.run(1e5)
        assert len(w.delays) == 300
        return statistics.mean(w.delays), len(w.polls) / 300

    delay, calls = run(15.0, 1 / 15)
    plain_delay, plain_calls = run(1.0, 1.0)
    assert plain_delay == pytest.approx(1.1, abs=0.15)
    assert delay < 1.5 * plain_delay
    assert calls < plain_calls / 8
    sure_delay, sure_calls = run(15.0, 0.0)
    assert sure_delay == pytest.approx(0.1, abs=0.01)
    assert sure_calls < 4.5
