"""Choose the error class of a refused request: by status, by code, else by the message (pure).

The service has few codes of its own, so the message often has to decide. The patterns are short
and match whole words. Text that the message quotes is removed first, because it may be an echo of
the user's prompt.
"""

import re
from typing import Final

from a2e_async.errors import (
    ApiError,
    AuthenticationError,
    ContentRejected,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)

_REFUSING_STATUSES: Final = frozenset({200, 400, 401, 402, 403, 404, 405, 413, 415, 422})
"""HTTP statuses with which the API's own JSON envelope rejects a request."""

_AGE_CODES: Final = frozenset({1003, 1004})
_OCCUPIED: Final = 1001

_QUOTED: Final = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|(?<!\w)'[^']*'(?!\w)")


def _phrases(*patterns: str) -> "re.Pattern[str]":
    return re.compile(r"\b(?:" + "|".join(patterns) + r")\b", re.IGNORECASE)


_RATE: Final = _phrases(
    r"rate[ -]?limit(?:s|ed|ing)?", r"too many requests", r"requests? too frequent(?:ly)?"
)
_CREDITS: Final = _phrases(
    r"(?:insufficient|not enough|no more|out of) (?:\w+ ){0,2}(?:coins?|credits?|balance|quota)",
    r"(?:coins?|credits?|balance|quota) (?:(?:is|are|was|were|has been) )?"
    r"(?:insufficient|not enough|exhausted|exceeded|used up)",
)
_CONTENT: Final = _phrases(
    r"nsfw",
    r"sensitive",
    r"content[ -]policy",
    r"content policies",
    r"moderation",
    r"copyright(?:ed)?",
    r"(?:portrait|likeness|image) rights?",
    r"likeness",
    r"celebrit(?:y|ies)",
    r"underage",
    r"age (?:restrict(?:ion|ed)|verification|limit)",
)
# Too common for other statuses. With 403 the request was refused; they only tell why.
_CONTENT_403: Final = _phrases(r"portraits?", r"age", r"minors?", r"real (?:person|people)")
_KEY: Final = _phrases(
    r"unauthori[sz]ed",
    r"(?:invalid|expired|missing) (?:api |access )?(?:token|key)",
    r"(?:token|api key) (?:is )?(?:invalid|expired|missing)",
)
_PLAN: Final = _phrases(r"free users?", r"pro or max", r"upgrade your plan")
_ABSENT: Final = _phrases(r"not found", r"(?:does not|doesn't) exist")

_CHECK_KEY: Final = (
    "Check the API key: copy it again, without spaces and quotes, and make sure that it "
    "belongs to this host."
)
_ADVICE: Final[dict[type[ApiError], str]] = {
    AuthenticationError: _CHECK_KEY,
    PermissionDenied: (
        "Either the account's plan does not allow this call or the content was refused; the "
        "service does not say which. If every call fails like this, the plan has no API access."
    ),
    ContentRejected: "Change the content; the same request will be refused again.",
    InsufficientCredits: "Add coins to the account; nothing was started.",
    NotFound: "The object was deleted, has expired, or belongs to another account.",
    InvalidRequest: "Correct the inputs; the same request will be refused again.",
    RateLimited: "Try again later, or lower the client's rate.",
    ServerError: "The service failed; if this continues, report the trace id to its support.",
}


def error_class_for(status: int, code: int | None, message: str) -> type[ApiError]:
    """Return the error class for an HTTP status, the envelope's code and the service's message."""
    # The service reports most errors with HTTP 200 and a status-like code in the body.
    under_200 = 200 <= status < 300
    effective = code if under_200 and code is not None and 400 <= code <= 599 else status
    if effective >= 500:
        return ServerError
    if effective == 401:
        return AuthenticationError
    if effective == 402:
        return InsufficientCredits
    if effective == 404:
        return NotFound
    if effective == 429:
        return RateLimited
    if code in _AGE_CODES:
        return ContentRejected
    # The slice bounds the work of the patterns on a message of arbitrary length.
    text = _QUOTED.sub(" ", message[:2000])
    if _RATE.search(text):
        return RateLimited
    if _CREDITS.search(text):
        return InsufficientCredits
    if _CONTENT.search(text) or (effective == 403 and _CONTENT_403.search(text)):
        return ContentRejected
    if effective == 403 or _PLAN.search(text):
        return PermissionDenied
    if effective in (200, 400) and _KEY.search(text):
        return AuthenticationError
    if effective >= 400:
        return InvalidRequest
    return NotFound if _ABSENT.search(text) else ApiError


def is_refusal(status: int, code: int | None, *, from_api: bool) -> bool:
    """Return whether a failure response proves that the request was not executed.

    Only the API itself can prove it: with its JSON envelope (``from_api``) and a status that it
    uses for refusals, unless the envelope's ``code`` reports a server fault, or with a 429.
    Redirects, 408, 409, 425, 499, 5xx and responses of a proxy or gateway prove nothing: the
    service may have executed, and charged, the request behind them.
    """
    if status == 429:
        return True
    return from_api and status in _REFUSING_STATUSES and not 500 <= (code or 0) <= 599


def advice_for(error_class: type[ApiError], code: int | None) -> str:
    """Return a sentence for the error message that says what to do next."""
    if code == _OCCUPIED:
        return "All streaming hosts of the service are in use; try again later."
    return _ADVICE.get(error_class, "")
