"""The fair queue (pure): round-robin among tenants, and caps on unfinished tasks.

Each tenant has its own queue, and the tenants take turns with one start each, however many they
have queued. A start is admitted if its tenant has fewer than `MAX_ADMITTED_UNSENT` admitted but
unsent starts, and if neither the tenant's nor the client's cap would be exceeded. This module
only counts; `AdmissionControl` does the waiting and observes the end of tasks.
"""

from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import Final, Generic, Literal, TypeVar

from attrs import define, field

MAX_ADMITTED_UNSENT: Final = 4
"""Maximum number of admitted but unsent starts of one tenant.

These starts upload their files and wait for the rate limiter. A few are enough to keep the rate
limiter busy; each further one would delay the next start of all other tenants.
"""

MIN_WAIT_ESTIMATE: Final = 1.0
"""Minimum estimate of a waiting time (s)."""

OVERDUE_SHARE: Final = 0.1
"""Estimated remaining time of an overdue task, as a share of the typical duration."""

CapScope = Literal["caller", "client"]
"""The cap that is reached: the tenant's ("caller") or the client's."""


class StartStage(Enum):
    """How far a start has come."""

    WAITING = "waiting"
    ADMITTED = "in line"
    """It has a slot and has not been sent."""
    SENT = "sent"
    ENDED = "over"


@define(eq=False)
class QueuedStart:
    """One start. It needs ``task_count`` remote tasks under its tenant's ``max_unfinished``.

    Created for one start; its stage is changed by the `FairQueue` alone.
    """

    tenant: str | None
    task_count: int = 1
    max_unfinished: int | None = None
    stage: StartStage = StartStage.WAITING


T = TypeVar("T", bound=QueuedStart)


@define(eq=False)
class _TenantQueue(Generic[T]):
    """One tenant: its queue, its unfinished tasks, and its admitted but unsent starts.

    Created, changed and dropped by the `FairQueue` alone.
    """

    waiting: "OrderedDict[T, None]" = field(factory=lambda: OrderedDict[T, None]())
    unfinished: int = 0
    admitted: int = 0

    @property
    def head(self) -> T | None:
        return next(iter(self.waiting), None)


def _fits(unfinished: int, task_count: int, max_unfinished: int | None) -> bool:
    # A start with more tasks than the cap is admitted when nothing else runs: otherwise it would
    # wait forever.
    return max_unfinished is None or unfinished + task_count <= max_unfinished or not unfinished


