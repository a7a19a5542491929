"""A sandbox on the test's event loop, clients of it, and the checks after every test."""

import asyncio
import contextlib
import json
import logging
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError
from a2e_async.sandbox import Charge, Sandbox
from tests.samples import LEAST

KEY = "Qz7-topsecret-0123456789"
VIDEO = "https://media.example/clip.mp4"
TALK = {"video_url": VIDEO, "prompt": "smile", "negative_prompt": "blurry"}
DUB = LEAST["dubbing"]
MOVE = {
    "image_url": "https://media.example/face.png",
    "prompt": "wave",
    "negative_prompt": "blurry",
}
STARTS = {"dubbing": DUB, "talking_video": TALK, "image_to_video": MOVE}


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches for lost starts give up after a moment instead of 45 s."""
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )


@pytest.fixture
def gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits for tasks unknown to the service give up after a moment instead of two minutes."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    """Options of the sandbox; tests override them by parametrizing this fixture."""
    return {}


LONG = pytest.mark.parametrize(
    "sandbox_options", [{"durations": dict.fromkeys(STARTS, 3600.0)}], ids=["long"]
)
"""Tasks take an hour of service time; `Sandbox.advance` skips it."""


@pytest.fixture
def blind(sandbox: Sandbox) -> None:
    """Hide new tasks from all lists for a very long time: a lost start cannot be found."""
    sandbox.faults.list_lag(1e9, times=None)


BLIND = pytest.mark.usefixtures("blind")


@pytest.fixture
async def sandbox(anyio_backend: str, sandbox_options: dict[str, Any]) -> AsyncIterator[Sandbox]:
    options = {"speed": 600, "seed": 7, "api_key": KEY, "make_results": "stdlib"}
    async with Sandbox(**{**options, **sandbox_options}) as made:
        yield made


def own_tasks() -> set[asyncio.Task[Any]]:
    """Return the pending asyncio tasks that the client made."""
    found: set[asyncio.Task[Any]] = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        path = code.co_filename.replace("\\", "/") if code else ""
        if "/a2e_async/" in path and "/a2e_async/sandbox/" not in path:
            found.add(task)
    return found


MakeClient = Callable[..., A2E]


@pytest.fixture
async def make_client(sandbox: Sandbox) -> AsyncIterator[MakeClient]:
    """Make clients of the sandbox, by default with short timeouts.

    They are closed at the end. Then none of their asyncio tasks may be left, and the loop's
    exception handler must not have been called (unretrieved exceptions of futures and tasks).
    """
    made: list[A2E] = []
    loop = asyncio.get_running_loop()
    trouble: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: trouble.append(context))

    def make(**options: Any) -> A2E:
        defaults = {"base_url": sandbox.base_url, "rate": None, "poll_interval": 0.05}
        client = A2E(options.pop("api_key", KEY), **{**defaults, **options})
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()
    assert not own_tasks()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert not trouble


@pytest.fixture
def a2e(make_client: MakeClient) -> A2E:
    return make_client()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a directory to save results into."""
    return tmp_path / "out"


async def turns(count: int) -> None:
    """Let the event loop run ``count`` iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)


def starts_sent(sandbox: Sandbox, kind: str = "dubbing") -> int:
    """Return how many start requests arrived."""
    return sandbox.calls["start", kind]


def paid(sandbox: Sandbox) -> tuple[Charge, ...]:
    return sandbox.ledger.starts()


def nothing_charged(sandbox: Sandbox) -> bool:
    """Return whether nothing was charged, started or presigned."""
    return not sandbox.ledger.charges and not any(
        role in ("start", "presign") for role, _ in sandbox.calls
    )


def assert_accounted(sandbox: Sandbox, known: set[str]) -> None:
    """Assert that every charged task is known to the client, and none was charged twice."""
    charged = [id for charge in paid(sandbox) for id in charge.ids]
    names = [charge.body["name"] for charge in paid(sandbox)]
    assert len(names) == len(set(names))
    assert set(charged) == known


FORBIDDEN = (KEY, "Signature=", "X-Amz")


def exposed_text(value: Any) -> str:
    """Return everything that a value exposes: repr, str, pickle, and an exception's causes."""
    texts = [repr(value), str(value)]
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        texts.append(pickle.dumps(value).decode("latin-1"))
    if isinstance(value, BaseException):
        texts += [json.dumps(value.__dict__, default=repr), *getattr(value, "__notes__", ())]
        for below in (value.__cause__, value.__context__):
            if below is not None:
                texts.append(exposed_text(below))
    return "\n".join(texts)


def assert_no_secrets(value: Any, *more: str) -> None:
    """Assert that a value exposes neither key nor signature nor anything else given."""
    text = exposed_text(value)
    for secret in (*FORBIDDEN, *more):
        assert secret not in text, f"{type(value).__name__} exposes {secret}"
    if isinstance(value, A2EError):
        again = pickle.loads(pickle.dumps(value))
        assert type(again) is type(value)
        assert str(again) == str(value)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture the package's log records from DEBUG up."""
    with caplog.at_level(logging.DEBUG):
        yield caplog
