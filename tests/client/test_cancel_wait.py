"""Cancelling waits, updates and downloads affects only the cancelled caller."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import pytest

from a2e_async import A2E
from a2e_async._core.tasks.task import Task
from a2e_async.errors import TaskTimeout
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MOVE, STARTS, TALK, MakeClient, own_tasks, turns, until


async def _wait(task: Task[Any]) -> None:
    await task.wait(timeout=60)


async def _updates(task: Task[Any]) -> None:
    async for _ in task.updates(timeout=60):
        pass


WAYS = {"wait": _wait, "updates": _updates}


@LONG
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", STARTS)
async def test_every_turn(make_client: MakeClient, sandbox: Sandbox, kind: str, way: str) -> None:
    """A wait cancelled after k loop iterations, for every k, does not affect another wait."""
    client = make_client(poll_interval=0.004)
    task = await client.kind(kind).start(**STARTS[kind])
    other = asyncio.create_task(task.wait(timeout=60))
    lone = client.attach(task.ref)
    for k in range(90):
        victims = [asyncio.create_task(WAYS[way](t)) for t in (task, lone)]
        await turns(k)
        for victim in victims:
            victim.cancel()
        done, _ = await asyncio.wait(victims)
        assert all(victim.cancelled() for victim in done)
        assert not other.done()
    sandbox.advance(3600)
    assert (await other).output
    assert (await lone.wait(timeout=60)).output
    assert client.stats().polled_tasks == 0


@LONG
@pytest.mark.parametrize("way", WAYS)
async def test_every_turn_alone(make_client: MakeClient, sandbox: Sandbox, way: str) -> None:
    """When the only wait is cancelled, the poller stops; a later wait starts it again."""
    client = make_client(poll_interval=0.004)
    task = await client.dubbing.start(**DUB)
    for k in range(90):
        victim = asyncio.create_task(WAYS[way](task))
        await turns(k)
        victim.cancel()
        await asyncio.wait([victim])
        await until(lambda: not own_tasks())
        assert client.stats().polled_tasks == 0
    sandbox.advance(3600)
    assert (await task.wait(timeout=60)).output


@LONG
async def test_every_turn_of_many_parts(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The same for a task with several parts, one of which another handle waits for."""
    client = make_client(poll_interval=0.004)
    task = await client.image_to_video.start(**MOVE, number_of_images=3)
    part = asyncio.create_task(client.image_to_video.attach(task.ids[1]).wait(timeout=60))
    for k in range(60):
        victim = asyncio.create_task(task.wait(timeout=60))
        await turns(k)
        victim.cancel()
        await asyncio.wait([victim])
        assert not part.done()
    sandbox.advance(3600)
    assert (await part).output
    assert len((await task).outputs) == 3


async def test_cancelled_as_the_error_comes(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A wait cancelled as its error arrives leaves no unretrieved exception."""
    client = make_client(poll_interval=0.004)
    sandbox.faults.stuck("dubbing")
    task = await client.dubbing.start(**DUB)
    for k in range(120):
        sandbox.faults.http_error(401, role="detail")
        victim = asyncio.create_task(task.wait(timeout=60))
        await turns(k)
        victim.cancel()
        await asyncio.wait([victim])
        if not victim.cancelled():
            victim.exception()
        sandbox.faults.clear()
        await until(lambda: not own_tasks())


@LONG
async def test_a_poll_in_flight_is_shared(a2e: A2E, sandbox: Sandbox) -> None:
    """A new wait shares the poll of a cancelled wait that is still in flight."""
    task = await a2e.talking_video.start(**TALK)
    sandbox.advance(3600)
    sandbox.faults.slow(0.3, "detail")
    first = asyncio.create_task(task.wait())
    await until(lambda: sandbox.calls["detail", "talking_video"])
    first.cancel()
    await asyncio.wait([first])
    records = await asyncio.gather(*(task.wait() for _ in range(50)))
    assert all(record is task.record for record in records)
    assert sandbox.calls["detail", "talking_video"] == 1


@LONG
async def test_anyio_scopes(a2e: A2E, sandbox: Sandbox) -> None:
    """anyio's cancel scopes end a wait as Task.cancel does, without affecting others."""
    task = await a2e.dubbing.start(**DUB)
    other = asyncio.create_task(task.wait())
    with anyio.move_on_after(0.1) as scope:
        await task
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await task
    assert not isinstance(caught.value, TaskTimeout)
    async with anyio.create_task_group() as group:
        group.start_soon(task.wait)
        await asyncio.sleep(0.05)
        group.cancel_scope.cancel()
    sandbox.advance(3600)
    assert (await other).output


async def test_download_every_turn(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """A download cancelled after k loop iterations leaves no partial file under the final name."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=2)
    record = await task
    whole = {await output.read() for output in record.outputs}
    for k in range(0, 120, 3):
        victim = asyncio.create_task(task.download(tmp_path / str(k)))
        await turns(k)
        victim.cancel()
        await asyncio.wait([victim])
        if not victim.cancelled():
            assert len(await victim) == 2
        files = [p for p in (tmp_path / str(k)).glob("*") if not p.name.startswith(".")]
        for path in files:
            assert path.suffix == ".part" or path.read_bytes() in whole
        # A partial download is resumed.
        saved = await task.download(tmp_path / str(k))
        assert {path.read_bytes() for path in saved} == whole
        assert len(list((tmp_path / str(k)).iterdir())) == 2


@LONG
async def test_download_cancelled_while_it_waits(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A download of a running task can be cancelled and requested again."""
    task = await a2e.dubbing.start(**DUB)
    loading = asyncio.create_task(task.download(tmp_path))
    await until(lambda: sandbox.calls["detail", "dubbing"])
    loading.cancel()
    await asyncio.wait([loading])
    assert list(tmp_path.iterdir()) == []
    sandbox.advance(3600)
    assert len(await task.download(tmp_path)) == 1


@LONG
async def test_storm(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Random waits and cancellations on many tasks do not disturb the remaining waits."""
    import random

    chance = random.Random(5)
    client = make_client(poll_interval=0.01)
    sandbox.faults.http_error(500, role="batch_detail", times=3)
    tasks = [await client.talking_video.start(**TALK) for _ in range(20)]
    staying = [asyncio.create_task(task.wait(timeout=60)) for task in tasks]
    going: list[asyncio.Task[Any]] = []
    for _ in range(400):
        task = chance.choice(tasks)
        way = chance.choice([_wait, _updates])
        going.append(asyncio.create_task(way(chance.choice([task, client.attach(task.ref)]))))
        await turns(chance.randrange(4))
        going.pop(chance.randrange(len(going))).cancel()
        if len(going) > 30:
            for victim in going:
                victim.cancel()
            await asyncio.wait(going)
            going.clear()
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*staying))
    await asyncio.gather(*going, return_exceptions=True)
    assert client.stats().polled_tasks == 0


async def test_an_error_of_a_shared_poll(a2e: A2E, sandbox: Sandbox) -> None:
    """A poll that fails after its waiter left does not affect later waiters."""
    task = await a2e.dubbing.start(**DUB)
    sandbox.faults.slow(0.1, "detail")
    first = asyncio.create_task(task.wait())
    await until(lambda: sandbox.calls["detail", "dubbing"])
    first.cancel()
    sandbox.faults.http_error(500, role="detail")
    assert (await task).output
