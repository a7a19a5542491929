"""Clients of one account on one database: one of them polls, all get the results."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import State
from a2e_async._core.polling import leader as leader_polling
from a2e_async._core.polling import schedule
from a2e_async.contrib.postgres import peers
from a2e_async.contrib.postgres.connection import DatabaseTarget
from a2e_async.errors import TaskGone, TaskTimeout
from a2e_async.events import Event, Polled
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

from .proxy import proxy
from .server import Server

TALK = {
    "video_url": "https://media.example/clip.mp4",
    "prompt": "smile",
    "negative_prompt": "blurry",
}
DUB = LEAST["dubbing"]
MOVE = {
    "image_url": "https://media.example/face.png",
    "prompt": "wave",
    "negative_prompt": "blurry",
}
SPEAK = {"anchor_id": "66dc61ec5148817d26f5b79e", "anchor_type": 0, "audio_src": DUB["source_url"]}
HOUR = dict.fromkeys(("dubbing", "talking_video", "avatar_video", "image_to_video"), 3600.0)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=1, durations=HOUR, make_results="stdlib") as made:
        yield made


class Clients:
    """Clients of one account, and the ids that each has polled."""

    def __init__(self, url: str, sandbox: Sandbox, stack: AsyncExitStack) -> None:
        self.url, self.sandbox, self.stack = url, sandbox, stack
        self.polls: list[Counter[str]] = []

    async def make(self, url: str | None = None, **options: Any) -> A2E:
        polls = Counter[str]()
        self.polls.append(polls)

        def note(event: Event) -> None:
            if isinstance(event, Polled):
                polls[event.kind] += 1

        options = {"poll_interval": 0.1, "rate": None, "on_event": note, **options}
        client = A2E(
            self.sandbox.api_key, base_url=self.sandbox.base_url, journal=url or self.url, **options
        )
        return await self.stack.enter_async_context(client)


@pytest.fixture
async def clients(url: str, sandbox: Sandbox) -> AsyncIterator[Clients]:
    async with AsyncExitStack() as stack:
        yield Clients(url, sandbox, stack)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):  # a loaded machine: only a hang may fail
        while not true():
            await asyncio.sleep(0.01)


def peer_group_of(a2e: A2E) -> peers.PostgresPeerGroup:
    journal: Any = a2e.journal
    users = journal._worker._connection_users
    return next(one for one in users if isinstance(one, peers.PostgresPeerGroup))


def leaders(url: str) -> list[str]:
    with psycopg.connect(url) as db:
        return [row[0] for row in db.execute("SELECT owner FROM a2e_leaders")]


def settled(a2e: A2E) -> bool:
    """Return whether a client leads, or has delegated all tasks that it waits for."""
    shared: Any = a2e._components.poller._leader_polling
    polled = list(a2e._components.poller._schedule)
    delegated = bool(polled) and all(one.delegated and not one.in_flight for one in polled)
    return shared.is_leader or (shared.has_leader and delegated)


async def settle(clients: Clients, *made: A2E) -> list[asyncio.Task[Any]]:
    """Let the clients wait for two tasks each, the first one as the leader; return the waits."""
    waits: list[asyncio.Task[Any]] = []
    for a2e in made:
        tasks = (await a2e.talking_video.start(**TALK), await a2e.dubbing.start(**DUB))
        waits += [asyncio.create_task(task.wait()) for task in tasks]
        await until(lambda: settled(a2e))  # noqa: B023  # it is awaited in this round
    return waits


async def test_one_polls_for_all(clients: Clients, sandbox: Sandbox) -> None:
    first, second, third = [await clients.make() for _ in range(3)]
    waits = await settle(clients, first, second, third)
    before = [polls.copy() for polls in clients.polls]
    await until(lambda: clients.polls[0]["dubbing"] >= before[0]["dubbing"] + 5)
    assert clients.polls[1:] == before[1:]
    sandbox.advance(3600)
    records = await asyncio.gather(*waits)
    assert all(record.output for record in records)
    assert clients.polls[1:] == before[1:]
    assert len(sandbox.ledger.charges) == 6


async def test_a_task_that_two_wait_for(clients: Clients, sandbox: Sandbox) -> None:
    """A client that reclaims a task polls it once itself, then receives reports again."""
    first, second = await clients.make(), await clients.make()
    task = await first.dubbing.start(**DUB)
    wait = asyncio.create_task(task.wait())
    await until(lambda: settled(first))
    again = asyncio.create_task(second.attach(task.ref).wait())
    await until(lambda: settled(second))
    before = clients.polls[1].copy()
    assert before["dubbing"] >= 1
    sandbox.advance(3600)
    assert (await wait).output.url.split("?")[0] == (await again).output.url.split("?")[0]
    assert clients.polls[1] == before


async def test_progress_is_passed_on(clients: Clients, sandbox: Sandbox) -> None:
    # Long enough for a follower to reclaim the task before it would poll it itself.
    first, second = [await clients.make(poll_interval=1) for _ in range(2)]
    await settle(clients, first)
    task = await second.avatar_video.start(**SPEAK)
    seen: list[Any] = []

    async def read() -> None:
        async for record in task.updates():
            seen.append(record)  # noqa: PERF401  # each is counted as it comes

    reading = asyncio.create_task(read())
    await until(lambda: seen)
    before = clients.polls[1].copy()
    for _ in range(3):
        have = len(seen)
        sandbox.advance(800)
        await until(lambda: len(seen) > have)  # noqa: B023  # it is awaited in this round
    sandbox.advance(3600)
    await reading
    assert seen[-1].output
    assert clients.polls[1] == before


async def test_what_does_not_fit_is_polled(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first, second)
    # Not earlier: a follower takes its task back after the first record that is too large.
    monkeypatch.setattr(leader_polling, "MAX_MESSAGE_BYTES", 10)
    before = clients.polls[1]["dubbing"]
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))
    assert clients.polls[1]["dubbing"] > before


async def test_a_leader_that_closes(clients: Clients, sandbox: Sandbox) -> None:
    first, second, third = [await clients.make() for _ in range(3)]
    waits = await settle(clients, first, second, third)
    before = clients.polls[1] + clients.polls[2]
    await first.aclose()
    await until(lambda: (clients.polls[1] + clients.polls[2])["dubbing"] > before["dubbing"] + 3)
    await until(lambda: len(leaders(clients.url)) == 1)
    sandbox.advance(3600)
    done = await asyncio.gather(*waits, return_exceptions=True)
    assert sum(isinstance(one, BaseException) for one in done) == 2  # its own, closed
    assert len([one for one in done if not isinstance(one, BaseException)]) == 4


LEAD = """
import asyncio, json, sys
from a2e_async import A2E

