"""A sandbox on the test's own loop, and clients of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=600, seed=7) as made:
        yield made


MakeClient = Callable[..., A2E]


@pytest.fixture
async def make_client(sandbox: Sandbox) -> AsyncIterator[MakeClient]:
    """Make clients of the sandbox that are closed at the end; impatient unless told otherwise."""
    made: list[A2E] = []

    def make(**options: Any) -> A2E:
        defaults = {"base_url": sandbox.base_url, "rate": None, "poll_interval": 0.05}
        client = A2E(options.pop("api_key", sandbox.api_key), **{**defaults, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def a2e(make_client: MakeClient) -> A2E:
    return make_client()


VIDEO = "https://media.example/clip.mp4"
TALK = {"video_url": VIDEO, "prompt": "smile", "negative_prompt": "blurry"}
DUB = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}
MOVE = {
    "image_url": "https://media.example/face.png",
    "prompt": "wave",
    "negative_prompt": "blurry",
}


async def turns(count: int) -> None:
    """Let the event loop go round ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)
