"""The event loop a client belongs to, and what is said to who uses it where it cannot work."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from a2e_async.errors import ClientClosed, ConfigurationError


def wrong_loop() -> ConfigurationError:
    """Return the error of a use on another event loop than the first one's."""
    return ConfigurationError(
        "This client was used on another event loop. Make one A2E() per loop and keep it open."
    )


def forked() -> ConfigurationError:
    """Return the error of a use in a child of the process that the client belongs to."""
    return ConfigurationError(
        "This client was used before the process was forked. Its connections belong to the "
        "parent; make a new A2E() in the child."
    )


class Home:
    """The loop and the process that a client is first used on."""

    def __init__(self) -> None:
        self._at: tuple[asyncio.AbstractEventLoop, int] | None = None

    def check(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; the first one asked on is the client's own.

        Raises `ConfigurationError` on another one, and in a forked process: a wait there would
        stand in a queue that nobody serves.
        """
        loop = asyncio.get_running_loop()
        if self._at is None:
            self._at = loop, os.getpid()
        elif self._at[1] != os.getpid():
            raise forked()
        elif self._at[0] is not loop:
            raise wrong_loop()
        return loop

    def outlived(self) -> bool:
        """Tell whether the client's loop is over (or the parent's), so that none can be told.

        Raises `ConfigurationError` while that loop lives and another one asks.
        """
        if self._at is None or self._at[0] is asyncio.get_running_loop():
            return False
        loop, process = self._at
        if process == os.getpid() and not loop.is_closed():
            raise ConfigurationError("Close the client on the event loop it was used on.")
        return True

    def call(self, do: Callable[[], None]) -> None:
        """Call this on the client's loop, from whatever loop."""
        loop, process = self._at or (None, os.getpid())
        if loop is None or loop is asyncio.get_running_loop():
            do()
        elif process == os.getpid():
            with suppress(RuntimeError):  # its loop is over, and all waits with it
                loop.call_soon_threadsafe(do)


def closed_error(what: str = "") -> ClientClosed:
    """Return the error of every call that finds the client closed."""
    before = f"{what}: the" if what else "The"
    return ClientClosed(f"{before} client is closed. Make a new A2E(), or close it later.")


class Naps:
    """Pauses that closing the client ends."""

    def __init__(self) -> None:
        self.under_way: set[asyncio.Future[None]] = set()

    async def take(self, seconds: float) -> None:
        """Return after so many seconds. Raises `ClientClosed` when the client is closed."""
        loop = asyncio.get_running_loop()
        nap: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, nap)
        self.under_way.add(nap)
        try:
            await nap
        finally:
            timer.cancel()
            self.under_way.discard(nap)

    def close(self) -> None:
        """End all that are under way."""
        for nap in self.under_way:
            if not nap.done():
                nap.set_exception(closed_error())


def _wake(nap: "asyncio.Future[None]") -> None:
    if not nap.done():
        nap.set_result(None)
