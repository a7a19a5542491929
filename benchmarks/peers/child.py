"""Run one client in this process and print the measurements as JSON.

python -m benchmarks.peers.child CLIENT MODE BASE_URL OPTIONS
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
import warnings
from collections.abc import Awaitable
from typing import Any

import aiohttp
import psutil

from benchmarks.peers.clients import CLIENTS
from benchmarks.peers.drivers import Driver, NoDeadline
from benchmarks.peers.population import Job, population

AT_ONCE = 50
"""Starts in flight at the same time."""


class Control:
    """The server's counts and faults."""

    def __init__(self, base_url: str) -> None:
        self.url = f"{base_url}/control"

    async def reset(self, **fault: Any) -> None:
        async with aiohttp.ClientSession() as http, http.post(self.url, json=fault) as answer:
            answer.raise_for_status()

    async def record(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as http, http.get(self.url) as answer:
            return dict(await answer.json())

    async def started(self, count: int) -> None:
        """Return once the server has accepted that many jobs."""
        for _ in range(3000):
            if (await self.record())["charges"] >= count:
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(f"not all of {count} jobs were started")


def prompt(seconds: float) -> str:
    """Return the prompt of a job outside of the population."""
    return Job(0, "", 0.0, seconds, False).prompt


async def run_jobs(driver: Driver, control: Control, options: dict[str, Any]) -> dict[str, Any]:
    """Run the population; return CPU and calls per job, and delays by distribution."""
    jobs = population(options["each"], options["mean"], options["spread"], speed=options["speed"])
    await driver.run(prompt(0.01))  # warm up: imports, connection, lazily built objects
    await control.reset()
    ended: dict[int, float] = {}
    wrong: list[str] = []

    async def one(job: Job) -> None:
        await asyncio.sleep(job.begins)
        try:
            ok = await driver.run(job.prompt)
        except Exception as error:
            wrong.append(type(error).__name__)
        else:
            ended[job.number] = time.time()
            if ok is job.fails:
                wrong.append("took a failed job for a good one" if ok else "the other way round")

    before, began = time.process_time(), time.time()
    await asyncio.gather(*(one(job) for job in jobs))
    cpu, took = time.process_time() - before, time.time() - began
    record = await control.record()
    calls = {role: n for role, n in record["calls"].items() if role != "start"}
    delays = {
        law: [
            (ended[job.number] - record["ends"][str(job.number)]) * options["speed"]
            for job in jobs
            if job.law == law and job.number in ended
        ]
        for law in {job.law for job in jobs}
    }
    return {
        "jobs": len(jobs),
        "cpu_ms_per_job": cpu / len(jobs) * 1000,
        "polls_per_job": sum(calls.values()) / len(jobs),
        "starts_per_job": record["calls"].get("start", 0) / len(jobs),
        "delays": delays,
        "seconds": took,
        "wrong": wrong,
    }


async def hold(driver: Driver, control: Control, count: int) -> "list[asyncio.Task[bool]]":
    """Start that many jobs that never end, some at a time; return their waits."""
    running: list[asyncio.Task[bool]] = []
    before = (await control.record())["charges"]
    while len(running) < count:
        some = min(AT_ONCE, count - len(running))
        running += [asyncio.create_task(driver.run(prompt(1e6))) for _ in range(some)]
        await control.started(before + len(running))
    return running


async def measure_memory(
    driver: Driver, control: Control, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the growth of resident memory per pending job in bytes."""
    process = psutil.Process()
    running = await hold(driver, control, 100)
    await asyncio.sleep(1)
    gc.collect()
    before = process.memory_info().rss
    running += await hold(driver, control, options["count"])
    await asyncio.sleep(1.5)
    gc.collect()
    grown = process.memory_info().rss - before
    await end(running)
    return {"bytes_per_job": grown / options["count"]}


async def measure_waits(
    driver: Driver, control: Control, options: dict[str, Any]
) -> dict[str, Any]:
    """Return CPU and calls per second while that many jobs are waited for."""
    running = await hold(driver, control, options["count"])
    await asyncio.sleep(options["settle"])
    calls = sum((await control.record())["calls"].values())
    before, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(options["seconds"])
    cpu, took = time.process_time() - before, time.perf_counter() - began
    calls = sum((await control.record())["calls"].values()) - calls
    gone = sum(task.done() for task in running)
    await end(running)
    return {"cpu_per_s": cpu / took, "calls_per_s": calls / took, "given_up": gone}


async def outcome_within(patience: float, doing: Awaitable[Any]) -> tuple[Any, str, float]:
    """Return the outcome, the name of the exception, and the seconds it took.

    The outcome is "nothing" if it takes more than ``patience`` seconds.
    """
    task = asyncio.ensure_future(doing)
    began = time.perf_counter()
    await asyncio.wait([task], timeout=patience)
    took = time.perf_counter() - began
    if not task.done():
        task.cancel()
        return None, "nothing", took
    error = task.exception()
    return (task.result(), "", took) if error is None else (None, type(error).__name__, took)


async def end(running: "list[asyncio.Task[bool]]") -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def measure_charges(
    driver: Driver, control: Control, options: dict[str, Any]
) -> dict[str, Any]:
    """Return the charges of a start whose response is lost, and the caller's result."""
    await driver.run(prompt(0.01))
    await control.reset(role="start", what=options["what"], times=options["times"])
    _, raised, took = await outcome_within(options["patience"], driver.start(prompt(1)))
    record = await control.record()
    return {
        "charges": record["charges"],
        "calls": record["calls"].get("start", 0),
        "got": raised or "started",
        "seconds": took,
    }


async def measure_failed_poll(
    driver: Driver, control: Control, options: dict[str, Any]
) -> dict[str, Any]:
    """Return whether a wait survives failed polls, or what it raised."""
    await driver.run(prompt(0.01))
    fault = {name: options[name] for name in ("what", "times", "seconds") if name in options}
    await control.reset(role="poll", **fault)
    ok, raised, took = await outcome_within(options["patience"], driver.run(prompt(options["job"])))
    return {"got": raised or ("went on" if ok else "took it for a failed job"), "seconds": took}


async def measure_deadline(
    driver: Driver, control: Control, options: dict[str, Any]
) -> dict[str, Any]:
    """Return by how many seconds the documented timeout of a wait is exceeded."""
    await driver.run(prompt(0.01))
    if options["hang"]:
        await control.reset(role="poll", what="hang", times=10**6)
    _, raised, took = await outcome_within(
        options["patience"], driver.run(prompt(1e6), timeout=options["limit"])
    )
    if raised == NoDeadline.__name__:
        return {"over": None, "got": "none to set"}
    return {"over": took - options["limit"], "got": raised or "returned"}


MODES = {
    "jobs": run_jobs,
    "memory": measure_memory,
    "waits": measure_waits,
    "charges": measure_charges,
    "failed_poll": measure_failed_poll,
    "deadline": measure_deadline,
}


async def main(client: str, mode: str, base_url: str, options: dict[str, Any]) -> Any:
    """Run the measurement of a mode and return its result."""
    driver = CLIENTS[client].driver(
        base_url,
        interval=options.pop("interval", None),
        request_timeout=options.pop("request_timeout", 60.0),
    )
    control = Control(base_url)
    await control.reset()
    try:
        return await MODES[mode](driver, control, options)
    finally:
        with contextlib.suppress(Exception):
            await driver.aclose()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the peers' own warnings; openai's video calls are deprecated
    print(json.dumps(asyncio.run(main(*sys.argv[1:4], json.loads(sys.argv[4])))))
