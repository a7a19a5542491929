"""Dub recordings over HTTP, with aiohttp.web. It can be restarted at any time.

A2E_API_KEY=… python examples/aiohttp_web.py
curl -F file=@talk.wav -F target_lang=es -H "Idempotency-Key: $(uuidgen)" localhost:8080/jobs
curl localhost:8080/jobs/KEY          # and /jobs/KEY/result when it is ready
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from a2e_async import A2E, A2EError, errors
from a2e_async.journal import Entry

CLIENT = web.AppKey("client", A2E)


async def client(app: web.Application) -> AsyncIterator[None]:
    """One client for the app. The code before and after `yield` may run in different tasks."""
    app[CLIENT] = A2E(journal="jobs.db")
    app[CLIENT].follow_all(download_to="results")  # also what an earlier process started
    yield
    await app[CLIENT].aclose()  # tasks continue at the service


async def start(request: web.Request) -> web.Response:
    key = request.headers.get("Idempotency-Key", "")
    form = await request.post()
    file, language = form.get("file"), form.get("target_lang")
    if not key or not isinstance(file, web.FileField) or not isinstance(language, str):
        raise web.HTTPBadRequest(text="Required: file, target_lang, header Idempotency-Key.")
    data = await asyncio.to_thread(file.file.read)
    await request.app[CLIENT].dubbing.start(source_url=data, target_lang=language, key=key)
    return web.json_response({"id": key}, status=202)


async def find(request: web.Request) -> Entry:
    journal = request.app[CLIENT].journal
    assert journal is not None
    entry = await journal.get(request.match_info["key"])
    if entry is None:
        raise web.HTTPNotFound
    return entry


async def show(request: web.Request) -> web.Response:
    entry = await find(request)
    failed = entry.succeeded is False
    status = "failed" if failed else "running" if entry.open else "succeeded"
    return web.json_response({"status": status, "error": entry.failure})


async def result(request: web.Request) -> web.FileResponse:
    entry = await find(request)
    if not entry.paths:
        raise web.HTTPNotFound(text="Not ready yet.")
    return web.FileResponse(next(iter(entry.paths.values())))


@web.middleware
async def refuse(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Return errors that the user can fix; log all others."""
    try:
        return await handler(request)
    except (errors.InvalidInput, errors.KeyConflict) as error:
        return web.Response(text=str(error), status=422)
    except A2EError as error:
        logging.getLogger(__name__).warning("%s", error)
        return web.Response(text="Try again later.", status=503, headers={"Retry-After": "60"})


def make_app() -> web.Application:
    app = web.Application(middlewares=[refuse], client_max_size=100 * 2**20)
    app.cleanup_ctx.append(client)
    app.router.add_post("/jobs", start)
    app.router.add_get("/jobs/{key}", show)
    app.router.add_get("/jobs/{key}/result", result)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
