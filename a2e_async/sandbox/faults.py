"""Faults on order: each is queued, and fires for the next request or task it fits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

EmptyStartShape = Literal["null", "object", "list", "string", "refused", "success_false"]
DataShape = Literal["list", "nested", "bare", "text"]

STORAGE_ROLES: Final = frozenset({"upload", "result", "cdn"})
"""Roles of the storage port; a fault without a role never fires there."""

REQUEST_FAULTS: Final = frozenset(
    {"drop_before_accept", "drop_after_accept", "reset", "http_error", "slow", "html"}
    | {"malformed", "code_error", "empty_start", "data_shape"}
)
"""Faults of one request; the first in the queue that fits fires, one for each request."""

TASK_FAULTS: Final = frozenset(
    {"stuck", "fail", "list_lag", "not_found_after_start", "odd_status", "no_result"}
    | {"done_at_once", "early_webhook"}
)
"""Faults of a newly started task; several can meet in one."""


WEBHOOK_FAULTS: Final = frozenset(
    {"drop_webhook", "repeat_webhook", "forge_webhook", "slow_webhook"}
)
"""Faults of one webhook; several can meet in one."""


@attrs.define(slots=True, eq=False)
class Fault:
    """One queued fault. ``left`` counts down; None means until cleared."""

    name: str
    role: str | None
    kind: str | None
    remaining: int | None
    values: Mapping[str, Any]

    def matches(self, role: str, kind: str) -> bool:
        """Returns whether it may fire here."""
        if self.role is None:
            return role not in STORAGE_ROLES and self.kind in {None, kind}
        return self.role == role and self.kind in {None, kind}


@attrs.define(slots=True)
class TokenBucket:
    """A token bucket on the true clock (not sped up)."""

    per_second: float
    burst: float
    _tokens: float = attrs.field(init=False)
    _at: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if not (self.per_second > 0 and self.burst >= 1):
            msg = "per_second must be above 0 and burst at least 1"
            raise ValueError(msg)
        self._tokens = self.burst

    def take_or_delay(self, real: float) -> float:
        """Takes a token and returns 0, or returns the seconds until there is one."""
        if self._at is not None:
            self._tokens = min(self.burst, self._tokens + (real - self._at) * self.per_second)
        self._at = real
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.per_second


@attrs.define(slots=True)
class Faults:
    """The queue of faults. Thread-safe.

    Every method queues one fault that fires ``times`` times (None: until ``clear``), in the order
    of queueing for each (role, kind). ``kind=None`` means any kind and ``role=None`` any role of
    the API. Roles are start, detail, list, list_processing, batch_detail, delete, action, query,
    quote, presign, coins, history, and legacy for the older operations; on the storage port
    upload, result, cdn; webhook for what the service sends. Seconds are service seconds unless
    told otherwise.

    Some HTTP clients repeat a lost GET by themselves (aiohttp once): to make such a client see a
    dropped or reset connection, order the fault with ``times=2``. Faults of the API fire only for
    requests with the right token.
    """

    _lock: threading.RLock = attrs.field(factory=threading.RLock)
    _queue: list[Fault] = attrs.field(init=False, factory=list[Fault])
    _limiter: TokenBucket | None = attrs.field(init=False, default=None)

    # Requests

    def drop_before_accept(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Closes the connection of a start without an answer; nothing is made or charged."""
        self._add("drop_before_accept", "start", kind, times)

    def drop_after_accept(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Makes and charges the task, then closes the connection without an answer."""
        self._add("drop_after_accept", "start", kind, times)

    def reset(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Resets the connection (RST) before the request is looked at."""
        self._add("reset", role, kind, times)

    def http_error(
        self,
        status: int,
        *,
        role: str | None = None,
        kind: str | None = None,
        times: int | None = 1,
        retry_after: float | str | None = None,
        html: bool = False,
        accepted: bool = False,
    ) -> None:
        """Answers this HTTP status, as an envelope or as an HTML page.

        ``retry_after`` (true seconds, or a date as HTTP writes it) goes into the header. With
        ``accepted`` the request is carried out (a start is charged) before the error is told.
        """
        values = {"status": status, "retry_after": retry_after, "html": html, "accepted": accepted}
        self._add("http_error", role, kind, times, **values)

    def slow(
        self,
        seconds: float,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
        accepted: bool = False,
    ) -> None:
        """Waits true seconds before the request is carried out; with ``accepted``, after it."""
        self._add("slow", role, kind, times, seconds=seconds, accepted=accepted)

    def html(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Answers an HTML page under 200; nothing is carried out."""
        self._add("html", role, kind, times)

    def malformed(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Carries the request out and answers JSON that breaks off in the middle."""
        self._add("malformed", role, kind, times)

    def code_error(
        self,
        code: int,
        message: str,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
    ) -> None:
        """Answers 200 with this code and message in the envelope; nothing is carried out."""
        self._add("code_error", role, kind, times, code=code, message=message)

    def empty_start(
        self, kind: str | None = None, *, shape: EmptyStartShape = "null", times: int | None = 1
    ) -> None:
        """Answers a start with 200 and no task in one of several shapes; nothing is charged."""
        self._add("empty_start", "start", kind, times, shape=shape)

    def data_shape(
        self,
        shape: DataShape,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
    ) -> None:
        """Carries the request out and wraps its data otherwise.

        ``list``: in a list of one; ``nested``: in an object under ``data``; ``bare``: without any
        envelope; ``text``: as a string of JSON.
        """
        self._add("data_shape", role, kind, times, shape=shape)

    def rate_limit(self, per_second: float, burst: float = 1) -> None:
        """Limits all API requests together from now on: 429 with Retry-After, on true seconds."""
        with self._lock:
            self._limiter = TokenBucket(per_second, burst)

    # Tasks

    def stuck(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next started task never ends (but product_avatar gives up after 2 hours)."""
        self._add("stuck", "start", kind, times)

    def done_at_once(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next started task is finished in the answer of its start already."""
        self._add("done_at_once", "start", kind, times)

    def fail(
        self,
        kind: str | None = None,
        message: str = "generation failed",
        code: str = "500",
        *,
        times: int | None = 1,
    ) -> None:
        """The next started task fails with this text and code."""
        self._add("fail", "start", kind, times, message=message, code=code)

    def list_lag(self, seconds: float, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next started task is missing from the lists for so long."""
        self._add("list_lag", "start", kind, times, seconds=seconds)

    def not_found_after_start(
        self, seconds: float, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """The next started task is unknown to detail and batchDetail for so long."""
        self._add("not_found_after_start", "start", kind, times, seconds=seconds)

    def odd_status(
        self, kind: str | None = None, word: str = "warming_up", *, times: int | None = 1
    ) -> None:
        """The next started task shows this status word while it runs."""
        self._add("odd_status", "start", kind, times, word=word)

    def no_result(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next started task completes with an empty result URL."""
        self._add("no_result", "start", kind, times)

    # Webhooks

    def drop_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next webhook is never sent."""
        self._add("drop_webhook", "webhook", kind, times)

    def repeat_webhook(
        self, kind: str | None = None, *, copies: int = 2, times: int | None = 1
    ) -> None:
        """The next webhook is sent so many times."""
        self._add("repeat_webhook", "webhook", kind, times, copies=copies)

    def forge_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Before the next webhook comes one like it whose token is wrong."""
        self._add("forge_webhook", "webhook", kind, times)

    def slow_webhook(
        self, seconds: float, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """The next webhook is sent so many true seconds late."""
        self._add("slow_webhook", "webhook", kind, times, seconds=seconds)

    def early_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """The next started task sends its webhook at once, and again when it has ended."""
        self._add("early_webhook", "start", kind, times)

    # Storage

    def cut_download(self, after_bytes: int, times: int | None = 1) -> None:
        """Breaks a download off after so many bytes of its body."""
        self._add("cut_download", "result", None, times, after_bytes=after_bytes)

    def drop_download(self, *, times: int | None = 1) -> None:
        """Closes the connection of a download without an answer."""
        self._add("drop_download", "result", None, times)

    def expire_results(self, times: int | None = 1) -> None:
        """Answers a result download with 403, until a detail or list call signs a new URL."""
        self._add("expire_results", "result", None, times)

    def upload_error(self, status: int, times: int | None = 1) -> None:
        """Answers an upload with this HTTP status; nothing is stored."""
        self._add("upload_error", "upload", None, times, status=status)

    # All

    def clear(self) -> None:
        """Removes every queued fault and the rate limit."""
        with self._lock:
            self._queue.clear()
            self._limiter = None

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of the faults that wait, in order."""
        with self._lock:
            return tuple(fault.name for fault in self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether no fault waits."""
        return not self._queue  # nearly every request; a list is read safely without the lock

    def take(self, names: frozenset[str], role: str, kind: str) -> Fault | None:
        """Returns the first queued fault of these names that fits, and counts it down."""
        if self.is_idle:
            return None
        with self._lock:
            for fault in self._queue:
                if fault.name in names and fault.matches(role, kind):
                    if fault.remaining is not None:
                        fault.remaining -= 1
                        if fault.remaining <= 0:
                            self._queue.remove(fault)
                    return fault
        return None

    def rate_limit_delay(self, real: float) -> float:
        """Returns 0 when a request may pass, else the true seconds until the next one may."""
        with self._lock:
            return self._limiter.take_or_delay(real) if self._limiter else 0.0

    def _add(
        self, name: str, role: str | None, kind: str | None, times: int | None, **values: Any
    ) -> None:
        if times is not None and times < 1:
            msg = "times must be at least 1, or None for until cleared"
            raise ValueError(msg)
        with self._lock:
            self._queue.append(Fault(name, role, kind, times, values))


CONTROLLABLE_FAULTS: Final = (
    REQUEST_FAULTS
    | TASK_FAULTS
    | WEBHOOK_FAULTS
    | {
        "cut_download",
        "drop_download",
        "expire_results",
        "upload_error",
        "rate_limit",
        "clear",
    }
)
"""The methods of ``Faults`` that the control route may call."""
