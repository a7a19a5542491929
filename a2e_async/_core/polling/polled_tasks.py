"""State of the polled tasks, and the poll requests that are planned for them (pure)."""

import heapq
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async._core.tasks.kind import TaskKind
from a2e_async.errors import A2EError
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.tasks.waiter import Waiter

MIN_TASKS_FOR_LIST: Final = 8
"""Number of tasks of one kind from which one list page costs less than their detail requests."""


class PollMode(StrEnum):
    """The endpoint that a poll request uses."""

    BATCH = "batch_detail"
    PROCESSING = "list_processing"
    LIST = "list"
    DETAIL = "detail"


class MissOutcome(StrEnum):
    """What to do with a task that was missing from a poll response."""

    POLL_DETAIL = "alone"
    """Poll it by its own detail request at once: this response proves nothing yet."""
    POLL_AGAIN = "again"
    """Poll it again after the normal interval."""
    GIVE_UP = "give up"
    """The service does not know it: end its waits."""


@define(eq=False)
class RemoteFollower:
    """Another client that waits for this task, and what it was last sent.

    Created and changed by `LeaderPolling` alone; lives as long as that client waits.
    """

    wants_every_change: bool
    """It wants every change, not only status changes."""
    last_sent: Any = None


@define(eq=False)
class PolledTask:
    """A remote task that is polled. Times are seconds of the caller's clock.

    Created and changed by the `PollSchedule` alone; it lives until it is dropped from there.
    """

    kind: TaskKind[..., Any]
    id: str
    due_at: float
    last_success_at: float
    """When a poll last succeeded, or when polling began."""
    error_count: int = 0
    """Consecutive failed polls."""
    last_error: A2EError | None = None
    """The error of the last failed poll."""
    absent_count: int = 0
    """Consecutive shared responses (batch, list) that did not contain it."""
    not_found_count: int = 0
    """Consecutive responses which say that the service does not know it."""
    not_found_since: float = 0.0
    """When the first of these responses arrived."""
    result_deadline: float = float("inf")
    """Deadline for its result, once it was seen completed without one; else infinity."""
    needs_detail: bool = False
    """It is polled by its own detail request, not in a shared one."""
    in_flight: bool = False
    dropped: bool = False
    queue_entry: int = 0
    """Number of its newest queue entry; older entries are stale."""
    webhook_id: str | None = None
    """Identifies its start in webhook events; None if no event is expected."""
    hinted: bool = False
    """A webhook event or another client reported its end; not yet confirmed by a poll."""
    hinted_poll_at: float = float("-inf")
    """When a poll was last made early because of such a report."""
    poll_again_at: float = float("inf")
    """When to poll again after the request in flight, which may have been sent too early."""
    had_time_for_event: bool = False
    """Its first poll was late enough for an event to arrive before it."""

    last_record: Record | None = None
    """The record of the last response that contained one."""
    last_fingerprint: int | None = None
    """Identifies the content of that record: while a response repeats it, nothing is decoded."""

    delegated: bool = False
    """The leader polls it and reports changes."""
    waiters: "tuple[Waiter, ...]" = ()
    """Waiters in this client."""
    followers: dict[str, RemoteFollower] | None = None
    """Other clients for which this one polls it, by name."""

    @property
    def webhook_backed(self) -> bool:
        """Whether it is polled less often because a webhook event is expected."""
        return self.webhook_id is not None and not self.hinted


@define(eq=False)
class PollRequest:
    """A poll request to send now, and the tasks that it covers.

    Created by the `PollSchedule` for one poll, which the poller sends.
    """

    kind: TaskKind[..., Any]
    mode: PollMode
    polled_tasks: list[PolledTask]
    planned_at: float
    replaces: PollMode | None = None
    """The failing mode that this request is tried in place of."""
    confirms_absence: bool = False
    """It reads the lists to confirm that the service does not know a task."""
    interval: float | None = None
    """Seconds until its tasks are polled again, computed once for all of them."""


