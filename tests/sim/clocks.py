"""The clocks of a world: one true time, and machines whose wall clocks jump away from it."""

import asyncio
import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from typing import Final
from unittest.mock import patch

from simloom._context import current_host

EPOCH: Final = 1_795_000_000.0
"""The true time at the begin of a world, in seconds since 1970."""

_USERS: Final = ("tasks.sending", "tasks.charged", "resources.files", "transport.session")
"""Modules that use `datetime.now`, which simloom cannot reach."""


class SimulatedDatetime(datetime):
    """`datetime` whose ``now`` is that of the world."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "SimulatedDatetime":
        """Return the machine's time."""
        return cls.fromtimestamp(time.time(), tz)


@contextmanager
def machine_clocks() -> Iterator[dict[str, float]]:
    """Give each machine its own wall clock; yield the seconds each one is ahead, by its name."""
    offsets: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    def wall() -> float:
        host = current_host.get()
        return EPOCH + loop.time() + (offsets.get(host.name, 0.0) if host is not None else 0.0)

    from a2e_async.tasks.recoverer import Recoverer

    defaults = Recoverer.__init__.__kwdefaults__
    kept = dict(defaults)
    before, time.time = time.time, wall
    try:
        with patch.multiple(importlib.import_module("a2e_async.tasks.recoverer"), time=time):
            defaults["wall"] = wall
            for name in _USERS:
                importlib.import_module(f"a2e_async.{name}").datetime = SimulatedDatetime  # type: ignore[attr-defined]
            yield offsets
    finally:
        time.time = before
        defaults.update(kept)
