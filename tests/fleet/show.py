"""A fleet under failures: workers are killed, the database restarts; counts charges and files."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import procrastinate
import psycopg
from attrs import define, field, frozen

from a2e_async._core.journal.protocol import Entry, State
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.contrib.postgres.rate_limit import UNUSED_TURN_LIFETIME
from a2e_async.sandbox import Sandbox

from .server import Server

ROOT = Path(__file__).parents[2]
TIMES = 0.05
"""Time (s) between two samples of the service's request count."""


@frozen(kw_only=True)
class Result:
    """The results of a run."""

    jobs: int
    charges: int
    saved: int
    files: int
    seconds: float
    killed: int
    restarts: int
    excess: float
    """The maximum number of requests in any 5 s, relative to what rate and burst allow."""
    requests: Counter[tuple[str, str]]
    states: Counter[str]


@define(eq=False)
class Fleet:
    """Worker processes; each one that ends is replaced, as by a supervisor."""

    count: int
    environment: dict[str, str]
    concurrency: int
    log: Path
    workers: list[subprocess.Popen[bytes]] = field(factory=list[subprocess.Popen[bytes]])
    killed: int = 0

    def __enter__(self) -> "Fleet":
        self.workers = [self._start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def kill(self) -> None:
        """Kill one worker with SIGKILL."""
        worker = random.choice(self.workers)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.killed += 1

    def replace(self) -> None:
        """Start a new worker for each one that has ended."""
        for n, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[n] = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "procrastinate", "--app=tests.fleet.app.app"),
                    *("worker", f"--concurrency={self.concurrency}"),
                ],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@asynccontextmanager
async def queue(url: str) -> AsyncIterator[procrastinate.App]:
    """Open an app that only defers jobs."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
    async with app.open_async():
        yield app


async def show(
    server: Server,
    out: Path,
    *,
    jobs: int,
    workers: int = 4,
    rate: float = 30,
    burst: int = 10,
    speed: float = 30,
    kill_every: float | None = None,
    restart_at: float | None = None,
    patience: float = 300,
) -> Result:
    """Run ``jobs`` jobs on a fleet; kill a worker every few seconds, restart the database once.

    ``restart_at`` is the share of jobs after whose completion the database is restarted.
    """
    url = server.url()
    out.mkdir()
    calls: list[tuple[float, int, float]] = []
    with Sandbox(
        speed=speed, rate_limit=(1.02 * rate, burst + rate), make_results="stdlib"
    ) as sandbox:
        environment = {
            "A2E_FLEET_URL": url,
            "A2E_FLEET_OUT": str(out),
            "A2E_FLEET_RATE": f"{rate},{burst}",
            "A2E_API_KEY": sandbox.api_key,
            "A2E_BASE_URL": sandbox.base_url,
        }
        async with queue(url) as app:
            await app.schema_manager.apply_schema_async()
            start = app.configure_task("a2e.start", queue="a2e", allow_unknown=True)
            for n in range(jobs):
                await start.defer_async(**_job(n))
        begun = time.monotonic()
        restarts, next_kill = 0, begun + (kill_every or 0) + 3
        done = 0
        fleet = Fleet(workers, environment, -(-jobs // workers), out.parent / f"{out.name}.log")
        with fleet:
            while done < jobs and time.monotonic() - begun < patience:
                await asyncio.sleep(TIMES)
                now = time.monotonic()
                calls.append((now, sandbox.calls_total, time.monotonic()))
                fleet.replace()
                if kill_every is not None and now >= next_kill:
                    fleet.kill()
                    next_kill = now + kill_every
                if len(calls) % 10 == 0:
                    done = _done(url)
                    if restart_at is not None and not restarts and done >= restart_at * jobs:
                        restarts += 1
                        await asyncio.to_thread(server.stop)
                        await asyncio.to_thread(server.start)
            seconds = time.monotonic() - begun
        journal = PostgresJournal(url)
        states = Counter([entry.state.name async for entry in _entries(journal)])
        await journal.aclose()
        return Result(
            jobs=jobs,
            charges=len(sandbox.ledger.starts()),
            saved=states[State.SAVED.name],
            files=sum(path.is_file() and path.suffix != ".part" for path in out.rglob("*")),
            seconds=seconds,
            killed=fleet.killed,
            restarts=restarts,
            excess=_excess(calls, rate, burst),
            requests=sandbox.calls,
            states=states,
        )


def _job(n: int) -> dict[str, object]:
    url = f"https://media.example/{n}.wav"
    return {"kind": "dubbing", "inputs": {"source_url": url, "target_lang": "es"}}


async def _entries(journal: PostgresJournal) -> AsyncIterator[Entry]:
    page, after = await journal.entries()
    while True:
        for entry in page:
            yield entry
        if not after:
            return
        page, after = await journal.entries(after=after)


def _done(url: str) -> int:
    with suppress(psycopg.Error), psycopg.connect(url) as db:
        query = """SELECT count(*) FROM procrastinate_jobs
            WHERE task_name = 'a2e.start' AND status IN ('succeeded', 'failed')"""
        row = db.execute(query).fetchone()
        return int(row[0]) if row else 0
    return 0


def _excess(
    calls: list[tuple[float, int, float]], rate: float, burst: float, window: float = 5
) -> float:
    """Return the maximum number of requests within about ``window`` s, relative to the limit.

    A turn may be used up to `UNUSED_TURN_LIFETIME` s late, so turns of that much more time can fall
    into the window. Each sample was taken between two instants; the longest possible time between
    two samples is used.
    """
    most, first = 0.0, 0
    for at, count, after in calls:
        while first + 1 < len(calls) and calls[first + 1][0] < at - window:
            first += 1
        begun, before, _ = calls[first]
        if after - begun >= window:
            most = max(
                most, (count - before) / (rate * (after - begun + UNUSED_TURN_LIFETIME) + burst)
            )
    return most


def main() -> None:
    """Run the full form, with and without failures: ``python -m tests.fleet.show``."""
    with tempfile.TemporaryDirectory() as home, Server(durable=True) as server:
        for name, disturbed in (
            ("undisturbed", {}),
            ("disturbed", {"kill_every": 4.0, "restart_at": 0.4}),
        ):
            print(name, asyncio.run(show(server, Path(home, name), jobs=1_000, **disturbed)))  # noqa: T201  # its output


if __name__ == "__main__":
    main()
