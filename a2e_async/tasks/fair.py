"""The fair queue (pure): round-robin among tenants, and caps on unfinished tasks.

Each tenant has its own queue, and the tenants take turns with one start each, however many they
have queued. A start is admitted if its tenant has fewer than `MAX_ADMITTED_UNSENT` admitted but
unsent starts, and if neither the tenant's nor the client's cap would be exceeded. This module
only counts; `AdmissionControl` does the waiting and observes the end of tasks.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar

from attrs import define, field, frozen

from a2e_async.errors import InvalidInput

IN_LINE: Final = 4
"""Maximum number of admitted but unsent starts of one tenant.

These starts upload their files and wait for the rate limiter. A few are enough to keep the rate
limiter busy; each further one would delay the next start of all other tenants.
"""

AT_LEAST: Final = 1.0
"""Minimum estimate of a waiting time (s)."""

OVERDUE: Final = 0.1
"""Estimated remaining time of an overdue task, as a share of the typical duration."""

Scope = Literal["caller", "client"]
"""The cap that is reached: the tenant's ("caller") or the client's."""


@frozen
class Caller:
    """The owner of some starts. ``max_wait`` limits how long a start waits for its slot (s)."""

    name: str
    max_unfinished: int | None = None
    max_wait: float | None = None


def check_caller(name: Any, max_unfinished: Any, max_wait: Any) -> Caller:
    """Return a tenant with these options. Raises `InvalidInput`."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(
            f"caller must be a non-empty str, such as str(user.id), not {type(name).__name__}.",
            field="caller",
        )
    whole = isinstance(max_unfinished, int) and not isinstance(max_unfinished, bool)
    if max_unfinished is not None and not (whole and max_unfinished > 0):
        raise InvalidInput(
            f"max_unfinished must be an integer of at least 1, got {max_unfinished!r:.60}.",
            field="max_unfinished",
        )
    number = isinstance(max_wait, int | float) and not isinstance(max_wait, bool)
    if max_wait is not None and not (number and 0 <= max_wait < math.inf):
        raise InvalidInput(
            f"max_wait must be a number of seconds, 0 or more, got {max_wait!r:.60}.",
            field="max_wait",
        )
    return Caller(name, max_unfinished, max_wait)


class Stage(Enum):
    """How far a start has come."""

    WAITING = "waiting"
    IN_LINE = "in line"
    """It has a slot and has not been sent."""
    SENT = "sent"
    OVER = "over"


@define(eq=False)
class Ticket:
    """One start. It needs ``task_count`` remote tasks under its tenant's ``max_unfinished``."""

    caller: str | None
    cost: int = 1
    most: int | None = None
    stage: Stage = Stage.WAITING


T = TypeVar("T", bound=Ticket)


@define(eq=False)
class _Lane(Generic[T]):
    """One tenant: its queue, its unfinished tasks, and its admitted but unsent starts."""

    queue: "OrderedDict[T, None]" = field(factory=lambda: OrderedDict[T, None]())
    used: int = 0
    line: int = 0

    @property
    def head(self) -> T | None:
        return next(iter(self.queue), None)


def _fits(used: int, cost: int, most: int | None) -> bool:
    # A start with more tasks than the cap is admitted when nothing else runs: otherwise it would
    # wait forever.
    return most is None or used + cost <= most or not used


