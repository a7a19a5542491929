"""Webhooks on and off: polls per job and delay after the actual end, in one run.

Jobs of 60-120 s arrive steadily on kinds with and without batchDetail. The sandbox's clock is ten
times faster than real time (so the client's intervals are a tenth); all times are in seconds of
the service's clock. Events arrive over a real socket, and some are lost, because the service sends
each only once. The last rows are the CPU of a valid and of a forged event, and of changes by other
processes while 10,000 tasks wait with a journal.
"""

import asyncio
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from a2e_async import A2E
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async._core.webhooks.receiver import WEBHOOK_HEADER, WebhookReceiver
from a2e_async._core.webhooks.tokens import make_token
from a2e_async.sandbox import Sandbox
from benchmarks.common import Row
from benchmarks.polling import INPUTS

SPEED = 10.0
INTERVAL = 2.0
LOST = 1 / 50
SECRET = "a secret for the benchmark alone"
KINDS = ("dubbing", "talking_video")
ROLES = ("batch_detail", "detail", "list", "list_processing")


@asynccontextmanager
async def served(a2e: A2E, listening: socket.socket) -> AsyncGenerator[None]:
    """Serve a client's receiver."""
    app = web.Application()
    app.add_subapp("/a2e", a2e.webhooks.aiohttp_app())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    yield
    await runner.cleanup()


async def measure(kind: str, jobs: int, gap: float, *, on: bool) -> dict[str, float]:
    """Return polls per job, mean and p95 delay (service seconds)."""
    ended: dict[str, float] = {}
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/a2e"
    options: dict[str, Any] = {"webhook_url": url} if on else {}
    with Sandbox(speed=SPEED, seed=1, durations={kind: (60.0, 120.0)}) as sandbox:
        async with A2E(
            sandbox.api_key,
            base_url=sandbox.base_url,
            rate=None,
            poll_interval=INTERVAL / SPEED,
            **options,
        ) as a2e:

            async def job(n: int) -> None:
                await asyncio.sleep(n * gap / SPEED)
                if on and (n + 1) % round(1 / LOST) == 0:
                    sandbox.faults.drop_webhook(kind)  # the next to end
                task = await getattr(a2e, kind).start(**INPUTS[kind])
                await task
                ended[task.ids[0]] = time.time()

            async def all_jobs() -> None:
                await asyncio.gather(*map(job, range(jobs)))

            if on:
                async with served(a2e, listening):
                    await all_jobs()
            else:
                await all_jobs()
            listening.close()
            polls = sum(sandbox.calls[role, kind] for role in ROLES)
            delays = sorted((ended[one.id] - one.ends_at) * SPEED for one in sandbox.tasks)
    return {
        "calls_per_job": polls / jobs,
        "mean_delay": statistics.fmean(delays),
        "p95_delay": delays[int(len(delays) * 0.95)],
    }


