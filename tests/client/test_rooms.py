"""Streaming-avatar rooms: whatever happens, a charged room is left."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import attrs
import pytest

from a2e_async import A2E
from a2e_async._core.http.retry import RetryPolicy
from a2e_async.account.streaming import StreamingAvatar
from a2e_async.errors import ApiError, ClientClosed, InvalidInput, ServerError, StartOutcomeUnknown
from a2e_async.events import Attempt, Event
from a2e_async.sandbox import Sandbox

from .conftest import MakeClient, assert_no_secrets, nothing_charged, own_tasks, turns, until

PERIOD = 1000
PRICE = 100
"""Its price in coins; one is used as soon as the room is open."""


@pytest.fixture
async def host(a2e: A2E) -> str:
    first: StreamingAvatar = (await a2e.legacy.streaming_avatar.avatars())[0]
    return first.id


def all_left(sandbox: Sandbox) -> bool:
    """Return whether every charged room was left and its unused coins refunded."""
    return all(charge.refunded == PRICE - 1 for charge in sandbox.ledger.charges)


def paid(sandbox: Sandbox) -> int:
    return len(sandbox.ledger.charges)


@pytest.fixture
def client_and_attempts(make_client: MakeClient) -> tuple[A2E, list[Attempt]]:
    """A client, and its attempts at leaving."""
    attempts: list[Attempt] = []

    def note(event: Event) -> None:
        if isinstance(event, Attempt) and event.path.endswith("/leave"):
            attempts.append(event)

    return make_client(on_event=note), attempts


async def test_room(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """A room is prepaid; unused coins are refunded at the end."""
    async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD) as room:
        assert room.channel
        assert room.app_id
        assert isinstance(room.uid, int)
        assert room.token
        assert_no_secrets(repr(room), room.token)
        assert_no_secrets(repr(attrs.asdict(room)), room.token)
        await room.set_context("You sell boats.")
        await room.ask("What do you sell?")
        await room.speak("Boats.")
        assert not all_left(sandbox)
    assert paid(sandbox) == 1
    assert all_left(sandbox)
    with pytest.raises(ApiError):
        await room.ask("Still there?")


async def test_refused_here(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    rooms = a2e.legacy.streaming_avatar
    for avatar_id, seconds in (("x y", 9), (host, 0), (host, 10**30), (host, 7 * 86400 + 1)):
        with pytest.raises(InvalidInput):
            async with rooms.room(avatar_id, expire_seconds=seconds):
                pytest.fail("it cannot be entered")
    assert nothing_charged(sandbox)
    async with rooms.room(host, expire_seconds=PERIOD) as room:
        await room.set_context("x" * 5000)
        for bad_call in (room.set_context("x" * 5001), room.ask(" "), room.speak("")):
            with pytest.raises(InvalidInput):
                await bad_call


async def test_exception(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """An exception inside goes on unchanged, and the room is left."""
    with pytest.raises(KeyError) as caught:
        async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD):
            raise KeyError("mine")
    assert all_left(sandbox)
    assert not hasattr(caught.value, "__notes__")


async def _cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("how", ["task", "twice", "scope", "timeout"])
async def test_cancelled_inside(a2e: A2E, sandbox: Sandbox, host: str, how: str) -> None:
    """However the block is cancelled, the room is left."""
    sandbox.faults.slow(0.1, "legacy", times=None)
    inside = asyncio.Event()

    async def stay() -> None:
        async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD):
            inside.set()
            await asyncio.Event().wait()

    if how == "scope":
        async with anyio.create_task_group() as group:
            group.start_soon(stay)
            await inside.wait()
            group.cancel_scope.cancel()
    elif how == "timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await stay()
    else:
        staying = asyncio.create_task(stay())
        await inside.wait()
        if how == "twice":
            staying.cancel()
            await turns(5)
        await _cancel(staying)
    await until(lambda: not own_tasks())
    assert paid(sandbox) == 1
    assert all_left(sandbox)


async def test_cancelled_at_every_turn(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """Cancelled after k turns, for every k: not paid, or paid and left."""

    async def visit() -> None:
        async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD) as room:
            await room.ask("Who are you?")

    k = unpaid = 0
    while True:
        before = paid(sandbox)
        visiting = asyncio.create_task(visit())
        await turns(k)
        over = visiting.done()
        visiting.cancel()
        await asyncio.gather(visiting, return_exceptions=True)
        await until(lambda: not own_tasks())
        assert all_left(sandbox)
        if over:
            break
        unpaid += paid(sandbox) == before
        k += 1 if k < 150 else k // 5
    assert unpaid
    assert paid(sandbox) > 1


async def test_iterator_dropped(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """A room in an async generator that nobody finishes is left when that is collected."""

    async def talk() -> AsyncIterator[str]:
        async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD) as room:
            yield room.channel

    talking = talk()
    assert await anext(talking)
    del talking
    await until(lambda: all_left(sandbox))
    assert paid(sandbox) == 1


# -- leaving is hard ---------------------------------------------------------------------------


async def test_leave_is_repeated(
    client_and_attempts: tuple[A2E, list[Attempt]], sandbox: Sandbox, host: str
) -> None:
    """Leaving is retried without a response; an unknown room is then success."""
    client, attempts = client_and_attempts
    async with client.legacy.streaming_avatar.room(host, expire_seconds=PERIOD):
        sandbox.faults.http_error(502, role="legacy", accepted=True)
        sandbox.faults.http_error(503, role="legacy")
    assert [a.status for a in attempts][:1] == [502]
    assert len(attempts) == 3
    assert all_left(sandbox)


@pytest.mark.parametrize("body", [None, RuntimeError("mine")], ids=["good", "bad"])
async def test_leave_fails(
    make_client: MakeClient,
    sandbox: Sandbox,
    host: str,
    body: RuntimeError | None,
    logged: pytest.LogCaptureFixture,
) -> None:
    """A failed leave is reported by a warning and a note on the block's error, or raised."""
    client = make_client(retry=RetryPolicy(max_attempts=1))
    with pytest.raises((ServerError, RuntimeError)) as caught:  # noqa: PT012  # the block is what is tested
        async with client.legacy.streaming_avatar.room(host, expire_seconds=PERIOD) as room:
            sandbox.faults.http_error(501, role="legacy", times=None)
            if body is not None:
                raise body
    assert isinstance(caught.value, RuntimeError if body else ServerError)
    (note,) = caught.value.__notes__
    assert room.channel in note
    assert "could not be left" in note
    warnings = [r.message for r in logged.records if r.levelno == logging.WARNING]
    assert any("could not be left" in text for text in warnings)
    assert room.token not in "".join(r.getMessage() for r in logged.records)
    assert not all_left(sandbox)


