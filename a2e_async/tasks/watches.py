"""State of the polled tasks, and the poll requests that are planned for them (pure)."""

import heapq
from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.errors import A2EError
from a2e_async.tasks.kind import TaskKind

if TYPE_CHECKING:
    from a2e_async.tasks.waits import Wait

LIST_WORTH: Final = 8
"""Number of tasks of one kind from which one list page costs less than their detail requests."""


class Mode(StrEnum):
    """The endpoint that a poll request uses."""

    BATCH = "batch_detail"
    PROCESSING = "list_processing"
    LIST = "list"
    DETAIL = "detail"


class After(StrEnum):
    """What to do with a task that was missing from a poll response."""

    ALONE = "alone"
    """Poll it by its own detail request at once: this response proves nothing yet."""
    AGAIN = "again"
    """Poll it again after the normal interval."""
    GIVE_UP = "give up"
    """The service does not know it: end its waits."""


@define(eq=False)
class Guest:
    """Another client that waits for this task, and what it was last sent."""

    every: bool
    """It wants every change, not only status changes."""
    shown: Any = None


@define(eq=False)
class Watch:
    """A remote task that is polled. Times are seconds of the caller's clock.

    Created and changed by the `PollSchedule` alone; it lives until it is dropped from there.
    """

    kind: TaskKind[..., Any]
    id: str
    due: float
    good_at: float
    """When a poll last succeeded, or when polling began."""
    errors: int = 0
    """Consecutive failed polls."""
    error: A2EError | None = None
    """The error of the last failed poll."""
    absent: int = 0
    """Consecutive shared responses (batch, list) that did not contain it."""
    not_found: int = 0
    """Consecutive responses which say that the service does not know it."""
    not_found_since: float = 0.0
    """When the first of these responses arrived."""
    result_by: float = float("inf")
    """Deadline for its result, once it was seen completed without one; else infinity."""
    alone: bool = False
    """It is polled by its own detail request, not in a shared one."""
    in_flight: bool = False
    dropped: bool = False
    queued: int = 0
    """Number of its newest queue entry; older entries are stale."""
    hook: str | None = None
    """Identifies its start in webhook events; None if no event is expected."""
    told: bool = False
    """A webhook event or another client reported its end; not yet confirmed by a poll."""
    nudged: float = float("-inf")
    """When a poll was last made early because of such a report."""
    again: float = float("inf")
    """When to poll again after the request in flight, which may have been sent too early."""
    awaited: bool = False
    """Its first poll was late enough for an event to arrive before it."""

    elsewhere: bool = False
    """The leader polls it and reports changes."""
    waits: "tuple[Wait, ...]" = ()
    """Waiters in this client."""
    guests: dict[str, Guest] | None = None
    """Other clients for which this one polls it, by name."""

    @property
    def rare(self) -> bool:
        """Whether it is polled less often because a webhook event is expected."""
        return self.hook is not None and not self.told


@define(eq=False)
class Look:
    """A poll request to send now, and the tasks that it covers."""

    kind: TaskKind[..., Any]
    mode: Mode
    watches: list[Watch]
    at: float
    instead_of: Mode | None = None
    """The failing mode that this request is tried in place of."""
    confirms: bool = False
    """It reads the lists to confirm that the service does not know a task."""


