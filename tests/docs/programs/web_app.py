"""Images from a web form, with live progress: ``uvicorn web_app:app``. It can be restarted."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from sse_starlette import EventSourceResponse

from a2e_async import A2E, A2EError, Task, errors
from a2e_async.journal import Entry

saving: set[asyncio.Task[None]] = set()


async def save(task: Task[Any]) -> None:
    try:
        await task.download("results")
    except errors.ClientClosed:
        pass  # the next process continues
    except A2EError as error:
        print(error)


def follow(task: Task[Any]) -> None:
    running = asyncio.create_task(save(task))
    saving.add(running)
    running.add_done_callback(saving.discard)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, A2E]]:
    async with A2E(journal="web.db") as a2e:
        async for task in a2e.unfinished():
            follow(task)
        yield {"a2e": a2e}
    await asyncio.gather(*saving)


app = FastAPI(lifespan=lifespan)


async def find(request: Request, key: str) -> Entry:
    a2e: A2E = request.state.a2e
    entry = await a2e.journal.get(key) if a2e.journal else None
    if entry is None:
        raise HTTPException(404, "No such job.")
    return entry


@app.post("/jobs/{key}", status_code=202)
async def start(key: str, user: str, prompt: str, request: Request) -> dict[str, str]:
    mine = request.state.a2e.for_caller(user, max_unfinished=3, max_wait=1)
    try:
        follow(await mine.text_to_image.start(prompt=prompt, key=key))
    except errors.InvalidInput as error:
        raise HTTPException(422, str(error)) from None
    except errors.KeyConflict:
        raise HTTPException(409, "This key belongs to another job.") from None
    except errors.TooBusy as error:
        wait = {"Retry-After": str(math.ceil(error.retry_after))}
        raise HTTPException(429, "Wait for your other jobs.", wait) from None
    return {"events": f"/jobs/{key}/events"}


@app.get("/jobs/{key}/events")
async def events(key: str, request: Request) -> EventSourceResponse:
    entry = await find(request, key)

    async def progress() -> AsyncIterator[str]:
        if entry.ref is not None:
            async for record in request.state.a2e.attach(entry.ref).updates():
                yield json.dumps({"status": record.status, "progress": record.progress})

    return EventSourceResponse(progress())


@app.get("/jobs/{key}/result")
async def result(key: str, request: Request) -> FileResponse:
    entry = await find(request, key)
    if not entry.paths:
        raise HTTPException(404, entry.failure or "Not ready yet.")
    return FileResponse(next(iter(entry.paths.values())))
