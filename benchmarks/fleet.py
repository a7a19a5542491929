"""A fleet on PostgreSQL: polls for unfinished tasks, the shared rate limit, durable intents.

A server of its own (fsync on) is started from the PostgreSQL programs of this machine. The tasks
are spread over 1, 2 and 4 worker processes, as a queue does it; what is counted is what reaches
the service. Beside it, the same through a client's own rate limiter and its own file.
"""

import asyncio
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from a2e_async import A2E
from a2e_async._core.http.rate_limit import RateLimiter
from a2e_async._core.journal.protocol import Entry, Journal, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.contrib.postgres.journal import PostgresJournal
from benchmarks.common import Row, keep, run_child, server
from benchmarks.scale import NEVER, Calls, task_id
from tests.fleet.server import MISSING, Server, programs

WORKERS: Final = (1, 2, 4)
TASKS: Final = (1_000, 10_000)
SETTLED: Final = 15.0
"""Seconds after which each worker has polled once and the leader is elected."""
LINGER: Final = 3.0
"""Seconds that each worker keeps waiting: its shutdown must not fall into another's count."""
WRITERS: Final = 50


def run(short: bool) -> list[Row]:
    """Return the rows, or one row that says that PostgreSQL is missing."""
    if programs() is None:
        return [
            Row(
                what="a fleet on PostgreSQL",
                peer="",
                peer_value="",
                ours=MISSING,
                ratio=None,
                goal="",
                reached=True,
            )
        ]
    # 10,000 tasks are polled once in 10 s.
    seconds = 20.0 if short else 60.0
    plans = [(tasks, workers) for tasks in TASKS for workers in WORKERS]
    # At this rate limit the processes are nearly idle, so they can run side by side.
    with Server(durable=True) as postgres, ThreadPoolExecutor(len(plans) if short else 3) as pool:
        urls = [postgres.url() for _ in plans]
        found = pool.map(lambda plan, url: _requests_per_second(url, *plan, seconds), plans, urls)
        rates = dict(zip(plans, found, strict=True))
        turns = 500 if short else 5_000
        shared, alone = asyncio.run(_seconds_per_turn(postgres.url(), turns))
        entries = 500 if short else 5_000
        intents = asyncio.run(_intents_per_second(PostgresJournal(postgres.url()), entries))
    with tempfile.TemporaryDirectory() as home:
        file = asyncio.run(_intents_per_second(SqliteJournal(Path(home, "jobs.db")), entries))
    keep("fleet", {"polls_per_s": {f"{t}/{w}": value for (t, w), value in rates.items()}})
    return [
        *(
            Row(
                what=f"requests/s for {tasks:,} unfinished tasks, {workers} workers",
                peer="one worker",
                peer_value=f"{rates[tasks, 1]:.2f}",
                ours=f"{calls:.2f}",
                ratio=calls / rates[tasks, 1],
                goal="<= 1.10x",
                reached=calls <= 1.1 * rates[tasks, 1],
            )
            for (tasks, workers), calls in rates.items()
            if workers > 1
        ),
        Row(
            what="a turn of the shared rate limiter, many at once",
            peer="a client's own rate limiter",
            peer_value=f"{alone * 1e6:.0f} us",
            ours=f"{shared * 1e6:.0f} us",
            ratio=shared / alone,
            goal="<= 1 ms",
            reached=shared <= 0.001,
        ),
        Row(
            what=f"durable intents/s, {WRITERS} writers",
            peer="in a file (SQLite)",
            peer_value=f"{file:,.0f}",
            ours=f"{intents:,.0f}",
            ratio=intents / file,
            goal=">= 1,000",
            reached=intents >= 1_000,
        ),
    ]


def _requests_per_second(url: str, tasks: int, workers: int, seconds: float) -> float:
    """Return the requests per second of ``workers`` for ``tasks`` in total."""
    with server("batch") as base_url, ThreadPoolExecutor(workers) as pool:
        share = tasks // workers
        options = [json.dumps([base_url, url, n * share, share, seconds]) for n in range(workers)]
        return sum(pool.map(lambda one: run_child(__name__, one), options))


async def _worker(base_url: str, url: str, first: int, share: int, seconds: float) -> float:
    """Wait for a share of the tasks; return the requests per second."""
    async with A2E("bench-key", base_url=base_url, journal=url) as a2e:
        waits = [
            asyncio.create_task(a2e.talking_video.attach(task_id(number, NEVER)).wait(timeout=3600))
            for number in range(first, first + share)
        ]
        await asyncio.sleep(SETTLED)
        calls, began = Calls(a2e), time.perf_counter()
        await asyncio.sleep(seconds)
        made = calls.made / (time.perf_counter() - began)
        await asyncio.sleep(LINGER)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return made


async def _seconds_per_turn(url: str, turns: int) -> tuple[float, float]:
    """Return the seconds per turn of the shared rate limit and of a client's own."""
    journal = PostgresJournal(url)
    shared = journal.limiter(1e6, 1e6, "account", lambda _: None)
    alone = RateLimiter(1e6, 1e6)
    found: list[float] = []
    for rate_limiter in (shared, alone):
        await rate_limiter.acquire()
        began = time.perf_counter()
        for _ in range(turns // WRITERS):
            await asyncio.gather(*(rate_limiter.acquire() for _ in range(WRITERS)))
        found.append((time.perf_counter() - began) / turns)
    await journal.aclose()
    return found[0], found[1]


async def _intents_per_second(journal: Journal, count: int) -> float:
    """Return how many intents are written per second."""

    async def write(first: int) -> None:
        for n in range(count // WRITERS):
            entry = Entry(key=f"{first}-{n}", kind="dubbing", digest="d", state=State.INTENT)
            await journal.begin(entry)

    await journal.open()
    began = time.perf_counter()
    await asyncio.gather(*(write(first) for first in range(WRITERS)))
    took = time.perf_counter() - began
    await journal.aclose()
    return count / took


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_worker(*json.loads(sys.argv[1])))))