async def main(key, base_url, journal, ref):
    async with A2E(key, base_url=base_url, journal=journal, poll_interval=0.1, rate=None) as a2e:
        wait = asyncio.create_task(a2e.attach(ref).wait())
        print("ready", flush=True)
        await wait

asyncio.run(main(*json.loads(sys.argv[1])))
"""


async def test_a_leader_that_is_killed(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is gone: at its next heartbeat another client takes over."""
    monkeypatch.setattr("a2e_async.contrib.postgres.worker.HEARTBEAT_INTERVAL", 0.2)
    second = await clients.make()
    task = await second.dubbing.start(**DUB)
    values = json.dumps([sandbox.api_key, sandbox.base_url, clients.url, task.ref])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAD, values, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"ready\n"
    await until(lambda: leaders(clients.url))
    (leader,) = leaders(clients.url)
    wait = asyncio.create_task(task.wait())
    await until(lambda: settled(second))
    before = clients.polls[0].copy()
    await asyncio.sleep(0.5)
    assert clients.polls[0] == before
    child.kill()
    await child.wait()
    await until(lambda: clients.polls[0]["dubbing"] > before["dubbing"])
    await until(lambda: leaders(clients.url) != [leader])
    sandbox.advance(3600)
    assert (await wait).output


async def test_a_leader_that_cannot_poll_resigns(clients: Clients, sandbox: Sandbox) -> None:
    first, second = await clients.make(), await clients.make(poll_interval=0.05)
    waits = await settle(clients, first, second)
    before = clients.polls[1].copy()
    sandbox.faults.http_error(500, role="list_processing", times=3)
    sandbox.faults.http_error(500, role="detail", times=3)
    sandbox.faults.http_error(500, role="batch_detail", times=3)
    await until(lambda: clients.polls[1]["dubbing"] >= before["dubbing"] + 5)
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_without_the_database_each_polls_for_itself(
    clients: Clients, sandbox: Sandbox, postgres: Server
) -> None:
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first, second)
    before = clients.polls[1].copy()
    await asyncio.to_thread(postgres.stop)
    try:
        await until(lambda: clients.polls[1]["dubbing"] >= before["dubbing"] + 3)
    finally:
        await asyncio.to_thread(postgres.start)
    await until(lambda: leaders(clients.url))
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_a_line_that_is_cut(url: str, clients: Clients, sandbox: Sandbox) -> None:
    """Messages sent while a follower was disconnected are sent again."""
    async with proxy(url) as way:
        first = await clients.make()
        second = await clients.make(way.before(url))
        waits = await settle(clients, first, second)
        way.refuses = True
        way.cut()
        sandbox.advance(3600)
        await asyncio.sleep(0.5)
        way.refuses = False
        assert all(record.output for record in await asyncio.gather(*waits))
        await second.aclose()


