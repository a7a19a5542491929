"""A sandbox in a thread of its own, and blocking clients of it that leave no thread behind."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import a2e_async
from a2e_async import BlockingA2E
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

KEY = "Qz7-topsecret-0123456789"
DUB = LEAST["dubbing"]
TALK = {
    "video_url": "https://media.example/clip.mp4",
    "prompt": "smile",
    "negative_prompt": "blurry",
}

LONG = pytest.mark.parametrize("durations", [{"dubbing": 3600.0}], ids=["long"])
"""Tasks take an hour of the service's time, which `Sandbox.advance` lets pass at once."""

MakeClient = Callable[..., BlockingA2E]


@pytest.fixture
def durations() -> dict[str, float]:
    return {}


@pytest.fixture
def sandbox(durations: dict[str, float]) -> Iterator[Sandbox]:
    with Sandbox(
        speed=600, seed=7, api_key=KEY, make_results="stdlib", durations=durations
    ) as made:
        yield made


@pytest.fixture
def make_client(sandbox: Sandbox) -> Iterator[MakeClient]:
    made: list[BlockingA2E] = []
    before = set(threading.enumerate())

    def make(**options: Any) -> BlockingA2E:
        defaults = {"base_url": sandbox.base_url, "rate": None, "poll_interval": 0.02}
        client = a2e_async.blocking(KEY, **{**defaults, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
    assert not {t for t in threading.enumerate() if t.name == "a2e_async-blocking"} - before


@pytest.fixture
def a2e(make_client: MakeClient) -> BlockingA2E:
    return make_client()
