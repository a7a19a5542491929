"""What the schedule knows of each watched task, and the calls it plans (pure)."""

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
"""Tasks of one kind from which a page of the list is cheaper than their details."""


class Mode(StrEnum):
    """The call a look is made with."""

    BATCH = "batch_detail"
    PROCESSING = "list_processing"
    LIST = "list"
    DETAIL = "detail"


class After(StrEnum):
    """What becomes of a watch after a look that did not show its record."""

    ALONE = "alone"
    """It is asked for by its own detail, at once: this look says nothing yet."""
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
    good_at: float
    """When a look last succeeded (or the watch began)."""
    errors: int = 0
    """Failed looks in a row."""
    error: A2EError | None = None
    """The last of these errors."""
    absent: int = 0
    """Shared answers in a row that left it out."""
    not_found: int = 0
    """Answers in a row by which the service does not know it."""
    not_found_since: float = 0.0
    """When the first of these came."""
    result_by: float = float("inf")
    """It was seen completed without its result, for which this is the last moment."""
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
    instead_of: Mode | None = None
    """The call that keeps failing, when this one is tried in its place."""
    confirms: bool = False
    """It confirms by the list that the service does not know a task."""


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
    down: dict[Mode, float] = field(factory=dict[Mode, float])
    """Calls that keep failing while another one works, and when each is tried again."""
    spans: dict[Mode, float] = field(factory=dict[Mode, float])
    """For how many seconds each was left alone the last time, until it works again."""
    tried: list[Mode] = field(factory=list[Mode])
    """What has been tried in place of a failing call, in vain."""
    worked: dict[Mode, float] = field(factory=dict[Mode, float])
    """When each call last worked."""
    trial: tuple[Mode, Mode | None] | None = None
    """The call to try next, and the failing one that it may replace for the whole kind."""

    @property
    def mode(self) -> Mode:
        """The cheapest call that shows them; who is ``alone`` is asked for by its detail."""
        return self.choose(self.down) or self.choose() or Mode.DETAIL

    def choose(self, without: Collection[Mode] = ()) -> Mode | None:
        """Return the cheapest call that shows them, but none of these; None if none is left."""
        kind, shared = self.kind, len(self.watches) - self.alone
        if kind.batch_at is not None and Mode.BATCH not in without:
            return Mode.BATCH
        # What is over leaves the processing list: alone it can never show an end.
        alone = kind.look_at is not None and Mode.DETAIL not in without
        halfway = kind.processing_at is not None and Mode.PROCESSING not in without
        if halfway and (alone or kind.list_at is None) and (shared > 1 or not alone):
            return Mode.PROCESSING
        listed = kind.list_at is not None and Mode.LIST not in without
        if listed and (kind.look_at is None or shared >= LIST_WORTH):
            return Mode.LIST
        # Last of all also a detail that cannot be relied on, or a list for few.
        if kind.detail_at is not None and Mode.DETAIL not in without:
            return Mode.DETAIL
        return Mode.LIST if listed else None

    @property
    def asks_alone(self) -> bool:
        """Whether one task can be asked for by its own detail."""
        return self.kind.look_at is not None and Mode.DETAIL not in self.down

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
