"""Admission control: starts wait here for a slot, and their tasks occupy it until they end.

A slot is occupied from the admission of a start until its tasks are known to have ended. No
caller may be waiting for these tasks. So while a start waits for a slot, the client itself polls
the tasks in slots that the start could use; the poller combines this with all other polling.
"""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.http.loop_affinity import closed_before_sent_error
from a2e_async._core.submission.attempt import Slot, StartAttempt
from a2e_async._core.submission.fair_queue import (
    CapScope,
    FairQueue,
    estimate_wait,
    remaining_time,
)
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task, TaskServices
from a2e_async._core.tasks.tenant import Tenant
from a2e_async.errors import TooBusy

if TYPE_CHECKING:
    from a2e_async._core.polling.poller import Poller

DEFAULT_TASK_DURATION: Final = 60.0
"""Assumed duration (s) of a task if nothing is known about its kind."""

NEWEST_TASK_WEIGHT: Final = 0.3
"""Weight of the newest task in the moving average of its kind's duration."""

REFUSAL_POLL_INTERVALS: Final = 1.5
"""Polling intervals during which the client keeps polling after `TooBusy`.

So the caller's next try sees the current number of unfinished tasks.
"""


class AdmissionControl:
    """The slots of one client. ``max_unfinished`` limits its unfinished remote tasks.

    Created and closed by the client's `StartRegistry`; changed by starts and ends of tasks, on the
    client's event loop only.
    """

    def __init__(
        self, poller: "Poller", services: TaskServices, max_unfinished: int | None
    ) -> None:
        self.enabled: bool = max_unfinished is not None
        """Whether starts need a slot: there is a cap, or there are tenants."""
        self._services = services
        self._poller = poller
        self._fair_queue: FairQueue[Slot] = FairQueue(max_unfinished)
        self._waiting_slots: set[Slot] = set()
        self._occupied_slots: set[Slot] = set()
        self._slot_by_task: dict[tuple[str, str], Slot] = {}
        self._polled_slots: set[Slot] = set()
        self._recently_refused: set[str | None] = set()
        """Tenants with a recent `TooBusy`; None stands for the client's own cap."""
        self._refusal_timer: asyncio.TimerHandle | None = None
        self._polling_update: asyncio.Handle | None = None
        self._typical_durations: dict[str, float] = {}
        self._closed = False
        self._poller.waiters.on_task_ended = self.task_ended

    def enable(self) -> None:
        """Let starts wait for slots: from now on there is at least one tenant."""
        self.enabled = True

    # -- steps of a start ----------------------------------------------------------------------

    @property
    def queued_count(self) -> int:
        """How many starts wait for a slot."""
        return self._fair_queue.waiting_count

    @property
    def unfinished_count(self) -> int:
        """How many remote tasks and admitted starts count towards a cap."""
        return self._fair_queue.total_unfinished

    async def acquire(self, attempt: StartAttempt) -> None:
        """Wait for a slot. Raises `TooBusy` after the tenant's ``max_wait``."""
        if attempt.slot is not None:
            return  # a second submission keeps the slot of the first
        if self._closed:
            raise closed_before_sent_error("start")
        tenant = attempt.spec.services.tenant
        task_count = attempt.spec.task_count
        attempt.slot = slot = self._new_slot(tenant, attempt.spec.kind, task_count)
        if self._fair_queue.enqueue(slot):
            return
        try:
            await self._wait_for_slot(slot, tenant.max_wait if tenant else None)
        except BaseException:
            self.release(attempt)
            raise

    def mark_sent(self, attempt: StartAttempt) -> None:
        """Note that the start is being sent."""
        if attempt.slot is None:
            return
        self._admit(self._fair_queue.mark_sent(attempt.slot))
        if not attempt.slot.counts_toward_cap:
            # Without a cap the slot only served the order of the starts.
            self.release(attempt)

    def occupy(self, attempt: StartAttempt, task: Task[Any], missing_count: int = 0) -> None:
        """Pass the start's slot on to its tasks, which occupy it until they end.

        The slot also counts ``missing_count`` tasks that the response left out, until
        `release_missing`.
        """
        slot, attempt.slot = attempt.slot, None
        if slot is None:
            self.occupy_by_existing(attempt.spec.services.tenant, task)
            return
        if slot.counts_toward_cap and task.kind.pollable and missing_count:
            slot.missing_count = missing_count
            attempt.slot_of_missing = slot
        if self._occupy(slot, task) or slot.missing_count:
            self._occupied_slots.add(slot)
            self._update_task_count(slot)
        else:
            self._release_slot(slot)

    def release_missing(self, attempt: StartAttempt, count: int | None = None) -> None:
        """Stop counting missing tasks of a start: ``count`` of them were found, or all are settled.

        Found tasks occupy a slot of their own.
        """
        slot = attempt.slot_of_missing
        if slot is None:
            return
        slot.missing_count = 0 if count is None else max(0, slot.missing_count - count)
        if not slot.missing_count:
            attempt.slot_of_missing = None
        self._update_task_count(slot)

    def occupy_by_existing(self, tenant: Tenant | None, task: Task[Any]) -> None:
        """Count a task that was started earlier; it needs no admission."""
        if self._fair_queue.max_unfinished is None and (
            tenant is None or tenant.max_unfinished is None
        ):
            return
        slot = self._new_slot(tenant, task.kind, 0)
        if self._occupy(slot, task):
            slot.task_count = len(slot.unfinished_ids)
            self._admit(self._fair_queue.add_running(slot))

    def release(self, attempt: StartAttempt) -> None:
        """Free a start's slot: it was not accepted, or its outcome will remain unknown."""
        slot, attempt.slot = attempt.slot, None
        if slot is not None:
            self._release_slot(slot)

    def task_ended(self, kind: TaskKind[..., Any], id: str, *, end_was_observed: bool) -> None:
        """Free the slot of a remote task that ended, disappeared or cannot be polled any more.

        Only an end that was observed tells how long tasks of the kind take.
        """
        slot = self._slot_by_task.pop((kind.name, id), None)
        if slot is None:
            return
        slot.unfinished_ids.discard(id)
        if end_was_observed:
            self._update_typical_duration(slot)
        self._update_task_count(slot)

    def close(self) -> None:
        """Fail every waiting start with `ClientClosed`; none of them was sent."""
        self._closed = True
        for slot in self._waiting_slots:
            if slot.granted is not None and not slot.granted.done():
                slot.granted.set_exception(closed_before_sent_error("start"))
        for timer in (self._refusal_timer, self._polling_update):
            if timer is not None:
                timer.cancel()

    # -- waiting for a slot --------------------------------------------------------------------

    def _new_slot(self, tenant: Tenant | None, kind: TaskKind[..., Any], task_count: int) -> Slot:
        if tenant is None:
            return Slot(
                tenant=None,
                task_count=task_count,
                kind=kind,
                counts_toward_cap=self._fair_queue.max_unfinished is not None,
            )
        max_unfinished = tenant.max_unfinished
        counted = max_unfinished is not None or self._fair_queue.max_unfinished is not None
        return Slot(
            tenant=tenant.name,
            task_count=task_count,
            max_unfinished=max_unfinished,
            kind=kind,
            counts_toward_cap=counted,
        )

    async def _wait_for_slot(self, slot: Slot, max_wait: float | None) -> None:
        # With max_wait=0 a start still waits for its turn (below), but not for a cap.
        if max_wait == 0 and (scope := self._fair_queue.blocking_cap(slot)) is not None:
            raise self._too_busy_error(slot, scope)
        loop = asyncio.get_running_loop()
        granted = slot.granted = loop.create_future()
        timer: asyncio.TimerHandle | None = None

        def on_timeout() -> None:
            nonlocal timer
            if granted.done():
                return
            scope = self._fair_queue.blocking_cap(slot)
            if scope is not None:
                granted.set_exception(self._too_busy_error(slot, scope))
            else:  # no cap blocks it, only the rate limiter: its turn will come
                timer = loop.call_later(self._poller.interval(), on_timeout)

        if max_wait is not None:
            timer = loop.call_later(max_wait or self._poller.interval(), on_timeout)
        self._waiting_slots.add(slot)
        self._schedule_polling_update()
        try:
            await granted
        finally:
            self._waiting_slots.discard(slot)
            if timer is not None:
                timer.cancel()

    def _too_busy_error(self, slot: Slot, scope: CapScope) -> TooBusy:
        ahead = self._fair_queue.count_ahead(slot, scope)
        own_cap = scope == "caller"
        unfinished = (
            self._fair_queue.unfinished_of(slot.tenant)
            if own_cap
            else self._fair_queue.total_unfinished
        )
        max_unfinished = slot.max_unfinished if own_cap else self._fair_queue.max_unfinished
        assert max_unfinished is not None  # noqa: S101  # without a cap nothing is blocked
        now = asyncio.get_running_loop().time()
        remaining = [
            remaining_time(now - occupied.held_since, self._typical_duration(occupied.kind))
            for occupied in self._occupied_slots
            if not own_cap or occupied.tenant == slot.tenant
            for _ in occupied.unfinished_ids
        ]
        seconds = estimate_wait(
            unfinished + ahead + slot.task_count - max_unfinished,
            remaining,
            self._typical_duration(slot.kind),
        )
        self._poll_after_refusal(slot.tenant if own_cap else None)
        waiting = f", and {ahead} starts are queued before this one" if ahead else ""
        return TooBusy(
            f"{'This caller' if own_cap else 'The client'} has {unfinished} of at most "
            f"{max_unfinished} unfinished tasks{waiting}. Nothing was sent. Try again in about "
            f"{math.ceil(seconds)} s (error.retry_after).",
            retry_after=seconds,
            unfinished=unfinished,
            max_unfinished=max_unfinished,
            ahead=ahead,
            scope=scope,
        )

    # -- occupying slots -----------------------------------------------------------------------

    def _occupy(self, slot: Slot, task: Task[Any]) -> bool:
        """Let a task's unfinished parts occupy a slot; return whether there are any."""
        kind = task.kind
        fresh = {id for id in task._unfinished_ids if (kind.name, id) not in self._slot_by_task}
        # A task that cannot be polled would occupy its slot forever.
        if not slot.counts_toward_cap or not kind.pollable or not fresh:
            return False
        slot.unfinished_ids = fresh
        slot.held_since = asyncio.get_running_loop().time()
        self._slot_by_task.update(((kind.name, id), slot) for id in fresh)
        self._occupied_slots.add(slot)
        return True

    def _update_task_count(self, slot: Slot) -> None:
        """Update how many tasks occupy a slot; release it once there are none."""
        if count := len(slot.unfinished_ids) + slot.missing_count:
            self._admit(self._fair_queue.set_task_count(slot, count))
        else:
            self._release_slot(slot)

    def _release_slot(self, slot: Slot) -> None:
        self._occupied_slots.discard(slot)
        for id in slot.unfinished_ids:
            self._slot_by_task.pop((slot.kind.name, id), None)
        self._stop_polling(slot)
        self._admit(self._fair_queue.remove(slot))

    def _admit(self, admitted: Sequence[Slot]) -> None:
        for slot in admitted:
            # A start that was cancelled meanwhile frees the slot itself.
            if slot.granted is not None and not slot.granted.done():
                slot.granted.set_result(None)
        self._schedule_polling_update()

    def _update_typical_duration(self, slot: Slot) -> None:
        duration = asyncio.get_running_loop().time() - slot.held_since
        kind = slot.kind
        if kind.typical_duration is not None:
            duration = min(
                duration, kind.typical_duration[1]
            )  # the end may have been observed much later
        average = self._typical_durations.get(kind.name, duration)
        self._typical_durations[kind.name] = average + NEWEST_TASK_WEIGHT * (duration - average)

    def _typical_duration(self, kind: TaskKind[..., Any]) -> float:
        """Return how long a task of this kind typically takes (s)."""
        usual = (
            sum(kind.typical_duration) / 2
            if kind.typical_duration is not None
            else DEFAULT_TASK_DURATION
        )
        return self._typical_durations.get(kind.name, usual)

    # -- polling the tasks in slots ------------------------------------------------------------

    def _poll_after_refusal(self, tenant: str | None) -> None:
        """Keep polling for a while, so that a retry does not count tasks that have ended."""
        self._recently_refused.add(tenant)
        if self._refusal_timer is None:
            loop = asyncio.get_running_loop()
            seconds = REFUSAL_POLL_INTERVALS * self._poller.interval()
            self._refusal_timer = loop.call_later(seconds, self._forget_refusals)
        self._schedule_polling_update()

    def _forget_refusals(self) -> None:
        self._refusal_timer = None
        self._recently_refused.clear()
        self._schedule_polling_update()

    def _schedule_polling_update(self) -> None:
        """Schedule `_update_polling`, if a start waits or was refused, or a slot is polled."""
        needless = not (self._waiting_slots or self._recently_refused or self._polled_slots)
        if self._polling_update is None and not needless and not self._closed:
            # Deferred, so that many changes in one iteration of the loop cause one update.
            self._polling_update = asyncio.get_running_loop().call_soon(self._update_polling)

    def _update_polling(self) -> None:
        self._polling_update = None
        # Poll only tasks whose end can admit a waiting start: each poll costs a request.
        all_tenants, tenants = self._fair_queue.blocked_tenants()
        all_tenants = all_tenants or None in self._recently_refused
        tenants |= self._recently_refused
        wanted = {
            occupied
            for occupied in self._occupied_slots
            if occupied.unfinished_ids and (all_tenants or occupied.tenant in tenants)
        }
        for slot in self._polled_slots - wanted:
            self._stop_polling(slot)
        for slot in wanted - self._polled_slots:
            self._polled_slots.add(slot)
            if slot.task_handle is None:
                slot.task_handle = Task(self._services, slot.kind, tuple(slot.unfinished_ids))
            slot.stop_polling = self._poller.poll_in_background(slot.task_handle)

    def _stop_polling(self, slot: Slot) -> None:
        self._polled_slots.discard(slot)
        if slot.stop_polling is not None:
            slot.stop_polling()
            slot.stop_polling = None