@define(eq=False)
class Lane:
    """All polled tasks of one kind, ordered by when they are due."""

    kind: TaskKind[..., Any]
    watches: dict[str, Watch] = field(factory=dict[str, Watch])
    heap: list[tuple[float, int, Watch]] = field(factory=list[tuple[float, int, Watch]])
    alone: int = 0
    rare: int = 0
    elsewhere: int = 0
    share_at: float | None = None
    """When tasks that are polled by detail may be part of a shared request again."""
    entry: int = 0
    """Number of the newest heap entry."""
    down: dict[Mode, float] = field(factory=dict[Mode, float])
    """Modes that keep failing while another one works, and until when each is skipped."""
    spans: dict[Mode, float] = field(factory=dict[Mode, float])
    """How long (s) each mode was last skipped; removed once it works again."""
    tried: list[Mode] = field(factory=list[Mode])
    """Modes that were tried in place of a failing one and failed as well."""
    worked: dict[Mode, float] = field(factory=dict[Mode, float])
    """When each mode last worked."""
    trial: tuple[Mode, Mode | None] | None = None
    """The mode to try next, and the failing mode that it may replace for the whole kind."""

    @property
    def mode(self) -> Mode:
        """The cheapest working mode; tasks with ``needs_detail`` use the detail request instead."""
        return self.choose(self.down) or self.choose() or Mode.DETAIL

    def choose(self, without: Collection[Mode] = ()) -> Mode | None:
        """Return the cheapest mode that is not ``excluded``, None if none is left."""
        kind, shared = self.kind, len(self.watches) - self.alone
        if kind.batch_at is not None and Mode.BATCH not in without:
            return Mode.BATCH
        # Finished tasks leave the processing list, so that list alone can never show an end.
        alone = kind.look_at is not None and Mode.DETAIL not in without
        halfway = kind.processing_at is not None and Mode.PROCESSING not in without
        if halfway and (alone or kind.list_at is None) and (shared > 1 or not alone):
            return Mode.PROCESSING
        listed = kind.list_at is not None and Mode.LIST not in without
        if listed and (kind.look_at is None or shared >= LIST_WORTH):
            return Mode.LIST
        # As a last resort: an unreliable detail endpoint, or the list for only a few tasks.
        if kind.detail_at is not None and Mode.DETAIL not in without:
            return Mode.DETAIL
        return Mode.LIST if listed else None

    @property
    def asks_alone(self) -> bool:
        """Whether a single task can be polled by its own detail request."""
        return self.kind.look_at is not None and Mode.DETAIL not in self.down

    def calls(self, rarity: float) -> float:
        """Return the number of requests that it takes to poll all of them once.

        ``webhook_factor`` is how many intervals pass between two polls of a webhook-backed task.
        """
        # Delegated tasks are polled by the leader and cost this client nothing.
        count = len(self.watches) - self.elsewhere
        mode, shared = self.mode, max(0, count - self.alone)
        if mode is Mode.DETAIL:
            return count - self.rare + self.rare / rarity
        if mode is Mode.BATCH:
            calls = self.alone + -(-shared // self.kind.batch_most)
        elif mode is Mode.PROCESSING:
            calls = self.alone + (1 if shared else 0)
        else:
            calls = self.alone + -(-shared // self.kind.page_most)
        # A shared request is sent as often as its most frequently polled task requires.
        return calls / rarity if self.rare == count else calls

    def push(self, watch: Watch) -> None:
        """Queue a task for its due time; its older heap entries become stale."""
        self.entry += 1
        watch.queued = self.entry
        heapq.heappush(self.heap, (watch.due, self.entry, watch))

    def pop(self) -> Watch:
        """Remove and return the task that is due first, marked as in flight."""
        polled = heapq.heappop(self.heap)[2]
        polled.in_flight = True
        return polled

    def due(self, now: float) -> bool:
        """Whether a task is due."""
        first = self.first()
        return first is not None and first.due <= now

    def first(self) -> Watch | None:
        """Return the task that is due first, None while all are in flight."""
        while self.heap and not _live(self.heap[0]):
            heapq.heappop(self.heap)
        return self.heap[0][2] if self.heap else None

    def tidy(self) -> None:
        """Remove stale heap entries once they outnumber the others."""
        if len(self.heap) > 64 and len(self.heap) > 4 * len(self.watches):
            self.heap = [entry for entry in self.heap if _live(entry)]
            heapq.heapify(self.heap)


def _live(entry: tuple[float, int, Watch]) -> bool:
    polled = entry[2]
    return not polled.dropped and not polled.in_flight and polled.queued == entry[1]
