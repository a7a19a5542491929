"""Fixtures of the sandbox's tests: a running sandbox and a plain client."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import attrs
import pytest

from a2e_async.sandbox import Sandbox

from .bodies import BODIES as BODIES
from .bodies import STARTS as STARTS

HAS_AV = importlib.util.find_spec("av") is not None
HOW = "pyav" if HAS_AV else "structure"
MADE_WITH = "pyav" if HAS_AV else "stdlib"
needs_av = pytest.mark.skipif(not HAS_AV, reason="needs PyAV")

DUBBING = BODIES["dubbing"]
TALKING = BODIES["talking_video"]
IMAGE = BODIES["image_to_video"]
DURATIONS = dict.fromkeys(BODIES, 100.0)
"""At speed 1 no task progresses until a test advances the clock."""


@attrs.frozen
class Reply:
    """A response that was read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any

    @property
    def data(self) -> Any:
        return self.json["data"]


@attrs.define
class Api:
    """Sends requests to a sandbox, like any HTTP client."""

    sandbox: Sandbox
    http: aiohttp.ClientSession

    async def send(self, method: str, path: str, token: str | None = None, **more: Any) -> Reply:
        token = self.sandbox.api_key if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.fetch(method, self.sandbox.base_url + path, headers=headers, **more)

    async def fetch(self, method: str, url: str, **more: Any) -> Reply:
        async with self.http.request(method, url, **more) as answer:
            body = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            try:
                value = await answer.json() if is_json else None
            except ValueError:
                value = None
            return Reply(answer.status, answer.headers.copy(), body, value)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.send("GET", path, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Reply:
        return await self.send("POST", path, json=body, **more)

    async def start(self, kind: str, **inputs: Any) -> Any:
        """Start a task that must be accepted; return its data."""
        reply = await self.post(STARTS[kind], {**BODIES[kind], **inputs})
        assert reply.status == 200, reply.body
        assert reply.json["code"] == 0
        return reply.data

    async def detail(self, kind: str, task_id: str) -> Reply:
        return await self.get(f"{STARTS[kind].rsplit('/', 1)[0]}/{task_id}")

    async def upload(self, name: str, data: bytes, kind: str) -> str:
        """Upload a file; return its public URL."""
        permit = await self.post(
            "/api/v1/r2/upload-presigned-url",
            {"key": name, "contentType": kind, "contentLength": len(data), "expiresIn": 900},
        )
        put = await self.fetch(
            "PUT", permit.data["uploadUrl"], data=data, headers={"Content-Type": kind}
        )
        assert put.status == 200, put.body
        return str(permit.data["cdnUrl"])


@pytest.fixture
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of the sandbox; a test overrides them with the marker ``sandbox``."""
    marker = request.node.get_closest_marker("sandbox")
    return {"speed": 1, "seed": 7, "durations": DURATIONS, **(marker.kwargs if marker else {})}


@pytest.fixture
async def api(anyio_backend: str, options: dict[str, Any]) -> AsyncIterator[Api]:
    async with Sandbox(**options) as sandbox, aiohttp.ClientSession() as http:
        yield Api(sandbox, http)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sandbox(**options): options of the sandbox under test")
