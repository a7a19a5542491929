"""For web apps on ASGI: Starlette, FastAPI, Litestar, Django. No framework is needed or imported.

`lifespan` opens a client with the app and closes it with the app, `ProgressStream` finishes the
client's tasks and streams their progress, `ErrorMiddleware` turns errors of this package into HTTP
responses. `LifespanMiddleware` is for apps that ignore the start and stop of their server, as
Django's do.
"""

import asyncio
import json
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self, Unpack

from a2e_async.client import A2E
from a2e_async.contrib._web.error_responses import ErrorResponse, error_response, log_error
from a2e_async.contrib._web.progress import SSE_HEADERS, BaseProgressStream, ProgressOptions
from a2e_async.errors import A2EError

__all__ = [
    "SSE_HEADERS",
    "ErrorMiddleware",
    "ErrorResponse",
    "LifespanMiddleware",
    "ProgressStream",
    "error_response",
    "lifespan",
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class ProgressStream(BaseProgressStream):
    """Finishes every task of a client, and streams the progress of each user's jobs to their pages.

    An async context manager for the lifespan of the app, inside that of the client: ``async with
    A2E(journal="jobs.db") as a2e, ProgressStream(a2e, download_to="results") as progress: yield``.
    `lifespan` does this. ``download_to``, ``on_end`` and ``on_update`` are those of
    `A2E.follow_all`, which it calls.

    ``StreamingResponse(progress.events(request.headers, caller=…), headers=SSE_HEADERS)`` answers
    a page: one stream for all jobs of a caller. A job belongs to the caller in its key:
    ``key=f"{caller}:{id}"``; ``caller_of`` finds the caller in keys of another form. ``meta`` names
    the values of a start's ``meta`` that its page may see. Every ``heartbeat`` seconds of silence a
    stream sends a comment, so that proxies keep it open. At most ``max_jobs`` are kept in memory,
    about 1 kB each; the oldest ones are no longer sent.

    When the server has to stop (SIGINT, SIGTERM), all streams end at once: servers wait for
    open responses before they stop the app.
    """

    _restore_signals: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._restore_signals = _call_on_stop(self.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._restore_signals is not None:
            self._restore_signals()
        await super().__aexit__(kind, error, traceback)


def _call_on_stop(close: Callable[[], None]) -> Callable[[], None]:
    """Call ``close`` when the process has to stop, before its server's own signal handler.

    Return a function that ends this. Does nothing outside of the main thread, where a process has
    no signal handlers, and for signals that nothing handles.
    """
    installed: dict[signal.Signals, tuple[Any, Any]] = {}
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            server_handler = signal.getsignal(number)
            if not callable(server_handler) or server_handler is signal.default_int_handler:
                continue

            def handle(
                number: int,
                frame: FrameType | None,
                server_handler: Callable[[int, FrameType | None], Any] = server_handler,
            ) -> None:
                with suppress(RuntimeError):  # a handler that was left behind: its loop is closed
                    loop.call_soon_threadsafe(close)
                server_handler(number, frame)

            signal.signal(number, handle)
            installed[number] = (handle, server_handler)

    def restore() -> None:
        for number, (own, before) in installed.items():
            if signal.getsignal(number) is own:
                signal.signal(number, before)

    return restore


def lifespan(
    make_client: Callable[[], A2E], **options: Unpack[ProgressOptions]
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan, as Starlette, FastAPI and `LifespanMiddleware` take it.

    ``FastAPI(lifespan=lifespan(lambda: A2E(journal="jobs.db"), download_to="results"))``: the
    client is ``request.state.a2e``, its `ProgressStream` ``request.state.progress``. ``options``
    are those of `ProgressStream`: at least ``download_to`` or ``on_end``.
    """

    @asynccontextmanager
    async def run(_: Any) -> AsyncGenerator[dict[str, Any]]:
        async with make_client() as a2e, ProgressStream(a2e, **options) as progress:
            yield {"a2e": a2e, "progress": progress}

    return run


class ErrorMiddleware:
    """ASGI middleware that answers errors of this package, see `error_response`.

    ``app.add_middleware(ErrorMiddleware)`` in Starlette and FastAPI. What the end user cannot
    repair is logged. Errors after the response has begun are raised.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        begun = False

        async def note_and_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note_and_send)
        except A2EError as error:
            if begun or scope["type"] != "http":
                raise
            answer = error_response(error)
            log_error(error, answer)
            await _send_response(send, answer)


async def _send_response(send: Send, answer: ErrorResponse) -> None:
    body = json.dumps(answer.body).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **answer.headers,
    }
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class LifespanMiddleware:
    """ASGI middleware that runs a lifespan for an app without one, such as Django's.

    ``lifespan`` is what Starlette and FastAPI take, too: a function of the app that returns an
    async context manager. It is entered on the loop that serves the requests, before the first of
    them, and left after the last. The mapping that it yields is in ``scope["state"]`` of each
    request. Raises `RuntimeError` for a request if the server did not start the lifespan.
    """

    def __init__(
        self,
        app: App,
        lifespan: Callable[[App], AbstractAsyncContextManager[Mapping[str, Any] | None]],
    ) -> None:
        self._app = app
        self._lifespan = lifespan
        self._state: Mapping[str, Any] | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._run(receive, send)
            return
        if self._state is None:
            raise RuntimeError("The server runs without the ASGI lifespan: --lifespan on")
        await self._app(
            {**scope, "state": {**scope.get("state", {}), **self._state}}, receive, send
        )

    async def _run(self, receive: Receive, send: Send) -> None:
        await receive()
        done = "startup"
        try:
            async with self._lifespan(self._app) as state:
                self._state = state or {}
                await send({"type": "lifespan.startup.complete"})
                done = "shutdown"
                await receive()
                self._state = None
        except Exception as error:
            await send({"type": f"lifespan.{done}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})
