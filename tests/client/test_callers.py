"""Many tenants of one client: caps, fair queueing, and refusals with a wait time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Task
from a2e_async._core.http.call import ApiCall
from a2e_async.errors import (
    ClientClosed,
    InvalidInput,
    InvalidRequest,
    StartOutcomeUnknown,
    TooBusy,
)
from a2e_async.sandbox import Sandbox, media

from .conftest import (
    BLIND,
    DUB,
    TALK,
    MakeClient,
    assert_no_secrets,
    nothing_charged,
    paid,
    starts_sent,
    turns,
    until,
)

LONG = pytest.mark.parametrize(
    "sandbox_options",
    [{"durations": dict.fromkeys(("dubbing", "talking_video", "text_to_image"), 3600.0)}],
    ids=["long"],
)
LOCAL = {"source_url": media.speech(), "target_lang": "es"}


def running(sandbox: Sandbox) -> int:
    """Return how many tasks of the service are still running."""
    return sum(task.status not in ("completed", "failed") for task in sandbox.tasks)


def start(client: A2E, **more: Any) -> "asyncio.Task[Task[Any]]":
    return asyncio.create_task(client.dubbing.start(**DUB, **more))


@LONG
async def test_no_more_than_the_cap(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Starts wait for running tasks to end, including tasks without a waiter."""
    client = make_client(max_unfinished=2)
    starting = [start(client) for _ in range(5)]
    for sent in (2, 4, 5):
        await until(lambda sent=sent: starts_sent(sandbox) == sent)
        assert running(sandbox) <= 2
        sandbox.advance(3600)
    refs = {(await one).ref for one in starting}
    assert len(refs) == len(paid(sandbox)) == 5


@LONG
async def test_a_wait_frees_the_place(make_client: MakeClient, sandbox: Sandbox) -> None:
    """While a task has a waiter, admission control makes no polls of its own."""
    client = make_client(max_unfinished=1)
    first = asyncio.create_task(client.dubbing.run(**DUB))
    await until(lambda: starts_sent(sandbox) == 1)
    second = start(client)
    sandbox.advance(3600)
    assert (await first).done
    assert not (await second).done


