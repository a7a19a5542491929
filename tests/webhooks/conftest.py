"""A sandbox with a controlled clock, clients that ask for webhook events, and a web server."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field

from a2e_async import A2E
from a2e_async._core.webhooks.tokens import make_token
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

KEY = "Qz7-topsecret-0123456789"
SECRET = "Wh9-another-secret-0123456789"
DUB = LEAST["dubbing"]
LATER = 60.0
"""A poll interval (s) longer than any test: an earlier poll proves that something triggered it."""


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncIterator[Sandbox]:
    durations = dict.fromkeys(("dubbing", "text_to_image"), 3600.0)
    async with Sandbox(
        speed=1, seed=7, api_key=KEY, make_results="stdlib", durations=durations
    ) as made:
        yield made


@define
class Door:
    """A webhook URL, served by whichever client is set as its receiver."""

    url: str
    client: A2E | None = None
    answers: list[int] = field(factory=list[int])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert self.client is not None
        answer = await self.client.webhooks.app().handle(request)
        self.answers.append(answer.status)
        return answer


@pytest.fixture
async def door(anyio_backend: str) -> AsyncIterator[Door]:
    listening = socket.create_server(("127.0.0.1", 0))
    made = Door(f"http://127.0.0.1:{listening.getsockname()[1]}/a2e")
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.05)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    yield made
    await runner.cleanup()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


MakeClient = Callable[..., A2E]


def own_tasks() -> list[str]:
    """Return the names of the pending asyncio tasks that a client created."""
    codes = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    paths = [code.co_filename.replace("\\", "/") for code in codes if code is not None]
    return [path for path in paths if "/a2e_async/" in path and "/sandbox/" not in path]


@pytest.fixture
async def make_client(sandbox: Sandbox) -> AsyncIterator[MakeClient]:
    """Make clients of the sandbox whose poll interval is `LATER` unless given."""
    made: list[A2E] = []

    def make(**options: Any) -> A2E:
        defaults = {"base_url": sandbox.base_url, "rate": None, "poll_interval": LATER}
        made.append(A2E(KEY, **{**defaults, **options}))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
    assert not own_tasks()


@pytest.fixture
def a2e(make_client: MakeClient, door: Door) -> A2E:
    """A client whose webhook events arrive at its own receiver."""
    door.client = make_client(webhook_url=door.url)
    return door.client


def token_of(sandbox: Sandbox, place: int = -1) -> str:
    """Return the webhook token that a start sent."""
    sent: str = sandbox.ledger.starts()[place].body["webhook_token"]
    assert sent == make_token(SECRET, sent.partition(".")[0])
    return sent


def poll_count(sandbox: Sandbox) -> int:
    """Return the number of status requests."""
    roles = ("detail", "batch_detail", "list", "list_processing")
    return sum(count for (role, _), count in sandbox.calls.items() if role in roles)


async def until(true: Callable[[], Any], seconds: float = 50.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


async def waiting(a2e: A2E, task: Any) -> "asyncio.Task[Any]":
    """Return a wait in progress."""
    wait = asyncio.ensure_future(task.wait())
    await asyncio.sleep(0)
    return wait
