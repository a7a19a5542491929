"""May this be sent again, and when: decided by "could the server already hold it" (pure).

Four verdicts about one failed attempt:

* *not delivered*: no byte left this machine. Sending again is safe for everything.
* *paced*: the service refused because of the pace (429). Safe again, after the pause.
* *unknown*: it was sent, and what became of it is not known (5xx, reset, timeout, an answer
  that cannot be read, a rate limit that only a gateway reports). Safe again only where a
  repetition costs nothing.
* *final*: the service gave its answer.

What a repetition costs is the call's `Repeat`. One `Quota`, shared by all calls of a client,
keeps an outage from being answered with a storm of repetitions.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

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
from a2e_async.transport.classify import is_refusal

PACE_INITIAL: Final = 1.0
"""Seconds of the first pause after a 429 that names none (its upper bound; jittered)."""

MAX_HOLD: Final = 600.0
"""Seconds that all callers hold at most, whatever the service asks for.

Its limits are per minute; a figure of hours is a mistake or a ban, and one probe in ten minutes
costs nothing, while a client that believed it would be of no use until it is made anew.
"""

_SECONDS: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d*)?", re.ASCII)


class Repeat(StrEnum):
    """What it costs when a call reaches the service twice."""

    FREE = "free"
    """Nothing: reads, deletes, quotes."""
    CHARGED = "charged"
    """Coins: starts, speech, presigned uploads. Never sent again after an unknown outcome."""


class Verdict(StrEnum):
    """What is known about one failed attempt."""

    NOT_DELIVERED = "not_delivered"
    PACED = "paced"
    UNKNOWN = "unknown"
    FINAL = "final"


@frozen(kw_only=True)
class RetryPolicy:
    """How long and how often a call is tried again. Waiting for a task is not affected.

    ``max_elapsed``: seconds from the first attempt within which a further one may begin.
    ``initial``, ``factor``, ``max_delay``: the pause before attempt n+1 is a random number of
    seconds up to ``initial * factor ** (n - 1)``, at most ``max_delay``. ``max_attempts``
    counts the first one; 1 means never again. Raises `InvalidInput` for values that cannot be.
    """

    max_elapsed: float = 60.0
    initial: float = 0.5
    factor: float = 2.0
    max_delay: float = 15.0
    max_attempts: int = 8

    def __attrs_post_init__(self) -> None:
        for name, least in (("max_elapsed", 0), ("initial", 0), ("factor", 1), ("max_delay", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
                raise InvalidInput(
                    f"RetryPolicy({name}={value!r:.60}) must be a number of at least {least}.",
                    field=name,
                )
        attempts = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # untyped callers pass anything
            raise InvalidInput(
                f"RetryPolicy(max_attempts={attempts!r:.60}) must be a whole number of at least 1.",
                field="max_attempts",
            )


def judge(error: BaseException, sent: bool) -> Verdict:
    """Return what ``error`` tells about the attempt; ``sent``: its bytes may have left."""
    if isinstance(error, RateLimited):
        return Verdict.UNKNOWN if could_be_accepted(error) else Verdict.PACED
    if isinstance(error, ConnectError):
        return Verdict.NOT_DELIVERED
    if isinstance(error, ServerError | DecodeError | ResponseTimeout | ConnectionLost):
        return Verdict.UNKNOWN
    if isinstance(error, A2EError) or not isinstance(error, OSError):
        return Verdict.FINAL
    return Verdict.UNKNOWN if sent else Verdict.NOT_DELIVERED


def could_be_accepted(error: A2EError) -> bool:
    """Return whether a charged call that was sent and ended so may have been accepted.

    It may, unless the API itself refused it: any other error comes from something in between, or
    says too little.
    """
    if isinstance(error, ConnectError):
        return False
    if not isinstance(error, ApiError):
        return True
    return not is_refusal(error.http_status, error.code, from_api=error.from_api)


@define
class Quota:
    """Repetitions that one client may still afford; filled again by what succeeds.

    The figures are those of botocore's standard retry mode.
    """

    capacity: int = 500
    transient: int = 14
    """Taken by a repetition after a transport error or a 5xx."""
    throttled: int = 5
    """Taken by a repetition after a 429."""
    left: int = field(default=-1)

    def __attrs_post_init__(self) -> None:
        if self.left < 0:
            self.left = self.capacity

    def take(self, verdict: Verdict) -> bool:
        """Take the price of one repetition; False (and nothing taken) when too little is left."""
        price = self._price(verdict)
        if price > self.left:
            return False
        self.left -= price
        return True

    def succeeded(self, after: Verdict | None = None) -> None:
        """Give 1 back for a success, or the repetition's price when it was one that helped."""
        self.left = min(self.capacity, self.left + (self._price(after) if after else 1))

    def _price(self, verdict: Verdict) -> int:
        return self.throttled if verdict is Verdict.PACED else self.transient


@define
class Retrier:
    """Decides about one call. ``rng`` gives numbers in [0, 1)."""

    policy: RetryPolicy
    repeat: Repeat
    quota: Quota
    rng: Callable[[], float]

    def pause(self, attempt: int, retry_after: float | None) -> float:
        """Return the seconds all callers hold after the ``attempt``-th try was answered 429.

        The service's own figure counts. It is believed once: when the next try is refused as
        well, the pause is never shorter than our own growing one. Never above `MAX_HOLD`.
        """
        if retry_after is not None and attempt <= 1:
            return min(retry_after, MAX_HOLD)
        steps = attempt if retry_after is None else attempt - 1
        most = _power(PACE_INITIAL, self.policy.factor, steps - 1, self.policy.max_delay)
        own = most * (0.5 + 0.5 * self.rng())
        return min(own if retry_after is None else max(own, retry_after), MAX_HOLD)

    def next_delay(
        self, verdict: Verdict, attempt: int, elapsed: float, retry_after: float | None
    ) -> float | None:
        """Return the seconds until the next attempt, None when there must be none.

        ``attempt`` counts those made, ``elapsed`` the seconds since the first began,
        ``retry_after`` the pause the service (or our hold) asks for.
        """
        policy = self.policy
        if attempt >= policy.max_attempts or verdict is Verdict.FINAL:
            return None
        if verdict is Verdict.UNKNOWN and self.repeat is not Repeat.FREE:
            return None
        if verdict is Verdict.PACED:
            delay = self.pause(attempt, None) if retry_after is None else retry_after
        else:
            most = _power(policy.initial, policy.factor, attempt - 1, policy.max_delay)
            delay = max(most * self.rng(), retry_after or 0.0)
        if not elapsed + delay <= policy.max_elapsed or not self.quota.take(verdict):
            return None
        return delay


def _power(initial: float, factor: float, steps: int, most: float) -> float:
    try:
        return min(most, initial * factor**steps)
    except OverflowError:
        return most


def parse_retry_after(
    value: str | None, now_utc: datetime, date: str | None = None
) -> float | None:
    """Return the seconds a Retry-After header asks for; None for none or nonsense.

    Takes whole and decimal seconds and HTTP dates; what lies in the past is 0. A date counts
    from ``date``, the answer's own Date header, else from ``now_utc``: our clock may be wrong.
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
