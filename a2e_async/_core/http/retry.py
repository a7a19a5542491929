"""Decide whether and when to retry, by whether the server may have received the request (pure).

A failed attempt has one of four outcomes:

* *not delivered*: no byte left this machine. Every call may be retried.
* *rate limited*: the service refused the request with a 429. Every call may be retried, after the
  pause.
* *unknown*: the request was sent and its result is unknown (5xx, reset, timeout, an unreadable
  response, a rate limit reported by a gateway). Only calls that are free of charge may be
  retried.
* *final*: the service gave its response.

`RetrySafety` says what a second delivery of a call costs. All calls of a client share one
`RetryBudget`, so that an outage does not cause a retry storm.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from a2e_async._core.http.error_classes import is_refusal
from a2e_async.errors import (
    A2EError,
    ApiError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    InvalidInput,
    RateLimited,
    ResponseTimeout,
    ServerError,
)

INITIAL_HOLD: Final = 1.0
"""Upper bound of the first pause after a 429 without Retry-After, in seconds; jittered."""

MAX_HOLD: Final = 600.0
"""Longest hold of all requests in seconds, whatever the service asks for.

The service's limits are per minute, so a pause of hours is a mistake or a ban. One request every
ten minutes does no harm, whereas a client that obeyed would be unusable until it is re-created.
"""

_SECONDS: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d*)?", re.ASCII)


class RetrySafety(StrEnum):
    """What it costs if a call reaches the service twice."""

    FREE = "free"
    """Nothing: reads, deletes, quotes."""
    CHARGED = "charged"
    """Coins: starts, speech, presigned uploads. Never retried after an unknown outcome."""


class AttemptOutcome(StrEnum):
    """What is known about a failed attempt; see the module's docstring."""

    NOT_DELIVERED = "not_delivered"
    RATE_LIMITED = "rate_limited"
    UNKNOWN = "unknown"
    FINAL = "final"


@frozen(kw_only=True)
class RetryPolicy:
    """How long and how often a call is retried. Waiting for a task is not affected.

    ``max_elapsed`` is the time in seconds after the first attempt within which another may begin.
    The delay before attempt n+1 is random, up to ``initial * factor ** (n - 1)`` seconds and at
    most ``max_delay``. ``max_attempts`` includes the first attempt; 1 disables retries. Raises
    `InvalidInput` for invalid values.
    """

    max_elapsed: float = 60.0
    initial: float = 0.5
    factor: float = 2.0
    max_delay: float = 15.0
    max_attempts: int = 8

    def __attrs_post_init__(self) -> None:
        for name, minimum in (("max_elapsed", 0), ("initial", 0), ("factor", 1), ("max_delay", 0)):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not value >= minimum
            ):
                raise InvalidInput(
                    f"RetryPolicy({name}={value!r:.60}) must be a number of at least {minimum}.",
                    field=name,
                )
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise InvalidInput(
                f"RetryPolicy(max_attempts={attempts!r:.60}) must be a whole number of at least 1.",
                field="max_attempts",
            )


def classify_failure(error: BaseException, sent: bool) -> AttemptOutcome:
    """Return the outcome of an attempt that failed with ``error``.

    ``sent`` says whether any of its bytes may have left this machine.
    """
    if isinstance(error, RateLimited):
        return (
            AttemptOutcome.UNKNOWN if may_have_been_accepted(error) else AttemptOutcome.RATE_LIMITED
        )
    if isinstance(error, ConnectError):
        return AttemptOutcome.NOT_DELIVERED
    if isinstance(error, ServerError | DecodeError | ResponseTimeout | ConnectionLost):
        return AttemptOutcome.UNKNOWN
    if isinstance(error, A2EError) or not isinstance(error, OSError):
        return AttemptOutcome.FINAL
    return AttemptOutcome.UNKNOWN if sent else AttemptOutcome.NOT_DELIVERED


def may_have_been_accepted(error: A2EError) -> bool:
    """Return whether a charged call that was sent and failed with ``error`` may have been accepted.

    It may, unless the API itself refused it: any other error comes from a proxy or gateway, or
    does not say enough.
    """
    if isinstance(error, ConnectError):
        return False
    if not isinstance(error, ApiError):
        return True
    return not is_refusal(error.http_status, error.code, from_api=error.from_api)


