"""One rate limit for all workers of an account, through the database."""

import asyncio
import logging
from contextlib import AsyncExitStack
from itertools import chain

import pytest

from a2e_async import A2E
from a2e_async._core.http.rate_limit import AdmissionTimeout, Priority
from a2e_async.contrib.postgres import rate_limit as module
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.contrib.postgres.rate_limit import PostgresRateLimiter
from a2e_async.errors import ClientClosed
from a2e_async.events import Event, RateLimitDegraded
from a2e_async.sandbox import Sandbox

from .proxy import proxy

CLOSED = ClientClosed("closed")


def limiter(url: str, rate: float, burst: float, **others: object) -> PostgresRateLimiter:
    return PostgresRateLimiter(PostgresJournal(url).target, rate, burst, "account", **others)


async def take(one: PostgresRateLimiter, count: int) -> list[float]:
    """Return when each of ``count`` turns was granted."""
    times: list[float] = []

    async def turn() -> None:
        await one.acquire()
        times.append(asyncio.get_running_loop().time())

    await asyncio.gather(*(turn() for _ in range(count)))
    return times


async def test_all_workers_together_keep_to_one_rate(url: str) -> None:
    workers = [limiter(url, 200, 10) for _ in range(4)]
    await asyncio.gather(*(take(one, 1) for one in workers))
    begun = asyncio.get_running_loop().time()
    times = sorted(chain(*await asyncio.gather(*(take(one, 40) for one in workers))))
    assert len(times) == 160
    for n, at in enumerate(times):
        assert at - begun >= (n - 10) / 200 - 0.001
    for one in workers:
        one.close(CLOSED)


async def test_the_rate_is_used_to_the_full(url: str) -> None:
    workers = [limiter(url, 500, 5) for _ in range(3)]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(20):  # it takes 0.6 s; a rate that were lost would take longer
        await asyncio.gather(*(take(one, 100) for one in workers))
    assert loop.time() - begun >= 0.58
    for one in workers:
        one.close(CLOSED)


async def test_a_start_goes_before_what_waits_in_its_worker(url: str) -> None:
    one = limiter(url, 50, 1)
    order: list[str] = []

    async def turn(name: str, priority: Priority) -> None:
        await one.acquire(priority=priority)
        order.append(name)

    waits = [asyncio.create_task(turn("look", Priority.POLL)) for _ in range(6)]
    await asyncio.sleep(0)
    waits.append(asyncio.create_task(turn("start", Priority.START)))
    await asyncio.gather(*waits)
    assert order[0] == "start"
    one.close(CLOSED)


async def test_a_hold_holds_the_fleet(url: str) -> None:
    first, second = limiter(url, 1000, 1), limiter(url, 1000, 1)
    await take(first, 1)
    await take(second, 1)
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.5
    assert first.hold_until(until)
    while first._unsent_holds:
        await asyncio.sleep(0.005)
    (at,) = await take(second, 1)
    assert at >= until - 0.05
    first.hold_until(loop.time() + 60)
    while first._unsent_holds:
        await asyncio.sleep(0.005)
    with pytest.raises(AdmissionTimeout) as caught:
        await second.acquire(max_hold=5)
    assert caught.value.rate_limited
    first.close(CLOSED)
    second.close(CLOSED)


async def test_a_hold_reaches_clients_that_send_nothing(url: str) -> None:
    journals = [PostgresJournal(url) for _ in range(2)]
    first, second = (journal.limiter(1000, 1, "account", lambda _: None) for journal in journals)
    await asyncio.gather(*(journal.open() for journal in journals))
    await take(first, 1)
    loop = asyncio.get_running_loop()
    first.hold_until(loop.time() + 60)
    async with asyncio.timeout(10):
        while second.remaining_hold(loop.time()) < 50:
            await asyncio.sleep(0.005)
    first.close(CLOSED)
    second.close(CLOSED)
    for journal in journals:
        await journal.aclose()


async def test_without_the_database_each_keeps_to_its_share(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "DATABASE_TIMEOUT", 0.2)
    caplog.set_level(logging.INFO, "a2e_async")
    journals = [PostgresJournal(url) for _ in range(2)]
    await asyncio.gather(*(journal.open() for journal in journals))
    events: list[Event] = []
    async with proxy(url) as way:
        one = limiter(way.before(url), 100, 1, emit=events.append)
        await take(one, 1)
        way.refuses = True
        way.cut()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        times = await take(one, 20)
        for n, at in enumerate(times):
            assert at - begun >= (n - 1) / 50 - 0.001
        assert events == [RateLimitDegraded(rate=50.0)]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        way.refuses = False
        async with asyncio.timeout(10):
            while len(caplog.records) == 1:
                await take(one, 1)
        assert "shared again" in caplog.text
        one.close(CLOSED)
    for journal in journals:
        await journal.aclose()


async def test_a_client_that_is_closed_ends_its_waits(url: str) -> None:
    one = limiter(url, 0.01, 1)
    await take(one, 1)
    waiting = asyncio.create_task(one.acquire())
    late = asyncio.create_task(one.acquire(deadline=asyncio.get_running_loop().time() + 0.1))
    with pytest.raises(AdmissionTimeout):
        await late
    one.close(CLOSED)
    with pytest.raises(ClientClosed):
        await waiting


async def test_clients_of_one_account_share_its_rate_by_the_url_alone(url: str) -> None:
    """Without sharing, a third of the requests of these three clients would be refused."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(speed=600, rate_limit=(60, 25)))
        clients = [
            await stack.enter_async_context(
                A2E(sandbox.api_key, base_url=sandbox.base_url, journal=url, rate=60, burst=2)
            )
            for _ in range(3)
        ]

        async def work(a2e: A2E) -> None:
            for _ in range(20):
                await a2e.credits.balance()

        await asyncio.gather(*(work(a2e) for a2e in clients for _ in range(2)))
        assert sandbox.calls["coins", ""] == 120


async def test_clients_that_wait_for_tasks_share_the_polls(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many workers poll, the polls of the account stay within their share of the rate."""
    monkeypatch.setattr(module, "WORKER_COUNT_INTERVAL", 0.0)
    journals = [PostgresJournal(url) for _ in range(3)]
    pacers = [journal.limiter(1000, 1, "account", lambda _: None) for journal in journals]
    for journal in journals:
        await journal.open()
    await take(pacers[0], 1)
    assert pacers[0].poll_share() == 1
    ends = [journal.watch_all(lambda _: None) for journal in journals[:2]]
    async with asyncio.timeout(10):
        while pacers[0].poll_share() != 0.5:
            await take(pacers[0], 1)
    ends[1]()
    async with asyncio.timeout(10):
        while pacers[0].poll_share() != 1:
            await take(pacers[0], 1)
    ends[0]()
    for rate_limiter in pacers:
        rate_limiter.close(CLOSED)
    for journal in journals:
        await journal.aclose()
