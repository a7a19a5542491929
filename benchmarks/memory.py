"""Memory of one pending wait among 10,000, without the caller's task and the last record.

Two processes each hold 10,000 asyncio tasks. In one they await a bare future, in the other
``task.wait()``; the difference is the memory of the waits.
"""

import asyncio
import gc
import json
import sys
from typing import Any

import psutil

from a2e_async import A2E
from benchmarks.common import Row, run_child, server


async def measure(base_url: str, count: int, ours: bool) -> float:
    """Return the growth of resident memory per waiting task in bytes."""
    process = psutil.Process()
    loop = asyncio.get_running_loop()
    async with A2E("bench-key", base_url=base_url, rate=None, request_timeout=600) as a2e:
        ids = [f"66ea4dd87db10c73{n:08x}" for n in range(count)]

        async def bare(_: str) -> None:
            await loop.create_future()

        async def wait(id: str) -> Any:
            return await a2e.talking_video.attach(id).wait(timeout=3600)

        # Warm up: both processes import and open the same things before the measurement.
        first = asyncio.create_task(wait("66ea4dd87db10c73ffffffff"))
        await asyncio.sleep(0.5)
        gc.collect()
        before = process.memory_info().rss
        tasks = [asyncio.create_task((wait if ours else bare)(id)) for id in ids]
        await asyncio.sleep(2)
        gc.collect()
        grown = process.memory_info().rss - before
        for task in (first, *tasks):
            task.cancel()
        await asyncio.gather(first, *tasks, return_exceptions=True)
    return grown / count


def run(short: bool) -> list[Row]:
    """Return the results."""
    count = 10_000
    with server("silent") as base_url:
        bare = run_child(__name__, base_url, str(count), "bare")
        ours = run_child(__name__, base_url, str(count), "ours")
    each = (ours - bare) / 1024
    return [
        Row(
            what=f"memory per pending wait, {count:,} waits",
            peer="a bare future in a task",
            peer_value=f"{bare / 1024:.2f} KiB",
            ours=f"+{each:.2f} KiB",
            ratio=None,
            goal="<= 1.2 KiB",
            reached=each <= 1.2,
        )
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "ours"))))