async def test_without_queued_starts_nothing_is_polled(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Slots cost no request unless a start waits for one."""
    client = make_client(max_unfinished=5)
    for _ in range(5):
        await client.dubbing.start(**DUB)
    await turns(50)
    assert sandbox.calls_total == 5


@LONG
async def test_polls_for_slots_are_shared(make_client: MakeClient, sandbox: Sandbox) -> None:
    """One request polls all tasks of a kind that hold slots."""
    client = make_client(max_unfinished=30, poll_interval=3600)
    for _ in range(30):
        await client.talking_video.start(**TALK)
    before = sandbox.calls_total
    waiting = asyncio.create_task(client.talking_video.start(**TALK))
    await until(lambda: sandbox.calls_total > before)
    await turns(50)
    assert sandbox.calls_total == before + 1
    waiting.cancel()


@LONG
async def test_refused_at_once(make_client: MakeClient, sandbox: Sandbox) -> None:
    """With no time to wait, the error has the numbers; nothing is sent or uploaded."""
    user = make_client().for_caller("ann@example.org", max_unfinished=2, max_wait=0)
    held = [await user.dubbing.start(**DUB) for _ in range(2)]
    calls = sandbox.calls_total
    with pytest.raises(TooBusy) as caught:
        await user.dubbing.start(**LOCAL, key="again")
    error = caught.value
    assert (error.unfinished, error.max_unfinished) == (2, 2)
    assert (error.ahead, error.scope) == (0, "caller")
    assert error.retry_after >= 1
    assert_no_secrets(error, "ann@")
    assert starts_sent(sandbox) == 2
    assert not any(role == "presign" for role, _ in sandbox.calls)
    assert sandbox.calls_total <= calls + 2
    # The refusal made the client look, so that who tries again meets the truth.
    sandbox.advance(3600)
    for _ in range(200):
        try:
            again = await user.dubbing.start(**LOCAL, key="again")
            break
        except TooBusy:
            await asyncio.sleep(0.02)
    assert again.ref not in {task.ref for task in held}


@LONG
async def test_refused_after_a_while(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A wait with a timeout ends with the same error and releases its slot."""
    client = make_client(max_unfinished=1)
    await client.dubbing.start(**DUB)
    user = client.for_caller("u", max_wait=0.05)
    with pytest.raises(TooBusy) as caught:
        await user.dubbing.start(**DUB)
    assert (caught.value.scope, caught.value.unfinished) == ("client", 1)
    sandbox.advance(3600)
    await client.dubbing.start(**DUB)
    assert starts_sent(sandbox) == 2


async def test_a_bounded_wait_that_is_long_enough(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A start that gets its slot in time proceeds normally."""
    user = make_client().for_caller("u", max_unfinished=1, max_wait=60)
    tasks = [await user.dubbing.start(**DUB) for _ in range(3)]
    assert len({task.ref for task in tasks}) == starts_sent(sandbox) == 3


@LONG
async def test_callers_have_caps_of_their_own(a2e: A2E, sandbox: Sandbox) -> None:
    """A tenant at its cap blocks no other tenant, and derived clients keep the tenant."""
    ann = a2e.for_caller("ann", max_unfinished=1)
    first = await ann.dubbing.start(**DUB)
    waiting = start(ann.with_options(start_timeout=9))
    ben = await a2e.for_caller("ben", max_unfinished=1).dubbing.start(**DUB)
    await a2e.dubbing.start(**DUB)
    assert (first.caller, ben.caller) == ("ann", "ben")
    assert starts_sent(sandbox) == 3
    sandbox.advance(3600)
    assert (await waiting).caller == "ann"


async def test_one_start_beside_a_thousand(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A tenant's single start goes before most of another tenant's queued starts."""
    client = make_client(rate=300, burst=1)
    many, one = client.for_caller("many"), client.for_caller("one")
    crowd = [start(many, meta={}) for _ in range(150)]
    await until(lambda: starts_sent(sandbox) >= 5)
    task = await one.dubbing.start(**{**DUB, "target_lang": "fr"})
    place = next(n for n, charge in enumerate(paid(sandbox)) if "fr" in charge.body.values())
    assert place < 40, task
    for other in crowd:
        other.cancel()
    await asyncio.wait(crowd)


async def test_fairness_needs_no_caps_and_counts_nothing(a2e: A2E, sandbox: Sandbox) -> None:
    """Without a cap, nothing about a task is tracked after its start."""
    user = a2e.for_caller("u")
    tasks = await asyncio.gather(*(user.dubbing.start(**DUB) for _ in range(30)))
    assert len(tasks) == starts_sent(sandbox) == 30
    assert a2e.stats().unfinished_tasks == a2e.stats().queued_starts == 0


@LONG
async def test_cancelled_in_the_queue(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A cancelled start leaves the queue; its slot goes to the next one."""
    client = make_client(max_unfinished=1)
    held = await client.dubbing.start(**DUB)
    gone, next_one = start(client), start(client)
    await turns(20)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    sandbox.advance(3600)
    assert (await next_one).ref != held.ref
    assert starts_sent(sandbox) == 2
    assert client.unclaimed() == ()


@LONG
async def test_cancelled_at_every_turn(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Wherever a start is cancelled, slots are held only by tasks that exist at the service."""
    client = make_client(max_unfinished=50)
    user = client.for_caller("u", max_unfinished=50)
    for k in range(40):
        starting = start(user)
        await turns(k)
        starting.cancel()
        await asyncio.wait([starting])
    places = client._context.starter.admission
    await until(lambda: places._fair_queue.total_unfinished == len(paid(sandbox)))
    held = {id for kind, id in places._slot_by_task}
    assert held == {id for charge in paid(sandbox) for id in charge.ids}
    assert len(places._occupied_slots) == len(held)


@LONG
async def test_gone_after_it_was_sent(a2e: A2E, sandbox: Sandbox, monkeypatch: Any) -> None:
    """An unclaimed task keeps its slot and is listed only for its own tenant."""
    user = a2e.for_caller("u", max_unfinished=1, max_wait=0)
    written = ApiCall.mark_sent

    def written_and_gone(call: ApiCall) -> None:
        written(call)
        starting.cancel()

    monkeypatch.setattr(ApiCall, "mark_sent", written_and_gone)
    starting = start(user)
    with pytest.raises(asyncio.CancelledError):
        await starting
    monkeypatch.undo()
    await until(user.unclaimed)
    assert [task.caller for task in user.unclaimed()] == ["u"]
    assert a2e.for_caller("v").unclaimed() == ()
    assert a2e.unclaimed() == user.unclaimed()
    with pytest.raises(TooBusy):
        await user.dubbing.start(**DUB)


@LONG
async def test_every_end_frees_the_place(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Slots are released on failure, deletion and refusal, and when the service lost the task."""
    client = make_client(max_unfinished=1)
    user = client.for_caller("u", max_wait=0)
    sandbox.faults.fail(kind="dubbing")
    failing = await user.dubbing.start(**DUB)
    sandbox.advance(3600)
    with pytest.raises(Exception, match="failed"):
        await failing
    sandbox.faults.http_error(400, role="start")
    with pytest.raises(InvalidRequest):
        await user.dubbing.start(**DUB)
    deleted = await user.dubbing.start(**DUB)
    sandbox.advance(3600)
    await deleted.delete()
    sandbox.faults.done_at_once("dubbing")
    await user.dubbing.start(**DUB)
    last = await user.dubbing.start(**DUB)
    assert client.stats().unfinished_tasks == 1, last


@BLIND
async def test_a_start_that_stays_unknown(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A task without an id cannot be polled: it holds no slot."""
    user = make_client(max_unfinished=1).for_caller("u", max_wait=0)
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await user.dubbing.start(**DUB)
    await user.dubbing.start(**DUB)
    assert len(paid(sandbox)) == 2


@LONG
async def test_a_start_that_is_found(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A start that was lost and recovered holds its slot like any other."""
    user = make_client(max_unfinished=1).for_caller("u", max_wait=0)
    sandbox.faults.drop_after_accept("dubbing")
    await user.dubbing.start(**DUB)
    with pytest.raises(TooBusy):
        await user.dubbing.start(**DUB)


@LONG
async def test_several_tasks_of_one_start(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Each remote task counts; a start with more tasks than the cap runs alone."""
    user = make_client(max_unfinished=3).for_caller("u", max_wait=0)
    await user.text_to_image.start(prompt="a lake", max_images=2)
    with pytest.raises(TooBusy) as caught:
        await user.text_to_image.start(prompt="a lake", max_images=2)
    assert caught.value.unfinished == 2
    await user.text_to_image.start(prompt="a lake")
    patient = user.for_caller("u")
    large = asyncio.create_task(patient.text_to_image.start(prompt="a lake", max_images=4))
    await until(lambda: len(paid(sandbox)) == 2)
    sandbox.advance(36_000)
    assert len((await large).ids) == 4


@LONG
async def test_closed_while_it_waits(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Closing fails queued starts at once: none of them was sent."""
    client = make_client(max_unfinished=1)
    await client.dubbing.start(**DUB)
    waiting = [start(client) for _ in range(3)]
    await turns(20)
    async with asyncio.timeout(10):
        await client.aclose()
    for one in waiting:
        with pytest.raises(ClientClosed):
            await one
    assert starts_sent(sandbox) == 1


@LONG
async def test_polling_is_impossible(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A task that cannot be polled does not hold a slot forever."""
    client = make_client(max_unfinished=1)
    await client.dubbing.start(**DUB)
    sandbox.faults.http_error(403, role="detail", times=None)
    await client.dubbing.start(**DUB)
    assert starts_sent(sandbox) == 2


@LONG
async def test_after_a_restart(make_client: MakeClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Tasks resumed from the journal count, but do not wait for a slot themselves."""
    journal = tmp_path / "jobs.db"
    first = make_client(journal=journal)
    keyed = await first.dubbing.start(**DUB, key="k")
    await first.dubbing.start(**DUB)
    await first.aclose()
    second = make_client(journal=journal, max_unfinished=1)
    user = second.for_caller("u", max_wait=0)
    assert (await user.dubbing.start(**DUB, key="k")).ref == keyed.ref
    assert len([task async for task in second.unfinished()]) == 2
    with pytest.raises(TooBusy) as caught:
        await user.dubbing.start(**DUB, key="new")
    assert caught.value.unfinished == 2
    sandbox.advance(3600)
    await second.dubbing.start(**DUB, key="new")
    assert len(paid(sandbox)) == 3


@LONG
async def test_a_batch_keeps_to_the_cap(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A tenant's batch shares turns with the others and waits for slots like any start."""
    client = make_client(max_unfinished=2)
    user = client.for_caller("u")
    done = 0

    async def pass_time() -> None:
        while done < 6:
            assert running(sandbox) <= 2
            if running(sandbox) == 2:
                sandbox.advance(3600)
            await asyncio.sleep(0.005)

    clock = asyncio.create_task(pass_time())
    async for outcome in user.batch((client.dubbing.job(**DUB) for _ in range(6)), limit=6):
        assert outcome.ok
        done += 1
    await clock
    assert len(paid(sandbox)) == 6


async def test_bad_callers(a2e: A2E, sandbox: Sandbox) -> None:
    """Invalid caps are refused when they are set."""
    with pytest.raises(InvalidInput):
        a2e.for_caller(42)  # type: ignore[arg-type]  # what a program might give
    with pytest.raises(InvalidInput):
        a2e.for_caller("u", max_unfinished=0)
    assert nothing_charged(sandbox)
