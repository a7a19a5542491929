"""Events as log records: ``A2E(on_event=log_events())``.

Each record has a readable message, and flat fields for a JSON formatter: ``event`` is its name,
such as ``a2e.finished``; ``a2e_ref``, ``a2e_kind``, ``a2e_coins`` and so on are the fields of the
event. A rate-limit pause is one record, and so is an outage of the service, whatever the number of
requests.
"""

import logging
import re
from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any, Final, Protocol, Union, cast

from attrs import define, fields

from a2e_async import events
from a2e_async.events import Event
from a2e_async.models import Recovery, Status

OUTAGE_END_SECONDS: Final = 10.0
"""An outage has ended when a request succeeds this long (s) after the last one that failed."""

LevelAndMessage = tuple[int, str]
"""A log level and a message."""


_StandardLogger = Union[logging.Logger, "logging.LoggerAdapter[Any]"]


class StructuredLogger(Protocol):
    """A logger that takes a name and fields, such as ``structlog.get_logger()``."""

    def log(self, level: int, event: str, /, **fields: Any) -> Any:
        """Log an event."""
        ...


def log_events(
    logger: "logging.Logger | logging.LoggerAdapter[Any] | StructuredLogger | None" = None,
) -> Callable[[Event], None]:
    """Return a function that logs every event to ``logger`` (default: ``a2e_async.events``).

    WARNING: what may need attention (rate-limit pauses, an unreachable service, lost starts,
    refusals, failures, failed waits). INFO: what costs coins, and its outcome. DEBUG: requests,
    polls and transferred bytes. A record is only created if its level is enabled. Each client needs
    its own function.
    """
    to = logging.getLogger("a2e_async.events") if logger is None else logger
    is_stdlib = isinstance(to, logging.Logger | logging.LoggerAdapter)
    write = (_stdlib_writer if is_stdlib else _structured_writer)(cast("Any", to))
    outages = _OutageLog()

    def log(event: Event) -> None:
        if isinstance(event, events.Attempt) and (notice := outages.notice(event)):
            level, name, message, details = notice
            write(level, name, message, lambda: details)
        level, message = _describe(event)
        write(level, _name(type(event)), message, lambda: _details(event))

    return log


Fields = dict[str, Any]

Write = Callable[[int, str, str, Callable[[], Fields]], None]
"""Writes a record: its level, name, message and fields."""


def _structured_writer(logger: StructuredLogger) -> Write:
    def write(level: int, name: str, _: str, details: Callable[[], Fields]) -> None:
        logger.log(level, name, **details())

    return write


def _stdlib_writer(logger: "_StandardLogger") -> Write:
    adapters: list[logging.LoggerAdapter[Any]] = []
    plain: _StandardLogger = logger
    while isinstance(plain, logging.LoggerAdapter):
        adapters.append(plain)
        plain = plain.logger

    def write(level: int, name: str, message: str, details: Callable[[], Fields]) -> None:
        if not logger.isEnabledFor(level):
            return
        options: Any = {}
        extra: Fields = {}
        for adapter in adapters:
            # An adapter replaces `extra` by its own: it could keep both only from Python 3.13 on.
            message, options = adapter.process(message, options)
            extra |= options.pop("extra", None) or {}
        plain.log(level, "%s", message, **options, extra=extra | {"event": name} | details())

    return write


@define(eq=False)
class _OutageLog:
    """Notices the beginning and the end of an outage of the service.

    Created by `log_events` for one client, whose events alone change it.
    """

    failed: int = 0
    """The requests that have failed since the outage began; 0 if there is none."""
    began_at: float = 0.0
    last_failed_at: float = 0.0

    def notice(self, event: events.Attempt) -> tuple[int, str, str, Fields] | None:
        """Return a record if an outage begins or ends with this attempt."""
        if event.error == "CancelledError":  # says nothing about the service
            return None
        now = monotonic()
        if _shows_outage(event):
            self.failed, self.last_failed_at = self.failed + 1, now
            if self.failed > 1:
                return None
            self.began_at = now
            answer = "does not answer" if event.status is None else f"answers with {event.status}"
            details: Fields = {"a2e_status": event.status, "a2e_error": event.error}
            message = f"the service {answer}: {event.error}"
            return logging.WARNING, "a2e.outage_started", message, details
        if not self.failed or now - self.last_failed_at < OUTAGE_END_SECONDS:
            return None
        seconds, failed, self.failed = self.last_failed_at - self.began_at, self.failed, 0
        message = f"the service answers again: {failed} requests failed during {seconds:.1f} s"
        details = {"a2e_failed_requests": failed, "a2e_seconds": seconds}
        return logging.INFO, "a2e.outage_ended", message, details


