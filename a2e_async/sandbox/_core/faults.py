"""Injected faults: each is queued and fires for the next request or task that matches."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

EmptyStartShape = Literal["null", "object", "list", "string", "refused", "success_false"]
DataShape = Literal["list", "record", "nested", "bare", "text"]
DetailRefusal = Literal[400, 404, 405]

STORAGE_ROLES: Final = frozenset({"upload", "result", "cdn"})
"""Roles of the storage server; a fault without a role never fires there."""

FAULT_ROLES: Final = STORAGE_ROLES | {
    *("start", "detail", "list", "list_processing", "batch_detail", "delete", "rename", "retry"),
    *("action", "query", "account", "quote", "presign", "coins", "history", "legacy", "webhook"),
}
"""Every role that a fault can name."""

REQUEST_FAULTS: Final = frozenset(
    {"drop_before_accept", "drop_after_accept", "reset", "http_error", "slow", "html"}
    | {"malformed", "code_error", "empty_start", "data_shape", "detail_refused"}
)
"""Faults of one request: per request, only the first match in the queue fires."""

TASK_FAULTS: Final = frozenset(
    {"stuck", "fail", "list_lag", "not_found_after_start", "odd_status", "no_result"}
    | {"done_at_once", "early_webhook"}
)
"""Faults of a newly started task; one task can have several."""


WEBHOOK_FAULTS: Final = frozenset(
    {"drop_webhook", "repeat_webhook", "forge_webhook", "slow_webhook"}
)
"""Faults of one webhook; one webhook can have several."""


@attrs.define(slots=True, eq=False)
class Fault:
    """A queued fault. ``remaining`` counts down; None means until cleared.

    Created and changed by `Faults` alone; lives until it has fired or is cleared.
    """

    name: str
    role: str | None
    kind: str | None
    remaining: int | None
    values: Mapping[str, Any]

    def matches(self, role: str, kind: str) -> bool:
        """Return whether it applies to this role and kind."""
        if self.role is None:
            return role not in STORAGE_ROLES and self.kind in {None, kind}
        return self.role == role and self.kind in {None, kind}


@attrs.define(slots=True)
class RequestLimit:
    """A token bucket in real time.

    Owned by `Faults`, whose lock guards it.
    """

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
        """Take a token and return 0, or return the seconds until one is available."""
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

    Each method queues one fault that fires ``times`` times (None: until ``clear``). Faults for
    the same role and kind fire in the order in which they were queued. ``kind=None`` means any
    kind, ``role=None`` any role of the API. Roles of the API are start, detail, list,
    list_processing, batch_detail, delete, rename, retry, action, query, account, quote, presign,
    coins, history, and legacy for the older operations; roles of the storage server are upload,
    result and cdn; the role of outgoing webhooks is webhook. Seconds are service seconds unless
    stated otherwise.

    Some HTTP clients retry a lost GET themselves (aiohttp once): to make such a client see a
    dropped or reset connection, queue the fault with ``times=2``. Faults of the API fire only for
    requests with the right token.

    Created with the sandbox; changed by tests and by the requests that a fault hits.
    """

    _lock: threading.RLock = attrs.field(factory=threading.RLock)
    _kinds: frozenset[str] = frozenset()
    """The kinds that a fault can name; empty for any."""

    _queue: list[Fault] = attrs.field(init=False, factory=list[Fault])
    _limiter: RequestLimit | None = attrs.field(init=False, default=None)

    # Requests

    def drop_before_accept(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Close the connection of a start without a response; no task is created or charged."""
        self._enqueue("drop_before_accept", "start", kind, times)

    def drop_after_accept(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Create and charge the task, then close the connection without a response."""
        self._enqueue("drop_after_accept", "start", kind, times)

    def reset(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Reset the connection (RST) before the request is processed."""
        self._enqueue("reset", role, kind, times)

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
        """Respond with this HTTP status, as an envelope or as an HTML page.

        ``retry_after`` (real seconds, or an HTTP date) is sent in the Retry-After header. With
        ``accepted`` the request is processed (a start is charged) before the error is sent.
        """
        values = {"status": status, "retry_after": retry_after, "html": html, "accepted": accepted}
        self._enqueue("http_error", role, kind, times, **values)

    def slow(
        self,
        seconds: float,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
        accepted: bool = False,
    ) -> None:
        """Wait real seconds before processing the request, or with ``accepted`` after it."""
        self._enqueue("slow", role, kind, times, seconds=seconds, accepted=accepted)

    def html(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Respond 200 with an HTML page; the request is not processed."""
        self._enqueue("html", role, kind, times)

    def malformed(
        self, role: str | None = None, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Process the request and respond with truncated JSON."""
        self._enqueue("malformed", role, kind, times)

    def code_error(
        self,
        code: int,
        message: str,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
    ) -> None:
        """Respond 200 with this code and message in the envelope; the request is not processed."""
        self._enqueue("code_error", role, kind, times, code=code, message=message)

    def empty_start(
        self, kind: str | None = None, *, shape: EmptyStartShape = "null", times: int | None = 1
    ) -> None:
        """Respond to a start with 200 and no task, in one of several shapes; nothing is charged."""
        self._enqueue("empty_start", "start", kind, times, shape=shape)

    def data_shape(
        self,
        shape: DataShape,
        role: str | None = None,
        kind: str | None = None,
        *,
        times: int | None = 1,
    ) -> None:
        """Process the request and wrap its data in another shape.

        ``list``: in a list of one item; ``record``: the item itself instead of a list of one;
        ``nested``: in an object under ``data``; ``bare``: without an envelope; ``text``: as a JSON
        string.
        """
        self._enqueue("data_shape", role, kind, times, shape=shape)

    def detail_refused(
        self,
        status: DetailRefusal = 404,
        kind: str | None = "text_to_image",
        *,
        times: int | None = 1,
    ) -> None:
        """Refuse the detail of a task that exists, with 400, 404 or 405; its list still works."""
        self._enqueue("detail_refused", "detail", kind, times, status=status)

    def error_in_msg(self, *, times: int | None = 1) -> None:
        """Give the text of the next refusal of any operation as ``msg`` instead of ``message``."""
        self._enqueue("error_in_msg", None, None, times)

    def rate_limit(self, per_second: float, burst: float = 1) -> None:
        """Limit the rate of all API requests, in real seconds: 429 with Retry-After above it."""
        with self._lock:
            self._limiter = RequestLimit(per_second, burst)

    # Tasks

    def stuck(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Let the next started task never end (product_avatar still fails after 2 hours)."""
        self._enqueue("stuck", "start", kind, times)

    def done_at_once(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Let the next started task be finished in the response to its start."""
        self._enqueue("done_at_once", "start", kind, times)

    def fail(
        self,
        kind: str | None = None,
        message: str = "generation failed",
        code: str = "500",
        *,
        times: int | None = 1,
    ) -> None:
        """Let the next started task fail with this text and code."""
        self._enqueue("fail", "start", kind, times, message=message, code=code)

    def list_lag(self, seconds: float, kind: str | None = None, *, times: int | None = 1) -> None:
        """Hide the next started task from the lists for this many service seconds."""
        self._enqueue("list_lag", "start", kind, times, seconds=seconds)

    def not_found_after_start(
        self, seconds: float, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Hide the next started task from detail and batchDetail for this many service seconds."""
        self._enqueue("not_found_after_start", "start", kind, times, seconds=seconds)

    def odd_status(
        self, kind: str | None = None, word: str = "warming_up", *, times: int | None = 1
    ) -> None:
        """Let the next started task show this status word while it runs."""
        self._enqueue("odd_status", "start", kind, times, word=word)

    def no_result(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Let the next started task complete with an empty result URL."""
        self._enqueue("no_result", "start", kind, times)

    # Webhooks

    def drop_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Never send the next webhook."""
        self._enqueue("drop_webhook", "webhook", kind, times)

    def repeat_webhook(
        self, kind: str | None = None, *, copies: int = 2, times: int | None = 1
    ) -> None:
        """Send the next webhook this many times."""
        self._enqueue("repeat_webhook", "webhook", kind, times, copies=copies)

    def forge_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Send a copy of the next webhook with a wrong token before it."""
        self._enqueue("forge_webhook", "webhook", kind, times)

    def slow_webhook(
        self, seconds: float, kind: str | None = None, *, times: int | None = 1
    ) -> None:
        """Send the next webhook this many real seconds late."""
        self._enqueue("slow_webhook", "webhook", kind, times, seconds=seconds)

    def early_webhook(self, kind: str | None = None, *, times: int | None = 1) -> None:
        """Let the next started task send its webhook at once, and again when it has ended."""
        self._enqueue("early_webhook", "start", kind, times)

    # Storage

    def cut_download(self, after_bytes: int, times: int | None = 1) -> None:
        """Cut a download off after this many bytes of its body."""
        self._enqueue("cut_download", "result", None, times, after_bytes=after_bytes)

    def drop_download(self, *, times: int | None = 1) -> None:
        """Close the connection of a download without a response."""
        self._enqueue("drop_download", "result", None, times)

    def expire_results(self, times: int | None = 1) -> None:
        """Respond 403 to a result download until a detail or list request signs a new URL."""
        self._enqueue("expire_results", "result", None, times)

    def upload_error(self, status: int, times: int | None = 1) -> None:
        """Respond to an upload with this HTTP status; nothing is stored."""
        self._enqueue("upload_error", "upload", None, times, status=status)

    # All

    def clear(self) -> None:
        """Remove every queued fault and the rate limit."""
        with self._lock:
            self._queue.clear()
            self._limiter = None

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of the queued faults, in order."""
        with self._lock:
            return tuple(fault.name for fault in self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether no fault is queued."""
        return not self._queue  # Called for nearly every request; reading a list needs no lock.

    def take(self, names: frozenset[str], role: str, kind: str) -> Fault | None:
        """Return the first queued fault with one of these names that matches, and count it down."""
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
        """Return 0 if a request may pass now, else the real seconds until one may."""
        with self._lock:
            return self._limiter.take_or_delay(real) if self._limiter else 0.0

    def _enqueue(
        self, name: str, role: str | None, kind: str | None, times: int | None, **values: Any
    ) -> None:
        if times is not None and times < 1:
            msg = "times must be at least 1, or None for until cleared"
            raise ValueError(msg)
        if role is not None and role not in FAULT_ROLES:
            msg = f"no such role: {role}; roles: {', '.join(sorted(FAULT_ROLES))}"
            raise ValueError(msg)
        if kind is not None and self._kinds and kind not in self._kinds:
            msg = f"no such kind: {kind}; kinds: {', '.join(sorted(self._kinds))}"
            raise ValueError(msg)
        with self._lock:
            self._queue.append(Fault(name, role, kind, times, values))


CONTROLLABLE_FAULTS: Final = (
    REQUEST_FAULTS
    | TASK_FAULTS
    | WEBHOOK_FAULTS
    | {
        "error_in_msg",
        "cut_download",
        "drop_download",
        "expire_results",
        "upload_error",
        "rate_limit",
        "clear",
    }
)
"""The methods of ``Faults`` that the control route and the command line can call."""
