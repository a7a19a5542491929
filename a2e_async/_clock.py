"""The calendar clock of this package: read here alone, so that a simulation can set it.

Durations and deadlines are measured on the event loop's own clock, which never jumps.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime

_wall: Callable[[], float] = time.time


def wall_time() -> float:
    """Return the time of day in seconds since 1970. It may jump."""
    return _wall()


def utc_now() -> datetime:
    """Return the time of day in UTC. It may jump."""
    return datetime.fromtimestamp(_wall(), UTC)


@contextmanager
def clock_set(wall: Callable[[], float]) -> Generator[None]:
    """Let ``wall`` (seconds since 1970) be the clock of all clients meanwhile; for tests."""
    global _wall
    before, _wall = _wall, wall
    try:
        yield
    finally:
        _wall = before
