"""Every exception that this package raises on purpose.

All are subclasses of `A2EError`. Each carries the ids and numbers that a program needs as
attributes, can be pickled, and ends its message with what to do next. None of them ever contains an
API key or a signed URL.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from a2e_async._core.base_errors import A2EError, DecodeError, InvalidInput

if TYPE_CHECKING:
    from a2e_async.models import Record, Recovery

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


class ConfigurationError(A2EError):
    """The client was set up or used in a way that cannot work (key, host, event loop, fork)."""


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
        reason = message.strip() or "no reason given"
        text = f"{method} {path}: {reason} ({shown}){trace}."
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


class OutputTooLarge(TransferError):
    """A file has more bytes than the caller accepts: ``await output.read(max_bytes=…)``."""


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
        self.candidates: tuple[Record, ...] = tuple(candidates)


class TaskHandle(Protocol):
    """What an error's ``task`` offers; at run time it is a `Task`."""

    @property
    def ref(self) -> str:
        """The text that restores the task with ``a2e.attach(ref)``."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its remote tasks."""
        ...

    @property
    def record(self) -> "Record | None":
        """The last record that was seen."""
        ...

    @property
    def parts(self) -> "tuple[Record, ...]":
        """The last records of all its remote tasks."""
        ...

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def coins(self) -> int | None:
        """What it cost, in coins."""
        ...

    async def wait(self, *, timeout: float | None = None) -> "Record":
        """Wait for its end and return its record. ``timeout`` in seconds."""
        ...

    async def download(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Save its outputs in a directory and return their paths."""
        ...

    async def ack(self) -> None:
        """Close its journal entry."""
        ...


class TaskError(A2EError):
    """A wait for a task failed, or the task itself did.

    ``task`` is its handle (None after unpickling), ``ref`` identifies it for
    ``a2e.attach(error.ref)``.
    """

    def __init__(self, message: str, *, task: "TaskHandle") -> None:
        super().__init__(message)
        self.task: TaskHandle | None = task
        self.ref: str = task.ref

    def _state(self) -> dict[str, Any]:
        # A task handle belongs to its client and cannot be pickled.
        return {**self.__dict__, "task": None}


class TaskFailed(TaskError):
    """The service reports the task as failed. ``record`` has the reason and any good outputs."""

    def __init__(self, message: str, *, task: "TaskHandle", record: "Record") -> None:
        super().__init__(message, task=task)
        self.record = record


class TaskTimeout(TaskError, TimeoutError):
    """The wait timed out; the task itself keeps running and can be waited for again."""


class ResultMissing(TaskTimeout):
    """The service reports the task as completed but without its result, or without all results.

    ``record`` is the last record, with the results that are available. The task stays unfinished:
    wait for it again later.
    """

    def __init__(self, message: str, *, task: "TaskHandle", record: "Record") -> None:
        super().__init__(message, task=task)
        self.record = record


class TaskGone(TaskError):
    """The service does not know the task (deleted, expired, or of another account).

    Several responses over some minutes said so, and the list confirms it. A journal keeps the task
    as missing.
    """
