"""A sandbox with the declared kinds, a hostile server, and clients that know them."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox
from tests.hostile import HostileServer

from .declarations import OWN


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches for lost starts give up after a moment instead of 45 s."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03))


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    """A running sandbox that also simulates the declared kinds."""
    async with Sandbox(speed=6000, seed=7, kinds=OWN, make_results="stdlib") as running:
        yield running


@pytest.fixture
async def hostile(anyio_backend: str) -> AsyncIterator[HostileServer]:
    """A server that is written from the API's documentation alone."""
    async with HostileServer() as server:
        yield server


MakeClient = Callable[..., A2E]


@pytest.fixture
async def make_client(anyio_backend: str) -> AsyncIterator[MakeClient]:
    """A factory for clients; closes them after the test."""
    async with contextlib.AsyncExitStack() as clients:

        def make(server: Any, **options: Any) -> A2E:
            defaults: dict[str, Any] = {
                "base_url": server.base_url,
                "rate": None,
                "poll_interval": 0.02,
                "trust_env": False,
                "kinds": OWN,
            }
            key = getattr(server, "api_key", "any-key")
            made = A2E(key, **{**defaults, **options})
            clients.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def a2e(sandbox: Sandbox, make_client: MakeClient) -> A2E:
    """A client of the sandbox that knows the declared kinds."""
    return make_client(sandbox)
