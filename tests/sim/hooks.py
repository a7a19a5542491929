"""Webhooks in a world: a receiver on each machine, and the events of the service."""

import asyncio
import contextlib
from typing import Any

import aiohttp
from aiohttp import web

from a2e_async import A2E
from tests.hostile import HostileServer

from .draws import chance
from .story import Story

PORT = 8080


def webhook_url(machine: str) -> str:
    """Return the public URL of a machine's receiver."""
    return f"https://{machine}.example/a2e"


async def serve_webhooks(a2e: A2E, machine: str) -> None:
    """Serve a client's receiver on its machine, until this is cancelled."""
    runner = web.AppRunner(a2e.webhooks.aiohttp_app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, machine, PORT).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class _Proxy:
    """Replaces TLS and DNS: routes requests for a public URL to its machine."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def post(self, url: str, **options: Any) -> Any:
        """Post to the machine behind a public URL."""
        machine = url.removeprefix("https://").partition(".")[0]
        return self._session.post(f"http://{machine}:{PORT}/", **options)


async def deliver(server: HostileServer, story: Story) -> None:
    """Send the service's events; some are lost, repeated or forged."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        proxy: Any = _Proxy(session)
        while True:
            await asyncio.sleep(5)
            if not any(not task.event_sent for task in server.tasks.values()):
                continue
            lose = not story.calm and chance("webhook.lost", 20)
            if chance("webhook.forged", 10):
                await _forge(proxy, server)
            await server.deliver_webhooks(proxy, copies=1 + chance("webhook.twice", 20), lose=lose)


async def _forge(proxy: Any, server: HostileServer) -> None:
    """Send a forged event to every receiver named in a start."""
    token = f"a2e-{'0' * 20}.{'x' * 43}"
    urls = {task.body.get("webhook_url") for task in server.tasks.values()} - {None}
    for url in sorted(map(str, urls)):
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with proxy.post(
                url,
                json={"event": "task.completed"},
                headers={"X-A2e-Webhook-Token": token},
            ):
                pass
