"""For web apps on aiohttp: `setup` opens a client with the app, and closes it with the app.

``setup(app, A2E(journal="jobs.db"), download_to="results")`` finishes every task of the client and
turns errors of this package into HTTP responses. Handlers find the client in
``request.app[CLIENT]`` and the `ProgressStream` in ``request.app[PROGRESS]``.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Unpack

from aiohttp import web
from aiohttp.typedefs import Handler

from a2e_async.client import A2E
from a2e_async.contrib._web.error_responses import ErrorResponse, error_response, log_error
from a2e_async.contrib._web.progress import SSE_HEADERS, BaseProgressStream, ProgressOptions
from a2e_async.errors import A2EError

__all__ = [
    "CLIENT",
    "PROGRESS",
    "ErrorResponse",
    "ProgressStream",
    "error_middleware",
    "error_response",
    "setup",
]


class ProgressStream(BaseProgressStream):
    """Finishes every task of a client, and streams the progress of each user's jobs to their pages.

    The options are those of `a2e_async.contrib.asgi.ProgressStream`; `setup` makes it.
    """

    async def respond(self, request: web.Request, *, caller: str = "") -> web.StreamResponse:
        """Answer a page with one stream for all jobs of ``caller``; see `events`.

        It ends when the page is closed or the app stops.
        """
        response = web.StreamResponse(headers=SSE_HEADERS)
        await response.prepare(request)
        async with aclosing(self.events(request.headers, caller=caller)) as events:
            async for event in events:
                try:
                    await response.write(event)
                except ConnectionError:
                    break  # the page is gone
        return response


CLIENT = web.AppKey("a2e_client", A2E)
"""The client, in the app that `setup` was called with."""

PROGRESS = web.AppKey("a2e_progress", ProgressStream)
"""The progress stream, in the same app."""


def setup(app: web.Application, a2e: A2E, **options: Unpack[ProgressOptions]) -> None:
    """Open and close a client with an app, follow all its tasks, and answer errors.

    ``options`` are those of `ProgressStream`: at least ``download_to`` or ``on_end``. Call it once
    per app, before the app runs.
    """
    progress = ProgressStream(a2e, **options)
    app[CLIENT], app[PROGRESS] = a2e, progress
    app.middlewares.append(error_middleware)

    async def run(_: web.Application) -> AsyncGenerator[None]:
        async with a2e, progress:
            yield

    async def end_streams(_: web.Application) -> None:
        progress.close()  # aiohttp waits for open responses before it cleans up

    app.cleanup_ctx.append(run)
    app.on_shutdown.append(end_streams)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors of this package, see `error_response`.

    What the end user cannot repair is logged. Errors after the response has begun are raised.
    """
    try:
        return await handler(request)
    except A2EError as error:
        if request.writer.output_size:
            raise
        answer = error_response(error)
        log_error(error, answer)
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)
