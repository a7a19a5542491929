"""Events, log records and exceptions: all are emitted, and none exposes a secret."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from a2e_async.errors import A2EError
from a2e_async.events import (
    Accepted,
    Attempt,
    Event,
    FileRequest,
    Finished,
    Polled,
    PollStarted,
    RateLimitPause,
    RequestStarted,
    Saved,
    StartLost,
    StartRequested,
    Transfer,
    Update,
    WaitStarted,
)
from a2e_async.sandbox import Sandbox, media

from .conftest import BLIND, DUB, FORBIDDEN, LONG, MakeClient, assert_no_secrets

PROMPT = "walrus-in-a-tuxedo"
NEGATIVE = "never-a-penguin"
MOVE = {"image_url": media.portrait(), "prompt": PROMPT, "negative_prompt": NEGATIVE}


@BLIND
async def test_whole_run(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, logged: Any
) -> None:
    """A complete run reports every step, but no key, signature or prompt."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    task = await client.image_to_video.start(**MOVE, number_of_images=2)
    record = await task
    saved = await task.download(tmp_path)
    sandbox.faults.http_error(429, role="start", retry_after=0.1)
    sandbox.faults.drop_after_accept()
    with pytest.raises(A2EError):
        await client.image_to_video.start(**MOVE)
    kinds = {type(event) for event in events}
    assert kinds == {
        *(StartRequested, Accepted, Attempt, Finished, RateLimitPause),
        *(Polled, Saved, StartLost, Transfer, Update),
        *(FileRequest, PollStarted, RequestStarted, WaitStarted),
    }
    accepted = [e for e in events if isinstance(e, Accepted)]
    assert [(e.ref, e.kind, e.claimed, e.coins) for e in accepted] == [
        (task.ref, "image_to_video", True, 60)
    ]
    assert {e.path for e in events if isinstance(e, Saved)} == {str(p) for p in saved}
    assert {e.direction for e in events if isinstance(e, Transfer)} == {"up", "down"}
    for event in events:
        assert_no_secrets(event, PROMPT, NEGATIVE)
    for text in (repr(client), repr(task), repr(record.outputs), str(record)):
        assert not [secret for secret in FORBIDDEN if secret in text]
    own = [r for r in logged.records if r.name.startswith("a2e_async")]
    assert own
    for secret in (*FORBIDDEN, PROMPT, NEGATIVE):
        assert secret not in logged.text


ERRORS: dict[str, Any] = {
    "500": lambda f: f.http_error(500, times=None),
    "html": lambda f: f.html(times=None),
    "reset": lambda f: f.reset(times=None),
    "401": lambda f: f.http_error(401, times=None),
    "403": lambda f: f.http_error(403, times=None),
    "429": lambda f: f.http_error(429, retry_after=900, times=None),
    "code": lambda f: f.code_error(4999, "no", times=None),
}


@pytest.mark.parametrize("fault", ERRORS)
async def test_errors(make_client: MakeClient, sandbox: Sandbox, fault: str, logged: Any) -> None:
    """Every error of every call can be pickled and exposes no key, signature or prompt."""
    from a2e_async._core.http.retry import RetryPolicy

    client = make_client(retry=RetryPolicy(max_attempts=1))
    task = await client.image_to_video.start(**MOVE)
    ERRORS[fault](sandbox.faults)
    calls = (
        client.image_to_video.start(**MOVE),
        client.image_to_video.get(task.ids[0]),
        client.image_to_video.list(),
        client.image_to_video.delete(task.ids[0]),
        client.image_to_video.quote(**MOVE),
        client.credits.balance(),
        task.wait(timeout=0),
        client.files.upload(media.clip()),
    )
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, A2EError)
        assert_no_secrets(error, PROMPT, NEGATIVE)
        assert str(error).rstrip().endswith((".", ")"))
    for secret in (*FORBIDDEN, PROMPT, NEGATIVE):
        assert secret not in logged.text


@LONG
async def test_download_errors(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, logged: Any
) -> None:
    """Errors of transfers expose no signed query."""
    client = make_client()
    task = await client.dubbing.start(**DUB)
    sandbox.advance(3600)
    record = await task
    sandbox.faults.expire_results(times=None)
    with pytest.raises(A2EError) as caught:
        await record.output.save(tmp_path / "a.wav")
    assert_no_secrets(caught.value)
    sandbox.faults.clear()
    sandbox.faults.upload_error(403)
    with pytest.raises(A2EError) as caught:
        await client.files.upload(media.clip())
    assert_no_secrets(caught.value)
    for secret in FORBIDDEN:
        assert secret not in logged.text


async def test_on_event_that_raises(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, caplog: Any
) -> None:
    """An on_event that raises is logged and stops nothing."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        seen.append(event)
        raise ValueError("my fault")

    client = make_client(on_event=broken)
    task = await client.image_to_video.start(**MOVE)
    assert await task.download(tmp_path)
    assert {Accepted, Attempt, Saved, Transfer, Update} <= {type(e) for e in seen}
    warnings = [r for r in caplog.records if "on_event raised" in r.getMessage()]
    assert len(warnings) == len(seen)
