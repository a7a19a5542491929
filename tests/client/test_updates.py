"""`updates()`: the known record, each change, the final record."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.tasks.task import Task
from a2e_async.errors import ClientClosed, TaskGone, TaskTimeout
from a2e_async.events import Event, Update
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox

from .conftest import DUB, LONG, MOVE, TALK, MakeClient, own_tasks, turns, until


async def _all(task: Task[Any], **options: Any) -> list[Any]:
    return [record async for record in task.updates(**options)]


@pytest.mark.parametrize("sandbox_options", [{"durations": {"dubbing": 300.0}}])
async def test_changes(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The known record comes first, each change once, the final one last."""
    client = make_client(poll_interval=0.005)
    task = await client.dubbing.start(**DUB)
    first = task.record
    seen = await _all(task)
    assert seen[0] is first
    assert seen[-1] is task.record
    assert seen[-1].status is Status.SUCCEEDED
    assert all(one != two for one, two in pairwise(seen))
    assert len(seen) >= 4
    assert await _all(task) == [task.record]


async def test_attached(a2e: A2E) -> None:
    """An attached task has no known record; its updates begin with the first poll."""
    task = await a2e.dubbing.start(**DUB)
    seen = await _all(a2e.attach(task.ref))
    assert seen[-1].output
    assert all(record is not None for record in seen)


async def test_failed_task_is_yielded(a2e: A2E, sandbox: Sandbox) -> None:
    """A failed task is yielded like any other; nothing is raised."""
    sandbox.faults.fail("dubbing", "no speech")
    seen = await _all(await a2e.dubbing.start(**DUB))
    assert seen[-1].status is Status.FAILED
    assert seen[-1].failure.message == "no speech"


async def test_several_parts(a2e: A2E) -> None:
    """A task with several parts is yielded as one record, last when all parts have ended."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=3)
    seen = await _all(task)
    assert [record.done for record in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen[-1].outputs) == 3


@LONG
async def test_slow_consumer_sees_the_end(a2e: A2E, sandbox: Sandbox) -> None:
    """The final record is yielded even if another wait saw it first."""
    task = await a2e.dubbing.start(**DUB)
    seen = []
    async for record in task.updates():
        seen.append(record.status)
        if len(seen) == 1:
            sandbox.advance(3600)
            await task.wait()
    assert seen == [Status.QUEUED, Status.SUCCEEDED]


@LONG
async def test_slow_consumer_sees_what_others_saw(a2e: A2E, sandbox: Sandbox) -> None:
    """A change seen by another wait is yielded at once, not at the next change."""
    task = await a2e.dubbing.start(**DUB)
    other = asyncio.create_task(task.wait())
    seen = []
    async with asyncio.timeout(20):
        async for record in task.updates():
            seen.append(record.raw_status)
            if len(seen) == 1:
                sandbox.advance(1000)
                await until(lambda: task.record.raw_status == "processing")  # type: ignore[union-attr]
            elif len(seen) == 2:
                break
    assert seen[1] == "processing"
    other.cancel()
    await asyncio.wait([other])


@LONG
async def test_left_early(a2e: A2E, sandbox: Sandbox) -> None:
    """Leaving the loop stops everything, and the task can be awaited again."""
    task = await a2e.dubbing.start(**DUB)
    async for _ in task.updates():
        break
    sandbox.advance(300)
    async for record in a2e.attach(task.ref).updates():
        assert not record.done
        break
    await until(lambda: not own_tasks())
    calls = sandbox.calls_total
    await turns(50)
    assert sandbox.calls_total == calls
    sandbox.advance(3600)
    assert (await task).output


@LONG
async def test_timeout(a2e: A2E) -> None:
    """updates() that take too long raise TaskTimeout; the next ones go on."""
    task = await a2e.talking_video.start(**TALK)
    with pytest.raises(TaskTimeout) as caught:
        await _all(task, timeout=0.1)
    assert caught.value.ref == task.ref


@pytest.mark.usefixtures("gone_soon")
async def test_gone(a2e: A2E) -> None:
    """updates() of a task the service does not know raise TaskGone."""
    with pytest.raises(TaskGone):
        await _all(a2e.attach("dubbing:" + "5f" * 12))


@LONG
async def test_closed(a2e: A2E) -> None:
    """Closing ends updates with ClientClosed."""
    task = await a2e.dubbing.start(**DUB)
    watching = asyncio.create_task(_all(task))
    await turns(5)
    await a2e.aclose()
    with pytest.raises(ClientClosed):
        await watching


@pytest.mark.parametrize("sandbox_options", [{"durations": {"dubbing": 300.0}}])
async def test_many_watchers(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Many watchers of a task share its polls; events report each change once."""
    events: list[Event] = []
    client = make_client(poll_interval=0.02, on_event=events.append)
    task = await client.dubbing.start(**DUB)
    seen = await asyncio.gather(*(_all(task) for _ in range(20)))
    assert all(one == seen[0] for one in seen)
    statuses = [e.raw_status for e in events if isinstance(e, Update)]
    assert statuses == [record.raw_status for record in seen[0][1:]]
    assert len(statuses) == len(set(statuses))
