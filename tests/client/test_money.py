"""Starts under faults: requests sent, charges, and errors raised."""

import asyncio
import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from attrs import frozen

from a2e_async import A2E
from a2e_async._core.http.retry import RetryPolicy
from a2e_async.errors import (
    A2EError,
    ApiError,
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    InsufficientCredits,
    InvalidInput,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    ResponseTimeout,
    ServerError,
    StartOutcomeUnknown,
)
from a2e_async.events import Accepted, Attempt, Event, StartLost
from a2e_async.models import Recovery
from a2e_async.sandbox import Sandbox
from a2e_async.sandbox._core.faults import Faults
from tests.ports import free_port

from .conftest import (
    BLIND,
    DUB,
    KEY,
    MOVE,
    STARTS,
    TALK,
    MakeClient,
    assert_no_secrets,
    paid,
    starts_sent,
)


@frozen
class Lost:
    """A fault with an unknown outcome; whether the start was charged; what hid the response."""

    order: Callable[[Faults], None]
    charged: bool
    cause: type[A2EError] | None


LOST = {
    "drop after": Lost(lambda f: f.drop_after_accept(), True, ConnectionLost),
    "drop before": Lost(lambda f: f.drop_before_accept(), False, ConnectionLost),
    "reset": Lost(lambda f: f.reset("start"), False, ConnectionLost),
    "500 after": Lost(lambda f: f.http_error(500, role="start", accepted=True), True, ServerError),
    "500 before": Lost(lambda f: f.http_error(500, role="start"), False, ServerError),
    "502 html after": Lost(
        lambda f: f.http_error(502, role="start", html=True, accepted=True), True, ServerError
    ),
    "503 with Retry-After": Lost(
        lambda f: f.http_error(503, role="start", retry_after=1), False, ServerError
    ),
    "504 after": Lost(lambda f: f.http_error(504, role="start", accepted=True), True, ServerError),
    "html 200": Lost(lambda f: f.html("start"), False, DecodeError),
    "malformed": Lost(lambda f: f.malformed("start"), True, DecodeError),
    "slow": Lost(lambda f: f.slow(30, "start", accepted=True), True, ResponseTimeout),
    "code 500": Lost(lambda f: f.code_error(500, "internal error", "start"), False, ServerError),
    "null": Lost(lambda f: f.empty_start(shape="null"), False, None),
    "object": Lost(lambda f: f.empty_start(shape="object"), False, None),
    "list": Lost(lambda f: f.empty_start(shape="list"), False, None),
    "string": Lost(lambda f: f.empty_start(shape="string"), False, None),
}


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("kind", STARTS)
@BLIND
async def test_answer_lost(
    make_client: MakeClient, sandbox: Sandbox, caplog: Any, kind: str, fault: str
) -> None:
    """A lost response never causes a second start, and the error finds the first."""
    lost = LOST[fault]
    events: list[Event] = []
    client = make_client(start_timeout=0.4, on_event=events.append)
    lost.order(sandbox.faults)
    before = datetime.now(UTC)
    with pytest.raises(StartOutcomeUnknown) as caught:
        await client.kind(kind).start(**STARTS[kind])
    error = caught.value
    assert starts_sent(sandbox, kind) == 1
    assert len(paid(sandbox)) == lost.charged
    assert error.__cause__ is None if lost.cause is None else type(error.__cause__) is lost.cause
    recovery = error.recovery
    assert (recovery.kind, recovery.expected) == (kind, 1)
    assert recovery.mark == recovery.name
    assert before <= recovery.sent_at <= datetime.now(UTC)
    for charge in paid(sandbox):
        assert charge.body["name"] == recovery.mark
        assert charge.path == recovery.path
    assert Recovery.from_dict(json.loads(json.dumps(recovery.to_dict()))) == recovery
    assert [e.recovery for e in events if isinstance(e, StartLost)] == [recovery]
    posts = [e for e in events if isinstance(e, Attempt) and e.method == "POST"]
    assert sum(e.sends for e in posts) == 1
    assert not [e for e in events if isinstance(e, Accepted)]
    warnings = [r for r in caplog.records if r.name.startswith("a2e_async.")]
    assert [str(recovery.mark) in r.getMessage() for r in warnings] == [True]
    assert_no_secrets(error)
    # The next start works normally, and the list shows the outcome of this one.
    held = await client.kind(kind).start(**STARTS[kind])
    names = [task.body["name"] for task in sandbox.tasks]
    assert (recovery.name in names) is lost.charged
    assert client.unclaimed() == ()
    assert not held.done


