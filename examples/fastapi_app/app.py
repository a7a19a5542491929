"""Dub recordings from a web page: upload, live progress, result. It can be restarted at any time.

    pip install -e ".[examples]"
    A2E_API_KEY=… uvicorn --app-dir examples/fastapi_app app:app

The journal (`jobs.db`) is its only database. A random cookie stands for the login of a real app.
"""

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Cookie, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, Field, HttpUrl

from a2e_async import A2E
from a2e_async.contrib.asgi import SSE_HEADERS, ErrorMiddleware, ProgressStream

LARGEST = 100 * 1024 * 1024  # bytes
Hex = Field(pattern="^[0-9a-f]{32}$")
User = Annotated[str, Cookie(), Hex]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    webhook_url = os.environ.get("A2E_WEBHOOK_URL")  # such as https://example.com/a2e/
    async with (
        A2E(journal="jobs.db", webhook_url=webhook_url) as a2e,
        # Saves each result when it is ready, also of tasks that an earlier process started.
        ProgressStream(a2e, download_to="results", meta=["name"]) as progress,
    ):
        if webhook_url:
            app.mount("/a2e", a2e.webhooks.app())
        yield {"a2e": a2e, "progress": progress}


app = FastAPI(title="Dubbing", lifespan=lifespan)
app.add_middleware(ErrorMiddleware)


@app.get("/")
async def page(user: Annotated[str | None, Cookie()] = None) -> FileResponse:
    answer = FileResponse(Path(__file__).with_name("index.html"))
    if user is None:
        year = 365 * 24 * 3600
        answer.set_cookie("user", secrets.token_hex(16), year, httponly=True, samesite="lax")
    return answer


@app.put("/files", status_code=201)
async def upload(
    request: Request, user: User, content_length: Annotated[int, Header(gt=0, le=LARGEST)]
) -> dict[str, str]:
    """Pass a recording on to the service's storage, as it arrives."""
    a2e: A2E = request.state.a2e
    return {"url": await a2e.files.upload(request.stream(), media=["audio", "video"])}


class Job(BaseModel):
    id: Annotated[str, Hex]  # made by the page, once for each form
    name: Annotated[str, Field(max_length=300)]
    url: HttpUrl  # not str: that could be a path on the server
    target_lang: Annotated[str, Field(pattern="^[a-z]{2}$")]


@app.post("/jobs", status_code=202)
async def start(request: Request, user: User, job: Job) -> dict[str, str]:
    a2e: A2E = request.state.a2e.for_caller(user, max_unfinished=3, max_wait=1)
    await a2e.dubbing.start(
        source_url=str(job.url),
        target_lang=job.target_lang,
        key=f"{user}:{job.id}",
        meta={"name": job.name},
    )
    return {"id": job.id}


@app.get("/events")
async def events(request: Request, user: User) -> StreamingResponse:
    updates = request.state.progress.events(request.headers, caller=user)
    return StreamingResponse(updates, headers=SSE_HEADERS)


@app.get("/jobs/{id}/result")
async def result(request: Request, user: User, id: Annotated[str, Hex]) -> FileResponse:
    files = await request.state.progress.files(id, caller=user)
    if not files:
        raise HTTPException(404, "Not ready yet.")
    return FileResponse(files[0], filename=files[0].name)
