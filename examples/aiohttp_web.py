"""Dub recordings over HTTP, with aiohttp.web. It can be restarted at any time.

A2E_API_KEY=… python examples/aiohttp_web.py
curl -F file=@talk.wav -F target_lang=es -H "Idempotency-Key: $(uuidgen)" localhost:8080/jobs
curl -N localhost:8080/events         # live, all jobs
curl localhost:8080/jobs/KEY/result   # when it is ready
"""

import os

from aiohttp import web

from a2e_async import A2E
from a2e_async.contrib.aiohttp import CLIENT, PROGRESS, setup


async def start(request: web.Request) -> web.Response:
    key = request.headers.get("Idempotency-Key", "")
    form = await request.post()  # the file goes to a temporary file as it arrives
    file, language = form.get("file"), form.get("target_lang")
    if not key or not isinstance(file, web.FileField) or not isinstance(language, str):
        raise web.HTTPBadRequest(text="Required: file, target_lang, header Idempotency-Key.")
    await request.app[CLIENT].dubbing.start(source_url=file, target_lang=language, key=key)
    return web.json_response({"id": key}, status=202)


async def events(request: web.Request) -> web.StreamResponse:
    return await request.app[PROGRESS].respond(request)


async def result(request: web.Request) -> web.FileResponse:
    files = await request.app[PROGRESS].files(request.match_info["key"])
    if not files:
        raise web.HTTPNotFound(text="Not ready yet.")
    return web.FileResponse(files[0])


def make_app() -> web.Application:
    app = web.Application(client_max_size=100 * 2**20)
    # One user has all jobs, also those with a colon in their keys.
    setup(app, A2E(journal="jobs.db"), download_to="results", caller_of=lambda _: "")
    app.router.add_post("/jobs", start)
    app.router.add_get("/events", events)
    app.router.add_get("/jobs/{key}/result", result)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
