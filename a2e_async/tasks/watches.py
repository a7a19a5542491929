"""What the schedule knows of each watched task, and the calls it plans (pure)."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import define, field

from a2e_async.tasks.kind import TaskKind

if TYPE_CHECKING:
    from a2e_async.tasks.waits import Wait


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
    """All watches of one kind."""

    kind: TaskKind[..., Any]
    watches: dict[str, Watch] = field(factory=dict[str, Watch])
    heap: list[tuple[float, int, Watch]] = field(factory=list[tuple[float, int, Watch]])
    alone: int = 0
    rare: int = 0
    elsewhere: int = 0
    share_at: float | None = None
    """When those that are asked for alone may share a call again."""
