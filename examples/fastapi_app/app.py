"""Dub recordings from a web page: upload, live progress, result. It can be restarted at any time.

    pip install -e ".[examples]"
    A2E_API_KEY=… uvicorn --app-dir examples/fastapi_app app:app

The journal (`jobs.db`) is its only database. The browser creates the key of each job.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Header, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse
from pydantic import HttpUrl
from sse_starlette import EventSourceResponse, JSONServerSentEvent

from a2e_async import A2E, A2EError, Status, errors
from a2e_async.journal import Entry

LARGEST = 100 * 1024 * 1024  # bytes
log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    webhook_url = os.environ.get("A2E_WEBHOOK_URL")  # such as https://example.com/a2e/
    async with A2E(journal="jobs.db", webhook_url=webhook_url) as a2e:
        if webhook_url:
            app.mount("/a2e", a2e.webhooks.app())
        # Saves each result when it is ready, also of tasks that an earlier process started.
        a2e.follow_all(download_to="results")
        yield {"a2e": a2e}


async def find(request: Request, key: str) -> Entry:
    entry: Entry | None = await request.state.a2e.journal.get(key)
    if entry is None:
        raise HTTPException(404, "No such job.")
    return entry


Job = Annotated[Entry, Depends(find)]


def show(job: Entry, status: str = Status.QUEUED, progress: float | None = None) -> dict[str, Any]:
    if not job.open:
        status = Status.FAILED if job.succeeded is False else Status.SUCCEEDED
    result = f"/jobs/{job.key}/result" if job.paths else None
    return {"status": status, "progress": progress, "error": job.failure, "result": result}


app = FastAPI(title="Dubbing", lifespan=lifespan)


@app.exception_handler(A2EError)
async def refuse(request: Request, error: A2EError) -> JSONResponse:
    if isinstance(error, errors.InvalidInput):
        return JSONResponse({"detail": str(error)}, 422)
    if isinstance(error, errors.KeyConflict):
        return JSONResponse({"detail": "This key belongs to another job."}, 409)
    if isinstance(error, errors.TooBusy):
        status = 429 if error.scope == "caller" else 503
        wait = {"Retry-After": str(math.ceil(error.retry_after))}
        return JSONResponse({"detail": "Waiting for your other jobs."}, status, wait)
    log.error("%s", error)
    return JSONResponse({"detail": "Try again in a minute."}, 503, {"Retry-After": "60"})


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("index.html"))


@app.post("/jobs", status_code=202)
async def start(
    request: Request,
    target_lang: Annotated[str, Form(pattern="^[a-z]{2}$")],
    idempotency_key: Annotated[str, Header(pattern="^[0-9a-f]{32}$")],
    file: Annotated[UploadFile | None, File()] = None,
    url: Annotated[HttpUrl | None, Form()] = None,  # not str: that could be a path on the server
) -> dict[str, str]:
    if (file is None) == (url is None):
        raise HTTPException(422, "Give either a file or a URL.")
    if file and (file.size or 0) > LARGEST:
        raise HTTPException(413, f"The file is larger than {LARGEST // 2**20} MB.")
    client: A2E = request.state.a2e
    caller = request.client.host if request.client else ""  # in a real app: the id of the user
    a2e = client.for_caller(caller, max_unfinished=3, max_wait=1)
    await a2e.dubbing.start(
        source_url=file or str(url),
        target_lang=target_lang,
        key=idempotency_key,
    )
    return {"id": idempotency_key}


@app.get("/jobs/{key}")
async def status(job: Job) -> dict[str, Any]:
    return show(job)


@app.get("/jobs/{key}/events")
async def events(request: Request, job: Job) -> EventSourceResponse:
    return EventSourceResponse(updates(request, job))


async def updates(request: Request, job: Entry) -> AsyncIterator[JSONServerSentEvent]:
    a2e: A2E = request.state.a2e
    yield JSONServerSentEvent(show(job))
    if job.ref and job.open:
        async for record in a2e.attach(job.ref).updates():
            if not record.done:
                yield JSONServerSentEvent(show(job, record.status, record.progress))
    while job.open:
        await asyncio.sleep(0.5)  # until it is saved, perhaps by another worker
        job = await find(request, job.key)
    yield JSONServerSentEvent(show(job))


@app.get("/jobs/{key}/result")
async def result(job: Job) -> FileResponse:
    if not job.paths:
        raise HTTPException(404, "Not ready yet.")
    return FileResponse(next(iter(job.paths.values())))
