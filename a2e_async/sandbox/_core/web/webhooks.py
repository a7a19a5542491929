"""Delivers webhooks: one attempt per ended task, without retries, as the service does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import attrs

from ..locked_service import LockedService
from ..simulated_task import SimulatedTask
from .responses import json_bytes

POLL_INTERVAL: Final = 0.02
"""Real seconds between two checks for ended tasks."""

ATTEMPT_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


@attrs.define(slots=True, kw_only=True, eq=False)
class Delivery:
    """One webhook event and its outcome. ``status`` is the HTTP status of the receiver.

    None means held back by a fault, still being sent, or no response. ``true`` is False for a
    forged event.

    Created by the `WebhookSender`, which sets its outcome; kept for tests to read.
    """

    task_id: str
    kind: str
    event: str
    true: bool = True
    status: int | None = None


@attrs.define(slots=True)
class WebhookSender:
    """Sends the due webhooks until cancelled.

    Created by the sandbox when it starts; only its own asyncio task changes it.
    """

    locked: LockedService
    verify: bool
    """Whether the receiver's certificate is checked."""

    deliveries: list[Delivery] = attrs.field(init=False, factory=list[Delivery])
    """All webhook events so far, oldest first."""

    async def run(self) -> None:
        """Check for ended tasks forever and post their webhooks."""
        service = self.locked.service
        async with (
            aiohttp.ClientSession(timeout=ATTEMPT_TIMEOUT) as session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                if service.running_webhook_task_count or service.due_webhooks:
                    for task in self._take_due_tasks():
                        for posting in self._plan_posts(session, task):
                            group.create_task(posting)
                await asyncio.sleep(POLL_INTERVAL)

    def _take_due_tasks(self) -> list[SimulatedTask]:
        with self.locked.updated_service() as service:
            due, service.due_webhooks = service.due_webhooks, []
            return due

    def _plan_posts(self, session: aiohttp.ClientSession, task: SimulatedTask) -> Iterator[Any]:
        """Yield the posts for one task, after applying the queued webhook faults."""
        kind = task.kind.name
        event = "task.failed" if task.failure else "task.completed"
        late, copies = 0.0, 1
        if self._take_fault("forge_webhook", kind) is not None:
            forged = Delivery(task_id=task.id, kind=kind, event=event, true=False)
            self.deliveries.append(forged)
            yield self._post_webhook(session, task, forged, 0.0)
        if fault := self._take_fault("slow_webhook", kind):
            late = fault["seconds"]
        if fault := self._take_fault("repeat_webhook", kind):
            copies = fault["copies"]
        dropped = self._take_fault("drop_webhook", kind) is not None
        for _ in range(copies):
            delivery = Delivery(task_id=task.id, kind=kind, event=event)
            self.deliveries.append(delivery)
            if not dropped:
                yield self._post_webhook(session, task, delivery, late)

    def _take_fault(self, name: str, kind: str) -> Any:
        fault = self.locked.faults.take(frozenset({name}), "webhook", kind)
        return None if fault is None else fault.values

    async def _post_webhook(
        self, session: aiohttp.ClientSession, task: SimulatedTask, delivery: Delivery, late: float
    ) -> None:
        await asyncio.sleep(late)
        with self.locked.updated_service() as service:
            record = service.render(task, self.locked.clock.now())
        headers = {"Content-Type": "application/json"}
        if token := task.body.get("webhook_token"):
            headers["X-A2e-Webhook-Token"] = token if delivery.true else _forge_token(token)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with session.post(
                task.body["webhook_url"],
                data=json_bytes({"event": delivery.event, "task_id": task.id, "data": record}),
                headers=headers,
                ssl=self.verify,
                allow_redirects=False,
            ) as response:
                delivery.status = response.status
                await response.release()


def _forge_token(token: str) -> str:
    """Return a wrong token that looks like this one."""
    return token[:-1] + ("B" if token[-1] == "A" else "A")
