"""A thread with an event loop, for calls, iterations and context managers of a blocking client.

An interrupted call (Ctrl-C) is cancelled on the loop, and the caller waits for its end; the client
keeps what the call has paid for, as after any cancellation. The thread ends when the client is
closed, at the latest at the end of the program. It is a daemon, so that a second Ctrl-C can end
the program while the thread is still closing.
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

from a2e_async._core.base_errors import drop_frames, without_frames
from a2e_async._core.http.loop_affinity import closed_error, forked_process_error
from a2e_async.client import A2E
from a2e_async.errors import ClientClosed, ConfigurationError

logger = logging.getLogger("a2e_async.blocking")

P = ParamSpec("P")
T = TypeVar("T")

INTERRUPT_CHECK_INTERVAL: Final = 0.5 if sys.platform == "win32" else None
"""Seconds between checks for Ctrl-C. On Windows it does not interrupt an unlimited wait."""


class EventLoopThread:
    """The event loop thread of one blocking client, usable from any thread.

    The first call starts the thread.

    Created by `blocking` for one client and shared by its wrappers; any thread may call it, and a
    lock guards what it changes. It lives until `close`, at the latest until the program ends.
    """

    def __init__(self, client: A2E) -> None:
        self.client = client
        self.closed: bool = False
        self._owner_pid: int | None = None
        """Id of the process that made the first call; a forked child does not have the thread."""
        self._lock = threading.Lock()
        self._portal: BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[BlockingPortal] = Future()
        self._calls: set[_PendingCall] = set()

    @property
    def on_loop_thread(self) -> bool:
        """Whether the caller runs on the event loop of the client."""
        return self._thread is threading.current_thread()

    def run(self, work: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the loop; return its result or raise its error."""
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
                future.cancel()  # the thread has ended and may not have seen this future
            while not wait([future], timeout=INTERRUPT_CHECK_INTERVAL).done:
                pass  # KeyboardInterrupt is raised here
            return future.result()
        except CancelledError as error:
            del args, kwargs
            raise closed_error() from without_frames(error)
        except BaseException as error:
            # KeyboardInterrupt: the caller continues, so the call must have ended by then.
            if call.future is None:
                self._cancel_interrupted(portal, call)
            elif call.future.cancel():
                call.ended.wait()
            del args, kwargs  # the frames of the traceback would keep media URLs
            drop_frames(error)
            raise
        finally:
            self._calls.discard(call)

    def run_sync(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function without I/O on the loop; return its result or raise its error."""

        async def run() -> T:
            return work(*args, **kwargs)

        return self.run(run)

    def iterate(self, stream: AsyncIterator[T]) -> Generator[T]:
        """Iterate on the loop, item by item. Closing the generator closes the stream."""
        try:
            while True:
                try:
                    item = self.run(partial(anext, stream))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._close_stream(stream)

    @contextmanager
    def enter_context(self, manager: AbstractAsyncContextManager[T]) -> Generator[T]:
        """Enter and exit an async context manager on the loop."""
        value = self.run(manager.__aenter__)
        try:
            yield value
        except BaseException as error:
            if not self.run(manager.__aexit__, type(error), error, error.__traceback__):
                raise
        else:
            self.run(manager.__aexit__, None, None, None)

    @contextmanager
    def enter_stream(
        self, manager: AbstractAsyncContextManager[AsyncIterator[T]]
    ) -> Generator[Iterator[T]]:
        """Enter a context manager of an async iterator; iterate on the loop."""
        with self.enter_context(manager) as stream:
            yield self.iterate(stream)

    def close(self) -> None:
        """Close the client, as `A2E.aclose` does, and end the thread. Further calls do nothing.

        If it is interrupted, the thread finishes the closing while the program runs.
        """
        if self._owner_pid not in (None, os.getpid()):
            return
        with self._lock:
            first, self.closed = not self.closed, True
            portal, thread = self._portal, self._thread
        atexit.unregister(self.close)
        if not first or thread is None or thread.ident is None:
            return
        if portal is None:  # the call that started the thread was interrupted
            portal = self._ready.result()
        if self.on_loop_thread:
            raise _own_loop_error()
        with suppress(ClientClosed, CancelledError):  # a callback has ended the loop
            _submit(portal, partial(self._close, portal)).result()
        thread.join()

    # -- internal ----------------------------------------------------------------------------

    def _get_portal(self) -> BlockingPortal:
        if self._owner_pid not in (None, os.getpid()):
            raise forked_process_error()
        if self.on_loop_thread:
            raise _own_loop_error()
        if self.closed:
            raise closed_error()
        self._owner_pid = os.getpid()
        if self._portal is None:
            # Ctrl-C can interrupt any of these steps; the next call continues with the same thread.
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
                await self.client.aclose()  # in case the loop ended without close()

        try:
            anyio.run(main)
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            else:  # as SystemExit in a callback does
                logger.exception("the event loop of a blocking client has ended")
        finally:
            # A call that was submitted during the closing would wait forever.
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
        """Cancel a call that was interrupted while it was submitted, if it was submitted."""

        async def end() -> None:  # runs after a call that was submitted before it
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
        if self.on_loop_thread:  # garbage collection ran on the loop thread
            asyncio.ensure_future(aclose()).add_done_callback(_retrieve_exception)
            return
        with suppress(ClientClosed, ConfigurationError):
            self.run(aclose)


class _PendingCall:
    """One call in flight. ``ended`` is set when none of its code runs on the loop any more."""

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
        "A blocking client cannot be used on its own event loop, for example in on_event: the "
        "call would wait for itself."
    )


def _retrieve_exception(done: "asyncio.Task[Any]") -> None:
    if not done.cancelled():
        done.exception()
