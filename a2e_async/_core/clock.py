"""The wall clock of this package. It is read only here, so that simulations can replace it.

Durations and deadlines use the event loop's clock, which never jumps.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime

_wall: Callable[[], float] = time.time


def wall_time() -> float:
    """Return the wall-clock time in seconds since 1970. It may jump."""
    return _wall()


def utc_now() -> datetime:
    """Return the wall-clock time in UTC. It may jump."""
    return datetime.fromtimestamp(_wall(), UTC)


@contextmanager
def override_clock(wall_clock: Callable[[], float]) -> Generator[None]:
    """Use ``wall_clock`` (seconds since 1970) for all clients within the block; for tests."""
    global _wall
    before, _wall = _wall, wall_clock
    try:
        yield
    finally:
        _wall = before
