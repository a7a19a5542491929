"""Whose start goes next (pure): fair turns among callers, and caps on unfinished tasks.

Each caller has a queue of its own, and the callers take turns: one start each, whoever asked for
how many. A start may go when its caller has fewer than `IN_LINE` starts on their way to the
service, and when neither its caller nor the client would pass its cap. All of it is about numbers:
who waits, and how the end of a task is seen, is the business of `places`.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeVar

from attrs import define, field, frozen

from a2e_async.errors import InvalidInput

IN_LINE: Final = 4
"""Starts of one caller that may be on their way to the service and not yet sent.

They stand in the client's pace and upload their files; what is behind them is another caller's
turn. A few keep the pace busy; each more would be one start more before everybody else's next.
"""

AT_LEAST: Final = 1.0
"""Seconds that an estimate says at least."""

OVERDUE: Final = 0.1
"""What is left of a task that has run longer than usual, as a share of the usual time."""

Scope = Literal["caller", "client"]
"""Whose cap is reached."""


@frozen
class Caller:
    """Whose starts these are. ``max_wait`` in seconds bounds how long one waits for its place."""

    name: str
    max_unfinished: int | None = None
    max_wait: float | None = None


def check_caller(name: Any, max_unfinished: Any, max_wait: Any) -> Caller:
    """Return a caller as it was named. Raises `InvalidInput`."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(
            f"caller must be a text, such as str(user.id), not {type(name).__name__}.",
            field="caller",
        )
    whole = isinstance(max_unfinished, int) and not isinstance(max_unfinished, bool)
    if max_unfinished is not None and not (whole and max_unfinished > 0):
        raise InvalidInput(
            f"max_unfinished must be a whole number above 0, got {max_unfinished!r:.60}.",
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
    """Where a start stands."""

    WAITING = "waiting"
    IN_LINE = "in line"
    """Its turn has come; its bytes have not left."""
    SENT = "sent"
    OVER = "over"


@define(eq=False)
class Ticket:
    """One start and what it takes: ``cost`` remote tasks, under its caller's cap ``most``."""

    caller: str | None
    cost: int = 1
    most: int | None = None
    stage: Stage = Stage.WAITING


T = TypeVar("T", bound=Ticket)


@define(eq=False)
class _Lane(Generic[T]):
    """One caller: who waits, how many tasks are unfinished, how many starts are in line."""

    queue: "OrderedDict[T, None]" = field(factory=lambda: OrderedDict[T, None]())
    used: int = 0
    line: int = 0

    @property
    def head(self) -> T | None:
        return next(iter(self.queue), None)


def _fits(used: int, cost: int, most: int | None) -> bool:
    # What takes more than the cap by itself goes alone: else it would wait for ever.
    return most is None or used + cost <= most or not used


class FairQueue(Generic[T]):
    """The state of all turns of one client. ``most``: its cap on unfinished remote tasks.

    The methods that may make room return the tickets whose turn has come by it.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.used = 0
        self.waiting = 0
        self._lanes: dict[str | None, _Lane[T]] = {}
        self._turns: OrderedDict[str | None, _Lane[T]] = OrderedDict()
        """Callers whose own limits let their next start go, in the order of their turns."""

    def __len__(self) -> int:
        return len(self._lanes)

    def join(self, ticket: T) -> bool:
        """Queue a start up; tell whether its turn is now."""
        lane = self._lanes.setdefault(ticket.caller, _Lane())
        lane.queue[ticket] = None
        self.waiting += 1
        # Nobody else's can have come by it: it takes and makes no room.
        return ticket in self._see(ticket.caller, lane)

    def add(self, ticket: T) -> Sequence[T]:
        """Count a start that is under way already, whatever the caps."""
        lane = self._lanes.setdefault(ticket.caller, _Lane())
        ticket.stage = Stage.SENT
        self._count(lane, ticket.cost)
        return self._see(ticket.caller, lane)

    def sent(self, ticket: T) -> Sequence[T]:
        """The start's bytes have left: it is in line no longer."""
        if ticket.stage is not Stage.IN_LINE:
            return ()
        ticket.stage = Stage.SENT
        lane = self._lanes[ticket.caller]
        lane.line -= 1
        return self._see(ticket.caller, lane)

    def resize(self, ticket: T, cost: int) -> Sequence[T]:
        """So many of the start's remote tasks are unfinished now."""
        lane = self._lanes[ticket.caller]
        self._count(lane, cost - ticket.cost)
        ticket.cost = cost
        return self._see(ticket.caller, lane)

    def leave(self, ticket: T) -> Sequence[T]:
        """The start was given up, or all it has made is finished. Leaving twice is harmless."""
        if ticket.stage is Stage.OVER:
            return ()
        lane = self._lanes[ticket.caller]
        if ticket.stage is Stage.WAITING:
            del lane.queue[ticket]
            self.waiting -= 1
        else:
            lane.line -= ticket.stage is Stage.IN_LINE
            self._count(lane, -ticket.cost)
        ticket.stage = Stage.OVER
        return self._see(ticket.caller, lane)

    # -- what is told of it ----------------------------------------------------------------

    def unfinished(self, caller: str | None) -> int:
        """Return how many remote tasks of a caller count."""
        lane = self._lanes.get(caller)
        return lane.used if lane else 0

    def blocked(self, ticket: T) -> Scope | None:
        """Return whose cap keeps a waiting start; None when only its turn has not come."""
        lane = self._lanes[ticket.caller]
        before = self._before(lane, ticket)
        if not _fits(lane.used + before, ticket.cost, ticket.most):
            return "caller"
        # Whoever has a turn and does not go is kept by the client's cap, and all behind it.
        if self._turns or not _fits(self.used + before, ticket.cost, self.most):
            return "client"
        return None

    def kept(self) -> "tuple[bool, set[str | None]]":
        """Return whether the client's cap keeps anybody, and the callers kept by their own."""
        own = {
            name
            for name, lane in self._lanes.items()
            if (head := lane.head) and not _fits(lane.used, head.cost, head.most)
        }
        return bool(self._turns), own

    def ahead(self, ticket: T, scope: Scope) -> int:
        """Return how many waiting starts go before this one, where the others keep their turns."""
        lane = self._lanes[ticket.caller]
        own = list(lane.queue).index(ticket)
        if scope == "caller":
            return own
        others = (len(other.queue) for other in self._turns.values() if other is not lane)
        return own + sum(min(waiting, own + 1) for waiting in others)

    # -- inside ----------------------------------------------------------------------------

    def _before(self, lane: _Lane[T], ticket: T) -> int:
        cost = 0
        for other in lane.queue:
            if other is ticket:
                break
            cost += other.cost
        return cost

    def _count(self, lane: _Lane[T], more: int) -> None:
        lane.used += more
        self.used += more

    def _see(self, name: str | None, lane: _Lane[T]) -> Sequence[T]:
        """Give a caller its turn, or take it, as things stand now; then let go who can."""
        self._place(name, lane)
        return self._pump()

    def _place(self, name: str | None, lane: _Lane[T]) -> None:
        head = lane.head
        if head is not None and lane.line < IN_LINE and _fits(lane.used, head.cost, head.most):
            self._turns.setdefault(name, lane)  # at the end, unless it stands there already
            return
        self._turns.pop(name, None)
        if head is None and not lane.used and not lane.line:
            self._lanes.pop(name, None)

    def _pump(self) -> Sequence[T]:
        going: list[T] = []
        while self._turns:
            name, lane = next(iter(self._turns.items()))
            ticket = lane.head
            # The first waits until there is room for it: a start of many tasks must not be
            # passed for ever by those of one.
            if ticket is None or not _fits(self.used, ticket.cost, self.most):
                break
            del lane.queue[ticket]
            self.waiting -= 1
            ticket.stage = Stage.IN_LINE
            lane.line += 1
            self._count(lane, ticket.cost)
            del self._turns[name]
            self._place(name, lane)
            going.append(ticket)
        return going


def room_in(needed: int, left: Sequence[float], usual: float) -> float:
    """Return the seconds until ``needed`` places will be free, as far as can be told.

    ``left`` is what is left of each task that holds one (s), ``usual`` how long the next ones
    will hold theirs.
    """
    if not left:
        return AT_LEAST
    rounds, place = divmod(max(1, needed) - 1, len(left))
    return max(AT_LEAST, sorted(left)[place] + rounds * usual)


def left_of(age: float, usual: float) -> float:
    """Return what is left of a task of this age (s) that usually takes ``usual`` seconds."""
    return max(usual - age, usual * OVERDUE)
