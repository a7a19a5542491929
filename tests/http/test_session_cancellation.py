"""A request cancelled at any step leaves nothing behind."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from a2e_async._core.http.call import ApiCall
from a2e_async._core.http.envelope import ApiResponse
from a2e_async._core.http.rate_limit import ConnectionLimiter, Priority, RateLimiter
from a2e_async._core.http.retry import RetryPolicy, RetrySafety
from a2e_async.errors import ClientClosed, ConnectionLost

from .conftest import send

pytestmark = pytest.mark.anyio

MOST = 400


async def step(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def check(session: Any, connection_limiter: ConnectionLimiter, rate_limiter: RateLimiter) -> None:
    assert (connection_limiter.in_use, connection_limiter.starts_in_use) == (0, 0)
    assert not rate_limiter._queue
    assert rate_limiter._timer is None
    assert not session._sleeps.pending
    http = session._session_holder._session
    assert http is None or not http.connector._acquired


@pytest.mark.parametrize("case", ["get", "start", "body", "stream"])
async def test_cancelled_after_any_number_of_steps(
    serve: Any, connect: Any, ok: Any, reply: Any, case: str
) -> None:
    async def slowly(hit: Any, writer: Any) -> bytes:
        answer: bytes = reply(200, {"code": 0, "data": 1}, kind=kind)
        writer.write(answer[:-5])
        await step(3)
        return answer[-5:]

    kind = "text/event-stream" if case == "stream" else "application/json"
    server = await serve(slowly if case in ("body", "stream") else ok())
    connection_limiter, rate_limiter = ConnectionLimiter(2), RateLimiter(None, 1)
    calls: list[ApiCall] = []
    session = connect(server.url, connection_limiter=connection_limiter, rate_limiter=rate_limiter)

    async def call() -> None:
        if case == "stream":
            async with session.stream("POST", "/x", json={}) as events:
                async for _ in events:
                    pass
        elif case == "start":
            made = session.new_call(
                "POST",
                "/start",
                json={"a": 1},
                retry_safety=RetrySafety.CHARGED,
                priority=Priority.START,
            )
            calls.append(made)
            await send(session, made)
        else:
            await session.request("GET", "/x")

    for steps in range(MOST):
        hits = len(server.hits)
        calls.clear()
        task = asyncio.create_task(call())
        await step(steps)
        finished = task.done()
        task.cancel()
        await asyncio.wait([task])
        await step(3)
        check(session, connection_limiter, rate_limiter)
        if case == "start":
            # What left was told before; what was not told did not leave.
            await step(20)
            assert len(server.hits) - hits <= sum(one.sent for one in calls) <= 1
        if finished:
            break
    else:
        raise AssertionError("the call never came to its end")
    assert steps > 5
    await call()
    check(session, connection_limiter, rate_limiter)


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("where", ["pace", "hold", "connection_limiter", "pause"])
async def test_cancelled_while_it_waits(
    serve: Any, connect: Any, ok: Any, reply: Any, where: str, steps: int
) -> None:
    server = await serve(reply(503, {}) if where == "pause" else ok())
    connection_limiter, rate_limiter = ConnectionLimiter(1), RateLimiter(1000, 1)
    policy = RetryPolicy(initial=900, max_delay=900, max_elapsed=10_000)
    session = connect(
        server.url, connection_limiter=connection_limiter, rate_limiter=rate_limiter, policy=policy
    )
    release: Callable[[], Any] = int
    if where == "pace":
        assert rate_limiter.try_acquire(3000)
    elif where == "hold":
        assert rate_limiter.hold_until(session.loop_time() + 500)
    elif where == "connection_limiter":
        assert connection_limiter.try_acquire()
        release = connection_limiter.release
    task = asyncio.create_task(session.request("GET", "/x"))
    if where == "pause":
        while not session._sleeps.pending:  # watches what has no event
            await asyncio.sleep(0)
    await step(steps)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    release()
    check(session, connection_limiter, rate_limiter)
    assert len(server.hits) == (where == "pause")
    if where == "connection_limiter":
        # Its turn was returned: the next request does not wait for a new one.
        assert rate_limiter.try_acquire()


async def test_many_calls_with_random_cancellations(serve: Any, connect: Any, ok: Any) -> None:
    server, connection_limiter, rate_limiter = (
        await serve(ok()),
        ConnectionLimiter(4),
        RateLimiter(None, 1),
    )
    session = connect(server.url, connection_limiter=connection_limiter, rate_limiter=rate_limiter)
    tasks = [
        asyncio.create_task(
            session.request("GET", "/x", priority=Priority.START if n % 3 else Priority.POLL)
        )
        for n in range(200)
    ]
    for n, task in enumerate(tasks):
        await step(n % 7)
        if n % 2:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(not isinstance(result, BaseException) for result in results[::2])
    await step(3)
    check(session, connection_limiter, rate_limiter)


@pytest.mark.parametrize("repeat", list(RetrySafety))
@pytest.mark.parametrize("warm", [False, True])
async def test_closed_after_any_number_of_steps(
    serve: Any, connect: Any, ok: Any, repeat: RetrySafety, warm: bool
) -> None:
    server, outcomes = await serve(ok()), set[type]()
    for steps in range(MOST):
        connection_limiter, rate_limiter = ConnectionLimiter(2), RateLimiter(None, 1)
        session = connect(
            server.url, connection_limiter=connection_limiter, rate_limiter=rate_limiter
        )
        if warm:
            await session.request("GET", "/x")
        call = session.new_call("POST", "/x", json={}, retry_safety=repeat)
        task = asyncio.create_task(send(session, call))
        await step(steps)
        finished = task.done()
        await session.aclose()
        outcome: Any = (await asyncio.gather(task, return_exceptions=True))[0]
        outcomes.add(type(outcome))
        if repeat is RetrySafety.CHARGED:
            # "Closed" means that nothing was sent.
            assert isinstance(outcome, ClientClosed) is not call.sent
        check(session, connection_limiter, rate_limiter)
        if finished:
            break
    expected = {ApiResponse, ClientClosed}
    assert outcomes - {ConnectionLost} == expected
    assert (ConnectionLost in outcomes) is (repeat is RetrySafety.CHARGED)
