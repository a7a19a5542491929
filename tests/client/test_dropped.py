"""Charged work without a handle or a response can be found again."""

import asyncio
import contextlib
import gc

import pytest

from a2e_async import A2E
from a2e_async.errors import PermissionDenied
from a2e_async.sandbox import Sandbox

from .conftest import BLIND, MOVE, TALK, MakeClient, until


async def collected(a2e: A2E, count: int) -> None:
    """Return once this many dropped handles have been collected."""

    def enough() -> bool:
        gc.collect()
        return len(a2e.unclaimed()) == count

    await until(enough)


async def test_a_dropped_handle_is_unclaimed(a2e: A2E) -> None:
    """A task whose handle was dropped is listed, and its listed handle works."""
    await a2e.talking_video.start(**TALK)
    await collected(a2e, 1)
    (task,) = a2e.unclaimed()
    assert (await task).outputs
    assert a2e.unclaimed() == ()


async def test_a_noted_handle_is_not(a2e: A2E) -> None:
    """Once the ref was read, the client no longer keeps the task for its caller."""
    ref = (await a2e.talking_video.start(**TALK)).ref
    gc.collect()
    assert a2e.unclaimed() == ()
    assert (await a2e.attach(ref)).outputs


async def test_a_finished_handle_is_not(a2e: A2E) -> None:
    """A task that was awaited is not kept."""
    await a2e.talking_video.run(**TALK)
    gc.collect()
    assert a2e.unclaimed() == ()


async def test_siblings_of_a_refused_start(a2e: A2E, sandbox: Sandbox) -> None:
    """When one start of a gather is refused, the paid ones are not lost with it."""
    sandbox.faults.http_error(403, role="start", kind="image_to_video")
    with pytest.raises(PermissionDenied):
        await asyncio.gather(
            a2e.image_to_video.start(**MOVE), *(a2e.talking_video.start(**TALK) for _ in range(4))
        )
    await until(lambda: len(sandbox.ledger.starts()) == 4)
    await collected(a2e, 4)
    charged = {id for charge in sandbox.ledger.starts() for id in charge.ids}
    assert {task.ids[0] for task in a2e.unclaimed()} == charged


@BLIND
async def test_a_lost_answer_after_cancellation(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Cancelled in flight and then without a response: the client lists the unknown start."""
    a2e = make_client(start_timeout=0.5)
    sandbox.faults.slow(5, role="start", kind="talking_video", accepted=True)
    starting = asyncio.create_task(a2e.talking_video.start(**TALK))
    await until(lambda: bool(sandbox.calls["start", "talking_video"]))
    starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    await until(lambda: bool(a2e.unknown() or a2e.unclaimed()))
    (charge,) = sandbox.ledger.starts()
    (recovery,) = a2e.unknown()
    assert recovery.name == charge.body["name"]
    assert a2e.unclaimed() == ()


async def test_nothing_is_kept_of_finished_waits(a2e: A2E) -> None:
    """The memory of a long-lived client does not grow with the tasks it has seen."""
    keeper = asyncio.create_task((await a2e.image_to_video.start(**MOVE)).wait())
    for _ in range(3):
        await asyncio.gather(*(a2e.talking_video.run(**TALK) for _ in range(40)))
    poller = a2e._components.poller  # what it keeps has no public face
    await keeper
    gc.collect()
    assert len(poller) == 0
    assert len(poller.waiters._deadlines) <= 64 + 4


async def test_an_id_given_twice(a2e: A2E) -> None:
    """The same id twice in a ref is one task."""
    task = await a2e.talking_video.start(**TALK)
    await task
    twice = a2e.talking_video.attach(f"{task.ids[0]}+{task.ids[0]}")
    assert twice.ids == task.ids
    assert (await twice).outputs