async def test_closed_inside(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """Closing the client leaves the rooms that are open."""
    async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD) as room:
        await a2e.aclose()
        assert all_left(sandbox)
        with pytest.raises(ClientClosed):
            await room.ask("Still there?")
    assert paid(sandbox) == 1


async def test_closed_while_it_opens(make_client: MakeClient, sandbox: Sandbox, host: str) -> None:
    """A room charged while the client closes is left, with or without a waiter."""

    def is_more(before: int) -> bool:
        return paid(sandbox) > before

    for cancelled in (False, True):
        client = make_client()
        sandbox.faults.slow(0.1, "legacy", accepted=True)
        entering = asyncio.create_task(
            client.legacy.streaming_avatar.room(host, expire_seconds=PERIOD).__aenter__()
        )
        before = paid(sandbox)
        await until(partial(is_more, before))
        if cancelled:
            entering.cancel()
        await client.aclose()
        await asyncio.gather(entering, return_exceptions=True)
        assert all_left(sandbox)
    assert paid(sandbox) == 2


# -- opening -----------------------------------------------------------------------------------


async def test_hosts_are_taken(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """When all hosts are taken the service refuses; nothing is charged."""
    rooms = a2e.legacy.streaming_avatar
    async with (
        rooms.room(host, expire_seconds=PERIOD),
        rooms.room(host, expire_seconds=PERIOD),
        rooms.room(host, expire_seconds=PERIOD),
    ):
        with pytest.raises(ApiError, match="in use") as caught:
            async with rooms.room(host, expire_seconds=PERIOD):
                pytest.fail("it cannot be entered")
        assert caught.value.code == 1001
    assert paid(sandbox) == 3
    assert all_left(sandbox)


async def test_opening_lost(a2e: A2E, sandbox: Sandbox, host: str) -> None:
    """A room without a response is not requested again."""
    sandbox.faults.http_error(500, role="legacy", accepted=True)
    with pytest.raises(StartOutcomeUnknown, match="closes when its time is over") as caught:
        async with a2e.legacy.streaming_avatar.room(host, expire_seconds=PERIOD):
            pytest.fail("it cannot be entered")
    assert caught.value.recovery.kind == "streaming_avatar"
    assert paid(sandbox) == 1
