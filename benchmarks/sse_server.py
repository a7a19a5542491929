"""The FastAPI example, or streams fed by a timer, under uvicorn; reports loop lag and memory.

``python -m benchmarks.sse_server ours|bare`` prints its port. For each line on stdin it prints the
loop lag since the previous line (p99, s) and the resident memory (bytes). It ends with stdin.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from sse_starlette import EventSourceResponse, JSONServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.common import lag

EXAMPLE = Path(__file__).parents[1] / "examples" / "fastapi_app" / "app.py"


def example() -> Any:
    """Return the example's app."""
    spec = importlib.util.spec_from_file_location("app", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def bare() -> Any:
    """Return an app whose streams send an event every 2 s, as often as the example polls."""

    async def ticks() -> AsyncIterator[JSONServerSentEvent]:
        while True:
            yield JSONServerSentEvent({"status": "queued"})
            await asyncio.sleep(2)

    async def events(request: Request) -> EventSourceResponse:
        return EventSourceResponse(ticks())

    return Starlette(routes=[Route("/events", events)])


async def main(which: str) -> None:
    """Serve until stdin ends."""
    app = example() if which == "ours" else bare()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="auto"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    lags: list[float] = []

    async def sample() -> None:
        async for _ in lag(lags):
            pass

    sampling = asyncio.create_task(sample())
    while await asyncio.to_thread(sys.stdin.readline):
        lags.sort()
        p99 = lags[int(len(lags) * 0.99)] if lags else 0.0
        values = {"lag": p99, "rss": psutil.Process().memory_info().rss}
        lags.clear()
        print(json.dumps(values), flush=True)
    sampling.cancel()
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
