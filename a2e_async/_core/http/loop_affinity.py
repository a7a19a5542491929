"""Bind a client to one event loop and process; sleeps that end when the client is closed."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from a2e_async.errors import ClientClosed, ConfigurationError


def wrong_loop_error() -> ConfigurationError:
    """Return the error for using a client on a second event loop."""
    return ConfigurationError(
        "This client was used on another event loop. Create one A2E() per loop and keep it open."
    )


def forked_process_error() -> ConfigurationError:
    """Return the error for using a client in a forked child process."""
    return ConfigurationError(
        "This client was used before the process was forked. Its connections belong to the "
        "parent process; create a new A2E() in the child."
    )


class LoopAffinity:
    """The event loop and process in which a client was first used, and whether it was closed.

    Created by the client and shared by its components; the holders of its two HTTP sessions have
    one each of their own.
    """

    def __init__(self) -> None:
        self.closed: bool = False
        """Set by the client only: a component that is created later is closed from the start."""
        self._at: tuple[asyncio.AbstractEventLoop, int] | None = None

    def check(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; the first call binds the client to it.

        Raises `ConfigurationError` on another loop or in a forked process, where a waiter would
        hang: its future would sit in a queue that no running loop serves.
        """
        loop = asyncio.get_running_loop()
        if self._at is None:
            self._at = loop, os.getpid()
        elif self._at[1] != os.getpid():
            raise forked_process_error()
        elif self._at[0] is not loop:
            raise wrong_loop_error()
        return loop

    def check_without_binding(self) -> None:
        """Raise `ConfigurationError` without a running loop, or on another one than the client's.

        A client that was not used yet is not bound by this.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "Call this in the event loop of the client: no event loop runs in this thread."
            ) from None
        if self._at is not None and self._at[0] is not loop:
            raise wrong_loop_error()

    def loop_is_gone(self) -> bool:
        """Return whether the client's loop is closed, or belongs to the parent process.

        Nothing can be scheduled on such a loop. Raises `ConfigurationError` if the client's loop
        is still open and the caller runs on a different one.
        """
        if self._at is None or self._at[0] is asyncio.get_running_loop():
            return False
        loop, process = self._at
        if process == os.getpid() and not loop.is_closed():
            raise ConfigurationError("Close the client on the event loop it was used on.")
        return True

    def is_parents(self) -> bool:
        """Return whether the client was used in the parent process, before a fork."""
        return self._at is not None and self._at[1] != os.getpid()

    def run_on_loop(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` on the client's loop; may be called from any loop or thread."""
        loop, process = self._at or (None, os.getpid())
        if loop is None or loop is asyncio.get_running_loop():
            callback()
        elif process == os.getpid():
            with suppress(RuntimeError):  # the loop was closed, so no waiter is left
                loop.call_soon_threadsafe(callback)


def closed_error(operation: str = "") -> ClientClosed:
    """Return the error for a call on a closed client; ``operation`` names the call."""
    subject = f"{operation}: the" if operation else "The"
    return ClientClosed(f"{subject} client is closed. Create a new A2E(), or close it later.")


def nothing_sent_error() -> ClientClosed:
    """Return the error for a paid call on a closed client."""
    return ClientClosed("The client is closed; nothing was sent. Create a new A2E().")


def closed_before_sent_error(what: Literal["start", "call"]) -> ClientClosed:
    """Return the error for a start, or another paid call, that closing the client has withdrawn."""
    return ClientClosed(f"The client was closed before the {what} was sent; nothing was charged.")


class CancellableSleep:
    """Sleeps that end early, with an error, when the client is closed.

    Created by the `ApiSession`, which ends all sleeps when it is closed.
    """

    def __init__(self) -> None:
        self.pending: set[asyncio.Future[None]] = set()

    async def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``. Raises `ClientClosed` as soon as the client is closed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self.pending.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self.pending.discard(future)

    def end_all(self) -> None:
        """End all pending sleeps with `ClientClosed`."""
        for future in self.pending:
            if not future.done():
                future.set_exception(closed_error())


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
