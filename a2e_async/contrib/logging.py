"""Events as log records: ``A2E(on_event=log_events())``.

Each record has a readable message. The event's fields are also attributes of the record, for a JSON
formatter: ``a2e_event`` is the event's class name, ``a2e_ref``, ``a2e_kind``, ``a2e_coins`` and so
on are its fields.
"""

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

from attrs import fields

from a2e_async import events
from a2e_async.events import Event
from a2e_async.models import Recovery, Status

LevelAndMessage = tuple[int, str]
"""A log level and a message."""


def log_events(
    logger: "logging.Logger | logging.LoggerAdapter[Any] | None" = None,
) -> Callable[[Event], None]:
    """Return a function that logs every event to ``logger`` (default: ``a2e_async.events``).

    WARNING: what may need attention (rate-limit pauses, lost starts, refusals, failures, failed
    waits). INFO: what costs coins, and its outcome. DEBUG: requests, polls and transferred bytes. A
    record is only created if its level is enabled.
    """
    to = logging.getLogger("a2e_async.events") if logger is None else logger

    def write(event: Event) -> None:
        level, message = _describe(event)
        if to.isEnabledFor(level):
            to.log(level, "%s", message, extra=_record_attributes(event))

    return write


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
            return _describe_detail(event)


def _describe_detail(event: Event) -> LevelAndMessage:
    match event:
        case events.Attempt():
            outcome = event.error or f"status {event.status}"
            message = f"{event.method} {event.path}: {outcome}, {event.duration:.3f} s"
            if event.retry_in is None:
                return logging.DEBUG, message
            return logging.INFO, f"{message}; retry in {event.retry_in:.1f} s"
        case events.Polled():
            level = logging.DEBUG if event.error is None else logging.INFO
            return level, f"polled {event.tasks} {event.kind}: {event.error or event.mode}"
        case events.Attached():
            return logging.DEBUG, f"{event.ref} attached"
        case events.Update():
            return logging.DEBUG, f"{event.ref} {event.status} ({event.raw_status})"
        case events.Transfer():
            total = "?" if event.total is None else event.total
            return logging.DEBUG, f"{event.direction} {event.done} of {total} bytes"
        case _:
            return logging.DEBUG, type(event).__name__


def _record_attributes(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {"a2e_event": type(event).__name__}
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
