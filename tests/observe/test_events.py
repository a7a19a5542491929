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
    FileRequest,
    Finished,
    NotStarted,
    Polled,
    PollStarted,
    RequestStarted,
    Resumed,
    Saved,
    StartLost,
    StartRequested,
    Transfer,
    Update,
    WaitEnded,
    WaitStarted,
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
def listener() -> Listener:
    return Listener()


@pytest.fixture
def client(make_client: MakeClient, listener: Listener) -> A2E:
    return make_client(on_event=listener)


async def test_from_start_to_file(client: A2E, listener: Listener, media: Path) -> None:
    """Every step is emitted once, in order, and refers to the one before."""
    task = await client.dubbing.start(**DUB)
    (path,) = await task.download(media)
    await client.aclose()
    kinds = [type(event) for event in listener if not isinstance(event, Transfer | Polled | Update)]
    assert kinds[:5] == [StartRequested, RequestStarted, Attempt, Accepted, WaitStarted]
    assert set(kinds[5:-5]) <= {PollStarted, RequestStarted, Attempt}
    assert kinds[-5:] == [Finished, RequestStarted, FileRequest, Saved, Closed]
    (requested,), (accepted,), (finished,) = (
        listener.of(StartRequested),
        listener.of(Accepted),
        listener.of(Finished),
    )
    start, *polls = listener.of(Attempt)
    assert requested.start == start.start == accepted.start
    assert {poll.start for poll in polls} == {None}
    assert accepted.ref == finished.ref == listener.of(Saved)[0].ref == task.ref
    assert not accepted.found
    assert finished.status is Status.SUCCEEDED
    assert finished.delay is not None
    assert finished.elapsed >= 0
    assert listener.of(Saved)[0].path == str(path)
    assert {(poll.mode, poll.tasks, poll.error) for poll in listener.of(Polled)} == {
        ("detail", 1, None)
    }
    assert len(listener.of(Polled)) == len(polls) == len(listener.of(PollStarted))
    assert {poll.refs for poll in listener.of(PollStarted)} == {(task.ref,)}
    *requests, download = listener.of(RequestStarted)
    assert [request.path for request in requests] == [one.path for one in (start, *polls)]
    assert [request.start for request in requests] == [start.start] + [None] * len(polls)
    (saved,) = listener.of(FileRequest)
    assert (download.method, download.url, download.path) == ("GET", saved.url, None)
    assert (saved.status, saved.error, "?" in saved.url) == (200, None, False)


async def test_two_handles_one_end(client: A2E, listener: Listener) -> None:
    """A task is reported once, however many handles and waits it has."""
    task = await client.dubbing.start(**DUB)
    other = client.attach(task.ref)
    await asyncio.gather(task, task, other, other)
    assert len(listener.of(Finished)) == 1


async def test_failed(client: A2E, sandbox: Sandbox, listener: Listener) -> None:
    sandbox.faults.fail("dubbing")
    with pytest.raises(TaskFailed):
        await client.dubbing.run(**DUB)
    assert [event.status for event in listener.of(Finished)] == [Status.FAILED]
    assert not listener.of(WaitEnded)


async def test_retried_and_held(client: A2E, sandbox: Sandbox, listener: Listener) -> None:
    """Attempts of one start carry its number, refused ones included."""
    sandbox.faults.http_error(429, role="start", retry_after=0.01)
    await client.dubbing.start(**DUB)
    first, second = listener.of(Attempt)
    assert first.start == second.start == listener.of(StartRequested)[0].start
    assert first.retry_in is not None
    assert second.retry_in is None


async def test_found_after_a_lost_answer(client: A2E, sandbox: Sandbox, listener: Listener) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    task = await client.dubbing.start(**DUB)
    (accepted,) = listener.of(Accepted)
    assert accepted.found
    assert (accepted.start, accepted.ref) == (listener.of(StartRequested)[0].start, task.ref)


@BLIND
async def test_lost(client: A2E, sandbox: Sandbox, listener: Listener) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown) as caught:
        await client.dubbing.start(**DUB)
    (lost,) = listener.of(StartLost)
    assert lost.start == listener.of(StartRequested)[0].start
    assert lost.recovery == caught.value.recovery
    assert not listener.of(NotStarted)


