"""Whether and when a request is retried."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from a2e_async.transport.retry import (
    MAX_HOLD,
    Quota,
    Repeat,
    Retrier,
    RetryPolicy,
    Verdict,
    could_be_accepted,
    judge,
    parse_retry_after,
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
    ("error", "verdict", "maybe"),
    [
        (RateLimited(retry_after=1, **{**API, "http_status": 429}), Verdict.PACED, False),
        (RateLimited(retry_after=1, from_api=True, **API), Verdict.PACED, False),
        (RateLimited(retry_after=1, **API), Verdict.UNKNOWN, True),
        (ConnectError("", **LINE), Verdict.NOT_DELIVERED, False),
        (ConnectionLost("", **LINE), Verdict.UNKNOWN, True),
        (ResponseTimeout("", **LINE), Verdict.UNKNOWN, True),
        (ServerError(**API), Verdict.UNKNOWN, True),
        (DecodeError(""), Verdict.UNKNOWN, True),
        (InvalidRequest(from_api=True, **API), Verdict.FINAL, False),
        (AuthenticationError(from_api=True, **API), Verdict.FINAL, False),
        (ApiError(from_api=True, **API), Verdict.FINAL, False),
        (InvalidRequest(**API), Verdict.FINAL, True),
        (InvalidRequest(from_api=True, **{**API, "http_status": 409}), Verdict.FINAL, True),
        (InvalidRequest(from_api=True, **{**API, "code": 503}), Verdict.FINAL, True),
        (ConfigurationError(""), Verdict.FINAL, True),
    ],
)
def test_every_error_has_its_verdict(error: A2EError, verdict: Verdict, maybe: bool) -> None:
    assert judge(error, sent=True) is verdict
    assert could_be_accepted(error) is maybe


def test_raw_errors_are_judged_by_whether_bytes_left() -> None:
    assert judge(OSError(), sent=False) is Verdict.NOT_DELIVERED
    assert judge(TimeoutError(), sent=True) is Verdict.UNKNOWN
    assert judge(ValueError(), sent=True) is Verdict.FINAL
    assert judge(KeyboardInterrupt(), sent=False) is Verdict.FINAL


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
    repeat=st.sampled_from(Repeat),
    verdicts=st.lists(st.sampled_from(Verdict), max_size=12),
    steps=st.lists(st.floats(0, 100), min_size=12, max_size=12),
    asked=st.none() | st.floats(0, 1e6),
    seed=st.integers(),
)
def test_no_charged_call_is_repeated_blindly_and_no_budget_is_passed(
    policy: RetryPolicy,
    repeat: Repeat,
    verdicts: list[Verdict],
    steps: list[float],
    asked: float | None,
    seed: int,
) -> None:
    retrier = Retrier(policy, repeat, Quota(), random.Random(seed).random)
    elapsed = 0.0
    for attempt, (verdict, step) in enumerate(zip(verdicts, steps, strict=False), 1):
        elapsed += step
        delay = retrier.next_delay(verdict, attempt, elapsed, asked)
        if verdict is Verdict.FINAL or attempt >= policy.max_attempts:
            assert delay is None
        if verdict is Verdict.UNKNOWN and repeat is Repeat.CHARGED:
            assert delay is None
        if delay is None:
            return
        assert delay >= 0
        assert elapsed + delay <= policy.max_elapsed
        if asked is not None:
            assert delay >= asked
        elif verdict is not Verdict.PACED:
            bound = policy.initial * policy.factor ** (attempt - 1)
            assert delay <= min(policy.max_delay, bound)
        elapsed += delay


def test_the_pause_grows_and_the_servers_word_is_believed_once() -> None:
    retrier = Retrier(RetryPolicy(), Repeat.FREE, Quota(), lambda: 0.0)
    assert [retrier.pause(n, None) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 7.5]
    assert retrier.pause(1, 0.0) == 0.0
    assert retrier.pause(2, 0.0) == 0.5
    assert retrier.pause(2, 30.0) == 30.0


@pytest.mark.parametrize("drawn", [0.0, 0.25, 0.999])
def test_a_pause_is_drawn_from_the_upper_half_of_its_bound(drawn: float) -> None:
    retrier = Retrier(RetryPolicy(), Repeat.FREE, Quota(), lambda: drawn)
    for attempt, bound in ((1, 1.0), (2, 2.0), (5, 15.0)):
        assert retrier.pause(attempt, None) == bound * (0.5 + drawn / 2)
        assert retrier.pause(attempt + 1, 0.0) == bound * (0.5 + drawn / 2)
        assert retrier.next_delay(Verdict.PACED, attempt, 0, None) == bound * (0.5 + drawn / 2)


def test_a_delay_is_drawn_up_to_its_bound() -> None:
    retrier = Retrier(RetryPolicy(), Repeat.FREE, Quota(), lambda: 0.5)
    delays = [retrier.next_delay(Verdict.UNKNOWN, attempt, 0, None) for attempt in range(1, 8)]
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 7.5, 7.5]
    assert retrier.next_delay(Verdict.UNKNOWN, 8, 0, None) is None
    assert retrier.next_delay(Verdict.UNKNOWN, 3, 0, 0.5) == 1.0
    assert retrier.next_delay(Verdict.UNKNOWN, 3, 0, 1.5) == 1.5
    assert retrier.next_delay(Verdict.PACED, 3, 0, 0.5) == 0.5


def test_the_last_attempt_begins_at_the_end_of_the_time() -> None:
    retrier = Retrier(RetryPolicy(max_elapsed=10), Repeat.FREE, Quota(), lambda: 0.5)
    assert retrier.next_delay(Verdict.PACED, 1, 8.0, 2.0) == 2.0
    assert retrier.next_delay(Verdict.PACED, 1, 8.0, 2.1) is None
    assert retrier.next_delay(Verdict.PACED, 1, float("nan"), 2.0) is None


def test_only_repetitions_that_are_made_take_of_the_quota() -> None:
    quota = Quota()
    for repeat in Repeat:
        retrier = Retrier(RetryPolicy(max_elapsed=10), repeat, quota, lambda: 0.5)
        assert retrier.next_delay(Verdict.FINAL, 1, 0, None) is None
        assert retrier.next_delay(Verdict.PACED, 1, 11.0, None) is None
        assert retrier.next_delay(Verdict.NOT_DELIVERED, 8, 0, None) is None
    assert retrier.next_delay(Verdict.UNKNOWN, 1, 0, None) is None
    assert quota.left == 500
    assert retrier.next_delay(Verdict.PACED, 1, 0, 1.0) == 1.0
    assert quota.left == 495
    assert retrier.next_delay(Verdict.NOT_DELIVERED, 1, 0, None) == 0.25
    assert quota.left == 481


def test_a_quota_may_be_taken_to_its_end() -> None:
    quota = Quota(capacity=20, left=19)
    assert quota.take(Verdict.NOT_DELIVERED)
    assert quota.take(Verdict.PACED)
    assert quota.left == 0
    assert not quota.take(Verdict.PACED)
    quota.succeeded(Verdict.PACED)
    assert quota.left == 5
    assert Quota(left=0).left == 0
    assert Quota(capacity=7).left == 7


@pytest.mark.parametrize("attempt", [1, 2])
def test_no_pause_is_longer_than_the_longest_hold(attempt: int) -> None:
    retrier = Retrier(RetryPolicy(), Repeat.FREE, Quota(), lambda: 0.0)
    assert retrier.pause(attempt, 86_400.0) == MAX_HOLD
    assert retrier.pause(attempt, MAX_HOLD - 1) == MAX_HOLD - 1


def test_a_huge_number_of_attempts_does_not_overflow() -> None:
    policy = RetryPolicy(max_attempts=10**6, max_elapsed=1e9)
    retrier = Retrier(policy, Repeat.FREE, Quota(), lambda: 0.999)
    delay = retrier.next_delay(Verdict.UNKNOWN, 99_999, 0, None)
    assert delay is not None
    assert delay <= policy.max_delay


def test_the_quota_ends_a_storm_and_fills_again() -> None:
    quota = Quota()
    allowed = sum(quota.take(Verdict.UNKNOWN) for _ in range(100))
    assert allowed == 35
    assert quota.left == 10
    assert quota.take(Verdict.PACED)
    assert not quota.take(Verdict.UNKNOWN)
    retrier = Retrier(RetryPolicy(), Repeat.FREE, quota, lambda: 0.0)
    assert retrier.next_delay(Verdict.UNKNOWN, 1, 0, None) is None
    quota.succeeded()
    assert quota.left == 6
    quota.succeeded(Verdict.UNKNOWN)
    assert quota.left == 20
    for _ in range(600):
        quota.succeeded()
    assert quota.left == quota.capacity


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
