"""A hostile server on the test's event loop, and clients with short timeouts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from a2e_async import A2E
from tests.hostile import HostileServer

API_KEY = "Qz7-topsecret-0123456789"


@pytest.fixture
async def hostile(anyio_backend: str) -> AsyncIterator[HostileServer]:
    """Return a running hostile server, without faults until a test adds some."""
    async with HostileServer() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches for lost starts end after two scans instead of 30 s."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.02))
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.LAST_SCAN_TIMEOUT", 60.0)


MakeClient = Callable[..., A2E]


@pytest.fixture
async def make_client(hostile: HostileServer, quick: None) -> AsyncIterator[MakeClient]:
    """Return a factory for clients of the hostile server; closes them after the test."""
    async with contextlib.AsyncExitStack() as clients:

        def make(api_key: str = API_KEY, **options: Any) -> A2E:
            defaults: dict[str, Any] = {
                "base_url": hostile.base_url,
                "rate": None,
                "poll_interval": 0.02,
                "trust_env": False,
            }
            made = A2E(api_key, **{**defaults, **options})
            clients.push_async_callback(made.aclose)
            return made

        yield make
    await asyncio.sleep(0)
