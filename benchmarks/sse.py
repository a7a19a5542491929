"""1,000 streams of live progress from the FastAPI example, each of a different user with a job.

The jobs run on the sandbox; some end while they are streamed, and their files are saved. For
comparison: the same server with streams that are fed by a timer.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from a2e_async import A2E
from benchmarks.common import Row

STREAMS = 1_000
SPEED = 10.0
"""Speed of the sandbox: one-minute tasks begin to end within seconds."""


def run(short: bool) -> list[Row]:
    """Return the results."""
    return asyncio.run(measure(200, 5) if short else measure(STREAMS, 20))


async def measure(count: int, seconds: float) -> list[Row]:
    """Return the results for so many streams, read for so long."""
    with tempfile.TemporaryDirectory() as folder, sandbox() as account:
        environ = {
            **os.environ,
            "A2E_API_KEY": account["api_key"],
            "A2E_BASE_URL": account["base_url"],
        }
        users = [f"{n:032x}" for n in range(count)]
        await start(users, account, Path(folder) / "jobs.db")
        ours = await streams("ours", users, seconds, folder, environ)
        bare = await streams("bare", users, seconds, folder, environ)
    assert ours["ended"]
    kib = {name: one["grown"] / count / 1024 for name, one in (("ours", ours), ("bare", bare))}
    return [
        Row(
            what=f"event loop lag, p99, {count:,} SSE streams of the FastAPI example",
            peer="streams fed by a timer",
            peer_value=f"{bare['lag'] * 1000:.1f} ms",
            ours=f"{ours['lag'] * 1000:.1f} ms",
            ratio=None,
            goal="<= 50 ms",
            reached=ours["lag"] <= 0.05,
        ),
        Row(
            what="memory per stream, including its task",
            peer="streams fed by a timer",
            peer_value=f"{kib['bare']:.0f} KiB",
            ours=f"{kib['ours']:.0f} KiB",
            ratio=kib["ours"] / kib["bare"],
            goal="<= 1.5x",
            reached=kib["ours"] <= 1.5 * kib["bare"],
        ),
    ]


@contextlib.contextmanager
def sandbox() -> Iterator[dict[str, Any]]:
    """Run the service in a separate process; yield its address and key."""
    command = [sys.executable, "-m", "a2e_async.sandbox", "--json", "--exit-with-parent"]
    process = subprocess.Popen(
        [*command, "--speed", str(SPEED), "--make-results", "stdlib"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


async def start(users: list[str], account: dict[str, Any], journal: Path) -> None:
    """Start a job for each user, like an earlier run of the app that was killed."""
    async with A2E(
        account["api_key"], base_url=account["base_url"], journal=journal, rate=None
    ) as a2e:
        url = "https://media.example/talk.wav"
        await asyncio.gather(
            *(
                a2e.dubbing.start(source_url=url, target_lang="es", key=f"{user}:1")
                for user in users
            )
        )


async def streams(
    which: str, users: list[str], seconds: float, folder: str, environ: dict[str, str]
) -> dict[str, Any]:
    """Open a stream for each user and read them for a while."""
    path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.sse_server", which),
        cwd=folder,
        env={**environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(await server.stdout.readline())

    async def statistics() -> dict[str, float]:
        server.stdin.write(b"\n")
        values: dict[str, float] = json.loads(await server.stdout.readline())
        return values

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        opened, ended, all_open = 0, 0, asyncio.Event()

        async def read(user: str) -> None:
            nonlocal opened, ended
            cookie = {"Cookie": f"user={user}"}
            async with http.get(f"http://127.0.0.1:{port}/events", headers=cookie) as answer:
                opened += 1
                if opened == len(users):
                    all_open.set()
                async for line in answer.content:
                    if b'"succeeded"' in line:
                        ended += 1
                        return

        before = await statistics()
        reading = [asyncio.create_task(read(user)) for user in users]
        await all_open.wait()
        await statistics()  # do not count the lag caused by opening them
        await asyncio.sleep(seconds)
        after = await statistics()
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    server.stdin.close()
    await server.wait()
    return {"lag": after["lag"], "grown": after["rss"] - before["rss"], "ended": ended}
