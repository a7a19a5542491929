"""A thread with an event loop, and the way there: calls, iterations, context managers.

A call that is interrupted (Ctrl-C) is cancelled on the loop, and its end is waited for; what it
had paid for is kept by the client as after any cancellation. The thread ends when the client is
closed, at the latest when the program ends; it is a daemon, so that a second Ctrl-C leaves it.
"""

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from a2e_async.client import A2E
from a2e_async.errors import ClientClosed, ConfigurationError, seal, without_frames
from a2e_async.transport.loops import closed_error, forked

logger = logging.getLogger("a2e_async.blocking")

P = ParamSpec("P")
T = TypeVar("T")

TICK: Final = 0.5 if sys.platform == "win32" else None
"""Seconds after which a wait looks up: on Windows Ctrl-C does not interrupt one without end."""


class Bridge:
    """The event loop of one blocking client. It may be used from any thread.

    The thread is started by the first call; making a bridge does nothing.
    """

    def __init__(self, client: A2E) -> None:
        self.client = client
        self.closed = False
        self._owner_pid: int | None = None
        """The process of the first call; until then the client is anybody's."""
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[BlockingPortal] = Future()
        self._calls: set[_PendingCall] = set()

    @property
    def inside(self) -> bool:
        """Whether the caller runs on the client's own event loop."""
        return self._thread is threading.current_thread()

    def call(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the loop, and return or raise what comes of it."""
        call = _PendingCall()

        async def run() -> T:
            call.task = asyncio.current_task()
            try:
                return await work(*args, **kwargs)
            finally:
                call.ended.set()

        with self._lock:
            portal = self._get_portal()
            self._calls.add(call)
        try:
            future = _submit(portal, run)
            call.future = future
            if call.ended.is_set():
                future.cancel()  # the thread is over, and may not have seen it
            while not wait([future], timeout=TICK).done:
                pass  # Ctrl-C comes in here
            return future.result()
        except CancelledError as error:
            del args, kwargs
            raise closed_error() from without_frames(error)
        except BaseException as error:
            # Ctrl-C: what comes after it must not find the call half done.
            if call.future is None:
                self._cancel_interrupted(portal, call)
            elif call.future.cancel():
                call.ended.wait()
            del args, kwargs  # the frames, this one included, hold media URLs
            seal(error)
            raise
        finally:
            self._calls.discard(call)

    def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the loop what does not wait."""

        async def run() -> T:
            return work(*args, **kwargs)

        return self.call(run)

    def iterate(self, stream: AsyncIterator[T]) -> Generator[T]:
        """Iterate on the loop, item by item. Leaving or dropping the iteration ends the stream."""
        try:
            while True:
                try:
                    item = self.call(partial(anext, stream))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._close_stream(stream)

    @contextmanager
    def enter(self, manager: AbstractAsyncContextManager[T]) -> Generator[T]:
        """Enter and leave on the loop."""
        value = self.call(manager.__aenter__)
        try:
            yield value
        except BaseException as error:
            if not self.call(manager.__aexit__, type(error), error, error.__traceback__):
                raise
        else:
            self.call(manager.__aexit__, None, None, None)

    @contextmanager
    def enter_stream(
        self, manager: AbstractAsyncContextManager[AsyncIterator[T]]
    ) -> Generator[Iterator[T]]:
        """Enter a manager of a stream, and iterate on the loop."""
        with self.enter(manager) as stream:
            yield self.iterate(stream)

    def close(self) -> None:
        """Close the client, as `A2E.aclose` does, and end the thread. Harmless when repeated.

        When this is interrupted, the rest is left to the thread for as long as the program runs.
        """
        if self._owner_pid not in (None, os.getpid()):
            return
        with self._lock:
            first, self.closed = not self.closed, True
            portal, thread = self._portal, self._thread
        atexit.unregister(self.close)
        if not first or thread is None or thread.ident is None:
            return
        if portal is None:  # the call that began the thread was interrupted
            portal = self._ready.result()
        if self.inside:
            raise _own_loop_error()
        with suppress(ClientClosed, CancelledError):  # a loop that a callback has ended
            _submit(portal, partial(self._close, portal)).result()
        thread.join()

    # -- inside ----------------------------------------------------------------------------

    def _get_portal(self) -> BlockingPortal:
        if self._owner_pid not in (None, os.getpid()):
            raise forked()
        if self.inside:
            raise _own_loop_error()
        if self.closed:
            raise closed_error()
        self._owner_pid = os.getpid()
        if self._portal is None:
            # Each step may be interrupted; the next call goes on with the same thread.
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run_loop,
                    args=(self._ready,),
                    name="a2e_async-blocking",
                    daemon=True,
                )
            if self._thread.ident is None:
                self._thread.start()
            portal = self._ready.result()
            atexit.register(self.close)
            self._portal = portal
        return self._portal

    def _run_loop(self, ready: "Future[BlockingPortal]") -> None:
        async def main() -> None:
            try:
                async with BlockingPortal() as portal:
                    ready.set_result(portal)
                    await portal.sleep_until_stopped()
            finally:
                await self.client.aclose()  # once more, should the loop not have been told to end

        try:
            anyio.run(main)
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            else:  # as SystemExit in a callback does
                logger.exception("the event loop of a blocking client has ended")
        finally:
            # A call that came in the very moment of closing waits for nobody.
            for call in tuple(self._calls):
                call.ended.set()
                if call.future is not None:
                    call.future.cancel()

    async def _close(self, portal: BlockingPortal) -> None:
        try:
            await self.client.aclose()
        finally:
            await portal.stop(cancel_remaining=True)

    def _cancel_interrupted(self, portal: BlockingPortal, call: "_PendingCall") -> None:
        """End a call that was interrupted while it was handed over, if it has been."""

        async def end() -> None:  # what was handed over before it has begun before it
            if call.task is None:
                call.ended.set()
            else:
                call.task.cancel()

        with suppress(ClientClosed):
            _submit(portal, end)
            call.ended.wait()

    def _close_stream(self, stream: AsyncIterator[Any]) -> None:
        aclose = getattr(stream, "aclose", None)
        if aclose is None:
            return
        if self.inside:  # dropped, and collected here by chance
            asyncio.ensure_future(aclose()).add_done_callback(_retrieve_exception)
            return
        with suppress(ClientClosed, ConfigurationError):
            self.call(aclose)


class _PendingCall:
    """One call on its way. ``ended``: nothing of it runs on the loop any more."""

    def __init__(self) -> None:
        self.future: Future[Any] | None = None
        self.task: asyncio.Task[Any] | None = None
        self.ended = threading.Event()


def _submit(portal: BlockingPortal, work: Callable[[], Awaitable[T]]) -> "Future[T]":
    try:
        return portal.start_task_soon(work)
    except RuntimeError as error:
        raise closed_error() from error


def _own_loop_error() -> ConfigurationError:
    return ConfigurationError(
        "A blocking client cannot be used on its own event loop (in on_event, for one): the call "
        "would wait for itself."
    )


def _retrieve_exception(done: "asyncio.Task[Any]") -> None:
    if not done.cancelled():
        done.exception()