async def test_deadlines_and_tasks_that_are_gone(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "NOT_FOUND_SECONDS", 1.0)
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first)
    task = await second.image_to_video.start(**MOVE)
    with pytest.raises(TaskTimeout):
        await task.wait(timeout=0.6)
    # Deleted while another client polled it.
    wait = asyncio.create_task(task.wait())
    await until(lambda: settled(second))
    await second.image_to_video.delete(task.ids[0])
    with pytest.raises(TaskGone):
        await wait
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_other_accounts_are_apart(url: str, sandbox: Sandbox) -> None:
    async with (
        Sandbox(speed=1, durations=HOUR, make_results="stdlib") as other,
        AsyncExitStack() as stack,
    ):
        one, two = Clients(url, sandbox, stack), Clients(url, other, stack)
        a, b = await one.make(), await two.make()
        waits = await settle(one, a)
        waits += await settle(two, b)
        await until(lambda: len(leaders(url)) == 2)
        sandbox.advance(3600)
        other.advance(3600)
        assert all(record.output for record in await asyncio.gather(*waits))


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        '{"saw": 1}',
        '{"saw": ["dubbing", "x", null]}',
        '{"look": ["dubbing", [1, null, "../x"]]}',
        '{"want": ["nothing", ["66ea4dd87db10c73fa29b570"]]}',
        '{"want": ["dubbing", ["../../admin"]]}',
        '{"later": {"version": 2}}',
        "[" * 7000,
    ],
)
async def test_invalid_messages_are_ignored(
    clients: Clients, sandbox: Sandbox, message: str
) -> None:
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first, second)
    with psycopg.connect(clients.url, autocommit=True) as db:
        for (owner,) in db.execute("SELECT owner FROM a2e_owners").fetchall():
            channel = f"a2e_m_{owner[-32:]}"
            for sender in (owner, *leaders(clients.url)):
                db.execute("SELECT pg_notify(%s, %s)", (channel, f"{sender} {message}"))
    await asyncio.sleep(0.1)
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_one_that_has_resigned_leads_again_later(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "RESIGNED_SECONDS", 1.0)
    monkeypatch.setattr("a2e_async.contrib.postgres.worker.HEARTBEAT_INTERVAL", 0.2)
    a2e = await clients.make()
    waits = await settle(clients, a2e)
    peer_group_of(a2e).resign()
    await until(lambda: not leaders(clients.url))
    await until(lambda: leaders(clients.url))
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_a_database_that_is_away_is_not_rushed(
    url: str, clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages queue up meanwhile: the client does not reconnect without pauses."""
    tries = Counter[str]()
    connect = DatabaseTarget.connect

    async def count(self: DatabaseTarget) -> Any:
        tries[str(self)] += 1
        return await connect(self)

    monkeypatch.setattr(DatabaseTarget, "connect", count)
    async with proxy(url) as way:
        a2e = await clients.make(way.before(url))
        waits = await settle(clients, a2e)
        way.refuses = True
        way.cut()
        await until(lambda: not peer_group_of(a2e)._leader)
        tries.clear()
        peer_group_of(a2e).request_flush()
        await asyncio.sleep(0.5)
        assert tries.total() <= 5
        way.refuses = False
        sandbox.advance(3600)
        assert all(record.output for record in await asyncio.gather(*waits))
        await a2e.aclose()


async def test_one_that_writes_all_the_time_sees_that_no_client_leads(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writes renew the lease, but do not count as heartbeats."""
    monkeypatch.setattr("a2e_async.contrib.postgres.worker.HEARTBEAT_INTERVAL", 0.3)
    a2e = await clients.make()
    waits = await settle(clients, a2e)
    (leader,) = leaders(clients.url)
    journal: Any = a2e.journal
    with psycopg.connect(clients.url, autocommit=True) as db:
        db.execute("UPDATE a2e_leaders SET owner = 'gone'")
    async with asyncio.timeout(10):
        while leaders(clients.url) != [leader]:
            await journal.advance("nothing", State.FINISHED)
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_one_that_stood_still_says_again_what_it_wants(
    clients: Clients, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile its leader considered it dead."""
    monkeypatch.setattr("a2e_async.contrib.postgres.worker.HEARTBEAT_INTERVAL", 0.2)
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first, second)
    peer_group_of(first)._remove_sender(peer_group_of(second).name)
    before = clients.polls[1].copy()
    peer_group_of(second)._last_heartbeat -= 60
    await asyncio.sleep(0.5)
    sandbox.advance(3600)
    async with asyncio.timeout(10):
        assert all(record.output for record in await asyncio.gather(*waits))
    assert clients.polls[1] != before


async def test_what_cannot_be_read_is_polled_at_once(clients: Clients, sandbox: Sandbox) -> None:
    first, second = await clients.make(), await clients.make()
    await settle(clients, first)
    task = await second.dubbing.start(**DUB)
    wait = asyncio.create_task(task.wait())
    await until(lambda: [w.delegated for w in second._components.poller._schedule] == [True])
    before = clients.polls[1]["dubbing"]
    said = json.dumps({"saw": ["dubbing", task.ids[0], None]})
    with psycopg.connect(clients.url, autocommit=True) as db:
        words = (f"a2e_m_{peer_group_of(second).name[-32:]}", f"{peer_group_of(first).name} {said}")
        db.execute("SELECT pg_notify(%s, %s)", words)
    await until(lambda: clients.polls[1]["dubbing"] > before + 2)
    sandbox.advance(3600)
    assert (await wait).output


async def test_a_leader_in_another_schema_leads_no_client_here(
    clients: Clients, sandbox: Sandbox
) -> None:
    """All schemas of a database share its notification channels."""
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first, second)
    leader = peer_group_of(first).name
    with psycopg.connect(clients.url, autocommit=True) as db:
        db.execute(
            "SELECT pg_notify('a2e_lead', %s)", (f"{peer_group_of(first)._account} elsewhere",)
        )
    await asyncio.sleep(0.3)
    assert [peer_group_of(a2e)._leader for a2e in (first, second)] == [leader, leader]
    sandbox.advance(3600)
    assert all(record.output for record in await asyncio.gather(*waits))


async def test_what_cannot_be_said_costs_a_delay_and_no_more(
    clients: Clients,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The journal keeps working, and the log contains nothing of the messages."""
    first, second = await clients.make(), await clients.make()
    waits = await settle(clients, first)
    with monkeypatch.context() as patched:
        broken = "SELECT (%s::text || %s::text[]::text || %s::text[]::text)::int"
        patched.setattr(peers.tables, "SEND_MESSAGES", broken)
        task = await second.dubbing.start(**DUB)
        wait = asyncio.create_task(task.wait())
        await until(lambda: "could not be sent" in caplog.text)
        assert second.journal is not None
        assert await second.journal.find("dubbing", task.ids[0]) is not None
    assert task.ids[0] not in caplog.text
    assert len(sandbox.ledger.starts()) == 3
    sandbox.advance(3600)
    # As after the long silence that follows, which the test skips.
    poller = second._components.poller
    poller._schedule.reclaim(next(iter(poller._schedule)), asyncio.get_running_loop().time())
    poller._wake()
    assert all(record.output for record in await asyncio.gather(wait, *waits))