def _shows_outage(event: events.Attempt) -> bool:
    if event.error is None:
        return False
    return event.status is None or event.status >= 500 or event.error == "DecodeError"


def _describe(event: Event) -> LevelAndMessage:
    match event:
        case events.StartRequested():
            return logging.DEBUG, f"{event.kind} start {event.start} requested"
        case events.Accepted():
            price = "price unknown" if event.coins is None else f"{event.coins} coins"
            found = ", found after its response was lost" if event.found else ""
            cancelled = "" if event.claimed else ", its caller was cancelled"
            level = logging.INFO if event.claimed and not event.found else logging.WARNING
            return level, f"{event.ref} accepted, {price}{found}{cancelled}"
        case events.NotStarted(error=None):
            return logging.INFO, f"{event.kind} start {event.start} withdrawn"
        case events.NotStarted():
            return logging.WARNING, f"{event.kind} start {event.start} refused: {event.error}"
        case events.StartLost():
            return logging.WARNING, f"{event.recovery.kind} start lost: it may have been charged"
        case events.Resumed():
            return logging.INFO, f"{event.ref} resumed from the journal"
        case events.RateLimitPause():
            return logging.WARNING, f"rate limited: all requests pause for {event.seconds:.1f} s"
        case events.RateLimitDegraded():
            return (
                logging.WARNING,
                f"shared rate limit unreachable: limiting this client to {event.rate:g} requests/s",
            )
        case events.Finished(status=Status.SUCCEEDED):
            return logging.INFO, f"{event.ref} succeeded after {event.elapsed:.1f} s"
        case events.Finished():
            return logging.WARNING, f"{event.ref} {event.status or 'is unknown to the service'}"
        case events.WaitEnded(error="CancelledError"):
            return logging.INFO, f"a wait for {event.ref} was cancelled"
        case events.WaitEnded():
            return logging.WARNING, f"a wait for {event.ref} ended: {event.error}"
        case events.Saved():
            return logging.INFO, f"{event.ref or 'a file'} saved, {event.size} bytes"
        case _:
            return logging.DEBUG, _describe_detail(event)


def _describe_detail(event: Event) -> str:
    match event:
        case events.RequestStarted():
            return f"{event.method} {event.url} begins"
        case events.Attempt():
            outcome = event.error or f"status {event.status}"
            retry = "" if event.retry_in is None else f"; retry in {event.retry_in:.1f} s"
            return f"{event.method} {event.path}: {outcome}, {event.duration:.3f} s{retry}"
        case events.FileRequest():
            outcome = event.error or f"status {event.status}"
            return f"{event.method} {event.url}: {outcome}, {event.duration:.3f} s"
        case events.PollStarted():
            return f"a poll of {len(event.refs)} {event.kind} begins"
        case events.Polled():
            return f"polled {event.tasks} {event.kind}: {event.error or event.mode}"
        case events.Attached():
            return f"{event.ref} attached"
        case events.WaitStarted():
            return f"a wait for {event.ref} begins"
        case events.Update():
            return f"{event.ref} {event.status} ({event.raw_status})"
        case events.Transfer():
            total = "?" if event.total is None else event.total
            return f"{event.direction} {event.done} of {total} bytes"
        case _:
            return type(event).__name__


def _details(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in fields(type(event)):
        value = getattr(event, attribute.name)
        if isinstance(value, Recovery):
            # The name may be the user's own and is left out; mark and digest are generated here.
            found |= {
                "a2e_kind": value.kind,
                "a2e_mark": value.mark,
                "a2e_digest": value.digest,
            }
        else:
            found[f"a2e_{attribute.name}"] = value.value if isinstance(value, Enum) else value
    return found


_WORD_START: Final = re.compile("(?<=[a-z])(?=[A-Z])")


def _name(cls: type[Event]) -> str:
    return f"a2e.{_WORD_START.sub('_', cls.__name__).lower()}"