async def test_refused_by_the_budget(make_client: MakeClient, listener: Listener) -> None:
    client = make_client(on_event=listener, budget=0)
    with pytest.raises(BudgetExceeded):
        await client.dubbing.start(**DUB)
    (refused,) = listener.of(NotStarted)
    assert (refused.error, refused.start) == (
        "BudgetExceeded",
        listener.of(StartRequested)[0].start,
    )


async def test_withdrawn(make_client: MakeClient, sandbox: Sandbox, listener: Listener) -> None:
    """A start that is cancelled before it is sent is reported as withdrawn."""
    client = make_client(on_event=listener, rate=0.001, burst=1)
    await client.credits.balance()  # uses up the pace
    start = asyncio.create_task(client.dubbing.start(**DUB))
    await until(lambda: listener.of(StartRequested))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until(lambda: listener.of(NotStarted))
    assert listener.of(NotStarted)[0].error is None
    assert not sandbox.ledger.starts()


async def test_a_key_of_the_journal(
    make_client: MakeClient, listener: Listener, tmp_path: Path
) -> None:
    """A task from the journal is reported as resumed, by its key and by unfinished()."""
    first = make_client(journal=tmp_path / "jobs.db")
    ref = (await first.dubbing.start(**DUB, key="one")).ref
    await first.aclose()
    second = make_client(journal=tmp_path / "jobs.db", on_event=listener)
    assert (await second.dubbing.start(**DUB, key="one")).ref == ref
    assert [task.ref async for task in second.unfinished()] == [ref]
    by_key, listed = listener.of(Resumed)
    assert (by_key.ref, by_key.start) == (ref, listener.of(StartRequested)[0].start)
    assert (listed.ref, listed.start) == (ref, None)
    assert not listener.of(Accepted)


@LONG
async def test_waits_that_end_early(client: A2E, listener: Listener) -> None:
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
    assert [(event.error, event.last) for event in listener.of(WaitEnded)] == [
        ("TaskTimeout", False),
        ("CancelledError", False),
        ("ClientClosed", True),
    ]
    assert [event.wait for event in listener.of(WaitStarted)] == [1, 2, 3]
    assert [event.wait for event in listener.of(WaitEnded)] == [1, 3, 2]
    assert {event.ref for event in listener.of(WaitEnded)} == {task.ref}
    assert not listener.of(Finished)


async def test_attached_and_gone(
    client: A2E, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    task = client.attach("dubbing:66ea4dd80000000000000000")
    assert not listener
    with pytest.raises(TaskGone):
        await task
    assert [event.ref for event in listener.of(Attached)] == [task.ref]
    assert [(event.ref, event.status) for event in listener.of(Finished)] == [(task.ref, None)]
    assert not listener.of(WaitEnded)


async def test_failed_poll(client: A2E, sandbox: Sandbox, listener: Listener) -> None:
    task = await client.dubbing.start(**DUB)
    sandbox.faults.http_error(500, role="detail")
    await task
    assert listener.of(Polled)[0].error == "ServerError"
    assert listener.of(Polled)[-1].error is None


async def test_a_listener_that_raises_harms_nothing(
    make_client: MakeClient, sandbox: Sandbox, media: Path
) -> None:
    def broken(_: Event) -> None:
        raise RuntimeError("a fault of the user's")

    task = await make_client(on_event=broken).dubbing.start(**DUB)
    assert len(await task.download(media)) == 1
    assert len(sandbox.ledger.starts()) == 1


async def test_no_events_without_a_listener(
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


async def test_no_event_contains_the_inputs(
    client: A2E, listener: Listener, sandbox: Sandbox, media: Path
) -> None:
    """No event contains a prompt, a key or a signature."""
    secret = "a prompt nobody may read"
    url = "https://media.example/clip.mp4?Signature=hush"
    task = await client.talking_video.start(video_url=url, prompt=secret, negative_prompt="blurry")
    await task.download(media)
    text = repr(list(listener))
    assert not [word for word in (secret, "hush", sandbox.api_key, "Signature=") if word in text]
