"""The journal: durable intents per second, the latency it adds to a start, reading 100,000.

The peer is a typical hand-written journal: aiosqlite with one connection in the same mode (WAL,
``synchronous=FULL``), one row inserted and committed per start. A start has two durable steps:
its intent before it is sent, its id afterwards. The cost of a user key is measured on complete
starts: those without a journal, with one, and with keys alternate.
"""

import asyncio
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from a2e_async import A2E, Task
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.events import Attempt, Event
from a2e_async.sandbox import Sandbox
from benchmarks.common import Row, at_once, median, server
from benchmarks.starts import INPUTS

WRITERS = 50
ALONE = 300
KEY = "sk_test_0123456789abcdefghij"
MISSING = "aiosqlite is not installed"


class Steps(Protocol):
    """The two durable steps of a start."""

    async def intend(self, entry: Entry) -> None: ...

    async def accept(self, key: str, id: str) -> None: ...


class Ours:
    """This package's journal."""

    def __init__(self, path: Path) -> None:
        self.journal = SqliteJournal(path)

    async def __aenter__(self) -> "Ours":
        await self.journal.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.journal.aclose()

    async def intend(self, entry: Entry) -> None:
        await self.journal.begin(entry)

    async def accept(self, key: str, id: str) -> None:
        await self.journal.advance(key, State.ACCEPTED, ids=(id,), coins=12)


class ByHand:
    """A table with one commit per step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __aenter__(self) -> "ByHand":
        import aiosqlite

        self.db = await aiosqlite.connect(self.path, isolation_level=None)
        await self.db.execute("PRAGMA journal_mode = WAL")
        await self.db.execute("PRAGMA synchronous = FULL")
        await self.db.execute(
            "CREATE TABLE jobs (key TEXT PRIMARY KEY, kind, digest, state, path, mark, sent_at, id)"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.db.close()

    async def intend(self, entry: Entry) -> None:
        values = (entry.key, entry.kind, entry.digest, 1, entry.path, entry.mark, entry.sent_at)
        await self.db.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", values)

    async def accept(self, key: str, id: str) -> None:
        await self.db.execute("UPDATE jobs SET state = 2, id = ? WHERE key = ?", (id, key))


def entry(n: int) -> Entry:
    """Return an intent entry like that of a start."""
    return Entry(
        key=f"talk-{n}",
        kind="dubbing",
        digest=f"{n:064x}",
        state=State.INTENT,
        path="/api/v1/userDubbing/startDubbing",
        mark=f"a2e-{n:020d}",
        echo={"target_lang": f"{n:032x}"},
        sent_at=time.time(),
        reserved=30,
    )


async def write_intents(journal: Steps, count: int) -> float:
    """Write intents with 50 writers; return the intents per second."""
    numbers = iter(range(count))
    begun = time.perf_counter()
    await at_once(WRITERS, count, lambda: journal.intend(entry(next(numbers))))
    return count / (time.perf_counter() - begun)


async def alone(journal: Steps) -> float:
    """Return the median duration of the two steps of a start, in ms."""
    times: list[float] = []
    for n in range(10**9, 10**9 + ALONE):
        begun = time.perf_counter()
        await journal.intend(entry(n))
        await journal.accept(f"talk-{n}", f"{n:024x}")
        times.append((time.perf_counter() - begun) * 1000)
    return median(times)


async def measure(make: Callable[[Path], "Ours | ByHand"], rounds: int) -> tuple[float, float]:
    """Return the medians of intents per second and of ms added to a start."""
    rates: list[float] = []
    added: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            async with make(Path(directory) / "jobs.db") as journal:
                # The hand-written journal is slower: fewer entries take about the same time.
                count = 20_000 if isinstance(journal, Ours) else 5_000
                rates.append(await write_intents(journal, count))
                added.append(await alone(journal))
    return median(rates), median(added)


async def whole(base_url: str) -> tuple[float, float]:
    """Return the ms that a journal adds to a complete start, without and with a user key."""
    options: dict[str, Any] = {"base_url": base_url, "rate": None}
    with tempfile.TemporaryDirectory() as directory:
        async with (
            A2E(KEY, **options) as plain,
            A2E(KEY, journal=Path(directory) / "jobs.db", **options) as kept,
        ):
            ways: list[tuple[A2E, bool]] = [(plain, False), (kept, False), (kept, True)]
            times: list[list[float]] = [[], [], []]
            for n in range(2 * ALONE):
                for (a2e, keyed), taken in zip(ways, times, strict=True):
                    more: dict[str, Any] = {"key": f"talk-{n}"} if keyed else {}
                    begun = time.perf_counter()
                    await a2e.talking_video.start(**INPUTS, **more)
                    taken.append((time.perf_counter() - begun) * 1000)
    without, journal, with_key = map(median, times)
    return journal - without, with_key - without


async def seconds_to_first_poll(count: int) -> float:
    """Return the seconds until a new client that takes over many tasks makes its first poll."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.db"
        with Sandbox(speed=1, api_key=KEY) as sandbox:
            async with Ours(path) as ours:
                await write_intents(ours, count)
                numbers = iter(range(count))
                await at_once(WRITERS, count, lambda: _accept(ours, next(numbers)))
            first_poll: asyncio.Future[float] = asyncio.get_running_loop().create_future()

            def on_event_hook(event: Event) -> None:
                if isinstance(event, Attempt) and not first_poll.done():
                    first_poll.set_result(time.perf_counter())

            begun = time.perf_counter()
            async with A2E(
                KEY, base_url=sandbox.base_url, journal=path, rate=None, on_event=on_event_hook
            ) as a2e:
                waits: list[asyncio.Task[object]] = []
                async for task in a2e.unfinished():
                    waits.append(asyncio.create_task(_wait(task)))
                    if first_poll.done():
                        break
                first = await first_poll - begun
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
    return first