class FairQueue(Generic[T]):
    """The queues of one client. ``max_unfinished`` limits its unfinished remote tasks.

    Methods that may make room return the starts that are admitted as a result.

    Owned by `AdmissionControl`, which is the only one to change it.
    """

    def __init__(self, max_unfinished: int | None = None) -> None:
        self.max_unfinished = max_unfinished
        self.total_unfinished = 0
        self.waiting_count = 0
        self._tenant_queues: dict[str | None, _TenantQueue[T]] = {}
        self._ready_tenants: OrderedDict[str | None, _TenantQueue[T]] = OrderedDict()
        """Tenants whose own limits admit their next start, in the order of their turns."""

    def __len__(self) -> int:
        return len(self._tenant_queues)

    def enqueue(self, start: T) -> bool:
        """Queue a start; return whether it is admitted at once."""
        queue = self._tenant_queues.setdefault(start.tenant, _TenantQueue())
        queue.waiting[start] = None
        self.waiting_count += 1
        # No other start can be admitted by this: joining the queue makes no room.
        return start in self._update(start.tenant, queue)

    def add_running(self, start: T) -> Sequence[T]:
        """Count a start that is already running, even beyond the caps."""
        queue = self._tenant_queues.setdefault(start.tenant, _TenantQueue())
        start.stage = StartStage.SENT
        self._add_unfinished(queue, start.task_count)
        return self._update(start.tenant, queue)

    def mark_sent(self, start: T) -> Sequence[T]:
        """Note that an admitted start has been sent."""
        if start.stage is not StartStage.ADMITTED:
            return ()
        start.stage = StartStage.SENT
        queue = self._tenant_queues[start.tenant]
        queue.admitted -= 1
        return self._update(start.tenant, queue)

    def set_task_count(self, start: T, task_count: int) -> Sequence[T]:
        """Set how many of the start's remote tasks are unfinished."""
        queue = self._tenant_queues[start.tenant]
        self._add_unfinished(queue, task_count - start.task_count)
        start.task_count = task_count
        return self._update(start.tenant, queue)

    def remove(self, start: T) -> Sequence[T]:
        """Remove a start that was given up or whose tasks have ended. Idempotent."""
        if start.stage is StartStage.ENDED:
            return ()
        queue = self._tenant_queues[start.tenant]
        if start.stage is StartStage.WAITING:
            del queue.waiting[start]
            self.waiting_count -= 1
        else:
            queue.admitted -= start.stage is StartStage.ADMITTED
            self._add_unfinished(queue, -start.task_count)
        start.stage = StartStage.ENDED
        return self._update(start.tenant, queue)

    # -- queries ---------------------------------------------------------------------------

    def unfinished_of(self, tenant: str | None) -> int:
        """Return how many unfinished remote tasks a tenant has."""
        queue = self._tenant_queues.get(tenant)
        return queue.unfinished if queue else 0

    def blocking_cap(self, start: T) -> CapScope | None:
        """Return the cap that blocks a waiting start; None if it only waits for its turn."""
        queue = self._tenant_queues[start.tenant]
        before = self._tasks_ahead(queue, start)
        if not _fits(queue.unfinished + before, start.task_count, start.max_unfinished):
            return "caller"
        # A ready tenant whose start is not admitted is blocked by the client's cap, and so are
        # all tenants behind it.
        if self._ready_tenants or not _fits(
            self.total_unfinished + before, start.task_count, self.max_unfinished
        ):
            return "client"
        return None

    def blocked_tenants(self) -> "tuple[bool, set[str | None]]":
        """Return whether the client's cap blocks a start, and the tenants their own cap blocks."""
        own = {
            name
            for name, queue in self._tenant_queues.items()
            if (head := queue.head)
            and not _fits(queue.unfinished, head.task_count, head.max_unfinished)
        }
        return bool(self._ready_tenants), own

    def count_ahead(self, start: T, scope: CapScope) -> int:
        """Return how many waiting starts will be admitted before this one, by round-robin."""
        queue = self._tenant_queues[start.tenant]
        own_position = list(queue.waiting).index(start)
        if scope == "caller":
            return own_position
        others = (
            len(other.waiting) for other in self._ready_tenants.values() if other is not queue
        )
        return own_position + sum(min(queued, own_position + 1) for queued in others)

    # -- inside ----------------------------------------------------------------------------

    def _tasks_ahead(self, queue: _TenantQueue[T], start: T) -> int:
        count = 0
        for other in queue.waiting:
            if other is start:
                break
            count += other.task_count
        return count

    def _add_unfinished(self, queue: _TenantQueue[T], change: int) -> None:
        queue.unfinished += change
        self.total_unfinished += change

    def _update(self, name: str | None, queue: _TenantQueue[T]) -> Sequence[T]:
        """Update whether a tenant is ready, then admit all starts for which there is room."""
        self._update_readiness(name, queue)
        return self._admit_ready()

    def _update_readiness(self, name: str | None, queue: _TenantQueue[T]) -> None:
        head = queue.head
        if (
            head is not None
            and queue.admitted < MAX_ADMITTED_UNSENT
            and _fits(queue.unfinished, head.task_count, head.max_unfinished)
        ):
            self._ready_tenants.setdefault(name, queue)  # keeps its position if it is ready already
            return
        self._ready_tenants.pop(name, None)
        if head is None and not queue.unfinished and not queue.admitted:
            self._tenant_queues.pop(name, None)

    def _admit_ready(self) -> Sequence[T]:
        admitted: list[T] = []
        while self._ready_tenants:
            name, queue = next(iter(self._ready_tenants.items()))
            start = queue.head
            # Stop here even if a later start would fit: otherwise small starts could overtake
            # one with many tasks forever.
            if start is None or not _fits(
                self.total_unfinished, start.task_count, self.max_unfinished
            ):
                break
            del queue.waiting[start]
            self.waiting_count -= 1
            start.stage = StartStage.ADMITTED
            queue.admitted += 1
            self._add_unfinished(queue, start.task_count)
            del self._ready_tenants[name]
            self._update_readiness(name, queue)
            admitted.append(start)
        return admitted


def estimate_wait(needed: int, remaining_times: Sequence[float], typical_duration: float) -> float:
    """Estimate the seconds until ``needed`` slots will be free.

    ``remaining_times`` (s) are those of the tasks in slots; ``typical_duration`` (s) is how long
    the next tasks will occupy theirs.
    """
    if not remaining_times:
        return MIN_WAIT_ESTIMATE
    rounds, index = divmod(max(1, needed) - 1, len(remaining_times))
    return max(MIN_WAIT_ESTIMATE, sorted(remaining_times)[index] + rounds * typical_duration)


def remaining_time(age: float, typical_duration: float) -> float:
    """Estimate the remaining seconds of a task of this age (s)."""
    return max(typical_duration - age, typical_duration * OVERDUE_SHARE)
