"""The HTTP response to each error of the package (pure)."""

import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from a2e_async.errors import (
    A2EError,
    ApiError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    ContentRejected,
    InsufficientCredits,
    InvalidInput,
    InvalidRequest,
    JournalError,
    KeyConflict,
    NotFound,
    RateLimited,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
    TaskTimeout,
    TooBusy,
)

logger: Final = logging.getLogger("a2e_async.web")

DEFAULT_RETRY_AFTER: Final = 60
"""Seconds after which a client may try again if nothing better is known."""

CLOSING_RETRY_AFTER: Final = 5
"""The same while this process is shutting down: another one will take over soon."""


@frozen
class ErrorResponse:
    """The response to an error: ``status``, a JSON ``body``, and ``headers`` to add.

    The body has ``error``, a code for programs, and ``detail``, a sentence for the end user.
    """

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


def error_response(error: A2EError) -> ErrorResponse:
    """Return the HTTP response to an error of this package.

    422 for inputs that cannot be used, 409 for a key of another job, 429 for a caller with too
    many unfinished jobs, 402 if the budget or the credits are used up, 202 for a job whose start
    or end is not known yet, 404 for one that the service no longer has, 503 if a later attempt may
    succeed, 500 for a mistake in the program, 502 for everything else. 429, 503 and a 402 that may
    pass have ``Retry-After``.

    The body is meant for end users: it says nothing about the account, the service or the server.
    """
    match error:
        case InvalidInput():
            return _answer(422, "invalid_input", str(error), field=error.field)
        case KeyConflict():
            return _answer(409, "key_conflict", "This key belongs to another job.")
        case TooBusy() if error.scope == "caller":
            text = "You have too many unfinished jobs. This one can start when another has ended."
            return _answer(429, "too_many_unfinished", text, retry_after=error.retry_after)
        case TooBusy() | RateLimited():
            text = "The service is busy. Try again in a moment."
            return _answer(503, "busy", text, retry_after=error.retry_after or DEFAULT_RETRY_AFTER)
        case StartOutcomeUnknown():
            text = (
                "It is being checked whether the job was started. Sent again with the same key, "
                "it is not charged twice."
            )
            return _answer(202, "start_unknown", text, mark=error.recovery.mark)
        case TaskTimeout():
            return _answer(202, "not_finished", "The job is still running.", ref=error.ref)
        case BudgetExceeded():
            wait = DEFAULT_RETRY_AFTER if error.pending else None
            text = "The budget for new jobs is used up."
            return _answer(402, "budget_exceeded", text, retry_after=wait)
        case InsufficientCredits():
            return _answer(402, "no_credits", "No new jobs can be started at the moment.")
        case ContentRejected():
            return _answer(422, "content_rejected", _reason(error, "The content was refused."))
        case InvalidRequest():
            return _answer(422, "refused", _reason(error, "The service refused these inputs."))
        case TaskFailed():
            failure = error.record.failure
            text = failure.message if failure else "The job failed."
            return _answer(502, "failed", text, ref=error.ref)
        case TaskGone():
            return _answer(404, "gone", "The job no longer exists.", ref=error.ref)
        case NotFound() if error.from_api:
            return _answer(404, "not_found", "There is no such job.")
        case ClientClosed():
            text = "The server is restarting. Try again in a moment."
            return _answer(503, "closing", text, retry_after=CLOSING_RETRY_AFTER)
        case JournalError():
            text = "Jobs cannot be recorded at the moment. Try again later."
            return _answer(503, "unavailable", text, retry_after=DEFAULT_RETRY_AFTER)
        case ConfigurationError():
            return _answer(500, "internal", "The server is not set up correctly.")
        case _:
            return _answer(
                502, "service_failed", "The service cannot be used now. Try again later."
            )


def log_error(error: A2EError, answer: ErrorResponse) -> None:
    """Log an error that the end user cannot repair, with its text and without its inputs."""
    if answer.status >= 500 or answer.status in (202, 402):
        logger.warning("answered %d: %s: %s", answer.status, type(error).__name__, error)


def _answer(
    status: int, code: str, detail: str, *, retry_after: float | None = None, **more: str | None
) -> ErrorResponse:
    known = {name: value for name, value in more.items() if value is not None}
    headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    return ErrorResponse(status, {"error": code, "detail": detail, **known}, headers)


def _reason(error: ApiError, otherwise: str) -> str:
    """Return the service's own reason, which is about the user's inputs."""
    return error.message.strip() or otherwise