async def _accept(ours: Ours, n: int) -> None:
    await ours.accept(f"talk-{n}", f"{n:024x}")


async def _wait(task: Task[Any]) -> object:
    return await task.wait()


async def read(count: int) -> float:
    """Return the seconds to open a journal and read all its open entries."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.db"
        async with Ours(path) as ours:
            await write_intents(ours, count)
        begun = time.perf_counter()
        journal = SqliteJournal(path)
        found, after = await journal.entries(open_only=True)
        total = len(found)
        while after:
            found, after = await journal.entries(open_only=True, after=after)
            total += len(found)
        seconds = time.perf_counter() - begun
        await journal.aclose()
    if total != count:
        raise RuntimeError(f"{total} entries of {count} were read")
    return seconds


def run(short: bool) -> list[Row]:
    """Return the results."""
    rounds = 3 if short else 5
    rate, added = asyncio.run(measure(Ours, rounds))
    by_hand = (
        asyncio.run(measure(ByHand, rounds)) if importlib.util.find_spec("aiosqlite") else None
    )
    with server("start", "0") as base_url:
        journal, with_key = asyncio.run(whole(base_url))
    seconds = asyncio.run(read(100_000))
    taken = 10_000 if short else 100_000
    first_poll = asyncio.run(seconds_to_first_poll(taken))
    peer = "one aiosqlite connection" if by_hand else MISSING
    return [
        Row(
            what=f"durable intents per second, {WRITERS} writers",
            peer=peer,
            peer_value=f"{by_hand[0]:,.0f}/s" if by_hand else "",
            ours=f"{rate:,.0f}/s",
            ratio=rate / by_hand[0] if by_hand else None,
            goal=">= 20,000/s",
            reached=rate >= 20_000,
        ),
        Row(
            what="journal overhead per start, journal steps alone, p50",
            peer=peer,
            peer_value=f"{by_hand[1]:.2f} ms" if by_hand else "",
            ours=f"{added:.2f} ms",
            ratio=added / by_hand[1] if by_hand else None,
            goal="<= 1 ms",
            reached=added <= 1,
        ),
        Row(
            what="journal overhead per start, complete start, p50",
            peer="",
            peer_value="",
            ours=f"{journal:.2f} ms",
            ratio=None,
            goal="",
            reached=True,
        ),
        Row(
            what="journal overhead per start with a user-supplied key, p50",
            peer="",
            peer_value="",
            ours=f"{with_key:.2f} ms",
            ratio=None,
            goal="<= 1 ms",
            reached=with_key <= 1,
        ),
        Row(
            what=f"a new client takes over {taken:,} open tasks: time to the first poll",
            peer="",
            peer_value="",
            ours=f"{first_poll:.1f} s",
            ratio=None,
            goal="<= 5 s",
            reached=first_poll <= 5,
        ),
        Row(
            what="open a journal and read 100,000 open entries",
            peer="",
            peer_value="",
            ours=f"{seconds:.2f} s",
            ratio=None,
            goal="<= 1.5 s",
            reached=seconds <= 1.5,
        ),
    ]
