"""How many requests polling takes: shared polls, full batches, lists instead of details."""

import asyncio

from a2e_async import A2E
from a2e_async.events import Attempt, Event
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MOVE, TALK, MakeClient, until


@LONG
async def test_many_waits_on_one_id(make_client: MakeClient, sandbox: Sandbox) -> None:
    """200 waits on one id share one poll at a time."""
    client = make_client(poll_interval=0.02)
    task = await client.talking_video.start(**TALK)
    sandbox.faults.slow(0.2, "detail")
    handles = [task, *(client.attach(task.ref) for _ in range(99))]
    waits = [asyncio.create_task(t.wait()) for t in handles * 2]
    await until(lambda: sandbox.calls["detail", "talking_video"])
    await asyncio.sleep(0.1)
    assert sandbox.calls["detail", "talking_video"] == 1
    sandbox.advance(3600)
    records = await asyncio.gather(*waits)
    assert all(record.output for record in records)
    assert sandbox.calls["detail", "talking_video"] <= 2
    assert sandbox.calls["batch_detail", "talking_video"] == 0


@LONG
async def test_full_batches(make_client: MakeClient, sandbox: Sandbox) -> None:
    """300 waits of a kind take two batchDetail requests a round, each of at most 200 ids."""
    client = make_client(poll_interval=2)
    tasks = await asyncio.gather(*(client.talking_video.start(**TALK) for _ in range(300)))
    sandbox.advance(3600)
    records = await asyncio.gather(*tasks)
    assert all(record.output for record in records)
    calls = sandbox.calls
    assert 2 <= calls["batch_detail", "talking_video"] <= 6
    assert calls["detail", "talking_video"] == 0
    assert calls["list", "talking_video"] == 0


@LONG
async def test_processing_list(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Dubbing tasks share the processing list, plus one detail each at their end."""
    client = make_client(poll_interval=0.1)
    tasks = [await client.dubbing.start(**DUB) for _ in range(12)]
    waits = [asyncio.create_task(task.wait()) for task in tasks]
    await until(lambda: sandbox.calls["list_processing", "dubbing"] >= 3)
    assert sandbox.calls["detail", "dubbing"] == 0
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))
    assert sandbox.calls["detail", "dubbing"] == 12
    assert sandbox.calls["batch_detail", "dubbing"] == 0


@LONG
async def test_parts_share_a_call(a2e: A2E, sandbox: Sandbox) -> None:
    """The parts of one start are polled in one request."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=8)
    sandbox.advance(3600)
    assert len((await task).outputs) == 8
    assert sandbox.calls["batch_detail", "image_to_video"] == 1
    assert sandbox.calls["detail", "image_to_video"] == 0


async def test_no_waiter(a2e: A2E, sandbox: Sandbox) -> None:
    """Without waiters nothing is polled."""
    task = await a2e.dubbing.start(**DUB)
    await task
    calls = sandbox.calls_total
    await asyncio.sleep(0.2)
    await task
    assert sandbox.calls_total == calls


async def test_attempt_events(make_client: MakeClient, sandbox: Sandbox) -> None:
    """There is one Attempt for every request that the service saw."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    sandbox.faults.http_error(500, role="detail", times=2)
    sandbox.faults.http_error(429, role="start", retry_after=0)
    tasks = [await client.dubbing.start(**DUB) for _ in range(3)]
    await asyncio.gather(*tasks)
    await client.credits.balance()
    attempts = [e for e in events if isinstance(e, Attempt)]
    assert sum(e.sends for e in attempts) == len(attempts) == sandbox.calls_total
    assert all("?" not in e.path for e in attempts)
