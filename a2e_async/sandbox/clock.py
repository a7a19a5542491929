"""The sandbox's time: a work clock that can be sped up, and a calendar that cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import attrs


@attrs.frozen(slots=True)
class Moment:
    """One instant, on the two clocks of the sandbox, in seconds."""

    service_time: float
    """Service seconds since the sandbox was made: runs at ``speed``; tasks advance by it."""

    calendar: float
    """Seconds since 1970 as the service tells it: runs at the true rate, so that dates in records
    and in signed URLs agree with the caller's own clock however fast the work is."""


@attrs.define(slots=True)
class ServiceClock:
    """Turns a monotonic clock into moments. ``advance`` moves both clocks at once."""

    source: Callable[[], float]
    speed: float
    epoch: float
    _origin: float = attrs.field(init=False)
    _extra: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        if not self.speed > 0:
            msg = "speed must be above 0"
            raise ValueError(msg)
        self._origin = self.source()

    def now(self) -> Moment:
        """Returns the present moment."""
        real = self.source() - self._origin
        return Moment(real * self.speed + self._extra, self.epoch + real + self._extra)

    def advance(self, seconds: float) -> None:
        """Moves the service forward by so many service seconds; never back."""
        if not seconds >= 0:
            msg = "the clock only moves forward"
            raise ValueError(msg)
        self._extra += seconds


def format_iso(calendar: float) -> str:
    """Returns the instant as the service writes it: UTC with milliseconds and a ``Z``."""
    whole = datetime.fromtimestamp(calendar, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{whole.microsecond // 1000:03d}Z"


def parse_iso(text: str) -> float:
    """Returns the seconds since 1970 of an ISO date; UTC when it names no zone.

    Raises:
        ValueError: it is no ISO date.
    """
    value = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.timestamp()
