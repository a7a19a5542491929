"""`A2E.stats`: what operators and tests look at."""

import asyncio

import pytest

from a2e_async import A2E
from a2e_async.errors import ConfigurationError
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MakeClient, until

pytestmark = LONG


async def test_a_client_at_rest(a2e: A2E) -> None:
    stats = a2e.stats()
    assert (stats.waits, stats.polled_tasks, stats.starts, stats.connections) == (0, 0, 0, 0)
    assert (stats.queued_starts, stats.queued_requests, stats.unfinished_tasks) == (0, 0, 0)
    assert (stats.paid_calls, stats.unclaimed, stats.unknown, stats.pause) == (0, 0, 0, 0)
    assert stats.poll_interval == 0.05


async def test_waits_and_polled_tasks(a2e: A2E) -> None:
    """Two callers of one task are two waits and one polled task; all are gone at the end."""
    task = await a2e.dubbing.start(**DUB)
    waits = [asyncio.create_task(task.wait()) for _ in range(2)]
    await until(lambda: a2e.stats().waits == 2)
    assert a2e.stats().polled_tasks == 1
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await until(lambda: not a2e.stats().connections)
    assert (a2e.stats().waits, a2e.stats().polled_tasks) == (0, 0)


async def test_starts_in_progress_and_queued(make_client: MakeClient, sandbox: Sandbox) -> None:
    """One start is at the service, the other waits for its slot."""
    sandbox.faults.slow(5, "start", accepted=True)  # closing the client waits for it
    a2e = make_client(max_unfinished=1)
    starts = [asyncio.create_task(a2e.dubbing.start(**DUB)) for _ in range(2)]
    await until(lambda: sandbox.calls["start", "dubbing"])
    stats = a2e.stats()
    assert (stats.starts, stats.queued_starts, stats.unfinished_tasks) == (2, 1, 1)
    assert stats.connections == 1
    for start in starts:
        start.cancel()
    await asyncio.gather(*starts, return_exceptions=True)
    assert a2e.stats().queued_starts == 0


async def test_unfinished_tasks_count_until_their_end(make_client: MakeClient) -> None:
    a2e = make_client(max_unfinished=3)
    await asyncio.gather(*(a2e.dubbing.start(**DUB) for _ in range(2)))
    assert a2e.stats().unfinished_tasks == 2


async def test_a_pause_and_what_waits_for_it(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.http_error(429, retry_after=30)
    balance = asyncio.create_task(a2e.credits.balance())
    await until(lambda: a2e.stats().pause > 0)
    assert a2e.stats().pause <= 30
    await until(lambda: a2e.stats().queued_requests == 1)
    balance.cancel()
    await asyncio.gather(balance, return_exceptions=True)
    assert a2e.stats().queued_requests == 0


async def test_unclaimed_tasks(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.slow(0.2, "start", accepted=True)
    start = asyncio.create_task(a2e.dubbing.start(**DUB))
    await until(lambda: sandbox.calls["start", "dubbing"])
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await until(lambda: a2e.stats().unclaimed == 1)
    assert a2e.stats().unclaimed == len(a2e.unclaimed())


async def test_stats_from_outside_of_the_loop(a2e: A2E) -> None:
    """A thread, as that of a synchronous web handler, gets an error of this package."""
    await a2e.dubbing.start(**DUB)

    async def elsewhere() -> None:
        a2e.stats()

    with pytest.raises(ConfigurationError, match="no event loop runs in this thread"):
        await asyncio.to_thread(a2e.stats)
    with pytest.raises(ConfigurationError, match="used on another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    await a2e.aclose()
    assert a2e.stats().connections == 0
