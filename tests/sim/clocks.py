"""The clocks of a world: one reference time, and machines whose wall clocks jump."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from simloom._context import current_host

from a2e_async._core.clock import override_clock

EPOCH: Final = 1_795_000_000.0
"""The reference time at the start of a world, in seconds since 1970."""


@contextmanager
def machine_clocks() -> Iterator[dict[str, float]]:
    """Give each machine its own wall clock; yield the offsets in seconds, by machine name."""
    offsets: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    def wall() -> float:
        host = current_host.get()
        return EPOCH + loop.time() + (offsets.get(host.name, 0.0) if host is not None else 0.0)

    with override_clock(wall):
        yield offsets
