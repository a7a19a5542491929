"""Report attempts and rate-limit holds to the user's ``on_event`` and to the log."""

import logging
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Final

from a2e_async._core.http.call import ApiCall

if TYPE_CHECKING:
    from a2e_async.events import Event

logger = logging.getLogger("a2e_async.http")

CURRENT_START: Final[ContextVar[int | None]] = ContextVar("START", default=None)
"""The number of the start in progress; set only if there is a listener."""


def context_of_start() -> Context:
    """Return an empty context that keeps only the number of the start in progress.

    For work that may outlive its caller: a copy of the caller's context would keep its values (a
    request, a session) alive.
    """
    context = Context()
    context.run(CURRENT_START.set, CURRENT_START.get())
    return context


class RequestReporter:
    """Emits events only if there is a listener; never includes headers, bodies or queries."""

    __slots__ = ("_emit",)

    def __init__(self, emit: "Callable[[Event], None] | None") -> None:
        self._emit = emit

    def report_start(self, call: ApiCall, base_url: str) -> None:
        """Report an attempt that is about to be sent."""
        if self._emit is not None:
            from a2e_async.events import RequestStarted

            event = RequestStarted(
                method=call.method,
                url=base_url + call.path,
                path=call.path,
                resend=call.attempt - 1,
                start=CURRENT_START.get(),
            )
            self._send(self._emit, event)

    def is_enabled(self) -> bool:
        """Return whether attempts are reported at all: by an event or in the debug log."""
        return self._emit is not None or logger.isEnabledFor(logging.DEBUG)

    def report_attempt(
        self,
        call: ApiCall,
        times: tuple[float, float, float],
        error: str | None,
        retry_in: float | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Report a finished attempt. ``times``: loop times of its begin, sending and end."""
        began, sent, ended = times
        logger.debug(
            "%s %s: attempt %d, status %s, %s, %.3f s",
            call.method,
            call.path,
            call.attempt,
            call.status,
            error or "ok",
            ended - sent,
        )
        if self._emit is not None:
            from a2e_async.events import Attempt

            event = Attempt(
                method=call.method,
                path=call.path,
                attempt=call.attempt,
                sends=call.send_count,
                waited=sent - began,
                duration=ended - sent,
                status=call.status,
                error=error,
                retry_in=retry_in,
                trace_id=trace_id,
                start=CURRENT_START.get(),
            )
            self._send(self._emit, event)

    def report_hold(self, call: ApiCall, host: str, seconds: float) -> None:
        """Report a rate-limit pause, during which all requests hold."""
        logger.warning(
            "%s asked for a rate-limit pause: all requests of this client hold for %.1f s",
            host,
            seconds,
        )
        if self._emit is not None:
            from a2e_async.events import RateLimitPause

            self._send(
                self._emit, RateLimitPause(seconds=seconds, method=call.method, path=call.path)
            )

    @staticmethod
    def _send(emit: "Callable[[Event], None]", event: "Event") -> None:
        try:
            emit(event)
        except Exception:
            logger.exception(
                "on_event raised an exception for %s; the call continues", type(event).__name__
            )
