"""A program can follow each job by events alone, from its start to its saved file."""

import asyncio
from pathlib import Path
from typing import Any, TypeVar

import pytest

from a2e_async import A2E
from a2e_async.errors import (
    BudgetExceeded,
    ClientClosed,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
    TaskTimeout,
)
from a2e_async.events import (
    Accepted,
    Attached,
    Attempt,
    Closed,
    Event,
    Finished,
    NotStarted,
    Polled,
    Resumed,
    Saved,
    StartLost,
    StartRequested,
    Transfer,
    Update,
    WaitEnded,
)
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox
from tests.client.conftest import BLIND, DUB, LONG, MakeClient, until

pytestmark = pytest.mark.anyio
E = TypeVar("E")


class Listener(list[Event]):
    """The emitted events, in order."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, cls: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, cls)]


@pytest.fixture
def told() -> Listener:
    return Listener()


@pytest.fixture
def client(make_client: MakeClient, told: Listener) -> A2E:
    return make_client(on_event=told)


async def test_from_start_to_file(client: A2E, told: Listener, media: Path) -> None:
    """Every step is emitted once, in order, and refers to the one before."""
    task = await client.dubbing.start(**DUB)
    (path,) = await task.download(media)
    await client.aclose()
    kinds = [type(event) for event in told if not isinstance(event, Transfer | Polled | Update)]
    assert kinds[:3] == [StartRequested, Attempt, Accepted]
    assert set(kinds[3:-3]) <= {Attempt}
    assert kinds[-3:] == [Finished, Saved, Closed]
    (asked,), (accepted,), (finished,) = (
        told.of(StartRequested),
        told.of(Accepted),
        told.of(Finished),
    )
    start, *looks = told.of(Attempt)
    assert asked.start == start.start == accepted.start
    assert {look.start for look in looks} == {None}
    assert accepted.ref == finished.ref == told.of(Saved)[0].ref == task.ref
    assert not accepted.found
    assert finished.status is Status.SUCCEEDED
    assert finished.delay is not None
    assert finished.elapsed >= 0
    assert told.of(Saved)[0].path == str(path)
    assert {(look.mode, look.tasks, look.error) for look in told.of(Polled)} == {
        ("detail", 1, None)
    }
    assert len(told.of(Polled)) == len(looks)


async def test_two_handles_one_end(client: A2E, told: Listener) -> None:
    """A task is reported once, however many handles and waits it has."""
    task = await client.dubbing.start(**DUB)
    other = client.attach(task.ref)
    await asyncio.gather(task, task, other, other)
    assert len(told.of(Finished)) == 1


async def test_failed(client: A2E, sandbox: Sandbox, told: Listener) -> None:
    sandbox.faults.fail("dubbing")
    with pytest.raises(TaskFailed):
        await client.dubbing.run(**DUB)
    assert [event.status for event in told.of(Finished)] == [Status.FAILED]
    assert not told.of(WaitEnded)


async def test_retried_and_held(client: A2E, sandbox: Sandbox, told: Listener) -> None:
    """Attempts of one start carry its number, refused ones included."""
    sandbox.faults.http_error(429, role="start", retry_after=0.01)
    await client.dubbing.start(**DUB)
    first, second = told.of(Attempt)
    assert first.start == second.start == told.of(StartRequested)[0].start
    assert first.retry_in is not None
    assert second.retry_in is None


async def test_found_after_a_lost_answer(client: A2E, sandbox: Sandbox, told: Listener) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    task = await client.dubbing.start(**DUB)
    (accepted,) = told.of(Accepted)
    assert accepted.found
    assert (accepted.start, accepted.ref) == (told.of(StartRequested)[0].start, task.ref)


@BLIND
async def test_lost(client: A2E, sandbox: Sandbox, told: Listener) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown) as caught:
        await client.dubbing.start(**DUB)
    (lost,) = told.of(StartLost)
    assert lost.start == told.of(StartRequested)[0].start
    assert lost.recovery == caught.value.recovery
    assert not told.of(NotStarted)


async def test_refused_by_the_budget(make_client: MakeClient, told: Listener) -> None:
    client = make_client(on_event=told, budget=0)
    with pytest.raises(BudgetExceeded):
        await client.dubbing.start(**DUB)
    (refused,) = told.of(NotStarted)
    assert (refused.error, refused.start) == ("BudgetExceeded", told.of(StartRequested)[0].start)


async def test_withdrawn(make_client: MakeClient, sandbox: Sandbox, told: Listener) -> None:
    """A start that is cancelled before it is sent is reported as withdrawn."""
    client = make_client(on_event=told, rate=0.001, burst=1)
    await client.credits.balance()  # uses up the pace
    start = asyncio.create_task(client.dubbing.start(**DUB))
    await until(lambda: told.of(StartRequested))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until(lambda: told.of(NotStarted))
    assert told.of(NotStarted)[0].error is None
    assert not sandbox.ledger.starts()


async def test_a_key_of_the_journal(
    make_client: MakeClient, told: Listener, tmp_path: Path
) -> None:
    """A task from the journal is reported as resumed, by its key and by unfinished()."""
    first = make_client(journal=tmp_path / "jobs.db")
    ref = (await first.dubbing.start(**DUB, key="one")).ref
    await first.aclose()
    second = make_client(journal=tmp_path / "jobs.db", on_event=told)
    assert (await second.dubbing.start(**DUB, key="one")).ref == ref
    assert [task.ref async for task in second.unfinished()] == [ref]
    by_key, listed = told.of(Resumed)
    assert (by_key.ref, by_key.start) == (ref, told.of(StartRequested)[0].start)
    assert (listed.ref, listed.start) == (ref, None)
    assert not told.of(Accepted)


@LONG
async def test_waits_that_end_early(client: A2E, told: Listener) -> None:
    """A timeout, a cancelled wait and a closed client are reported with different errors."""
    task = await client.dubbing.start(**DUB)
    patient = asyncio.create_task(task.wait())
    with pytest.raises(TaskTimeout):
        await task.wait(timeout=0)
    cancelled = asyncio.create_task(task.wait())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await client.aclose()
    with pytest.raises(ClientClosed):
        await patient
    assert [(event.error, event.last) for event in told.of(WaitEnded)] == [
        ("TaskTimeout", False),
        ("CancelledError", False),
        ("ClientClosed", True),
    ]
    assert {event.ref for event in told.of(WaitEnded)} == {task.ref}
    assert not told.of(Finished)


async def test_attached_and_gone(
    client: A2E, told: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    task = client.attach("dubbing:66ea4dd80000000000000000")
    assert not told
    with pytest.raises(TaskGone):
        await task
    assert [event.ref for event in told.of(Attached)] == [task.ref]
    assert [(event.ref, event.status) for event in told.of(Finished)] == [(task.ref, None)]
    assert not told.of(WaitEnded)


async def test_failed_look(client: A2E, sandbox: Sandbox, told: Listener) -> None:
    task = await client.dubbing.start(**DUB)
    sandbox.faults.http_error(500, role="detail")
    await task
    assert told.of(Polled)[0].error == "ServerError"
    assert told.of(Polled)[-1].error is None


async def test_a_listener_that_raises_harms_nothing(
    make_client: MakeClient, sandbox: Sandbox, media: Path
) -> None:
    def broken(_: Event) -> None:
        raise RuntimeError("a fault of the user's")

    task = await make_client(on_event=broken).dubbing.start(**DUB)
    assert len(await task.download(media)) == 1
    assert len(sandbox.ledger.starts()) == 1


async def test_nothing_is_made_for_nobody(
    a2e: A2E, monkeypatch: pytest.MonkeyPatch, media: Path
) -> None:
    """Without a listener no event is created during a whole job."""
    from a2e_async import events

    made: list[Any] = []
    for cls in (
        StartRequested,
        Attempt,
        Accepted,
        Polled,
        Update,
        Finished,
        Saved,
        Transfer,
        Closed,
    ):
        assert getattr(events, cls.__name__) is cls
        monkeypatch.setattr(cls, "__init__", lambda self, **_: made.append(self))
    task = await a2e.dubbing.start(**DUB)
    await task.download(media)
    await a2e.aclose()
    assert not made


async def test_told_nothing_of_the_inputs(
    client: A2E, told: Listener, sandbox: Sandbox, media: Path
) -> None:
    """No event contains a prompt, a key or a signature."""
    secret = "a prompt nobody may read"
    url = "https://media.example/clip.mp4?Signature=hush"
    task = await client.talking_video.start(video_url=url, prompt=secret, negative_prompt="blurry")
    await task.download(media)
    text = repr(list(told))
    assert not [word for word in (secret, "hush", sandbox.api_key, "Signature=") if word in text]
