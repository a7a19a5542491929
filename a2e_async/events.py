"""Events for `A2E(on_event=…)`: small frozen values, one class per occurrence.

The events of a job, in order: `StartRequested`, an `Attempt` per request, `Accepted` (or `Resumed`,
`NotStarted`, `StartLost`), `WaitStarted`, `Polled` and `Update` during a wait, `Finished`, `Saved`.
`RequestStarted` precedes every request and `PollStarted` every poll, in their context: a tracer can
begin its spans there. No event contains inputs, signed URLs or keys; ``error`` is always the name
of an exception class. Without ``on_event`` no events are created.
"""

from attrs import frozen

from a2e_async.models import Recovery, Status


@frozen(kw_only=True)
class StartRequested:
    """A start was requested and its inputs are valid.

    Emitted in the context of the ``start()`` call. ``start`` is its number in this client:
    `Accepted`, `Resumed`, `NotStarted` or `StartLost` with the same number reports the outcome, and
    each `Attempt` made for it carries the number, too. A second call with the key of a start in
    flight joins that start and emits no event of its own.
    """

    start: int
    kind: str


@frozen(kw_only=True)
class RequestStarted:
    """An HTTP request is about to be sent, to the API or to the storage of files.

    Its `Attempt` (API) or `FileRequest` (storage) follows in the same context. ``url`` has neither
    query nor credentials; ``path`` is the path of an operation of the API, None for the storage.
    ``resend`` is 0, or n if it repeats an earlier request for the nth time (a retry, or a redirect
    of a download). ``start`` is the same as that of `Attempt`; ``ref`` is the ref of the task whose
    result is downloaded.
    """

    method: str
    url: str
    path: str | None
    resend: int
    start: int | None = None
    ref: str | None = None


