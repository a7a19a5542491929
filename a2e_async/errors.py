"""Every exception that this package raises on purpose.

All are subclasses of `A2EError`. Each carries the ids and numbers that a program needs as
attributes, can be pickled, and ends its message with what to do next. None of them ever contains an
API key or a signed URL.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from a2e_async.redact import redact

if TYPE_CHECKING:
    from a2e_async.models import Record, Recovery
    from a2e_async.tasks.task import Task

__all__ = [
    "A2EError",
    "ApiError",
    "AuthenticationError",
    "BudgetExceeded",
    "ClientClosed",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLost",
    "ContentRejected",
    "DecodeError",
    "InsufficientCredits",
    "InvalidInput",
    "InvalidRequest",
    "JournalError",
    "KeyConflict",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ResponseTimeout",
    "ResultMissing",
    "ServerError",
    "StartOutcomeUnknown",
    "TaskError",
    "TaskFailed",
    "TaskGone",
    "TaskTimeout",
    "TooBusy",
    "TransferError",
    "TransportError",
]

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Return ``error`` without the traceback frames of it and its causes.

    Tools that print the local variables of a traceback would show keys, headers, bodies and URLs. A
    cause from another library whose own text contains a secret is replaced.
    """
    left: list[BaseException] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = None
        if one.__cause__ is not None:
            one.__cause__ = _harmless(one.__cause__)
            left.append(one.__cause__)
        if one.__context__ is not None:
            one.__context__ = _harmless(one.__context__)
            left.append(one.__context__)
    return error


def _harmless(raw: BaseException) -> BaseException:
    shown = f"{raw} {raw!r}"
    if isinstance(raw, A2EError) or redact(shown) == shown:
        return raw
    kept = Exception(f"{type(raw).__name__}: {redact(str(raw))}")
    kept.__cause__, kept.__context__ = raw.__cause__, raw.__context__
    return kept