@define
class RetryBudget:
    """Token bucket for the retries of a client; successful calls refill it.

    The numbers are those of botocore's standard retry mode.

    Created by the `ApiSession` and changed by its requests; lives as long as the session.
    """

    capacity: int = 500
    transient_cost: int = 14
    """Tokens for a retry after a transport error or a 5xx."""
    rate_limited_cost: int = 5
    """Tokens for a retry after a 429."""
    remaining: int = field(default=-1)

    def __attrs_post_init__(self) -> None:
        if self.remaining < 0:
            self.remaining = self.capacity

    def try_spend(self, outcome: AttemptOutcome) -> bool:
        """Spend the tokens of one retry; return False, spending none, if too few are left."""
        cost = self._token_cost(outcome)
        if cost > self.remaining:
            return False
        self.remaining -= cost
        return True

    def record_success(self, last_outcome: AttemptOutcome | None = None) -> None:
        """Refill by 1 token, or by the cost of the retry if the success was a retry."""
        self.remaining = min(
            self.capacity, self.remaining + (self._token_cost(last_outcome) if last_outcome else 1)
        )

    def _token_cost(self, outcome: AttemptOutcome) -> int:
        return (
            self.rate_limited_cost
            if outcome is AttemptOutcome.RATE_LIMITED
            else self.transient_cost
        )


@define
class RetryPlanner:
    """Plans the retries of one call. ``rng`` returns numbers in [0, 1).

    Created by the `ApiSession` at the first failed attempt of a call; belongs to that call.
    """

    policy: RetryPolicy
    safety: RetrySafety
    budget: RetryBudget
    rng: Callable[[], float]

    def hold_seconds(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds for which all requests hold after attempt ``attempt`` got a 429.

        The first Retry-After is followed as it is. If the next attempt is refused as well, the
        pause is at least our own exponential one. Never above `MAX_HOLD`.
        """
        if retry_after is not None and attempt <= 1:
            return min(retry_after, MAX_HOLD)
        steps = attempt if retry_after is None else attempt - 1
        upper = _backoff(INITIAL_HOLD, self.policy.factor, steps - 1, self.policy.max_delay)
        own = upper * (0.5 + 0.5 * self.rng())
        return min(own if retry_after is None else max(own, retry_after), MAX_HOLD)

    def next_delay(
        self, outcome: AttemptOutcome, attempt: int, elapsed: float, retry_after: float | None
    ) -> float | None:
        """Return the seconds until the next attempt; None if the call must not be retried.

        ``attempt`` is the number of attempts made, ``elapsed`` the seconds since the first one
        began, ``retry_after`` the pause asked for by the service (or by our hold).
        """
        policy = self.policy
        if attempt >= policy.max_attempts or outcome is AttemptOutcome.FINAL:
            return None
        if outcome is AttemptOutcome.UNKNOWN and self.safety is not RetrySafety.FREE:
            return None
        if outcome is AttemptOutcome.RATE_LIMITED:
            delay = self.hold_seconds(attempt, None) if retry_after is None else retry_after
        else:
            upper = _backoff(policy.initial, policy.factor, attempt - 1, policy.max_delay)
            delay = max(upper * self.rng(), retry_after or 0.0)
        if not elapsed + delay <= policy.max_elapsed or not self.budget.try_spend(outcome):
            return None
        return delay


def _backoff(initial: float, factor: float, steps: int, upper: float) -> float:
    try:
        return min(upper, initial * factor**steps)
    except OverflowError:
        return upper


def parse_retry_after(
    value: str | None, now_utc: datetime, date: str | None = None
) -> float | None:
    """Return the seconds that a Retry-After header asks for; None if it is missing or invalid.

    Accepts integer and decimal seconds and HTTP dates; a time in the past gives 0. A date is
    relative to ``date``, the response's Date header, because our clock may be wrong; without one
    it is relative to ``now_utc``.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return max(0.0, float(value))
    when = _http_date(value)
    if when is None:
        return None
    now = None if date is None else _http_date(date)
    return max(0.0, (when - (now or now_utc)).total_seconds())


def _http_date(value: str) -> datetime | None:
    if len(value) > 64:
        return None
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
