"""SIGINT, SIGTERM and SIGHUP: all end a command the same way, and none loses what was paid."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from attrs import define, field

from a2e_async.cli import exits

CODES: Final = {
    number: code
    for name, code in (
        ("SIGINT", exits.INTERRUPTED),
        ("SIGTERM", exits.TERMINATED),
        ("SIGHUP", exits.HUNG_UP),
    )
    if (number := getattr(signal, name, None)) is not None  # Windows has no SIGHUP
}
"""The signals that end a command, and the exit code of each: 128 and its number."""

MOST: Final = 2
"""Signals that the loop is left to act on; the next ends even what blocks the loop."""

_Handler = Callable[[int, FrameType | None], Any]


@define(eq=False)
class Ending:
    """Takes the signals of one command: the first cancels its work, the next cuts it off."""

    number: int | None = None
    """The first signal that came."""

    telling: bool = False
    """True while it is said what is left; nothing may cut that off."""

    _count: int = field(default=0, init=False)
    _task: "asyncio.Task[Any] | None" = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)

    @property
    def code(self) -> int:
        """The exit code that says which signal it was."""
        return exits.INTERRUPTED if self.number is None else CODES[self.number]

    async def over(self, work: Coroutine[Any, Any, int]) -> int:
        """Do the work; the first signal cancels it."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        return await work

    def take(self, number: int, _: FrameType | None = None) -> None:
        """Take a signal. Raises KeyboardInterrupt where there is nothing left to wait for."""
        if self.telling:
            return
        self._count += 1
        if self.number is None:
            self.number = number
        loop, task = self._loop, self._task
        if loop is None or task is None or not loop.is_running() or self._count > MOST:
            raise KeyboardInterrupt
        if self._count == 1 and not task.done():
            task.cancel()
            loop.call_soon_threadsafe(_nothing)  # it may be asleep in its selector
        else:
            # Raised from the loop and not here, where a `finally` of the work would hold it up.
            loop.call_soon_threadsafe(_cut_off)


@contextmanager
def ending() -> Generator[Ending]:
    """Take all signals of `CODES` that are not ignored (as under nohup) until the block ends."""
    taken = Ending()
    before = _install(taken.take)
    try:
        yield taken
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int) -> None:
    """End the process now, if a signal ended the command.

    The interpreter's own end would wait for threads, and die of one more Ctrl-C meanwhile.
    """
    if code in CODES.values():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(code)


def _install(handler: _Handler) -> dict[int, Any]:
    """Take over the signals; return what was there."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in CODES}
    before = {n: h for n, h in found.items() if h not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before


def _nothing() -> None:
    pass


def _cut_off() -> None:
    raise KeyboardInterrupt
