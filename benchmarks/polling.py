"""Polls per job, and delay after the actual end, with many tasks in flight.

1,000 on a kind with batchDetail, 200 on one without (dubbing).

Steady arrivals of 90 s lognormal tasks, on a clock ten times faster than real time (so all client
intervals are a tenth). Measured after a warm-up until the number in flight is stable. All times
are in seconds of the service's clock. The peer is computed, not measured: one detail request per
task and interval, with an interval of 2 d for a mean delay of d. `benchmarks.peers` measures peers.
"""

import asyncio
import math
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from a2e_async import A2E
from a2e_async.sandbox import Sandbox
from benchmarks.common import Row

SPEED = 10.0
MEAN = 90.0
SIGMA = 0.5
INTERVAL = 1.0

INPUTS: dict[str, dict[str, Any]] = {
    "talking_video": {
        "video_url": "https://media.example/clip.mp4",
        "prompt": "p",
        "negative_prompt": "n",
    },
    "dubbing": {"source_url": "https://media.example/talk.wav", "target_lang": "es"},
}


def duration(rng: random.Random) -> float:
    """Return a lognormal duration with the mean of `MEAN` seconds."""
    return rng.lognormvariate(math.log(MEAN) - SIGMA**2 / 2, SIGMA)


async def measure(
    kind: str, in_flight: int, warm_up: float, measured: float, interval: float = INTERVAL
) -> dict[str, float]:
    """Return polls per job, mean and p95 delay (service seconds), jobs, mean in flight."""
    delays: list[float] = []
    in_flight_counts: list[int] = []
    with Sandbox(speed=SPEED, seed=1, durations={kind: duration}) as sandbox:
        async with A2E(
            sandbox.api_key,
            base_url=sandbox.base_url,
            rate=None,
            poll_interval=interval / SPEED,
        ) as a2e:
            running: set[asyncio.Task[Any]] = set()
            finished: list[tuple[str, float]] = []

            async def job() -> None:
                task = await getattr(a2e, kind).start(**INPUTS[kind])
                await task
                finished.append((task.ids[0], time.time()))

            def polls() -> int:
                calls = sandbox.calls
                roles = ("batch_detail", "detail", "list", "list_processing")
                return sum(calls[role, kind] for role in roles)

            loop = asyncio.get_running_loop()
            begin = loop.time()
            gap = MEAN / in_flight / SPEED
            started = polls_before = 0
            counting = False
            while (now := loop.time() - begin) < (warm_up + measured) / SPEED:
                if not counting and now >= warm_up / SPEED:
                    counting, polls_before = True, polls()
                    finished.clear()
                while started * gap <= now:
                    started += 1
                    one = asyncio.create_task(job())
                    running.add(one)
                    one.add_done_callback(running.discard)
                if counting:
                    in_flight_counts.append(len(running))
                await asyncio.sleep(gap)
            calls = polls() - polls_before
            done = list(finished)
            ends = {task.id: task.ends_at for task in sandbox.tasks}
            for one in list(running):
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    delays = sorted((at - ends[id]) * SPEED for id, at in done)
    return {
        "calls_per_job": calls / len(done),
        "mean_delay": statistics.fmean(delays),
        "p95_delay": delays[int(len(delays) * 0.95)],
        "jobs": len(done),
        "in_flight": statistics.fmean(in_flight_counts),
    }


@cache
def found(short: bool, kind: str = "talking_video", in_flight: int = 1000) -> dict[str, float]:
    """Return the results of a kind; measured once per run."""
    return asyncio.run(measure(kind, in_flight, *((200.0, 60.0) if short else (300.0, 200.0))))


def run(short: bool) -> list[Row]:
    """Return the results."""
    # The short form runs both at once, which increases the delays.
    with ThreadPoolExecutor(2 if short else 1) as pool:
        both = pool.submit(found, short), pool.submit(found, short, "dubbing", 200)
        seen, listed = (one.result() for one in both)
    naive = MEAN / INTERVAL
    alike = MEAN / (2 * listed["mean_delay"])
    return [
        Row(
            what=f"polls per task, {seen['in_flight']:.0f} in flight, {MEAN:.0f} s tasks",
            peer=f"one detail request per {INTERVAL:.0f} s",
            peer_value=f"{naive:.0f}",
            ours=f"{seen['calls_per_job']:.2f}",
            ratio=seen["calls_per_job"] / naive,
            goal="<= 0.5",
            reached=seen["calls_per_job"] <= 0.5,
        ),
        Row(
            what="  mean delay after the actual end (p95)",
            peer=f"one detail request per {INTERVAL:.0f} s",
            peer_value=f"{INTERVAL / 2:.2f} s",
            ours=f"{seen['mean_delay']:.2f} s ({seen['p95_delay']:.2f} s)",
            ratio=None,
            goal="<= 0.6 s",
            reached=seen["mean_delay"] <= 0.6,
        ),
        Row(
            what=f"polls per task without batchDetail, {listed['in_flight']:.0f} in flight",
            peer="one detail request per task, same delay",
            peer_value=f"{alike:.0f}",
            ours=f"{listed['calls_per_job']:.2f} at {listed['mean_delay']:.2f} s",
            ratio=listed["calls_per_job"] / alike,
            goal="<= 0.1x",
            reached=listed["calls_per_job"] * 10 <= alike,
        ),
    ]
