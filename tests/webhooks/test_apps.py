"""The receiver in the web apps that the documentation shows."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from a2e_async import Status
from a2e_async._core.webhooks.receiver import WEBHOOK_HEADER
from a2e_async.sandbox import Sandbox

from .conftest import DUB, MakeClient, token_of, waiting

pytestmark = pytest.mark.anyio


async def test_in_fastapi(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Mounted below a path (the trailing slash matters), or as a route of its own."""
    a2e = make_client(webhook_url="https://x.example/a2e/")
    app = FastAPI()
    app.mount("/a2e", a2e.webhooks.app())
    app.router.routes.append(Route("/route", a2e.webhooks.app()))
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:

        async def post(path: str, given: str) -> int:
            answer = await http.post(path, headers={WEBHOOK_HEADER: given}, json={"event": "x"})
            return answer.status_code

        right = token_of(sandbox)
        assert await post("/a2e/", right[:-1] + "!") == 401
        assert await post("/a2e", right) == 307
        assert not wait.done()
        assert await post("/a2e/", right) == 204
        assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
        assert await post("/route", right) == 204
        assert (await http.get("/route")).status_code == 405
