"""Waiting: deadlines, poll errors, deleted tasks, and closing."""

import asyncio
import math
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    ClientClosed,
    DecodeError,
    InvalidInput,
    PermissionDenied,
    ResultMissing,
    TaskGone,
    TaskTimeout,
)
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox

from .conftest import (
    DUB,
    LONG,
    MOVE,
    STARTS,
    TALK,
    MakeClient,
    assert_no_secrets,
    own_tasks,
    paid,
    turns,
    until,
)

OLD = "5f" * 12


def poll_count(sandbox: Sandbox) -> int:
    roles = ("detail", "batch_detail", "list_processing", "list")
    return sum(n for (role, _), n in sandbox.calls.items() if role in roles)


@LONG
@pytest.mark.parametrize("kind", STARTS)
async def test_timeout_zero(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """timeout=0 polls exactly once, and TaskTimeout says how to resume."""
    task = await a2e.kind(kind).start(**STARTS[kind])
    sandbox.advance(1800)
    with pytest.raises(TaskTimeout) as caught:
        await task.wait(timeout=0)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert poll_count(sandbox) == 1
    assert (error.ref, error.task) == (task.ref, task)
    assert "processing" in str(error)
    assert task.record is not None
    assert task.record.raw_status == "processing"
    assert_no_secrets(error)
    sandbox.advance(3600)
    assert (await task.wait(timeout=0)).status is Status.SUCCEEDED
    assert poll_count(sandbox) == 2
    assert (await task.wait(timeout=0)).output
    assert poll_count(sandbox) == 2


@LONG
async def test_timeout_zero_of_several_parts(a2e: A2E, sandbox: Sandbox) -> None:
    """timeout=0 shows all parts of a task in one poll."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=3)
    again = a2e.attach(task.ref)
    with pytest.raises(TaskTimeout):
        await again.wait(timeout=0)
    assert poll_count(sandbox) == 1
    assert again.record is not None
    sandbox.advance(3600)
    assert len((await again.wait(timeout=0)).outputs) == 3


@LONG
async def test_timeout_zero_beside_others(a2e: A2E, sandbox: Sandbox) -> None:
    """A wait at its deadline gets its poll and does not end longer waits."""
    task = await a2e.dubbing.start(**DUB)
    other = asyncio.create_task(task.wait())
    for _ in range(3):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0)
    sandbox.advance(3600)
    assert (await other).output


@LONG
@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True, [], -0.001])
async def test_bad_timeout(a2e: A2E, sandbox: Sandbox, timeout: Any) -> None:
    """An invalid timeout is refused without a poll."""
    task = await a2e.dubbing.start(**DUB)
    with pytest.raises(InvalidInput, match="timeout"):
        await task.wait(timeout=timeout)
    assert poll_count(sandbox) == 0


async def test_timeout_without_end(a2e: A2E) -> None:
    """timeout=inf waits as long as it takes."""
    assert (await (await a2e.dubbing.start(**DUB)).wait(timeout=float("inf"))).output


@LONG
async def test_deadline_during_a_hold(a2e: A2E, sandbox: Sandbox) -> None:
    """During a rate-limit pause a wait ends at its deadline, without a poll."""
    task = await a2e.dubbing.start(**DUB)
    sandbox.faults.http_error(429, role="detail", retry_after=30)
    async with asyncio.timeout(20):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0.3)
    assert poll_count(sandbox) == 1


@LONG
async def test_deadline_while_the_service_stalls(a2e: A2E, sandbox: Sandbox) -> None:
    """A hanging poll delays a wait by at most some seconds beyond its deadline."""
    task = await a2e.dubbing.start(**DUB)
    sandbox.faults.slow(40, "detail", times=None)
    async with asyncio.timeout(20):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0.1)


@pytest.mark.parametrize("timeout", [math.inf, 1e300])
async def test_a_wait_without_end(a2e: A2E, timeout: float) -> None:
    task = await a2e.dubbing.start(**DUB)
    async for _ in task.updates(timeout=timeout):
        pass
    assert task.done
    assert (await (await a2e.dubbing.start(**DUB)).wait(timeout=timeout)).output


@LONG
async def test_hold_while_waiting(a2e: A2E, sandbox: Sandbox) -> None:
    """A short rate-limit pause delays a wait and does not end it."""
    task = await a2e.dubbing.start(**DUB)
    sandbox.faults.http_error(429, role="detail", retry_after=0.2, times=2)
    sandbox.advance(3600)
    assert (await task.wait(timeout=60)).output


@pytest.mark.parametrize("kind", STARTS)
async def test_unknown_at_first(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A task that the service does not know yet after its start is still awaited."""
    sandbox.faults.not_found_after_start(300, kind)
    sandbox.faults.list_lag(300, kind)
    task = await a2e.kind(kind).start(**STARTS[kind])
    assert (await task.wait(timeout=60)).output


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.usefixtures("gone_soon")
async def test_gone(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """Unknown and foreign ids raise TaskGone for their waiters only."""
    good = await a2e.kind(kind).start(**STARTS[kind])
    other = next(name for name in STARTS if name != kind)
    foreign = await a2e.kind(other).start(**STARTS[other])
    lost = a2e.attach(f"{kind}:{OLD}")
    results = await asyncio.gather(good, lost, foreign, return_exceptions=True)
    assert isinstance(results[1], TaskGone)
    assert results[1].ref == lost.ref
    assert_no_secrets(results[1])
    assert [r.output for r in (results[0], results[2])]  # type: ignore[union-attr]


@LONG
@pytest.mark.usefixtures("gone_soon")
async def test_deleted_while_waited_for(a2e: A2E, sandbox: Sandbox) -> None:
    """A deleted task raises TaskGone; one deleted part is enough."""
    task = await a2e.image_to_video.start(**MOVE, number_of_images=2)
    await a2e.image_to_video.delete(task.ids[1])
    with pytest.raises(TaskGone) as caught:
        await task.wait(timeout=60)
    assert caught.value.ref == task.ref


@LONG
@pytest.mark.parametrize("kind", ["talking_video", "dubbing"])
async def test_malformed_id(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """An id that breaks the shared poll times out alone; the others are unaffected."""
    good = [await a2e.kind(kind).start(**STARTS[kind]) for _ in range(5)]
    bad = a2e.attach(f"{kind}:zzz")
    waits = [asyncio.create_task(task.wait()) for task in [*good[:3], *good[3:]]]
    with pytest.raises(TaskTimeout):
        await bad.wait(timeout=0.5)
    sandbox.advance(3600)
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert not any(isinstance(r, A2EError) for r in results)


@pytest.mark.parametrize("word", ["warming_up", "cancelled", "", "COMPLETE?"])
async def test_odd_status(a2e: A2E, sandbox: Sandbox, word: str) -> None:
    """An unknown status word means running."""
    sandbox.faults.odd_status("dubbing", word)
    task = await a2e.dubbing.start(**DUB)
    seen = [record async for record in task.updates()]
    assert {r.status for r in seen if r.raw_status == word} <= {Status.RUNNING}
    assert seen[-1].output


async def test_stuck(a2e: A2E, sandbox: Sandbox) -> None:
    """A task that never ends ends its wait by the timeout, again and again."""
    sandbox.faults.stuck("dubbing")
    task = await a2e.dubbing.start(**DUB)
    for _ in range(2):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0.2)
    assert not task.done
    assert task.status in (Status.QUEUED, Status.RUNNING)


async def test_no_result(
    a2e: A2E, sandbox: Sandbox, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completed task without a result completes; reading its output raises an error."""
    monkeypatch.setattr("a2e_async._core.polling.waiters.RESULT_GRACE_SECONDS", 0.2)
    sandbox.faults.no_result("dubbing")
    task = await a2e.dubbing.start(**DUB)
    with pytest.raises(ResultMissing) as caught:
        await task
    record = caught.value.record
    assert record.status is Status.SUCCEEDED
    with pytest.raises(DecodeError, match="no result"):
        _ = record.output
    with pytest.raises(ResultMissing):
        await task.download(tmp_path)
    assert list(tmp_path.iterdir()) == []


TROUBLE = {
    "500": lambda f: f.http_error(500, role="detail", times=5),
    "502 html": lambda f: f.http_error(502, role="detail", html=True, times=3),
    "reset": lambda f: f.reset("detail", times=4),
    "html": lambda f: f.html("detail", times=3),
    "malformed": lambda f: f.malformed("detail", times=3),
    "code": lambda f: f.code_error(5000, "busy", "detail", times=2),
    "text": lambda f: f.data_shape("text", "detail", times=2),
    "429": lambda f: f.http_error(429, role="detail", retry_after=0.05, times=2),
}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_errors_while_polling(a2e: A2E, sandbox: Sandbox, trouble: str) -> None:
    """No temporary poll error ends a wait, whichever request it hits."""
    task = await a2e.dubbing.start(**DUB)
    TROUBLE[trouble](sandbox.faults)
    assert (await task.wait(timeout=120)).output
    assert len(paid(sandbox)) == 1


async def test_trouble_in_the_shared_call(a2e: A2E, sandbox: Sandbox) -> None:
    """The same where many tasks share one poll."""
    tasks = [await a2e.talking_video.start(**TALK) for _ in range(20)]
    dubs = [await a2e.dubbing.start(**DUB) for _ in range(5)]
    for role in ("batch_detail", "list_processing"):
        sandbox.faults.http_error(500, role=role)
        sandbox.faults.html(role)
        sandbox.faults.reset(role, times=2)
        sandbox.faults.malformed(role)
    records = await asyncio.gather(*(t.wait(timeout=120) for t in [*tasks, *dubs]))
    assert all(record.output for record in records)


@LONG
@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, PermissionDenied)])
async def test_refused_while_polling(
    a2e: A2E, sandbox: Sandbox, status: int, error: type[A2EError]
) -> None:
    """401 and 403 end the waits with an exception each; the tasks can be awaited later."""
    tasks = [await a2e.talking_video.start(**TALK) for _ in range(10)]
    for role in ("batch_detail", "detail"):
        sandbox.faults.http_error(status, role=role, times=None)
    waits = [asyncio.create_task(t.wait()) for t in tasks for _ in range(3)]
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(r) for r in results} == {error}
    assert len({id(r) for r in results}) == 30
    for task, result in zip([t for t in tasks for _ in range(3)], results, strict=True):
        assert isinstance(result, error)
        assert [task.ref in note for note in result.__notes__] == [True]
        assert_no_secrets(result)
    sandbox.faults.clear()
    sandbox.advance(3600)
    assert all(r.output for r in await asyncio.gather(*tasks))


@LONG
async def test_close_ends_waits(a2e: A2E, sandbox: Sandbox) -> None:
    """Closing ends every wait with its own ClientClosed, and leaves no asyncio task."""
    tasks = [await a2e.dubbing.start(**DUB), await a2e.talking_video.start(**TALK)]
    waits = [asyncio.create_task(task.wait()) for task in tasks * 5]
    await turns(30)
    await a2e.aclose()
    assert not own_tasks()
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(e) for e in errors} == {ClientClosed}
    assert len({id(e) for e in errors}) == 10
    later = []
    for _ in range(2):
        with pytest.raises(ClientClosed) as caught:
            await tasks[0]
        later.append(caught.value)
    assert later[0] is not later[1]


@LONG
async def test_no_io_properties(a2e: A2E, sandbox: Sandbox) -> None:
    """Reading a handle's attributes makes no request."""
    task = await a2e.talking_video.start(**TALK)
    calls = sandbox.calls_total
    assert (task.done, task.coins, task.status) == (False, 13, Status.QUEUED)
    assert task.elapsed >= 0
    assert task.record is not None
    assert task.ref in repr(task)
    assert a2e.attach(task.ref).elapsed >= 0
    assert sandbox.calls_total == calls


@LONG
async def test_coins_are_remembered(a2e: A2E, sandbox: Sandbox) -> None:
    """The price in the start's response stays known when later records lack it."""
    from attrs import evolve

    task = await a2e.talking_video.start(**TALK)
    assert task.record is not None
    task._observe(evolve(task.record, coins=None, raw_status="sent"), 0.0)
    assert task.coins == 13


@LONG
async def test_broken_poller(
    a2e: A2E, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """A bug in the poller itself fails all waits with an error; a later wait restarts it.

    One in reading a record fails the polls of this record.
    """
    tasks = [await a2e.dubbing.start(**DUB), await a2e.talking_video.start(**TALK)]

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr("a2e_async._core.polling.schedule.PollSchedule.plan", broken)
        waits = [asyncio.create_task(t.wait(timeout=30)) for t in tasks * 2]
        errors = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(e) for e in errors} == {A2EError}
    assert all("a bug" in str(e) and e.__cause__ is not None for e in errors)  # type: ignore[union-attr]
    await until(lambda: not own_tasks())
    assert any("poller crashed" in r.getMessage() for r in caplog.records)
    with monkeypatch.context() as patch:
        patch.setattr("a2e_async._core.polling.poller.read_record", broken)
        waits = [asyncio.create_task(t.wait(timeout=0.3)) for t in tasks * 2]
        errors = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(e) for e in errors} == {TaskTimeout}
    assert {type(e.__cause__) for e in errors} == {DecodeError}  # type: ignore[union-attr]
    sandbox.advance(3600)
    assert all(r.output for r in await asyncio.gather(*tasks))


async def test_many_clients(make_client: MakeClient) -> None:
    """Clients of one account do not disturb each other."""
    clients = [make_client() for _ in range(5)]
    tasks = await asyncio.gather(*(c.dubbing.start(**DUB) for c in clients for _ in range(4)))
    handles = [c.attach(task.ref) for c in clients for task in tasks]
    records = await asyncio.gather(*handles)
    assert all(record.output for record in records)