@frozen(kw_only=True)
class Attempt:
    """One HTTP request to the API has finished (one event per attempt, successful or not).

    ``path`` has no query. ``attempt`` counts from 1. ``sends`` is how often the HTTP library sent
    it (2 when it silently re-sent an idempotent request after a dead connection, 0 when no
    connection was made). ``waited`` is the time in the queue before it was sent, ``duration`` the
    time after that (s). ``retry_in`` is the pause before the next attempt (s), None if there is
    none. ``start`` is the number of the start that it was made for (uploads and quotes included),
    None for other requests.
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
class FileRequest:
    """A request to the storage of uploads and results was answered, or failed.

    ``url`` has neither query nor credentials. ``duration`` is the time until the headers of the
    response were there (s): it includes the bytes of an upload, but not those of a download.
    ``start`` is the number of the start that a file was uploaded for.
    """

    method: str
    url: str
    duration: float
    status: int | None
    error: str | None
    start: int | None = None


@frozen(kw_only=True)
class RateLimitPause:
    """The service asked for a pause: all requests of this client wait ``seconds``."""

    seconds: float
    method: str
    path: str


@frozen(kw_only=True)
class Accepted:
    """A start was accepted and charged ``coins`` (None: the service did not report the price).

    ``claimed`` is False if the caller of ``start()`` was cancelled meanwhile: the task is then
    listed by ``a2e.unclaimed()``. ``found``: the response was lost, and the task was found at the
    service. ``start`` is None for a task found by ``a2e.recover()`` or ``a2e.unfinished()``.
    """

    ref: str
    kind: str
    coins: int | None
    claimed: bool
    start: int | None = None
    found: bool = False


@frozen(kw_only=True)
class Resumed:
    """The journal already has the task: nothing was sent or charged.

    Either its key was used again (``start`` is the number of that start), or ``a2e.unfinished()``
    returned it (None). ``traceparent`` is the value of that name in the task's ``meta``, if it is a
    W3C trace context: it identifies the trace in which the task was started.
    """

    ref: str
    kind: str
    start: int | None = None
    traceparent: str | None = None


@frozen(kw_only=True)
class NotStarted:
    """A start ended without a task and without cost.

    It was refused by a budget or the service, or withdrawn. ``error`` is the name of the exception
    (``BudgetExceeded``, ``InsufficientCredits``, …), None for a start that was withdrawn because
    its caller was cancelled or the client closed.
    """

    start: int
    kind: str
    error: str | None


@frozen(kw_only=True)
class StartLost:
    """The outcome of a start is unknown; see `a2e_async.errors.StartOutcomeUnknown`.

    ``start`` is None for a paid call that starts no task.
    """

    recovery: Recovery
    start: int | None = None


@frozen(kw_only=True)
class Attached:
    """The first wait begins for a task that this client has not polled yet.

    Emitted in the context of the waiting call.
    """

    ref: str
    kind: str


@frozen(kw_only=True)
class WaitStarted:
    """A wait for a task begins; ``wait`` is its number in this client.

    Emitted in the context of the waiting call, after `Attached`. The wait ends with `Finished`, or
    with a `WaitEnded` of the same number. The waits of ``task.updates()`` have no such event.
    """

    wait: int
    ref: str
    kind: str


@frozen(kw_only=True)
class PollStarted:
    """A poll for the tasks ``refs`` begins; `Polled` reports its end.

    Emitted in the context of the poll's requests, which is its own.
    """

    kind: str
    mode: str
    refs: tuple[str, ...]


@frozen(kw_only=True)
class Polled:
    """A poll of ``tasks`` remote tasks of one kind has finished; ``mode`` is the endpoint it used.

    ``mode`` is detail, batch_detail, list_processing or list. ``duration`` in seconds includes the
    time in the queue. ``error`` is None if the poll succeeded.
    """

    kind: str
    mode: str
    tasks: int
    duration: float
    error: str | None


@frozen(kw_only=True)
class Update:
    """A poll showed a changed record."""

    ref: str
    kind: str
    status: Status
    raw_status: str
    progress: float | None


@frozen(kw_only=True)
class Finished:
    """All parts of a task have ended. ``status`` is None if the service no longer knows the task.

    ``elapsed`` is the time since its creation (s). ``delay`` is the upper limit of the time between
    its end and this poll: the time since the previous poll (s), None at the first poll.
    """

    ref: str
    kind: str
    status: Status | None
    coins: int | None
    elapsed: float
    delay: float | None


@frozen(kw_only=True)
class WaitEnded:
    """A wait ended before its task did; the task keeps running.

    ``error`` is ``TaskTimeout``, ``ClientClosed``, ``CancelledError`` or the error that made
    polling impossible. ``last``: no other caller waits for the task. ``wait`` is the number of its
    `WaitStarted`, None for a wait of ``task.updates()``.
    """

    ref: str
    kind: str
    error: str
    last: bool
    wait: int | None = None


@frozen(kw_only=True)
class Transfer:
    """Progress of a file transfer. ``direction`` is "up" or "down"; ``total`` is None if unknown.

    ``done`` and ``total`` in bytes.
    """

    direction: str
    name: str
    done: int
    total: int | None


@frozen(kw_only=True)
class Saved:
    """A result file is complete on disk.

    ``size`` in bytes; ``ref`` is the ref of its task (a single remote task), if it has one.
    """

    path: str
    size: int
    ref: str | None = None


@frozen(kw_only=True)
class RateLimitDegraded:
    """The database that shares the rate limit is unreachable: this client limits itself.

    ``rate`` is its share in requests per second. Emitted once; the limit is shared again when the
    database is back.
    """

    rate: float


@frozen(kw_only=True)
class Closed:
    """The client is closed; no more events follow."""


Event = (
    StartRequested
    | RequestStarted
    | Attempt
    | FileRequest
    | RateLimitPause
    | Accepted
    | Resumed
    | NotStarted
    | StartLost
    | Attached
    | WaitStarted
    | PollStarted
    | Polled
    | Update
    | Finished
    | WaitEnded
    | Transfer
    | Saved
    | RateLimitDegraded
    | Closed
)
