"""Whether and when a request is retried."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.http.retry import (
    MAX_HOLD,
    AttemptOutcome,
    RetryBudget,
    RetryPlanner,
    RetryPolicy,
    RetrySafety,
    classify_failure,
    may_have_been_accepted,
    parse_retry_after,
)
from a2e_async.errors import (
    A2EError,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    InvalidInput,
    InvalidRequest,
    RateLimited,
    ResponseTimeout,
    ServerError,
)

API: dict[str, Any] = {
    "http_status": 400,
    "code": None,
    "message": "",
    "trace_id": None,
    "method": "POST",
    "path": "/x",
}
LINE: dict[str, Any] = {"method": "POST", "path": "/x", "sent": True}


@pytest.mark.parametrize(
    ("error", "outcome", "maybe"),
    [
        (
            RateLimited(retry_after=1, **{**API, "http_status": 429}),
            AttemptOutcome.RATE_LIMITED,
            False,
        ),
        (RateLimited(retry_after=1, from_api=True, **API), AttemptOutcome.RATE_LIMITED, False),
        (RateLimited(retry_after=1, **API), AttemptOutcome.UNKNOWN, True),
        (ConnectError("", **LINE), AttemptOutcome.NOT_DELIVERED, False),
        (ConnectionLost("", **LINE), AttemptOutcome.UNKNOWN, True),
        (ResponseTimeout("", **LINE), AttemptOutcome.UNKNOWN, True),
        (ServerError(**API), AttemptOutcome.UNKNOWN, True),
        (DecodeError(""), AttemptOutcome.UNKNOWN, True),
        (InvalidRequest(from_api=True, **API), AttemptOutcome.FINAL, False),
        (AuthenticationError(from_api=True, **API), AttemptOutcome.FINAL, False),
        (ApiError(from_api=True, **API), AttemptOutcome.FINAL, False),
        (InvalidRequest(**API), AttemptOutcome.FINAL, True),
        (InvalidRequest(from_api=True, **{**API, "http_status": 409}), AttemptOutcome.FINAL, True),
        (InvalidRequest(from_api=True, **{**API, "code": 503}), AttemptOutcome.FINAL, True),
        (ConfigurationError(""), AttemptOutcome.FINAL, True),
    ],
)
def test_every_error_has_its_verdict(error: A2EError, outcome: AttemptOutcome, maybe: bool) -> None:
    assert classify_failure(error, sent=True) is outcome
    assert may_have_been_accepted(error) is maybe


def test_raw_errors_are_classified_by_whether_bytes_were_sent() -> None:
    assert classify_failure(OSError(), sent=False) is AttemptOutcome.NOT_DELIVERED
    assert classify_failure(TimeoutError(), sent=True) is AttemptOutcome.UNKNOWN
    assert classify_failure(ValueError(), sent=True) is AttemptOutcome.FINAL
    assert classify_failure(KeyboardInterrupt(), sent=False) is AttemptOutcome.FINAL


policies = st.builds(
    RetryPolicy,
    max_elapsed=st.floats(0, 1e4),
    initial=st.floats(0, 100),
    factor=st.floats(1, 1e3),
    max_delay=st.floats(0, 100),
    max_attempts=st.integers(1, 10_000),
)


@given(
    policy=policies,
    repeat=st.sampled_from(RetrySafety),
    outcomes=st.lists(st.sampled_from(AttemptOutcome), max_size=12),
    steps=st.lists(st.floats(0, 100), min_size=12, max_size=12),
    retry_after=st.none() | st.floats(0, 1e6),
    seed=st.integers(),
)
def test_no_charged_call_is_repeated_blindly_and_no_budget_is_passed(
    policy: RetryPolicy,
    repeat: RetrySafety,
    outcomes: list[AttemptOutcome],
    steps: list[float],
    retry_after: float | None,
    seed: int,
) -> None:
    planner = RetryPlanner(policy, repeat, RetryBudget(), random.Random(seed).random)
    elapsed = 0.0
    for attempt, (outcome, step) in enumerate(zip(outcomes, steps, strict=False), 1):
        elapsed += step
        delay = planner.next_delay(outcome, attempt, elapsed, retry_after)
        if outcome is AttemptOutcome.FINAL or attempt >= policy.max_attempts:
            assert delay is None
        if outcome is AttemptOutcome.UNKNOWN and repeat is RetrySafety.CHARGED:
            assert delay is None
        if delay is None:
            return
        assert delay >= 0
        assert elapsed + delay <= policy.max_elapsed
        if retry_after is not None:
            assert delay >= retry_after
        elif outcome is not AttemptOutcome.RATE_LIMITED:
            bound = policy.initial * policy.factor ** (attempt - 1)
            assert delay <= min(policy.max_delay, bound)
        elapsed += delay


def test_the_pause_grows_and_the_servers_word_is_believed_once() -> None:
    planner = RetryPlanner(RetryPolicy(), RetrySafety.FREE, RetryBudget(), lambda: 0.0)
    assert [planner.hold_seconds(n, None) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 7.5]
    assert planner.hold_seconds(1, 0.0) == 0.0
    assert planner.hold_seconds(2, 0.0) == 0.5
    assert planner.hold_seconds(2, 30.0) == 30.0


@pytest.mark.parametrize("drawn", [0.0, 0.25, 0.999])
def test_a_pause_is_drawn_from_the_upper_half_of_its_bound(drawn: float) -> None:
    planner = RetryPlanner(RetryPolicy(), RetrySafety.FREE, RetryBudget(), lambda: drawn)
    for attempt, bound in ((1, 1.0), (2, 2.0), (5, 15.0)):
        assert planner.hold_seconds(attempt, None) == bound * (0.5 + drawn / 2)
        assert planner.hold_seconds(attempt + 1, 0.0) == bound * (0.5 + drawn / 2)
        assert planner.next_delay(AttemptOutcome.RATE_LIMITED, attempt, 0, None) == bound * (
            0.5 + drawn / 2
        )


def test_a_delay_is_drawn_up_to_its_bound() -> None:
    planner = RetryPlanner(RetryPolicy(), RetrySafety.FREE, RetryBudget(), lambda: 0.5)
    delays = [
        planner.next_delay(AttemptOutcome.UNKNOWN, attempt, 0, None) for attempt in range(1, 8)
    ]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 7.5, 7.5]
    assert planner.next_delay(AttemptOutcome.UNKNOWN, 8, 0, None) is None
    assert planner.next_delay(AttemptOutcome.UNKNOWN, 3, 0, 0.5) == 1.0
    assert planner.next_delay(AttemptOutcome.UNKNOWN, 3, 0, 1.5) == 1.5
    assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 3, 0, 0.5) == 0.5


def test_the_last_attempt_begins_at_the_end_of_the_time() -> None:
    planner = RetryPlanner(
        RetryPolicy(max_elapsed=10), RetrySafety.FREE, RetryBudget(), lambda: 0.5
    )
    assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 1, 8.0, 2.0) == 2.0
    assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 1, 8.0, 2.1) is None
    assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 1, float("nan"), 2.0) is None


def test_only_repetitions_that_are_made_take_of_the_quota() -> None:
    quota = RetryBudget()
    for repeat in RetrySafety:
        planner = RetryPlanner(RetryPolicy(max_elapsed=10), repeat, quota, lambda: 0.5)
        assert planner.next_delay(AttemptOutcome.FINAL, 1, 0, None) is None
        assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 1, 11.0, None) is None
        assert planner.next_delay(AttemptOutcome.NOT_DELIVERED, 8, 0, None) is None
    assert planner.next_delay(AttemptOutcome.UNKNOWN, 1, 0, None) is None
    assert quota.remaining == 500
    assert planner.next_delay(AttemptOutcome.RATE_LIMITED, 1, 0, 1.0) == 1.0
    assert quota.remaining == 495
    assert planner.next_delay(AttemptOutcome.NOT_DELIVERED, 1, 0, None) == 0.25
    assert quota.remaining == 481


def test_a_quota_may_be_taken_to_its_end() -> None:
    quota = RetryBudget(capacity=20, remaining=19)
    assert quota.try_spend(AttemptOutcome.NOT_DELIVERED)
    assert quota.try_spend(AttemptOutcome.RATE_LIMITED)
    assert quota.remaining == 0
    assert not quota.try_spend(AttemptOutcome.RATE_LIMITED)
    quota.record_success(AttemptOutcome.RATE_LIMITED)
    assert quota.remaining == 5
    assert RetryBudget(remaining=0).remaining == 0
    assert RetryBudget(capacity=7).remaining == 7


@pytest.mark.parametrize("attempt", [1, 2])
def test_no_pause_is_longer_than_the_longest_hold(attempt: int) -> None:
    planner = RetryPlanner(RetryPolicy(), RetrySafety.FREE, RetryBudget(), lambda: 0.0)
    assert planner.hold_seconds(attempt, 86_400.0) == MAX_HOLD
    assert planner.hold_seconds(attempt, MAX_HOLD - 1) == MAX_HOLD - 1


def test_a_huge_number_of_attempts_does_not_overflow() -> None:
    policy = RetryPolicy(max_attempts=10**6, max_elapsed=1e9)
    planner = RetryPlanner(policy, RetrySafety.FREE, RetryBudget(), lambda: 0.999)
    delay = planner.next_delay(AttemptOutcome.UNKNOWN, 99_999, 0, None)
    assert delay is not None
    assert delay <= policy.max_delay


def test_the_quota_ends_a_storm_and_fills_again() -> None:
    quota = RetryBudget()
    allowed = sum(quota.try_spend(AttemptOutcome.UNKNOWN) for _ in range(100))
    assert allowed == 35
    assert quota.remaining == 10
    assert quota.try_spend(AttemptOutcome.RATE_LIMITED)
    assert not quota.try_spend(AttemptOutcome.UNKNOWN)
    planner = RetryPlanner(RetryPolicy(), RetrySafety.FREE, quota, lambda: 0.0)
    assert planner.next_delay(AttemptOutcome.UNKNOWN, 1, 0, None) is None
    quota.record_success()
    assert quota.remaining == 6
    quota.record_success(AttemptOutcome.UNKNOWN)
    assert quota.remaining == 20
    for _ in range(600):
        quota.record_success()
    assert quota.remaining == quota.capacity


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_elapsed": -1},
        {"initial": float("nan")},
        {"factor": 0.5},
        {"max_delay": "1"},
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_attempts": True},
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(InvalidInput, match=rf"^RetryPolicy\({name}={value!r}\) must") as caught:
        RetryPolicy(**wrong)
    assert caught.value.field == name


NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5", 5.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("864000", 864_000.0),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Friday, 20-Nov-26 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
        ("soon", None),
        ("", None),
        ("1e3", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("Fri, 99 Nov 2026 12:00:30 GMT", None),
        ("9" * 400, None),
        ("+2", 2.0),
        ("9" * 18, float("9" * 18)),
        ("9" * 19, None),
        ("Fri, 20 Nov 2026 13:00:30 +0100", 30.0),
        ("Fri, 20 Nov 2026 12:00:30" + " " * 35 + "GMT" + "X", 30.0),
        ("Fri, 20 Nov 2026 12:00:30" + " " * 36 + "GMT" + "X", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize("years", [-10, 0, 10])
def test_a_date_counts_from_the_answers_own(years: int) -> None:
    theirs = NOW + timedelta(days=365 * years)
    value = format_datetime(theirs + timedelta(seconds=7), usegmt=True)
    assert parse_retry_after(value, NOW, format_datetime(theirs, usegmt=True)) == 7
    assert parse_retry_after("5", NOW, format_datetime(theirs, usegmt=True)) == 5


def test_a_date_that_cannot_be_read_is_ours() -> None:
    assert parse_retry_after("Fri, 20 Nov 2026 12:00:30 GMT", NOW, "today") == 30
    assert parse_retry_after("Fri, 20 Nov 2026 12:00:30 GMT", NOW, "") == 30


@given(st.text(), st.none() | st.text())
def test_retry_after_takes_any_text(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, NOW, date)
    assert seconds is None or 0 <= seconds < float("inf")
