"""SIGINT, SIGTERM and SIGHUP: each ends a command the same way, without losing paid results."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.cli import exit_codes

if TYPE_CHECKING:
    import asyncio

CODES: Final[dict[int, int]] = {
    getattr(signal, name): code
    for name, code in (
        ("SIGINT", exit_codes.INTERRUPTED),
        ("SIGTERM", exit_codes.TERMINATED),
        ("SIGHUP", exit_codes.HUNG_UP),
    )
    if hasattr(signal, name)  # Windows has no SIGHUP
}
"""The signals that end a command, with the exit code of each: 128 plus its number."""

MAX_LOOP_SIGNALS: Final = 2
"""Signals that the event loop handles; the next one ends the command even if the loop blocks."""

_Handler = Callable[[int, FrameType | None], Any]


@define(eq=False)
class SignalHandler:
    """Handles the signals of one command: the first cancels its work, the second aborts it.

    Created for one command; changed by the start of its run and by signals.
    """

    number: int | None = None
    """The first signal that was received."""

    reporting: bool = False
    """True while the interruption is reported; further signals are then ignored."""

    raised: bool = False
    """True once a signal has raised KeyboardInterrupt in whatever code was running."""

    _count: int = field(default=0, init=False)
    _task: "asyncio.Task[Any] | None" = field(default=None, init=False)
    _loop: "asyncio.AbstractEventLoop | None" = field(default=None, init=False)

    @property
    def code(self) -> int:
        """The exit code of the signal that was received."""
        return exit_codes.INTERRUPTED if self.number is None else CODES[self.number]

    async def run(self, work: Coroutine[Any, Any, int]) -> int:
        """Await the work; the first signal cancels it."""
        import asyncio  # only here: help and version need no event loop

        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        return await work

    def handle(self, number: int, _: FrameType | None = None) -> None:
        """Handle a signal. Raises KeyboardInterrupt if the event loop cannot handle it."""
        if self.reporting:
            return
        self._count += 1
        if self.number is None:
            self.number = number
        if self._count > 1:
            # What is broken off is not awaited and not closed: Python would warn of each. And what
            # a signal raises in a destructor is lost: Python would print it.
            warnings.simplefilter("ignore")
            sys.unraisablehook = _ignore
        loop, task = self._loop, self._task
        if loop is None or task is None or not loop.is_running() or self._count > MAX_LOOP_SIGNALS:
            self.raised = True
            raise KeyboardInterrupt
        if self._count == 1 and not task.done():
            task.cancel()
            loop.call_soon_threadsafe(_wake_up)  # the loop may be blocked in its selector
        else:
            # Raised in the loop: raised here, a `finally` of the work could delay it.
            loop.call_soon_threadsafe(_abort)


@contextmanager
def handle_signals() -> Generator[SignalHandler]:
    """Handle all signals of `CODES` in the block, except ignored ones (as under nohup)."""
    handler = SignalHandler()
    previous, hook = _install(handler.handle), sys.unraisablehook
    try:
        with warnings.catch_warnings():
            yield handler
    finally:
        sys.unraisablehook = hook
        for number, old in previous.items():
            signal.signal(number, old)


def exit_after_signal(code: int) -> None:
    """End the process at once if ``code`` is that of a signal.

    A normal exit would wait for threads, and another Ctrl-C meanwhile would print a traceback.
    """
    if code in CODES.values():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(code)


def _install(handler: _Handler) -> dict[int, Any]:
    """Install a handler and return the previous ones."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    installed = {number: signal.getsignal(number) for number in CODES}
    previous = {n: h for n, h in installed.items() if h not in (signal.SIG_IGN, None)}
    for number in previous:
        signal.signal(number, handler)
    return previous


def _wake_up() -> None:
    pass


def _ignore(_: object) -> None:
    pass


def _abort() -> None:
    raise KeyboardInterrupt
