"""Client CPU of one detail call, 50 at once, and of one poll of 200 waits, against bare aiohttp."""

import asyncio
import json
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import aiohttp

from a2e_async import A2E
from benchmarks.common import RECORD, Row, at_once, median, paired_ratio, run_child, server

AT_ONCE = 50
PATH = f"/api/v1/talkingVideo/{RECORD['_id']}"
WAITS = 200
IDS = [f"66ea4dd8{'f' * 8}{n:08x}" for n in range(WAITS)]
"""Their tasks never end, see `benchmarks.server`."""
INTERVAL = 0.02
"""Seconds between two polls."""


async def measure(base_url: str, calls: int, rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds per call of both, per round (interleaved, after a warm-up round)."""
    found: dict[str, list[float]] = {"bare": [], "ours": []}
    headers = {"Authorization": "Bearer bench-key"}
    async with (
        aiohttp.ClientSession(
            base_url, headers=headers, connector=aiohttp.TCPConnector(limit=AT_ONCE)
        ) as bare,
        A2E("bench-key", base_url=base_url, rate=None, max_connections=AT_ONCE) as a2e,
    ):

        async def call_bare() -> None:
            async with bare.get(PATH) as response:
                json.loads(await response.read())

        async def call_ours() -> None:
            await a2e.talking_video.get(RECORD["_id"])

        for round_ in range(rounds + 1):
            for name, call in (("bare", call_bare), ("ours", call_ours)):
                before = time.process_time()
                await at_once(AT_ONCE, calls, call)
                if round_:
                    found[name].append((time.process_time() - before) / calls)
    return found


async def measure_polls(base_url: str, polls: int, rounds: int) -> dict[str, list[float]]:
    """Return CPU seconds per poll of `WAITS` unchanged tasks, of both, as `measure` does."""
    found: dict[str, list[float]] = {"bare": [], "ours": []}
    headers = {"Authorization": "Bearer bench-key"}

    async def poll_bare(bare: aiohttp.ClientSession) -> None:
        """Poll all tasks and note each status, as a hand-written loop would."""
        known = dict.fromkeys(IDS, "")
        for _ in range(polls):
            async with bare.post("/api/v1/talkingVideo/batchDetail", json={"ids": IDS}) as response:
                for row in json.loads(await response.read())["data"]:
                    known[row["_id"]] = row["current_status"]
            await asyncio.sleep(INTERVAL)

    async def poll_ours(a2e: A2E) -> None:
        fetcher = a2e._components.poller._fetcher
        fetch, made, enough = fetcher.fetch, 0, asyncio.Event()

        async def counted(request: Any) -> Any:
            nonlocal made
            made += 1
            if made > polls:
                enough.set()
            return await fetch(request)

        fetcher.fetch = counted  # type: ignore[method-assign]
        await enough.wait()
        fetcher.fetch = fetch  # type: ignore[method-assign]

    for round_ in range(rounds + 1):
        async with aiohttp.ClientSession(base_url, headers=headers) as bare:
            before = time.process_time()
            await poll_bare(bare)
            if round_:
                found["bare"].append((time.process_time() - before) / polls)
        async with A2E("bench-key", base_url=base_url, rate=None, poll_interval=INTERVAL) as a2e:
            waits = [asyncio.create_task(a2e.talking_video.attach(id).wait()) for id in IDS]
            await asyncio.sleep(20 * INTERVAL)  # until all are polled together
            before = time.process_time()
            await poll_ours(a2e)
            if round_:
                found["ours"].append((time.process_time() - before) / polls)
            for wait in waits:
                wait.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*waits, return_exceptions=True)
    return found


def run(short: bool) -> list[Row]:
    """Return the results, with the standard library's JSON and with the extra ``fast``."""
    rows: list[Row] = []
    forms = [("", "orjson")]
    if find_spec("orjson") is not None:
        forms.append((", with the extra fast", ""))
    calls = ("detail", "2000", "3") if short else ("detail", "6000", "9")
    for label, without in forms:
        with server("record") as base_url:
            found = run_child(__name__, base_url, *calls, without=without)
        what = f"client CPU per detail request, {AT_ONCE} concurrent{label}"
        rows.append(_row(what, found, 1.15))
    polls = ("polls", "50", "3") if short else ("polls", "100", "9")
    for label, without in forms:
        with server("batch") as base_url:
            found = run_child(__name__, base_url, *polls, without=without)
        rows.append(_row(f"client CPU per poll of {WAITS} waits{label}", found, 1.5))
    return rows


def _row(what: str, found: dict[str, list[float]], goal: float) -> Row:
    bare, ours = median(found["bare"]), median(found["ours"])
    ratio, spread = paired_ratio(found["bare"], found["ours"])
    return Row(
        what=what,
        peer="bare aiohttp + json",
        peer_value=f"{bare * 1e6:.0f} us",
        ours=f"{ours * 1e6:.0f} us",
        ratio=ratio,
        goal=f"<= {goal}x",
        reached=ratio <= goal,
        spread=spread,
    )


if __name__ == "__main__":
    work = {"detail": measure, "polls": measure_polls}[sys.argv[2]]
    print(json.dumps(asyncio.run(work(sys.argv[1], int(sys.argv[3]), int(sys.argv[4])))))
