"""From 10 to 50,000 waits on one client: CPU, requests, memory and delay.

With the default rate limit (10 requests/s, half of them for polls) and without any; on asyncio and
uvloop. Each point is measured in a separate process. A few of the waits end during the
measurement. "Without decoding" subtracts the CPU for decoding the same responses (JSON and
records), measured in the same process.
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psutil

from a2e_async import A2E
from a2e_async._core.http.envelope import decode_plain_success
from a2e_async._core.tasks.parsing import read_raw_records, read_record
from a2e_async.kinds.talking_video import TALKING_VIDEO
from benchmarks.common import RECORD, Row, keep, run_child, server

SIZES: Final = (10, 100, 1_000, 10_000, 50_000)
NEVER: Final = 2**31
"""Milliseconds; longer than the measurement."""


def task_id(number: int, ends_in: float) -> str:
    """Return the id of a task that ends after this many ms (see `benchmarks.server`)."""
    at = (int(time.time() * 1000) + int(ends_in)) & 0xFFFFFFFF
    return f"66ea4dd8{at:08x}{number:08x}"


def decoding(records: int = 200, rounds: int = 30) -> float:
    """Return the CPU seconds to decode one record of a batch."""
    rows = [{**RECORD, "_id": f"{n:024x}"} for n in range(records)]
    body = json.dumps({"code": 0, "data": rows, "trace_id": "t-1"}).encode()
    before = time.process_time()
    for _ in range(rounds):
        answer = decode_plain_success(body, {})
        assert answer is not None
        for row in read_raw_records(answer.data):
            read_record(TALKING_VIDEO, row)
    return (time.process_time() - before) / rounds / records


async def measure(base_url: str, count: int, paced: bool, seconds: float) -> dict[str, Any]:
    """Return what ``count`` waits cost per second, each in memory, and the delay of some."""
    process = psutil.Process()
    given: dict[str, Any] = {} if paced else {"rate": None}
    async with A2E("bench-key", base_url=base_url, **given) as a2e:
        await a2e.talking_video.attach(task_id(0, -1000)).wait()
        delays: list[float] = []
        # Some end during the measurement, late enough that their polls are in step.
        ending = max(5, min(200, count // 10))
        settle = max(2.5, min(count / 200 / 5, seconds))
        ends = [settle + seconds * 0.25 * n / ending for n in range(ending)]

        async def wait(number: int) -> None:
            after = ends[number] * 1000 if number < ending else NEVER
            wall = time.time() + after / 1000
            await a2e.talking_video.attach(task_id(number, after)).wait(timeout=3600)
            delays.append(time.time() - wall)

        gc.collect()
        before = process.memory_info().rss
        tasks = [asyncio.create_task(wait(number)) for number in range(1, count + 1)]
        await asyncio.sleep(settle)
        gc.collect()
        grown = process.memory_info().rss - before
        calls = Calls(a2e)
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        made, read = calls.made, calls.records
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    delays.sort()
    each = decoding()
    return {
        "waits": count,
        "cpu": cpu / took,
        "besides_decoding": max(0.0, cpu - read * each) / took,
        "calls_per_s": made / took,
        "bytes_per_wait": grown / count,
        "mean_delay": sum(delays) / len(delays) if delays else None,
        "ended": len(delays),
        "seconds": took,
    }


class Calls:
    """Counts the polls of a client and the records they return."""

    def __init__(self, a2e: A2E) -> None:
        self.made = self.records = 0
        fetcher = a2e._components.poller._fetcher
        fetch = fetcher.fetch

        async def counted(request: Any) -> Any:
            self.made += 1
            self.records += len(request.polled_tasks)
            return await fetch(request)

        fetcher.fetch = counted  # type: ignore[method-assign]


def point(count: int, paced: bool, loop: str, short: bool) -> dict[str, Any]:
    """Return one point of the curves, measured in a separate process."""
    seconds = 3.0 if short else max(8.0, min(70.0, 1.4 * count / 1000)) if paced else 6.0
    with server("batch") as base_url:
        options = json.dumps([count, paced, seconds])
        return dict(run_child(__name__, "scale", base_url, loop, options))


def run(short: bool) -> list[Row]:
    """Return the results at 10,000 waits; store the curves for the docs."""
    sizes = (10, 1_000) if short else SIZES
    loops = ("asyncio", "uvloop")
    curves: list[dict[str, Any]] = []
    # At this rate limit the processes are nearly idle, so they can run side by side.
    for paced, processes in ((True, 4), (False, 4 if short else 1)):
        todo = [
            (count, paced, loop, short)
            for count in reversed(sizes)
            for loop in loops
            if loop == "asyncio" or count >= 1_000  # below, both do next to nothing
        ]
        with ThreadPoolExecutor(processes) as pool:
            points = list(pool.map(lambda one: point(*one), todo))
        for (_, _, loop, _), seen in zip(todo, points, strict=True):
            curves.append({"paced": paced, "loop": loop, **seen})
    keep("scale", {"points": curves})
    most = max(size for size in sizes if size <= 10_000)
    seen = next(c for c in curves if c["waits"] == most and c["paced"] and c["loop"] == "asyncio")
    return [
        Row(
            what=f"{most:,} waits at the default rate: CPU without decoding",
            peer="decoding their records",
            peer_value=f"{(seen['cpu'] - seen['besides_decoding']) * 100:.1f} % of a core",
            ours=f"{seen['besides_decoding'] * 100:.1f} % of a core",
            ratio=None,
            goal="<= 3 %",
            reached=seen["besides_decoding"] <= 0.03,
        )
    ]


def child(base_url: str, loop: str, options: str) -> dict[str, Any]:
    """Measure one point in this process."""
    count, paced, seconds = json.loads(options)
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(base_url, count, paced, seconds))


if __name__ == "__main__":
    print(json.dumps(child(*sys.argv[2:5])))
