"""500 callers over 64 connections for 3 s: most and fewest completions of a caller."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import aiohttp

from a2e_async import A2E
from benchmarks.common import RECORD, Row, run_child, server

CALLERS, CONNECTIONS = 500, 64
PATH = f"/api/v1/talkingVideo/{RECORD['_id']}"


async def completions(call: Callable[[], Awaitable[object]], seconds: float) -> list[int]:
    """Return the completions of each caller."""
    counts = [0] * CALLERS

    async def caller(place: int) -> None:
        while True:
            await call()
            counts[place] += 1

    tasks = [asyncio.create_task(caller(place)) for place in range(CALLERS)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


async def measure(base_url: str, seconds: float) -> dict[str, list[int]]:
    """Return the most and fewest completions, with bare aiohttp and with this package."""
    async with (
        aiohttp.ClientSession(base_url, connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as bare,
        A2E("bench-key", base_url=base_url, rate=None, max_connections=CONNECTIONS) as a2e,
    ):

        async def call_bare() -> None:
            async with bare.get(PATH) as response:
                await response.read()

        theirs = await completions(call_bare, seconds)
        ours = await completions(lambda: a2e.talking_video.get(RECORD["_id"]), seconds)
    return {"bare": [max(theirs), min(theirs)], "ours": [max(ours), min(ours)]}


def run(short: bool) -> list[Row]:
    """Return the results."""
    with server("delay", "5") as base_url:
        found = run_child(__name__, base_url, "3")
    most, fewest = found["ours"]
    ratio = most / max(1, fewest)
    return [
        Row(
            what=f"requests per caller, {CALLERS} on {CONNECTIONS} connections: most / fewest",
            peer="aiohttp's own pool",
            peer_value=f"{found['bare'][0]} / {found['bare'][1]}",
            ours=f"{most} / {fewest}",
            ratio=ratio,
            goal="<= 1.3",
            reached=ratio <= 1.3,
        )
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], float(sys.argv[2])))))
