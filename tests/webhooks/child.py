"""Child processes for the tests: ``python child.py what url key journal hook_url port``."""

import asyncio
import os
import sys

from aiohttp import web

from a2e_async import A2E
from a2e_async._core.tasks.kind import split_ref


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def client(url: str, key: str, journal: str, hook_url: str) -> A2E:
    return A2E(
        key, base_url=url, journal=journal, webhook_url=hook_url, rate=None, poll_interval=60.0
    )


async def receive(a2e: A2E, port: str) -> None:
    """Serve the receiver and do nothing else."""
    app = web.Application()
    app.add_subapp("/a2e", a2e.webhooks.aiohttp_app())
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    say("serving")
    await asyncio.to_thread(sys.stdin.readline)
    say("received", a2e.webhooks.received)
    await runner.cleanup()


async def wait(a2e: A2E, ref: str) -> None:
    """Wait for a task that another process started."""
    task = a2e.attach(ref)
    async for record in task.updates(timeout=60):
        say(record.status)
    say("over", split_ref(ref)[0])


async def start(a2e: A2E, key: str) -> None:
    """Start a task and wait for it, until the process is killed."""
    task = await a2e.dubbing.start(
        source_url="https://media.example/talk.wav", target_lang="es", key=key
    )
    say(task.ref)
    await task


async def main() -> None:
    what, url, key, journal, hook_url, given = sys.argv[1:]
    async with client(url, key, journal, hook_url) as a2e:
        await {"receive": receive, "wait": wait, "start": start}[what](a2e, given)


asyncio.run(main())
