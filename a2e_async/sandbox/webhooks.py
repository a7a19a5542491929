"""Delivers webhooks: one attempt for each ended task, never repeated, as the service does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import aiohttp
import attrs

from .engine import Engine
from .tasks import Task
from .web_common import json_bytes

TICK: Final = 0.02
"""True seconds between two looks for ended tasks."""

ATTEMPT: Final = aiohttp.ClientTimeout(total=10)


@attrs.define(slots=True)
class Webhooks:
    """Sends what is due until cancelled."""

    engine: Engine
    verify: bool
    """Whether the receiver's certificate is checked."""

    async def run(self) -> None:
        """Looks for ended tasks for ever and posts their webhooks."""
        async with aiohttp.ClientSession(timeout=ATTEMPT) as session, asyncio.TaskGroup() as group:
            while True:
                for task in self._due():
                    group.create_task(self._post(session, task))
                await asyncio.sleep(TICK)

    def _due(self) -> list[Task]:
        with self.engine.settled() as service:
            due, service.finished_hooks = service.finished_hooks, []
            return due

    async def _post(self, session: aiohttp.ClientSession, task: Task) -> None:
        with self.engine.settled() as service:
            record = service.render(task, self.engine.clock.now())
        event = "task.failed" if task.failure else "task.completed"
        headers = {"Content-Type": "application/json"}
        if token := task.body.get("webhook_token"):
            headers["X-A2e-Webhook-Token"] = token
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with session.post(
                task.body["webhook_url"],
                data=json_bytes({"event": event, "task_id": task.id, "data": record}),
                headers=headers,
                ssl=self.verify,
                allow_redirects=False,
            ) as answer:
                await answer.release()
