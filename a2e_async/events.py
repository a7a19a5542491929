"""What `A2E(on_event=…)` is told: small frozen values, one class per thing that happens."""

from attrs import frozen

from a2e_async.models import Recovery, Status


@frozen(kw_only=True)
class Attempt:
    """One request on the wire is over (one event for each attempt, good or bad).

    ``path`` has no query. ``attempt`` counts from 1. ``sends`` counts how often the HTTP
    library put it on the wire (2 when it silently re-sent an idempotent request over a dead
    connection, 0 when no connection came about). Times in seconds. ``retry_in`` is the pause
    before the next attempt, None when there is none.
    """

    method: str
    path: str
    attempt: int
    sends: int
    waited: float
    duration: float
    status: int | None
    error: str | None
    retry_in: float | None
    trace_id: str | None


@frozen(kw_only=True)
class Hold:
    """The service asked for a pause: all callers of this client wait ``seconds``."""

    seconds: float
    method: str
    path: str


@frozen(kw_only=True)
class Accepted:
    """A start was accepted and charged ``coins`` (None: the service did not say).

    ``claimed`` is False when the caller of ``start()`` was cancelled meanwhile: the task is
    then listed by ``a2e.unclaimed()``.
    """

    ref: str
    kind: str
    coins: int | None
    claimed: bool


@frozen(kw_only=True)
class StartLost:
    """A start's outcome is unknown; see `a2e_async.errors.StartOutcomeUnknown`."""

    recovery: Recovery


@frozen(kw_only=True)
class Update:
    """A look showed a changed record."""

    ref: str
    kind: str
    status: Status
    raw_status: str
    progress: float | None


@frozen(kw_only=True)
class Transfer:
    """Bytes moved. ``direction`` is "up" or "down"; ``total`` is None when not known."""

    direction: str
    name: str
    done: int
    total: int | None


@frozen(kw_only=True)
class Saved:
    """A result file is complete on disk."""

    path: str
    size: int


@frozen(kw_only=True)
class PaceAlone:
    """The database that shares the pace among clients is away: this one keeps to ``rate``.

    In requests per second: its share. It is told once; when the database is back, the pace is
    shared again.
    """

    rate: float


Event = Attempt | Hold | Accepted | StartLost | Update | Transfer | Saved | PaceAlone