class FairQueue(Generic[T]):
    """The queues of one client. ``max_unfinished`` limits its unfinished remote tasks.

    Methods that may make room return the starts that are admitted as a result.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.used = 0
        self.waiting = 0
        self._lanes: dict[str | None, _Lane[T]] = {}
        self._turns: OrderedDict[str | None, _Lane[T]] = OrderedDict()
        """Tenants whose own limits admit their next start, in the order of their turns."""

    def __len__(self) -> int:
        return len(self._lanes)

    def join(self, ticket: T) -> bool:
        """Queue a start; return whether it is admitted at once."""
        queue = self._lanes.setdefault(ticket.caller, _Lane())
        queue.queue[ticket] = None
        self.waiting += 1
        # No other start can be admitted by this: joining the queue makes no room.
        return ticket in self._see(ticket.caller, queue)

    def add(self, ticket: T) -> Sequence[T]:
        """Count a start that is already running, even beyond the caps."""
        queue = self._lanes.setdefault(ticket.caller, _Lane())
        ticket.stage = Stage.SENT
        self._count(queue, ticket.cost)
        return self._see(ticket.caller, queue)

    def sent(self, ticket: T) -> Sequence[T]:
        """Note that an admitted start has been sent."""
        if ticket.stage is not Stage.IN_LINE:
            return ()
        ticket.stage = Stage.SENT
        queue = self._lanes[ticket.caller]
        queue.line -= 1
        return self._see(ticket.caller, queue)

    def resize(self, ticket: T, cost: int) -> Sequence[T]:
        """Set how many of the start's remote tasks are unfinished."""
        queue = self._lanes[ticket.caller]
        self._count(queue, cost - ticket.cost)
        ticket.cost = cost
        return self._see(ticket.caller, queue)

    def leave(self, ticket: T) -> Sequence[T]:
        """Remove a start that was given up or whose tasks have ended. Idempotent."""
        if ticket.stage is Stage.OVER:
            return ()
        queue = self._lanes[ticket.caller]
        if ticket.stage is Stage.WAITING:
            del queue.queue[ticket]
            self.waiting -= 1
        else:
            queue.line -= ticket.stage is Stage.IN_LINE
            self._count(queue, -ticket.cost)
        ticket.stage = Stage.OVER
        return self._see(ticket.caller, queue)

    # -- queries ---------------------------------------------------------------------------

    def unfinished(self, caller: str | None) -> int:
        """Return how many unfinished remote tasks a tenant has."""
        queue = self._lanes.get(caller)
        return queue.used if queue else 0

    def blocked(self, ticket: T) -> Scope | None:
        """Return the cap that blocks a waiting start; None if it only waits for its turn."""
        queue = self._lanes[ticket.caller]
        before = self._before(queue, ticket)
        if not _fits(queue.used + before, ticket.cost, ticket.most):
            return "caller"
        # A ready tenant whose start is not admitted is blocked by the client's cap, and so are
        # all tenants behind it.
        if self._turns or not _fits(self.used + before, ticket.cost, self.most):
            return "client"
        return None

    def kept(self) -> "tuple[bool, set[str | None]]":
        """Return whether the client's cap blocks a start, and the tenants their own cap blocks."""
        own = {
            name
            for name, queue in self._lanes.items()
            if (head := queue.head) and not _fits(queue.used, head.cost, head.most)
        }
        return bool(self._turns), own

    def ahead(self, ticket: T, scope: Scope) -> int:
        """Return how many waiting starts will be admitted before this one, by round-robin."""
        queue = self._lanes[ticket.caller]
        own_position = list(queue.queue).index(ticket)
        if scope == "caller":
            return own_position
        others = (len(other.queue) for other in self._turns.values() if other is not queue)
        return own_position + sum(min(queued, own_position + 1) for queued in others)

    # -- inside ----------------------------------------------------------------------------

    def _before(self, lane: _Lane[T], ticket: T) -> int:
        count = 0
        for other in lane.queue:
            if other is ticket:
                break
            count += other.cost
        return count

    def _count(self, lane: _Lane[T], more: int) -> None:
        lane.used += more
        self.used += more

    def _see(self, name: str | None, lane: _Lane[T]) -> Sequence[T]:
        """Update whether a tenant is ready, then admit all starts for which there is room."""
        self._place(name, lane)
        return self._pump()

    def _place(self, name: str | None, lane: _Lane[T]) -> None:
        head = lane.head
        if head is not None and lane.line < IN_LINE and _fits(lane.used, head.cost, head.most):
            self._turns.setdefault(name, lane)  # keeps its position if it is ready already
            return
        self._turns.pop(name, None)
        if head is None and not lane.used and not lane.line:
            self._lanes.pop(name, None)

    def _pump(self) -> Sequence[T]:
        admitted: list[T] = []
        while self._turns:
            name, queue = next(iter(self._turns.items()))
            start = queue.head
            # Stop here even if a later start would fit: otherwise small starts could overtake
            # one with many tasks forever.
            if start is None or not _fits(self.used, start.cost, self.most):
                break
            del queue.queue[start]
            self.waiting -= 1
            start.stage = Stage.IN_LINE
            queue.line += 1
            self._count(queue, start.cost)
            del self._turns[name]
            self._place(name, queue)
            admitted.append(start)
        return admitted


def room_in(needed: int, left: Sequence[float], usual: float) -> float:
    """Estimate the seconds until ``needed`` slots will be free.

    ``remaining_times`` (s) are those of the tasks in slots; ``typical_duration`` (s) is how long
    the next tasks will occupy theirs.
    """
    if not left:
        return AT_LEAST
    rounds, index = divmod(max(1, needed) - 1, len(left))
    return max(AT_LEAST, sorted(left)[index] + rounds * usual)


def left_of(age: float, usual: float) -> float:
    """Estimate the remaining seconds of a task of this age (s)."""
    return max(usual - age, usual * OVERDUE)
