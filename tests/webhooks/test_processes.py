"""Events and ends seen by one client wake the waits of others, through the journal."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Status
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import JournalError, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox
from tests.ports import free_port

from .conftest import DUB, KEY, Door, MakeClient, poll_count, token_of, until, waiting

Shared = Callable[..., A2E]


@pytest.fixture
def shared(make_client: MakeClient, door: Door, journal: Path) -> Shared:
    """Make clients that share a journal and ask for webhook events."""

    def make(**options: Any) -> A2E:
        return make_client(**{"webhook_url": door.url, "journal": journal, **options})

    return make


async def test_an_event_wakes_the_wait_of_another_client(
    shared: Shared, sandbox: Sandbox, door: Door
) -> None:
    """The event arrives at a client that does not know the start."""
    door.client, starter = shared(), shared()
    wait = await waiting(starter, await starter.dubbing.start(**DUB))
    sandbox.advance(4000)
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert door.answers == [204]
    assert poll_count(sandbox) == 1


async def test_an_event_reaches_another_client_before_its_start_is_answered(
    shared: Shared, sandbox: Sandbox, door: Door, journal: Path
) -> None:
    door.client, starter = shared(), shared()
    reader = SqliteJournal(journal)
    sandbox.faults.slow(2.0, "start", accepted=True)
    starting = asyncio.ensure_future(starter.dubbing.start(**DUB))
    await until(sandbox.ledger.starts)
    sandbox.advance(4000)
    recent_events = starter._components.poller.wakeups._recent_events
    await until(
        lambda: recent_events.last_received_at(token_of(sandbox).partition(".")[0]) is not None
    )
    ((entry,), _) = await reader.entries()
    assert (entry.state, entry.event_at is not None) == (State.INTENT, True)
    assert not starting.done()
    await (await starting).wait(timeout=50)
    assert poll_count(sandbox) == 1
    await reader.aclose()


async def test_an_end_that_another_client_saw_causes_a_poll(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    """Without webhooks: a client that polls often wakes one that polls rarely."""
    quick, slow = make_client(journal=journal, poll_interval=0.05), make_client(journal=journal)
    task = await quick.dubbing.start(**DUB)
    wait = await waiting(slow, slow.attach(task.ref))
    await until(lambda: poll_count(sandbox) == 1)
    await asyncio.sleep(0.05)
    sandbox.advance(4000)
    await task
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert poll_count(sandbox) <= 3


async def test_a_task_attached_by_its_ref_is_woken_where_the_event_comes(
    shared: Shared, sandbox: Sandbox, door: Door
) -> None:
    """Only the journal knows which start the task belongs to."""
    starter, door.client = shared(), shared()
    task = await starter.dubbing.start(**DUB)
    wait = await waiting(door.client, door.client.attach(task.ref))
    await until(lambda: poll_count(sandbox) == 1)
    await asyncio.sleep(0.05)
    sandbox.advance(4000)
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert poll_count(sandbox) == 2


async def test_tokens_outlive_a_restart(shared: Shared, sandbox: Sandbox, door: Door) -> None:
    """Events of earlier starts are still accepted, and fallback polls stay as rare."""
    first = shared()
    await first.dubbing.start(**DUB, meta={"user": 5})
    await first.aclose()
    door.client = second = shared()
    (task,) = [task async for task in second.unfinished()]
    wait = await waiting(second, task)
    await until(lambda: poll_count(sandbox) == 1)
    await asyncio.sleep(0.05)
    sandbox.advance(4000)
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert poll_count(sandbox) == 2
    assert task.meta == {"user": 5}


async def test_a_start_that_is_found_after_a_restart_keeps_its_token(
    shared: Shared, sandbox: Sandbox, door: Door
) -> None:
    """Its response was lost when its process died."""
    first = shared()
    sandbox.faults.drop_after_accept("dubbing")
    sandbox.faults.list_lag(60.0, "dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await first.dubbing.start(**DUB)
    await first.aclose()
    sandbox.advance(100)
    door.client = second = shared()
    (task,) = [task async for task in second.unfinished()]
    assert task._webhook_token_id == token_of(sandbox).partition(".")[0]
    before = poll_count(sandbox)
    wait = await waiting(second, task)
    sandbox.advance(4000)
    await asyncio.wait_for(wait, 50)
    assert poll_count(sandbox) == before + 1
    assert len(sandbox.ledger.starts()) == 1


async def test_a_key_brings_its_events_back(shared: Shared, sandbox: Sandbox, door: Door) -> None:
    first, second = shared(), shared()
    await first.dubbing.start(**DUB, key="talk-17")
    await first.aclose()
    door.client = second
    task = await second.dubbing.start(**DUB, key="talk-17")
    assert task._webhook_token_id == token_of(sandbox).partition(".")[0]
    assert len(sandbox.ledger.starts()) == 1


async def test_replays_write_little(shared: Shared, sandbox: Sandbox, journal: Path) -> None:
    """A thousand copies of one event: at most one journal write per interval."""
    a2e = shared()
    await a2e.dubbing.start(**DUB)
    reader = SqliteJournal(journal)
    changes: list[Any] = []
    reader.watch_all(changes.append)
    await reader.open()
    take = a2e.webhooks.app()._on_event
    for _ in range(1000):
        assert take(token_of(sandbox).partition(".")[0])
    await until(lambda: changes)
    await asyncio.sleep(0.4)
    assert len(changes) == 1
    await reader.aclose()


async def test_a_journal_that_fails_costs_no_event(
    shared: Shared, sandbox: Sandbox, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.client = a2e = shared()

    async def fail(hook: str) -> None:
        raise JournalError("the disk is full.")

    monkeypatch.setattr(a2e.journal, "record_event", fail)
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    await asyncio.wait_for(wait, 50)
    await until(lambda: a2e.webhooks.received == 1)


async def test_waits_share_one_listener(make_client: MakeClient, journal: Path) -> None:
    """One listener for all waits, none without waits."""
    a2e = make_client(journal=journal)
    ids = [f"68c3e20ad54b2f0047dd{n:04x}" for n in range(300)]
    waits = [asyncio.ensure_future(a2e.attach(f"dubbing:{id}").wait(timeout=0)) for id in ids]
    await asyncio.sleep(0)
    writer = a2e.journal._writer_thread  # type: ignore[union-attr]
    assert len(writer.key_listeners.entry_listeners) == 1
    assert not len(writer.key_listeners)
    await asyncio.gather(*waits, return_exceptions=True)
    await until(lambda: not writer.key_listeners.entry_listeners)


def test_a_client_is_closed_after_its_loop(journal: Path) -> None:
    """An event arrived on a loop that has ended; closing on another loop still works."""
    a2e = A2E(KEY, journal=journal, webhook_url="https://x.example/a2e")

    async def hear() -> None:
        assert a2e.webhooks.app()._on_event("a2e-0123456789abcdefghij")
        await asyncio.sleep(0)

    asyncio.run(hear())
    asyncio.run(asyncio.wait_for(a2e.aclose(), 10))


# -- real processes ------------------------------------------------------------------------


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(sandbox: Sandbox, journal: Path) -> Iterator[Start]:
    made: list[subprocess.Popen[str]] = []

    def start(what: str, hook_url: str, given: str) -> "subprocess.Popen[str]":
        words = [str(Path(__file__).parent / "child.py"), what, sandbox.base_url, KEY]
        made.append(
            subprocess.Popen(
                [sys.executable, *words, str(journal), hook_url, given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


@pytest.fixture
def free() -> int:
    return free_port()


async def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return (await asyncio.to_thread(process.stdout.readline)).strip()


async def test_three_processes(sandbox: Sandbox, run: Start, free: int) -> None:
    """One process receives, one starts a task and is killed, one waits by the ref alone."""
    hook_url = f"http://127.0.0.1:{free}/a2e"
    receiver = run("receive", hook_url, str(free))
    starter = run("start", hook_url, "talk-17")
    assert await line(receiver) == "serving"
    ref = await line(starter)
    waiter = run("wait", hook_url, ref)
    assert await line(waiter) in ("queued", "running")
    starter.kill()
    before = poll_count(sandbox)
    sandbox.advance(4000)
    assert await line(waiter) == "succeeded"
    assert await line(waiter) == "over dubbing"
    assert poll_count(sandbox) == before + 1
    assert receiver.stdin is not None
    receiver.stdin.write("\n")
    receiver.stdin.flush()
    assert await line(receiver) == "received 1"
    assert [delivery.status for delivery in sandbox.webhooks] == [204]