@define(eq=False)
class KindQueue:
    """All polled tasks of one kind, ordered by when they are due.

    Created and changed by the `PollSchedule` alone; lives as long as it does.
    """

    kind: TaskKind[..., Any]
    polled_tasks: dict[str, PolledTask] = field(factory=dict[str, PolledTask])
    heap: list[tuple[float, int, PolledTask]] = field(factory=list[tuple[float, int, PolledTask]])
    needs_detail_count: int = 0
    webhook_backed_count: int = 0
    delegated_count: int = 0
    retry_shared_at: float | None = None
    """When tasks that are polled by detail may be part of a shared request again."""
    last_entry: int = 0
    """Number of the newest heap entry."""
    disabled_until: dict[PollMode, float] = field(factory=dict[PollMode, float])
    """Modes that keep failing while another one works, and until when each is skipped."""
    disabled_seconds: dict[PollMode, float] = field(factory=dict[PollMode, float])
    """How long (s) each mode was last skipped; removed once it works again."""
    failed_replacements: list[PollMode] = field(factory=list[PollMode])
    """Modes that were tried in place of a failing one and failed as well."""
    last_worked_at: dict[PollMode, float] = field(factory=dict[PollMode, float])
    """When each mode last worked."""
    trial: tuple[PollMode, PollMode | None] | None = None
    """The mode to try next, and the failing mode that it may replace for the whole kind."""

    @property
    def mode(self) -> PollMode:
        """The cheapest working mode; tasks with ``needs_detail`` use the detail request instead."""
        return self.choose_mode(self.disabled_until) or self.choose_mode() or PollMode.DETAIL

    def choose_mode(self, excluded: Collection[PollMode] = ()) -> PollMode | None:
        """Return the cheapest mode that is not ``excluded``, None if none is left."""
        kind, shared = self.kind, len(self.polled_tasks) - self.needs_detail_count
        if kind.batch_detail is not None and PollMode.BATCH not in excluded:
            return PollMode.BATCH
        # Finished tasks leave the processing list, so that list alone can never show an end.
        has_detail = kind.poll_endpoint is not None and PollMode.DETAIL not in excluded
        has_processing = kind.processing_list is not None and PollMode.PROCESSING not in excluded
        if has_processing and (has_detail or kind.list is None) and (shared > 1 or not has_detail):
            return PollMode.PROCESSING
        has_list = kind.list is not None and PollMode.LIST not in excluded
        if has_list and (kind.poll_endpoint is None or shared >= MIN_TASKS_FOR_LIST):
            return PollMode.LIST
        # As a last resort: an unreliable detail endpoint, or the list for only a few tasks.
        if kind.detail is not None and PollMode.DETAIL not in excluded:
            return PollMode.DETAIL
        return PollMode.LIST if has_list else None

    @property
    def can_poll_detail(self) -> bool:
        """Whether a single task can be polled by its own detail request."""
        return self.kind.poll_endpoint is not None and PollMode.DETAIL not in self.disabled_until

    def requests_per_interval(self, webhook_factor: float) -> float:
        """Return the number of requests that it takes to poll all of them once.

        ``webhook_factor`` is how many intervals pass between two polls of a webhook-backed task.
        """
        # Delegated tasks are polled by the leader and cost this client nothing.
        count = len(self.polled_tasks) - self.delegated_count
        mode, shared = self.mode, max(0, count - self.needs_detail_count)
        if mode is PollMode.DETAIL:
            return count - self.webhook_backed_count + self.webhook_backed_count / webhook_factor
        if mode is PollMode.BATCH:
            calls = self.needs_detail_count + -(-shared // self.kind.max_batch_size)
        elif mode is PollMode.PROCESSING:
            calls = self.needs_detail_count + (1 if shared else 0)
        else:
            calls = self.needs_detail_count + -(-shared // self.kind.max_page_size)
        # A shared request is sent as often as its most frequently polled task requires.
        return calls / webhook_factor if self.webhook_backed_count == count else calls

    def push(self, polled: PolledTask) -> None:
        """Queue a task for its due time; its older heap entries become stale."""
        self.last_entry += 1
        polled.queue_entry = self.last_entry
        heapq.heappush(self.heap, (polled.due_at, self.last_entry, polled))

    def pop(self) -> PolledTask:
        """Remove and return the task that is due first, marked as in flight."""
        polled = heapq.heappop(self.heap)[2]
        polled.in_flight = True
        return polled

    def pop_all(self) -> list[PolledTask]:
        """Remove and return all queued tasks in the order of `pop`, marked as in flight."""
        self.heap.sort()
        queued = [entry[2] for entry in self.heap if _is_current_entry(entry)]
        for polled in queued:
            polled.in_flight = True
        self.heap.clear()
        return queued

    def first(self) -> PolledTask | None:
        """Return the task that is due first, None while all are in flight."""
        heap = self.heap
        while heap:
            _, entry, polled = heap[0]
            if polled.queue_entry == entry and not (polled.in_flight or polled.dropped):
                return polled
            heapq.heappop(heap)
        return None

    def drop_stale_entries(self) -> None:
        """Remove stale heap entries once they outnumber the others."""
        if len(self.heap) > 64 and len(self.heap) > 4 * len(self.polled_tasks):
            self.heap = [entry for entry in self.heap if _is_current_entry(entry)]
            heapq.heapify(self.heap)


def _is_current_entry(entry: tuple[float, int, PolledTask]) -> bool:
    polled = entry[2]
    return not polled.dropped and not polled.in_flight and polled.queue_entry == entry[1]
