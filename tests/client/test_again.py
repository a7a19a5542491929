"""Retries and further training: sent once, awaited, never lost and never charged twice."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from a2e_async import A2E, Task
from a2e_async.errors import InvalidInput, InvalidRequest, NotFound, StartOutcomeUnknown, TaskFailed
from a2e_async.events import Event, StartLost
from a2e_async.models import Record, Status
from a2e_async.sandbox import Sandbox
from tests.samples import CLIP

from .conftest import MakeClient, assert_no_secrets, paid, until
from .people_inputs import ID
from .test_odd_answers import Service
from .test_odd_answers import service as service

NEW = "66ea4dd87db10c73fa29b571"

Again = Callable[[A2E, str], Awaitable[Task[Any]]]

AGAIN: dict[str, tuple[str, Again]] = {
    "caption_removal.retry": ("caption_removal", lambda a2e, id: a2e.caption_removal.retry(id)),
    "video_twin.retry": ("video_twin", lambda a2e, id: a2e.video_twin.retry(id)),
    "video_twin.continue_training": (
        "video_twin",
        lambda a2e, id: a2e.video_twin.continue_training(id),
    ),
    "video_twin.correct_eye_contact": (
        "video_twin",
        lambda a2e, id: a2e.video_twin.correct_eye_contact(id),
    ),
}
RETRIES = [name for name in AGAIN if name.endswith("retry")]
FURTHER = [name for name in AGAIN if not name.endswith("retry")]

HOURS = 100_000.0
"""Service seconds; minutes of real time unless the test advances the clock."""

LONG = pytest.mark.parametrize(
    "sandbox_options",
    [{"durations": dict.fromkeys(("caption_removal", "video_twin"), HOURS)}],
    ids=["long"],
)


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"durations": dict.fromkeys(("caption_removal", "video_twin"), 20.0)}


async def ended(a2e: A2E, sandbox: Sandbox, name: str) -> str:
    """Return the id of a task that allows this action: a failed or a finished one."""
    kind = AGAIN[name][0]
    if name in RETRIES:
        sandbox.faults.fail(kind)
    task = await (
        a2e.caption_removal.start(source_url=CLIP)
        if kind == "caption_removal"
        else a2e.video_twin.start(video_url=CLIP)
    )
    last = [record async for record in task.updates()][-1]
    assert (last.status is Status.FAILED) is (name in RETRIES)
    return task.ids[0]


def action_count(sandbox: Sandbox, name: str) -> int:
    """Return how many requests for this kind were not polls."""
    kind = AGAIN[name][0]
    return sum(sandbox.calls[role, kind] for role in ("start", "action"))


async def test_retry_of_captions(a2e: A2E, sandbox: Sandbox) -> None:
    """A retry may create a new task: the handle follows it, and it is charged again."""
    old = await ended(a2e, sandbox, "caption_removal.retry")
    task = await a2e.caption_removal.retry(old)
    assert task.ids != (old,)
    assert task.status is None
    first, second = paid(sandbox)
    assert second.ids == task.ids
    assert second.body == {"_id": old}
    assert second.coins == first.coins
    assert (await (await task).output.read())[4:8] == b"ftyp"
    assert (await a2e.caption_removal.get(old)).status is Status.FAILED


async def test_retry_of_a_twin(a2e: A2E, sandbox: Sandbox) -> None:
    """A retry may restart the same task: its earlier failure does not end the wait."""
    old = await ended(a2e, sandbox, "video_twin.retry")
    task = await a2e.video_twin.retry(old)
    assert task.ids == (old,)
    assert [charge.ids for charge in paid(sandbox)] == [(old,), (old,)]
    assert (await task).anchor_id


@LONG
async def test_a_restarted_task_is_unfinished_again(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """After its failure its entry was closed. The retry is paid, so the next run must find it."""
    sandbox.faults.fail("video_twin")
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        task = await a2e.video_twin.start(video_url=CLIP, key="twin")
        sandbox.advance(HOURS)
        with pytest.raises(TaskFailed):
            await task
        assert [one async for one in a2e.unfinished()] == []
        await a2e.video_twin.retry(task.ids[0])
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        (again,) = [one async for one in a2e.unfinished()]
        assert (again.ref, again.key) == (task.ref, "twin")
        sandbox.advance(HOURS)
        assert (await again).status is Status.SUCCEEDED
        assert [one async for one in a2e.unfinished()] == []


async def test_retry_that_fails(a2e: A2E, sandbox: Sandbox) -> None:
    """A restarted task can fail like any other."""
    old = await ended(a2e, sandbox, "caption_removal.retry")
    sandbox.faults.fail("caption_removal", message="still no")
    with pytest.raises(TaskFailed, match="still no"):
        await (await a2e.caption_removal.retry(old))


@LONG
@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another twin"])
async def test_further_training_is_waited_for(
    a2e: A2E, sandbox: Sandbox, name: str, beside: bool
) -> None:
    """A twin in further training already has its anchor; the wait lasts until the training ends."""
    first = await a2e.video_twin.start(video_url=CLIP)
    sandbox.advance(HOURS)
    twin = await first
    others: list[Task[Any]] = []
    if beside:
        others = [await a2e.video_twin.start(video_url=CLIP)]
    waiting = [asyncio.create_task(task.wait()) for task in others]
    task = await AGAIN[name][1](a2e, twin.id)
    assert task.ids == (twin.id,)
    waiting.append(asyncio.create_task(task.wait()))
    for _ in range(3):
        calls_before = sandbox.calls_total
        await until(lambda calls_before=calls_before: sandbox.calls_total >= calls_before + 2)  # type: ignore[misc]  # calls_before is an int
    assert not any(wait.done() for wait in waiting)
    assert task.status is Status.RUNNING
    # The twin can be used all the time.
    now = await a2e.video_twin.get(twin.id)
    assert (now.status, now.anchor_id) == (Status.RUNNING, twin.anchor_id)
    sandbox.advance(HOURS)
    *_, record = await asyncio.gather(*waiting)
    assert record.anchor_id == twin.anchor_id


@pytest.mark.parametrize("name", AGAIN)
async def test_lost(make_client: MakeClient, sandbox: Sandbox, name: str) -> None:
    """A request without a response is never sent again; the error says where to check."""
    events: list[Event] = []
    a2e = make_client(on_event=events.append)
    id = await ended(a2e, sandbox, name)
    kind, again = AGAIN[name]
    before = action_count(sandbox, name)
    sandbox.faults.http_error(502, kind=kind, accepted=True)
    with pytest.raises(StartOutcomeUnknown, match=rf"a2e\.{kind}\.get\('{id}'\)") as caught:
        await again(a2e, id)
    assert action_count(sandbox, name) == before + 1
    assert caught.value.recovery.kind == name
    assert_no_secrets(caught.value)
    assert [e.recovery for e in events if isinstance(e, StartLost)] == [caught.value.recovery]


@pytest.mark.parametrize("name", AGAIN)
async def test_cancelled(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    """When the call is cancelled after sending, the client keeps the task."""
    id = await ended(a2e, sandbox, name)
    kind, again = AGAIN[name]
    before = action_count(sandbox, name)
    sandbox.faults.slow(0.2, kind=kind, accepted=True)
    with anyio.move_on_after(0.1) as scope:
        await again(a2e, id)
    assert scope.cancelled_caught
    await until(a2e.unclaimed)
    (task,) = a2e.unclaimed()
    assert (await task).status is Status.SUCCEEDED
    assert action_count(sandbox, name) == before + 1


@pytest.mark.parametrize("name", AGAIN)
async def test_refused(a2e: A2E, sandbox: Sandbox, name: str) -> None:
    """Invalid calls fail locally, refusals of the service are raised; nothing is charged."""
    _, again = AGAIN[name]
    for wrong in ("../x", "", None, f"{ID}+{NEW}"):
        with pytest.raises(InvalidInput) as caught:
            await again(a2e, wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # wrong on purpose
        assert caught.value.field == "id"
    assert sandbox.calls_total == 0
    with pytest.raises(NotFound):
        await again(a2e, ID)
    other = await ended(a2e, sandbox, FURTHER[0] if name in RETRIES else "video_twin.retry")
    coins = sandbox.ledger.balance
    with pytest.raises((InvalidRequest, NotFound)):
        await again(a2e, other)
    assert sandbox.ledger.balance == coins


# -- answers that nobody has seen --------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (None, ID),
        ({}, ID),
        ([], ID),
        ("ok", ID),
        ({"current_status": "initialized", "failed_message": "why it failed before"}, ID),
        ({"_id": ID, "current_status": "failed", "failed_message": "before"}, ID),
        ({"_id": NEW}, NEW),
        ([{"_id": NEW}], NEW),
        ({"data": {"_id": NEW}}, NEW),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", AGAIN)
async def test_answers(service: Service, name: str, data: Any, id: str) -> None:
    """The task is the one in the response, or else the requested one."""
    service.data = data
    task: Task[Record] = await AGAIN[name][1](service.a2e, ID)
    assert task.ids == (id,)
    assert task.record is None


@pytest.mark.parametrize("data", [{"failed_message": "no more"}, {"success": False}], ids=str)
@pytest.mark.parametrize("name", AGAIN)
async def test_refused_in_the_data(service: Service, name: str, data: Any) -> None:
    """A reason in place of the record is a refusal."""
    service.data = data
    with pytest.raises(InvalidRequest, match=r"no more|success: false"):
        await AGAIN[name][1](service.a2e, ID)


@pytest.mark.parametrize("body", ["{}", "true", "[]"])
@pytest.mark.parametrize("name", [*AGAIN, "text_to_image.make_avatar"])
async def test_a_gateways_empty_success_proves_nothing(
    service: Service, name: str, body: str
) -> None:
    """Without the API's envelope nothing says that the paid action has happened."""
    service.body = body
    call: Any = AGAIN[name][1] if name in AGAIN else _make_avatar
    with pytest.raises(StartOutcomeUnknown):
        await call(service.a2e, ID)
    assert len(service.paths) == 1


async def _make_avatar(a2e: A2E, id: str) -> None:
    await a2e.text_to_image.make_avatar(id)