@pytest.mark.parametrize("kind", STARTS)
async def test_lost_task_is_found_by_name(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A charged task without a response is found in the kind's list."""
    sandbox.faults.drop_after_accept(kind)
    task = await a2e.kind(kind).start(**STARTS[kind])
    assert task.ids == paid(sandbox)[0].ids
    assert (await task).output
    assert starts_sent(sandbox, kind) == 1


@frozen
class Refused:
    """A fault that refuses the start, and the resulting error."""

    order: Callable[[Faults], None]
    error: type[A2EError]


REFUSED = {
    "refused": Refused(lambda f: f.empty_start(shape="refused"), InvalidRequest),
    "success false": Refused(lambda f: f.empty_start(shape="success_false"), ApiError),
    "code": Refused(lambda f: f.code_error(4999, "no such voice", "start"), ApiError),
    "code coins": Refused(
        lambda f: f.code_error(7, "insufficient coins", "start"), InsufficientCredits
    ),
    "400": Refused(lambda f: f.http_error(400, role="start"), InvalidRequest),
    "401": Refused(lambda f: f.http_error(401, role="start"), AuthenticationError),
    "402": Refused(lambda f: f.http_error(402, role="start"), InsufficientCredits),
    "403": Refused(lambda f: f.http_error(403, role="start"), PermissionDenied),
    "422": Refused(lambda f: f.http_error(422, role="start"), InvalidRequest),
    "429 too long": Refused(
        lambda f: f.http_error(429, role="start", retry_after=3600), RateLimited
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_refused(a2e: A2E, sandbox: Sandbox, fault: str) -> None:
    """A refused start raises its error: sent once, nothing charged, nothing to recover."""
    refused = REFUSED[fault]
    refused.order(sandbox.faults)
    with pytest.raises(refused.error) as caught:
        await a2e.dubbing.start(**DUB, key="k")
    assert type(caught.value) is refused.error
    assert starts_sent(sandbox) == 1
    assert paid(sandbox) == ()
    assert_no_secrets(caught.value)
    if fault != "429 too long":
        # The key is free again, and the next start works.
        task = await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
        assert task.ids == paid(sandbox)[0].ids


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("after", ["0.05", None, "date", "past date", "soon"])
async def test_paced(make_client: MakeClient, sandbox: Sandbox, after: str | None) -> None:
    """After a 429 the start is retried when the service allows it, and charged once."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    said = {"date": _date(1.2), "past date": _date(-5)}.get(after or "", after)
    sandbox.faults.http_error(429, role="start", retry_after=said)
    task = await client.dubbing.start(**DUB)
    assert starts_sent(sandbox) == 2
    assert [c.ids for c in paid(sandbox)] == [task.ids]
    assert [e.status for e in events if isinstance(e, Attempt)] == [429, 200]


async def test_paced_for_ever(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A start that only gets 429 ends as RateLimited, uncharged, with its attempts counted."""
    client = make_client(retry=RetryPolicy(max_attempts=3))
    sandbox.faults.http_error(429, role="start", times=None, retry_after=0)
    with pytest.raises(RateLimited) as caught:
        await client.dubbing.start(**DUB)
    assert caught.value.attempts == starts_sent(sandbox) == 3
    assert paid(sandbox) == ()


@BLIND
async def test_unknown_after_paced(a2e: A2E, sandbox: Sandbox) -> None:
    """An earlier 429 does not make a start without a response retryable."""
    sandbox.faults.http_error(429, role="start", retry_after=0)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await a2e.dubbing.start(**DUB)
    assert starts_sent(sandbox) == 2
    assert len(paid(sandbox)) == 1


async def test_rate_limit_shared(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Many starts under a strict rate limit all succeed, each charged once."""
    sandbox.faults.rate_limit(20, 5)
    client = make_client()
    async with asyncio.timeout(30):
        tasks = await asyncio.gather(*(client.talking_video.start(**TALK) for _ in range(12)))
    assert sorted(i for c in paid(sandbox) for i in c.ids) == sorted(t.ids[0] for t in tasks)
    assert len(paid(sandbox)) == 12


async def test_connection_refused_then_up() -> None:
    """While the service is down a start retries connecting; once it is up it is sent once."""
    port = free_port()
    events: list[Event] = []
    up = asyncio.Event()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Attempt) and event.error:
            up.set()

    async with A2E(KEY, base_url=f"http://127.0.0.1:{port}", on_event=listen) as client:
        starting = asyncio.create_task(client.dubbing.start(**DUB))
        await up.wait()
        async with Sandbox(speed=600, port=port, api_key=KEY) as sandbox:
            task = await starting
            assert [c.ids for c in paid(sandbox)] == [task.ids]
            assert starts_sent(sandbox) == 1
            await client.aclose()
    tries = [e for e in events if isinstance(e, Attempt)]
    assert [e.sends for e in tries] == [0] * (len(tries) - 1) + [1]
    assert {e.error for e in tries[:-1]} == {"ConnectError"}


async def test_connection_refused() -> None:
    """A start that never got through is a ConnectError, not an unknown outcome."""
    url = f"http://127.0.0.1:{free_port()}"
    async with A2E(KEY, base_url=url, retry=RetryPolicy(max_attempts=2, initial=0.01)) as client:
        with pytest.raises(ConnectError) as caught:
            await client.dubbing.start(**DUB)
    assert caught.value.sent is False
    assert caught.value.attempts == 2
    assert_no_secrets(caught.value)


async def test_insufficient_coins() -> None:
    """Too few coins is an error of its own, and the balance stays."""
    async with (
        Sandbox(balance=20, api_key=KEY) as sandbox,
        A2E(KEY, base_url=sandbox.base_url) as client,
    ):
        with pytest.raises(InsufficientCredits) as caught:
            await client.image_to_video.start(**MOVE)
        assert caught.value.code == 4001
        assert (await client.credits.balance()).coins == 20
        await client.talking_video.start(**TALK)
        assert starts_sent(sandbox, "image_to_video") == 1


async def test_wrong_key(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A wrong key raises a clear error that never shows it."""
    client = make_client(api_key="wrong-but-secret-key")
    for call in (client.dubbing.start(**DUB), client.credits.balance(), client.dubbing.list()):
        with pytest.raises(AuthenticationError) as caught:
            await call
        assert_no_secrets(caught.value, "wrong-but-secret-key")
    assert sandbox.ledger.charges == ()


@pytest.mark.parametrize("order", ["http_error", "drop"])
async def test_presign_lost(a2e: A2E, sandbox: Sandbox, order: str) -> None:
    """A presign is charged, so it is not retried without a response; no start follows."""
    if order == "drop":
        sandbox.faults.reset("presign")
    else:
        sandbox.faults.http_error(500, role="presign", accepted=True)
    with pytest.raises((ServerError, ConnectionLost)):
        await a2e.image_to_video.start(**{**MOVE, "image_url": _png()})
    assert sandbox.calls["presign", ""] == 1
    assert starts_sent(sandbox, "image_to_video") == 0


def _png() -> bytes:
    from a2e_async.sandbox import media

    return media.portrait().read_bytes()


@BLIND
async def test_unexpected_fault_after_sending(
    a2e: A2E, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug while reading a charged start's response never hides the task."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("a2e_async._core.tasks.parsing.read_record", broken)
        task = await a2e.dubbing.start(**DUB, key="k")
    assert task.ids == paid(sandbox)[0].ids
    assert (await a2e.dubbing.start(**DUB, key="k")) is task
    assert (await task).output
    with monkeypatch.context() as patch:
        patch.setattr("a2e_async._core.submission.executor.read_start_response", broken)
        with pytest.raises(StartOutcomeUnknown) as caught:
            await a2e.dubbing.start(**DUB, key="l")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.dubbing.start(**DUB, key="l")
    assert starts_sent(sandbox) == 2


# -- names -----------------------------------------------------------------------------------


@BLIND
async def test_user_name_unchanged(a2e: A2E, sandbox: Sandbox) -> None:
    """The user's name is sent unchanged; a lost start reports it unchanged."""
    name = "Café / take 2"
    task = await a2e.dubbing.start(**DUB, name=name)
    assert paid(sandbox)[0].body["name"] == name
    assert (await task).name == name
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown) as caught:
        await a2e.dubbing.start(**DUB, name=name)
    assert (caught.value.recovery.name, caught.value.recovery.mark) == (name, None)
    assert paid(sandbox)[1].body["name"] == name


async def test_marked_names(make_client: MakeClient, sandbox: Sandbox) -> None:
    """With mark_names a mark is appended to the sent name and stripped from records."""
    client = make_client(mark_names=True)
    record = await client.dubbing.run(**DUB, name="talk")
    wire = paid(sandbox)[0].body["name"]
    assert wire.startswith("talk a2e-")
    assert record.name == "talk"
    assert [r.name for r in await client.dubbing.list()] == ["talk"]
    assert (await client.dubbing.run(**DUB)).name is None
    sandbox.faults.list_lag(1e9)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown) as caught:
        await client.dubbing.start(**DUB, name="talk")
    recovery = caught.value.recovery
    assert recovery.name == paid(sandbox)[2].body["name"] == f"talk {recovery.mark}"
    with pytest.raises(InvalidInput, match="175 characters"):
        await client.dubbing.start(**DUB, name="x" * 176)
    with pytest.raises(InvalidInput, match="200 characters"):
        await client.dubbing.start(**DUB, name="x" * 201)
    assert len((await client.dubbing.run(**DUB, name="x" * 175)).name or "") == 175


@BLIND
async def test_error_copies(a2e: A2E, sandbox: Sandbox) -> None:
    """An unknown outcome can be copied and keeps its recovery."""
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown) as caught:
        await a2e.dubbing.start(**DUB)
    assert copy.copy(caught.value).recovery == caught.value.recovery