async def per_event(count: int) -> tuple[float, float]:
    """Return the CPU time (s) of a valid event and of a forged one, without the web server."""
    valid = make_token(SECRET, "a2e-0123456789abcdefghij").encode()
    forged = valid[:-1] + (b"B" if valid.endswith(b"A") else b"A")
    times: list[float] = []
    for given in (valid, forged):
        app = WebhookReceiver(SECRET, lambda _: True)
        scope = {
            "type": "http",
            "method": "POST",
            "headers": [(WEBHOOK_HEADER.lower().encode(), given)],
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        async def send(_: Any) -> None:
            pass

        begun = time.process_time()
        for _ in range(count):
            await app(scope, receive, send)
        times.append((time.process_time() - begun) / count)
    return times[0], times[1]


async def change_cost(waits: int, changes: int) -> tuple[float, float]:
    """Return the idle CPU of waits with a journal (cores), and CPU seconds per change."""
    with tempfile.TemporaryDirectory() as directory, Sandbox(speed=1) as sandbox:
        path = Path(directory) / "jobs.db"
        async with A2E(
            sandbox.api_key, base_url=sandbox.base_url, journal=path, poll_interval=3600
        ) as a2e:
            await a2e.journal.open()  # type: ignore[union-attr]
            tasks = [a2e.attach(f"talking_video:66ea4dd87db10c73{n:08x}") for n in range(waits)]
            for task in tasks:
                task._last_polled_at = asyncio.get_running_loop().time()
            waiting = [asyncio.create_task(task.wait(timeout=3600)) for task in tasks]
            await asyncio.sleep(1)
            begun = time.process_time()
            await asyncio.sleep(4)
            rest = (time.process_time() - begun) / 4
            writer = SqliteJournal(path)
            for n in range(changes):
                key = str(n)
                await writer.begin(Entry(key=key, kind="wan", digest="d", state=State.INTENT))
            begun_wall, begun = time.perf_counter(), time.process_time()
            # The CPU of the writer itself is measured without any waits.
            await asyncio.gather(
                *(writer.advance(str(n), State.ACCEPTED, ids=(f"x{n}",)) for n in range(changes))
            )
            await asyncio.sleep(0.6)
            both = time.process_time() - begun - rest * (time.perf_counter() - begun_wall)
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        begun = time.process_time()
        await asyncio.gather(*(writer.advance(str(n), State.FINISHED) for n in range(changes)))
        alone = time.process_time() - begun
        await writer.aclose()
    return rest, max(0.0, both - alone) / changes


async def measure_all(jobs: int) -> list[dict[str, float]]:
    """Return the results of both kinds, with webhooks off and on."""
    pairs = [(kind, on) for kind in KINDS for on in (False, True)]
    return await asyncio.gather(*(measure(kind, jobs, 2.0, on=on) for kind, on in pairs))


def run(short: bool) -> list[Row]:
    """Return the results."""
    os.environ["A2E_WEBHOOK_SECRET"] = SECRET
    rows: list[Row] = []
    found = asyncio.run(measure_all(40 if short else 300))
    for kind, off, on in zip(KINDS, found[::2], found[1::2], strict=True):
        rows += [
            Row(
                what=f"webhooks: polls per {kind} task",
                peer=f"off, every {INTERVAL:.0f} s",
                peer_value=f"{off['calls_per_job']:.2f}",
                ours=f"{on['calls_per_job']:.2f}",
                ratio=on["calls_per_job"] / off["calls_per_job"],
                goal="<= 1x",
                reached=on["calls_per_job"] <= off["calls_per_job"],
            ),
            Row(
                what=f"  mean delay after the actual end (p95), {LOST:.0%} of events lost",
                peer=f"off, every {INTERVAL:.0f} s",
                peer_value=f"{off['mean_delay']:.2f} s ({off['p95_delay']:.2f} s)",
                ours=f"{on['mean_delay']:.2f} s ({on['p95_delay']:.2f} s)",
                ratio=on["mean_delay"] / off["mean_delay"],
                goal="<= 0.7x",
                reached=on["mean_delay"] <= 0.7 * off["mean_delay"],
            ),
        ]
    valid, forged = asyncio.run(per_event(5_000 if short else 50_000))
    rest, each = asyncio.run(change_cost(10_000, 500 if short else 2_000))
    return [
        *rows,
        Row(
            what="CPU of a forged event, without the web server",
            peer="a valid one",
            peer_value=f"{valid * 1e6:.0f} us",
            ours=f"{forged * 1e6:.0f} us",
            ratio=forged / valid,
            goal="<= 50 us",
            reached=forged <= 50e-6,
        ),
        Row(
            what="CPU per change made by another process, 10,000 waits with a journal",
            peer="the same at rest",
            peer_value=f"{rest:.2%} of a core",
            ours=f"{each * 1e6:.0f} us",
            ratio=None,
            goal="<= 100 us",
            reached=each <= 100e-6,
        ),
    ]
