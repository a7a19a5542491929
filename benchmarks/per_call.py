"""Client CPU of one detail call, 50 at once, against bare aiohttp and json."""

import asyncio
import json
import sys
import time
from importlib.util import find_spec

import aiohttp

from a2e_async import A2E
from benchmarks.common import RECORD, Row, at_once, median, run_child, server

AT_ONCE = 50
PATH = f"/api/v1/talkingVideo/{RECORD['_id']}"


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


def run(short: bool) -> list[Row]:
    """Return the results, with the standard library's JSON and with the extra ``fast``."""
    rows: list[Row] = []
    sizes = ("2000", "3") if short else ("6000", "9")
    forms = [("", "orjson")]
    if find_spec("orjson") is not None:
        forms.append((", with the extra fast", ""))
    for label, without in forms:
        with server("record") as base_url:
            found = run_child(__name__, base_url, *sizes, without=without)
        bare, ours = median(found["bare"]), median(found["ours"])
        rows.append(
            Row(
                what=f"client CPU per detail request, {AT_ONCE} concurrent{label}",
                peer="bare aiohttp + json",
                peer_value=f"{bare * 1e6:.0f} us",
                ours=f"{ours * 1e6:.0f} us",
                ratio=ours / bare,
                goal="<= 1.15x",
                reached=ours / bare <= 1.15,
            )
        )
    return rows


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
