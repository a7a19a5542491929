"""From a start to its accepted task, 50 at once: against a bare aiohttp POST.

Rounds of the bare POST, of this package without a journal and with one alternate in one process,
against a server that responds at once and one that takes 100 ms, like a fast service. With an
immediate response, 50 callers in one thread wait for each other's CPU, so the latency is 50 times
the work of one start.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

from a2e_async import A2E
from benchmarks.common import Row, at_once, keep, median, paired_ratio, run_child, server

AT_ONCE: Final = 50
PATH: Final = "/api/v1/talkingVideo/start"
INPUTS: Final = {
    "video_url": "https://media.example/clip.mp4",
    "prompt": "smile",
    "negative_prompt": "blurry",
}


async def measure(base_url: str, calls: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return p50 latency (s), starts per second and CPU per start (s) of each, by medians.

    ``rounds`` has the p50 latency of each round.
    """
    seen: dict[str, list[tuple[float, float, float]]] = {}
    headers = {"Authorization": "Bearer bench-key"}
    # Starts may use three quarters of the connections; this gives 50 to all variants.
    places = AT_ONCE * 4 // 3 + 1
    options: dict[str, Any] = {"base_url": base_url, "rate": None, "max_connections": places}
    with tempfile.TemporaryDirectory() as directory:
        async with (
            aiohttp.ClientSession(
                base_url, headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)
            ) as bare,
            A2E("bench-key", **options) as plain,
            A2E("bench-key", journal=Path(directory) / "jobs.db", **options) as kept,
        ):

            async def post() -> None:
                async with bare.post(PATH, json={**INPUTS, "name": "job"}) as response:
                    json.loads(await response.read())

            async def start(a2e: A2E) -> None:
                await a2e.talking_video.start(**INPUTS)

            ways: dict[str, Callable[[], Awaitable[None]]] = {
                "bare": post,
                "ours": lambda: start(plain),
                "journal": lambda: start(kept),
            }
            for round_ in range(rounds + 1):
                for name, way in ways.items():
                    found = await one_round(way, calls)
                    if round_:
                        seen.setdefault(name, []).append(found)
    measured: dict[str, dict[str, Any]] = {}
    for name, found in seen.items():
        p50, per_s, cpu = (list(values) for values in zip(*found, strict=True))
        medians = {"p50": median(p50), "per_s": median(per_s), "cpu": median(cpu)}
        measured[name] = {**medians, "rounds": p50}
    return measured


async def one_round(way: Callable[[], Awaitable[None]], calls: int) -> tuple[float, float, float]:
    times: list[float] = []

    async def timed() -> None:
        before = time.perf_counter()
        await way()
        times.append(time.perf_counter() - before)

    began, cpu = time.perf_counter(), time.process_time()
    await at_once(AT_ONCE, calls, timed)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return median(times), calls / took, cpu / calls


def run(short: bool) -> list[Row]:
    """Return the results; store those of uvloop and of the slower server for the docs."""
    calls, rounds = ("300", "1") if short else ("1000", "5")
    points: list[dict[str, Any]] = []
    for delay in ("0", "100"):
        for loop in ("asyncio", "uvloop"):
            with server("start", delay) as base_url:
                found = run_child(__name__, "starts", base_url, loop, calls, rounds)
            points.append({"server_ms": int(delay), "loop": loop, "clients": found})
    keep("starts", {"points": points})
    rows: list[Row] = []
    for place in (2, 0):
        clients, ms = points[place]["clients"], points[place]["server_ms"]
        bare, ours = clients["bare"]["p50"], clients["journal"]["p50"]
        ratio, spread = paired_ratio(clients["bare"]["rounds"], clients["journal"]["rounds"])
        rows.append(
            Row(
                what=f"start to accepted with journal, {AT_ONCE} concurrent, p50, server: {ms} ms",
                peer="bare aiohttp POST",
                peer_value=f"{bare * 1000:.1f} ms",
                ours=f"{ours * 1000:.1f} ms",
                ratio=ratio,
                goal="<= 1.3x",
                reached=ratio <= 1.3,
                spread=spread,
            )
        )
    return rows


def child(base_url: str, loop: str, calls: str, rounds: str) -> Any:
    """Measure in this process."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(measure(base_url, int(calls), int(rounds)))


if __name__ == "__main__":
    print(json.dumps(child(*sys.argv[2:6])))
