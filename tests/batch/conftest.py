"""A sandbox, the path of a journal, and clients that share it in turn or at the same time."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

KEY = "Qz7-topsecret-0123456789"
DUB = LEAST["dubbing"]
TALK = {
    "video_url": "https://media.example/clip.mp4",
    "prompt": "smile",
    "negative_prompt": "blurry",
}


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop searches for lost starts after a moment instead of 30 s."""
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=600, seed=7, api_key=KEY, make_results="stdlib") as made:
        yield made


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


MakeClient = Callable[..., A2E]


@pytest.fixture
async def make_client(sandbox: Sandbox, journal: Path) -> AsyncIterator[MakeClient]:
    """Create clients of the sandbox that use the journal."""
    made: list[A2E] = []

    def make(**options: Any) -> A2E:
        defaults = {"base_url": sandbox.base_url, "rate": None, "poll_interval": 0.05}
        client = A2E(KEY, **{**defaults, "journal": journal, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def a2e(make_client: MakeClient) -> A2E:
    return make_client()
