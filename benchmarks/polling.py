"""1,000 tasks in flight on a batch kind: looks per job, and delay after the true end.

Steady arrivals, 90 s lognormal tasks, a clock ten times as fast as in truth (so all client
intervals are a tenth). Measured after a warm-up in which the population fills up. The figures
are in the service's seconds. The peer is one detail call per task and interval, by arithmetic.
"""

import asyncio
import math
import random
import statistics
import time
from typing import Any

from a2e_async import A2E
from a2e_async.sandbox import Sandbox
from benchmarks.common import Row

SPEED = 10.0
MEAN = 90.0
SIGMA = 0.5
IN_FLIGHT = 1000
INTERVAL = 1.0


def duration(rng: random.Random) -> float:
    """Return a lognormal duration with the mean of `MEAN` seconds."""
    return rng.lognormvariate(math.log(MEAN) - SIGMA**2 / 2, SIGMA)


async def measure(warm_up: float, measured: float) -> dict[str, float]:
    """Return looks per job, mean and p95 delay (s of the service), jobs, mean in flight."""
    delays: list[float] = []
    flights: list[int] = []
    with Sandbox(speed=SPEED, seed=1, durations={"talking_video": duration}) as sandbox:
        async with A2E(
            sandbox.api_key,
            base_url=sandbox.base_url,
            rate=None,
            poll_interval=INTERVAL / SPEED,
        ) as a2e:
            running: set[asyncio.Task[Any]] = set()
            finished: list[tuple[str, float]] = []

            async def job() -> None:
                task = await a2e.talking_video.start(
                    video_url="https://media.example/clip.mp4", prompt="p", negative_prompt="n"
                )
                await task
                finished.append((task.ids[0], time.time()))

            def looks() -> int:
                calls = sandbox.calls
                return sum(calls[role, "talking_video"] for role in ("batch_detail", "detail"))

            loop = asyncio.get_running_loop()
            begin = loop.time()
            gap = MEAN / IN_FLIGHT / SPEED
            started = looks_before = 0
            counting = False
            while (now := loop.time() - begin) < (warm_up + measured) / SPEED:
                if not counting and now >= warm_up / SPEED:
                    counting, looks_before = True, looks()
                    finished.clear()
                while started * gap <= now:
                    started += 1
                    one = asyncio.create_task(job())
                    running.add(one)
                    one.add_done_callback(running.discard)
                if counting:
                    flights.append(len(running))
                await asyncio.sleep(gap)
            calls = looks() - looks_before
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
        "in_flight": statistics.fmean(flights),
    }


def run(short: bool) -> list[Row]:
    """Return the figures."""
    found = asyncio.run(measure(*((200.0, 60.0) if short else (300.0, 200.0))))
    naive = MEAN / INTERVAL
    return [
        Row(
            what=f"looks per job, {found['in_flight']:.0f} in flight, {MEAN:.0f} s tasks",
            peer=f"one detail per {INTERVAL:.0f} s",
            peer_value=f"{naive:.0f}",
            ours=f"{found['calls_per_job']:.2f}",
            ratio=found["calls_per_job"] / naive,
            goal="<= 0.6",
            reached=found["calls_per_job"] <= 0.6,
        ),
        Row(
            what="  mean delay after the true end (p95)",
            peer=f"one detail per {INTERVAL:.0f} s",
            peer_value=f"{INTERVAL / 2:.2f} s",
            ours=f"{found['mean_delay']:.2f} s ({found['p95_delay']:.2f} s)",
            ratio=None,
            goal="<= 0.7 s",
            reached=found["mean_delay"] <= 0.7,
        ),
    ]
