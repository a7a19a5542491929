"""A poll whose response repeats the last one keeps the record: nothing is decoded again."""

import asyncio
from typing import Any

import pytest
from attrs import define, evolve

from a2e_async.kinds.namespace import TaskNamespace
from a2e_async.kinds.talking_video import TALKING_VIDEO, TalkingVideoRecord
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox

from .conftest import LONG, TALK, MakeClient, until

made: list[str] = []
"""The ids of all records that were constructed, in order."""


@define(kw_only=True)
class CountedRecord(TalkingVideoRecord):
    """Decoded at once, as its constructor does something else."""

    def __attrs_post_init__(self) -> None:
        made.append(self.id)


COUNTED = evolve(TALKING_VIDEO, name="counted", record=CountedRecord)


@pytest.fixture(autouse=True)
def _none_made() -> None:
    made.clear()


@LONG
@pytest.mark.parametrize("count", [1, 12])
async def test_an_unchanged_response_is_decoded_once(
    make_client: MakeClient, sandbox: Sandbox, count: int
) -> None:
    """By detail and by batchDetail; each change is decoded, once for all waits."""
    client = make_client(poll_interval=0.01)
    counted = TaskNamespace(client.talking_video._context, COUNTED)
    started = [await client.talking_video.start(**TALK) for _ in range(count)]
    tasks = [counted.attach(task.ids[0]) for task in started for _ in range(2)]
    waits = [asyncio.create_task(task.wait()) for task in tasks]
    mode = ("detail" if count == 1 else "batch_detail", "talking_video")
    await until(lambda: all(task.record for task in tasks))
    sandbox.advance(600)  # from queued to running
    await until(lambda: all(task.status is Status.RUNNING for task in tasks))
    before, records, polls = len(made), [task.record for task in tasks], sandbox.calls[mode]
    await until(lambda: sandbox.calls[mode] >= polls + 5)
    assert len(made) == before
    assert all(task.record is record for task, record in zip(tasks, records, strict=True))
    sandbox.advance(7200)
    ended = await asyncio.gather(*waits)
    assert all(record.output for record in ended)
    assert len(made) == before + count


@LONG
async def test_a_wait_that_joins_gets_the_known_record(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Although the response has not changed since the poll before."""
    client = make_client(poll_interval=0.01)
    task = await client.talking_video.start(**TALK)
    first = asyncio.create_task(task.wait())
    polls = sandbox.calls["detail", "talking_video"]
    await until(lambda: sandbox.calls["detail", "talking_video"] >= polls + 3)
    later = client.attach(task.ref)
    seen: list[Any] = []

    async def follow() -> None:
        seen.extend([record async for record in later.updates()])

    following = asyncio.create_task(follow())
    await until(lambda: later.record)
    assert later.record == task.record
    sandbox.advance(3600)
    await asyncio.gather(first, following)
    assert seen[-1] is later.record
    assert seen[-1].output
