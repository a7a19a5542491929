"""What the schedule knows of each watched task, and the calls it plans (pure)."""

import heapq
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.tasks.kind import TaskKind

if TYPE_CHECKING:
    from a2e_async.tasks.waits import Wait

LIST_WORTH: Final = 8
"""Tasks of one kind from which a page of the list is cheaper than their details."""


class Mode(StrEnum):
    """The call a look is made with."""

    BATCH = "batch_detail"
    PROCESSING = "list_processing"
    LIST = "list"
    DETAIL = "detail"


class After(StrEnum):
    """What becomes of a watch after a look that did not show its record."""

    AGAIN = "again"
    GIVE_UP = "give up"


@define(eq=False)
class Guest:
    """Another client that waits for a task, and what it was last told."""

    every: bool
    """It wants each change, not only those of the status."""
    shown: Any = None


@define(eq=False)
class Watch:
    """One remote task that somebody waits for. Times are seconds on the caller's clock."""

    kind: TaskKind[..., Any]
    id: str
    due: float
    born: float
    """When its start was answered; far in the past for tasks started elsewhere."""
    good_at: float
    """When a look last succeeded (or the watch began)."""
    errors: int = 0
    why: str = ""
    """What the last of these errors was."""
    absent: int = 0
    alone: bool = False
    in_flight: bool = False
    dropped: bool = False
    queued: int = 0
    """Number of its newest queue entry; older entries are stale."""
    hook: str | None = None
    """What names its start in webhook events; None when none are awaited."""
    told: bool = False
    """An event, or another client, has said that it is over."""
    nudged: float = float("-inf")
    """When a look was last moved forward because of that."""
    again: float = float("inf")
    """When to look again after the look under way, which may have come too early."""
    awaited: bool = False
    """There was time for an event to come before it was looked at."""

    elsewhere: bool = False
    """Another client looks at it and tells."""
    waits: "tuple[Wait, ...]" = ()
    """Who waits for it here."""
    guests: dict[str, Guest] | None = None
    """Other clients for which this one looks at it, by their names."""

    @property
    def rare(self) -> bool:
        """Whether it is looked at more rarely, as an event is awaited."""
        return self.hook is not None and not self.told


@define(eq=False)
class Look:
    """One call to make now and the watches it is made for."""

    kind: TaskKind[..., Any]
    mode: Mode
    watches: list[Watch]
    at: float


@define(eq=False)
class Lane:
    """All watches of one kind, and when each is due."""

    kind: TaskKind[..., Any]
    watches: dict[str, Watch] = field(factory=dict[str, Watch])
    heap: list[tuple[float, int, Watch]] = field(factory=list[tuple[float, int, Watch]])
    alone: int = 0
    rare: int = 0
    elsewhere: int = 0
    share_at: float | None = None
    """When those that are asked for alone may share a call again."""
    entry: int = 0
    """Number of the newest entry of the heap."""

    @property
    def mode(self) -> Mode:
        """The cheapest call that shows them; who is ``alone`` is asked for by its detail."""
        kind, shared = self.kind, len(self.watches) - self.alone
        if kind.batch_at is not None:
            return Mode.BATCH
        # What is over leaves the processing list: alone it can never show an end.
        shows_ends = kind.look_at is not None or kind.list_at is None
        if kind.processing_at is not None and shows_ends and (shared > 1 or not kind.look_at):
            return Mode.PROCESSING
        if kind.list_at is not None and (kind.look_at is None or shared >= LIST_WORTH):
            return Mode.LIST
        return Mode.DETAIL

    def calls(self, rarity: float) -> float:
        """Return the calls that the looks of one interval at all of them take.

        ``rarity``: intervals between two looks where an event is awaited.
        """
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
        # A shared call is made as often as the one that needs it most.
        return calls / rarity if self.rare == count else calls

    def push(self, watch: Watch) -> None:
        """Queue a watch for when it is due; older entries of it are stale."""
        self.entry += 1
        watch.queued = self.entry
        heapq.heappush(self.heap, (watch.due, self.entry, watch))

    def pop(self) -> Watch:
        """Take out the watch that is due first; it is in flight now."""
        watch = heapq.heappop(self.heap)[2]
        watch.in_flight = True
        return watch

    def due(self, now: float) -> bool:
        """Whether one is due."""
        first = self.first()
        return first is not None and first.due <= now

    def first(self) -> Watch | None:
        """Return the watch that is due first, None while all are in flight."""
        while self.heap and not _live(self.heap[0]):
            heapq.heappop(self.heap)
        return self.heap[0][2] if self.heap else None

    def tidy(self) -> None:
        """Forget stale entries, if they are most."""
        if len(self.heap) > 64 and len(self.heap) > 4 * len(self.watches):
            self.heap = [entry for entry in self.heap if _live(entry)]
            heapq.heapify(self.heap)


def _live(entry: tuple[float, int, Watch]) -> bool:
    watch = entry[2]
    return not watch.dropped and not watch.in_flight and watch.queued == entry[1]
