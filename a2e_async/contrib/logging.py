"""Events as log records: ``A2E(on_event=log_events())``.

Each record's message reads well alone; its fields are attributes of the record, too, for a JSON
formatter: ``a2e_event`` is the event's class, ``a2e_ref``, ``a2e_kind``, ``a2e_coins`` and so on
are its fields.
"""

import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

from attrs import fields

from a2e_async import events
from a2e_async.events import Event
from a2e_async.models import Recovery, Status

Said = tuple[int, str]
"""A level and a message."""


def log_events(
    logger: "logging.Logger | logging.LoggerAdapter[Any] | None" = None,
) -> Callable[[Event], None]:
    """Return what writes every event into ``logger`` (by default ``a2e_async.events``).

    WARNING is for what may need somebody: holds, lost starts, what was refused, has failed or
    is waited for in vain; INFO for what costs and what comes of it; DEBUG for all requests, looks
    and bytes. A record is made only where its level is on.
    """
    to = logging.getLogger("a2e_async.events") if logger is None else logger

    def write(event: Event) -> None:
        level, message = _said(event)
        if to.isEnabledFor(level):
            to.log(level, "%s", message, extra=_extra(event))

    return write


def _said(event: Event) -> Said:
    match event:
        case events.Asked():
            return logging.DEBUG, f"{event.kind} start {event.start} asked for"
        case events.Accepted():
            price = "price not told" if event.coins is None else f"{event.coins} coins"
            found = ", found after its answer was lost" if event.found else ""
            alone = "" if event.claimed else ", its caller was cancelled"
            level = logging.INFO if event.claimed and not event.found else logging.WARNING
            return level, f"{event.ref} accepted, {price}{found}{alone}"
        case events.NotStarted(error=None):
            return logging.INFO, f"{event.kind} start {event.start} withdrawn"
        case events.NotStarted():
            return logging.WARNING, f"{event.kind} start {event.start} refused: {event.error}"
        case events.StartLost():
            return logging.WARNING, f"{event.recovery.kind} start lost: it may have been charged"
        case events.Resumed():
            return logging.INFO, f"{event.ref} resumed from the journal"
        case events.Hold():
            return logging.WARNING, f"all calls hold for {event.seconds:.1f} s"
        case events.PaceAlone():
            return logging.WARNING, f"the shared pace is away: {event.rate:g} requests/s alone"
        case events.Finished(status=Status.SUCCEEDED):
            return logging.INFO, f"{event.ref} succeeded after {event.elapsed:.1f} s"
        case events.Finished():
            return logging.WARNING, f"{event.ref} {event.status or 'is gone'}"
        case events.WaitEnded(error="CancelledError"):
            return logging.INFO, f"a wait for {event.ref} was cancelled"
        case events.WaitEnded():
            return logging.WARNING, f"a wait for {event.ref} ended: {event.error}"
        case events.Saved():
            return logging.INFO, f"{event.ref or 'a file'} saved, {event.size} bytes"
        case _:
            return _detail(event)


def _detail(event: Event) -> Said:
    match event:
        case events.Attempt():
            came = event.error or f"status {event.status}"
            said = f"{event.method} {event.path}: {came}, {event.duration:.3f} s"
            if event.retry_in is None:
                return logging.DEBUG, said
            return logging.INFO, f"{said}; again in {event.retry_in:.1f} s"
        case events.Looked():
            level = logging.DEBUG if event.error is None else logging.INFO
            return level, f"looked at {event.tasks} {event.kind}: {event.error or event.mode}"
        case events.Attached():
            return logging.DEBUG, f"{event.ref} attached"
        case events.Update():
            return logging.DEBUG, f"{event.ref} {event.status} ({event.raw_status})"
        case events.Transfer():
            whole = "?" if event.total is None else event.total
            return logging.DEBUG, f"{event.direction} {event.done} of {whole} bytes"
        case _:
            return logging.DEBUG, type(event).__name__


def _extra(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {"a2e_event": type(event).__name__}
    for attribute in fields(type(event)):
        value = getattr(event, attribute.name)
        if isinstance(value, Recovery):
            # Its name may be of the user's; the mark and the digest are ours.
            found |= {
                "a2e_kind": value.kind,
                "a2e_mark": value.mark,
                "a2e_digest": value.digest,
            }
        else:
            found[f"a2e_{attribute.name}"] = value.value if isinstance(value, Enum) else value
    return found
