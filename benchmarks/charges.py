"""Charges for one logical start whose response is lost, is a 503, or is a single 429.

The peer is the usual hand-written loop: up to three attempts on any failure.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp

from a2e_async import A2E, A2EError
from a2e_async.sandbox import Sandbox
from benchmarks.common import Row

INPUTS = {
    "video_url": "https://media.example/clip.mp4",
    "prompt": "smile",
    "negative_prompt": "blurry",
}


async def naive(sandbox: Sandbox) -> None:
    """Start once with up to three attempts, as most clients do."""
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    async with aiohttp.ClientSession(sandbox.base_url, headers=headers) as session:
        for _ in range(3):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                body = {**INPUTS, "name": "job"}
                async with session.post("/api/v1/talkingVideo/start", json=body) as response:
                    if response.status == 200:
                        return


async def ours(sandbox: Sandbox) -> None:
    """Start once with this package."""
    async with A2E(sandbox.api_key, base_url=sandbox.base_url, rate=None) as a2e:
        with contextlib.suppress(A2EError):
            await a2e.talking_video.start(**INPUTS)


async def charges(
    fault: Callable[[Sandbox], None], client: Callable[[Sandbox], Awaitable[None]]
) -> int:
    """Return the number of charges for one logical start under a fault."""
    async with Sandbox(speed=600) as sandbox:
        fault(sandbox)
        await client(sandbox)
        return len(sandbox.ledger.starts("talking_video"))


FAULTS: dict[str, tuple[str, int, Callable[[Sandbox], None]]] = {
    "connection drops after acceptance": (
        "1",
        1,
        lambda s: s.faults.drop_after_accept("talking_video", times=3),
    ),
    "503 after acceptance": (
        "<= 1",
        1,
        lambda s: s.faults.http_error(
            503, role="start", kind="talking_video", times=3, accepted=True
        ),
    ),
    "429 once": (
        "1",
        1,
        lambda s: s.faults.http_error(429, role="start", kind="talking_video", retry_after=0.1),
    ),
}


def run(short: bool) -> list[Row]:
    """Return the results."""
    rows: list[Row] = []
    for what, (goal, most, fault) in FAULTS.items():
        theirs, mine = asyncio.run(charges(fault, naive)), asyncio.run(charges(fault, ours))
        rows.append(
            Row(
                what=f"charges for one start: {what}",
                peer="hand-written loop, three attempts",
                peer_value=str(theirs),
                ours=str(mine),
                ratio=None,
                goal=goal,
                reached=mine == most if goal == "1" else mine <= most,
            )
        )
    return rows
