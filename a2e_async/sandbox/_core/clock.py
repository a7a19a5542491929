"""The sandbox's time: a service clock that can run faster, and a calendar that cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import attrs


@attrs.frozen(slots=True)
class Moment:
    """One instant on both clocks of the sandbox, in seconds."""

    service_time: float
    """Service seconds since the sandbox was created; tasks progress by it. It runs at ``speed``."""

    calendar: float
    """Seconds since 1970 in the service's dates. It runs in real time, so that dates in records
    and signed URLs agree with the caller's clock at any speed."""


@attrs.define(slots=True)
class ServiceClock:
    """Derives both clocks from a monotonic one. ``advance`` moves both.

    Created by the `LockedService`, whose lock guards it.
    """

    source: Callable[[], float]
    speed: float
    epoch: float
    _origin: float = attrs.field(init=False)
    _advanced: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        if not self.speed > 0:
            msg = "speed must be above 0"
            raise ValueError(msg)
        self._origin = self.source()

    def now(self) -> Moment:
        """Return the present moment."""
        real = self.source() - self._origin
        return Moment(real * self.speed + self._advanced, self.epoch + real + self._advanced)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by this many seconds; never back."""
        if not seconds >= 0:
            msg = "the clock only moves forward: seconds must be at least 0"
            raise ValueError(msg)
        self._advanced += seconds


def format_iso(calendar: float) -> str:
    """Format an instant as the service does: UTC with milliseconds and a ``Z``."""
    moment = datetime.fromtimestamp(calendar, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def parse_iso(text: str) -> float:
    """Return the seconds since 1970 of an ISO date; UTC when it names no zone.

    Raises:
        ValueError: the text is not an ISO date.
    """
    value = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.timestamp()
