"""What the user's ``on_event`` and the log are told about attempts and holds."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from a2e_async.events import Attempt, Event, Hold
from a2e_async.transport.wire import Call

logger = logging.getLogger("a2e_async.transport")

START: Final[ContextVar[int | None]] = ContextVar("START", default=None)
"""The number of the start that the running code carries; only set where somebody listens."""


class Watcher:
    """Builds events only for who listens. Never told: headers, bodies, queries."""

    __slots__ = ("_emit",)

    def __init__(self, emit: Callable[[Event], None] | None) -> None:
        self._emit = emit

    def listens(self) -> bool:
        """Return whether anybody wants to know of attempts."""
        return self._emit is not None or logger.isEnabledFor(logging.DEBUG)

    def attempt(
        self,
        call: Call,
        times: tuple[float, float, float],
        error: str | None,
        retry_in: float | None = None,
        trace_id: str | None = None,
    ) -> None:
        """Tell of one attempt that is over. ``times``: when it began, was sent, and ended."""
        began, sent, ended = times
        logger.debug(
            "%s %s: attempt %d, status %s, %s, %.3f s",
            call.method,
            call.path,
            call.attempt,
            call.status,
            error or "good",
            ended - sent,
        )
        if self._emit is not None:
            event = Attempt(
                method=call.method,
                path=call.path,
                attempt=call.attempt,
                sends=call.sends,
                waited=sent - began,
                duration=ended - sent,
                status=call.status,
                error=error,
                retry_in=retry_in,
                trace_id=trace_id,
                start=START.get(),
            )
            self._send(self._emit, event)

    def hold(self, call: Call, host: str, seconds: float) -> None:
        """Tell of a pause that holds all callers."""
        logger.warning(
            "%s asked for a pause: all calls of this client hold for %.1f s", host, seconds
        )
        if self._emit is not None:
            self._send(self._emit, Hold(seconds=seconds, method=call.method, path=call.path))

    @staticmethod
    def _send(emit: Callable[[Event], None], event: Event) -> None:
        try:
            emit(event)
        except Exception:
            logger.exception("on_event failed for %s; the call goes on", type(event).__name__)