def sealed(method: Callable[P, T]) -> Callable[P, T]:
    """Keep a method's arguments, and all frames below it, out of the tracebacks of its errors.

    An exception from outside this package indicates a bug and keeps its frames, so that it can be
    reported.
    """
    if iscoroutinefunction(method):

        @wraps(method)
        async def wait(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return await method(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                seal(error)
                raise

        return cast("Callable[P, T]", wait)

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            seal(error)
            raise

    shown: Any = call
    # Tests that change a default of the method find it here, too.
    shown.__kwdefaults__ = getattr(method, "__kwdefaults__", None)
    return call


def seal(error: BaseException) -> None:
    """Drop the traceback frames of an error before it is raised again, unless it is a bug."""
    if isinstance(error, A2EError) or not isinstance(error, Exception):
        without_frames(error)


def _rebuild(cls: type["A2EError"], args: tuple[Any, ...], state: dict[str, Any]) -> "A2EError":
    # Without calling `__init__`, whose parameters differ between the classes.
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class A2EError(Exception):
    """Base class of all errors of this package. Secrets are removed from its text."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(redact(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self._state())

    def _state(self) -> dict[str, Any]:
        return dict(self.__dict__)


class ConfigurationError(A2EError):
    """The client was set up or used in a way that cannot work (key, host, event loop, fork)."""


class InvalidInput(A2EError, ValueError):
    """An input was refused locally; nothing was sent or charged.

    ``field`` is the name of the input, if a single input is the reason.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ClientClosed(A2EError):
    """The client was closed before or during the call."""


class BudgetExceeded(A2EError):
    """A paid call would exceed the budget; it was not sent.

    ``pending`` is True if its caller's ``max_wait`` ended while calls in flight could still free
    budget: a later attempt may succeed.
    """

    def __init__(self, message: str, *, pending: bool = False) -> None:
        super().__init__(message)
        self.pending = pending


class TooBusy(A2EError):
    """A start would wait longer for its slot than its caller allows; it was not sent.

    ``retry_after``: estimated seconds until a slot is free; ``unfinished`` of at most
    ``max_unfinished`` remote tasks are running; ``ahead`` is the number of starts queued before it;
    ``scope`` is "caller" if the caller's own cap is reached (HTTP 429 in a web app), "client" if
    that of the whole client is (503).
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        unfinished: int,
        max_unfinished: int,
        ahead: int,
        scope: Literal["caller", "client"],
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.unfinished = unfinished
        self.max_unfinished = max_unfinished
        self.ahead = ahead
        self.scope: Literal["caller", "client"] = scope


class KeyConflict(A2EError):
    """A ``key`` was used before with other inputs; nothing was sent.

    ``key`` is the key, ``ref`` the task that it started (None while that start is in flight).
    """

    def __init__(self, message: str, *, key: str, ref: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.ref = ref


class JournalError(A2EError):
    """The journal cannot be read or written."""


class TransportError(A2EError):
    """No usable response arrived over the network.

    ``sent`` is True if the request may have reached the service; ``attempts`` is the number of
    attempts.
    """

    def __init__(
        self, message: str, *, method: str, path: str, sent: bool, attempts: int = 1
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.sent = sent
        self.attempts = attempts


class ConnectError(TransportError):
    """The service could not be reached; the request was never sent."""


class ResponseTimeout(TransportError):
    """The request was sent, but no complete response arrived within the time limit."""


class ConnectionLost(TransportError):
    """The connection broke after the request was sent and before the response was complete."""


class ApiError(A2EError):
    """The service responded with an error.

    ``http_status``; ``code`` (of the API's envelope, None without one); ``message`` (the service's
    own text); ``trace_id`` (give it to the service's support); ``method`` and ``path``; ``body``
    (first 500 characters, redacted); ``attempts``; ``from_api`` (True if the response was the API's
    own JSON envelope with a ``code``, False for anything that a proxy, firewall or gateway may have
    sent).
    """

    def __init__(
        self,
        *,
        http_status: int,
        code: int | None,
        message: str,
        trace_id: str | None,
        method: str,
        path: str,
        body: str = "",
        attempts: int = 1,
        advice: str = "",
        from_api: bool = False,
    ) -> None:
        shown = f"HTTP {http_status}" if code is None else f"HTTP {http_status}, code {code}"
        trace = f" [trace {trace_id}]" if trace_id else ""
        said = message.strip() or "no reason given"
        text = f"{method} {path}: {said} ({shown}){trace}."
        super().__init__(f"{text} {advice}" if advice else text)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.trace_id = trace_id
        self.method = method
        self.path = path
        self.body = body
        self.attempts = attempts
        self.from_api = from_api


class AuthenticationError(ApiError):
    """The API key was not accepted (401)."""


class PermissionDenied(ApiError):
    """Refused (403) because of the account's plan or the content; only ``message`` says which."""


class ContentRejected(PermissionDenied):
    """The service refused the content (age, likeness, copyright, sensitive material)."""


class NotFound(ApiError):
    """No such record, or no such path on this host (404)."""


class InvalidRequest(ApiError):
    """The service refused the inputs of the request (400 and similar)."""


class InsufficientCredits(ApiError):
    """The account has too few coins for this start."""


class RateLimited(ApiError):
    """Too many requests (429), for longer than the caller could wait.

    ``retry_after``: seconds until the service accepts requests again, None if it did not say.
    """

    def __init__(self, *, retry_after: float | None = None, **fields: Any) -> None:
        super().__init__(**fields)
        self.retry_after = retry_after


class ServerError(ApiError):
    """The service or its gateway failed (5xx)."""


class DecodeError(A2EError):
    """The response is not what the API documents (HTML, broken JSON, wrong shape).

    ``http_status``, ``method``, ``path``, ``excerpt`` (first 500 characters, redacted).
    """

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        path: str = "",
        http_status: int = 200,
        excerpt: str = "",
        trace_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.http_status = http_status
        self.excerpt = excerpt
        self.trace_id = trace_id
        self.attempts = attempts


class TransferError(A2EError):
    """A file could not be uploaded, downloaded or written.

    ``url`` has no query; ``path`` is the local file, if there is one; ``done`` is the number of
    bytes that were transferred.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        path: str | None = None,
        http_status: int | None = None,
        done: int = 0,
    ) -> None:
        super().__init__(message)
        self.url = url
        self.path = path
        self.http_status = http_status
        self.done = done


class StartOutcomeUnknown(A2EError):
    """A start was sent and its response was lost: it may have been accepted and charged.

    It was not sent again. ``recovery`` has everything that is needed to search for the task (its
    mark, name, digest of the inputs and time window; as JSON from ``recovery.to_dict()``);
    ``candidates`` are records that may be the task. ``__cause__`` is the error because of which the
    response is missing.
    """

    def __init__(
        self, message: str, *, recovery: "Recovery", candidates: "Sequence[Record]" = ()
    ) -> None:
        super().__init__(message)
        self.recovery = recovery
        self.candidates = tuple(candidates)


class TaskError(A2EError):
    """A wait for a task failed, or the task itself did.

    ``task`` is its handle (None after unpickling), ``ref`` identifies it for
    ``a2e.attach(error.ref)``.
    """

    def __init__(self, message: str, *, task: "Task[Any]") -> None:
        super().__init__(message)
        self.task: Task[Any] | None = task
        self.ref = task.ref

    def _state(self) -> dict[str, Any]:
        # A task handle belongs to its client and cannot be pickled.
        return {**self.__dict__, "task": None}


class TaskFailed(TaskError):
    """The service reports the task as failed. ``record`` has the reason and any good outputs."""

    def __init__(self, message: str, *, task: "Task[Any]", record: "Record") -> None:
        super().__init__(message, task=task)
        self.record = record


class TaskTimeout(TaskError, TimeoutError):
    """The wait timed out; the task itself keeps running and can be waited for again."""


class ResultMissing(TaskTimeout):
    """The service reports the task as completed but without its result, or without all results.

    ``record`` is the last record, with the results that are available. The task stays unfinished:
    wait for it again later.
    """

    def __init__(self, message: str, *, task: "Task[Any]", record: "Record") -> None:
        super().__init__(message, task=task)
        self.record = record


class TaskGone(TaskError):
    """The service does not know the task (deleted, expired, or of another account).

    Several responses over some minutes said so, and the list confirms it. A journal keeps the task
    as missing.
    """
