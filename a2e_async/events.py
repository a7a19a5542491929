"""What `A2E(on_event=…)` is told: small frozen values, one class per thing that happens.

The way of a job: `Asked`, an `Attempt` for each request, `Accepted` (or `Resumed`, `NotStarted`,
`StartLost`), `Looked` and `Update` while it is waited for, `Finished`, `Saved`. None of them holds
inputs, signed URLs or keys; ``error`` is always the name of an exception's class. Nothing is made
when nobody listens.
"""

from attrs import frozen

from a2e_async.models import Recovery, Status


@frozen(kw_only=True)
class Asked:
    """A start was asked for; its inputs are good. Told in the context of who called ``start()``.

    ``start`` is its number in this client: `Accepted`, `Resumed`, `NotStarted` or `StartLost`
    with the same number tells what came of it, and each `Attempt` made for it has it, too. A
    second call under a key whose start is under way is none of its own.
    """

    start: int
    kind: str


@frozen(kw_only=True)
class Attempt:
    """One request on the wire is over (one event for each attempt, good or bad).

    ``path`` has no query. ``attempt`` counts from 1. ``sends`` counts how often the HTTP
    library put it on the wire (2 when it silently re-sent an idempotent request over a dead
    connection, 0 when no connection came about). Times in seconds. ``retry_in`` is the pause
    before the next attempt, None when there is none. ``start`` is the number of the start that
    it was made for (its uploads and its price, too), None for anything else.
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
    start: int | None = None


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
    then listed by ``a2e.unclaimed()``. ``found``: the answer was lost, and the task was found at
    the service. ``start`` is None for one that was only looked for, by ``a2e.recover()`` or
    ``a2e.unfinished()``.
    """

    ref: str
    kind: str
    coins: int | None
    claimed: bool
    start: int | None = None
    found: bool = False


@frozen(kw_only=True)
class Resumed:
    """The journal knows the task: nothing was sent or paid.

    Its key stands for it already (``start`` is the start that asked), or ``a2e.unfinished()``
    gave it back (None).
    """

    ref: str
    kind: str
    start: int | None = None


@frozen(kw_only=True)
class NotStarted:
    """A start ended without a task and cost nothing: a budget, the service or its caller said no.

    ``error`` is the exception's name (``BudgetExceeded``, ``InsufficientCredits``, …), None for a
    start that was withdrawn because its caller was cancelled or the client closed.
    """

    start: int
    kind: str
    error: str | None


@frozen(kw_only=True)
class StartLost:
    """A start's outcome is unknown; see `a2e_async.errors.StartOutcomeUnknown`.

    ``start`` is None for a paid call that starts no task.
    """

    recovery: Recovery
    start: int | None = None


@frozen(kw_only=True)
class Attached:
    """The first wait begins for a task that this client has not seen. Told in its context."""

    ref: str
    kind: str


@frozen(kw_only=True)
class Looked:
    """One look at ``tasks`` remote tasks of a kind is over; ``mode`` is the call it was made with.

    ``mode`` is detail, batch_detail, list_processing or list. ``duration`` in seconds, the time
    in the queue included. ``error`` is None for a good one.
    """

    kind: str
    mode: str
    tasks: int
    duration: float
    error: str | None


@frozen(kw_only=True)
class Update:
    """A look showed a changed record."""

    ref: str
    kind: str
    status: Status
    raw_status: str
    progress: float | None


@frozen(kw_only=True)
class Finished:
    """A task was seen to have ended, all of its parts. ``status`` None: the service lost it.

    ``elapsed`` is the seconds since it was created. ``delay`` is the most that can have passed
    between its end and this look: the time since the look before (s), None at the first look.
    """

    ref: str
    kind: str
    status: Status | None
    coins: int | None
    elapsed: float
    delay: float | None


@frozen(kw_only=True)
class WaitEnded:
    """A wait ended before its task did; the task goes on.

    ``error`` is ``TaskTimeout``, ``ClientClosed``, ``CancelledError`` or what made looking
    impossible. ``last``: nobody else waits for it now.
    """

    ref: str
    kind: str
    error: str
    last: bool


@frozen(kw_only=True)
class Transfer:
    """Bytes moved. ``direction`` is "up" or "down"; ``total`` is None when not known."""

    direction: str
    name: str
    done: int
    total: int | None


@frozen(kw_only=True)
class Saved:
    """A result file is complete on disk. ``ref`` is its task's (one remote task), if it has one."""

    path: str
    size: int
    ref: str | None = None


@frozen(kw_only=True)
class PaceAlone:
    """The database that shares the pace among clients is away: this one keeps to ``rate``.

    In requests per second: its share. It is told once; when the database is back, the pace is
    shared again.
    """

    rate: float


@frozen(kw_only=True)
class Closed:
    """The client is closed: nothing follows."""


Event = (
    Asked
    | Attempt
    | Hold
    | Accepted
    | Resumed
    | NotStarted
    | StartLost
    | Attached
    | Looked
    | Update
    | Finished
    | WaitEnded
    | Transfer
    | Saved
    | PaceAlone
    | Closed
)
