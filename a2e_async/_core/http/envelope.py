"""Decode the service's responses, in all their shapes, into a value or an error (pure).

A response is a success if the HTTP status is 2xx, the envelope's code (if any) is 0, and the
envelope does not contain ``success: false``. Everything else becomes the error class that tells
the caller what to do. For any input bytes, `decode_response` either returns an `ApiResponse` or
raises an `A2EError`.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from a2e_async._core.http.error_classes import advice_for, error_class_for, is_refusal
from a2e_async._core.redact import Secret, excerpt, redact
from a2e_async._core.typeguards import (
    FAILURE_TEXT_FIELDS,
    is_list,
    is_mapping,
    is_nested_deeper_than,
)
from a2e_async.errors import (
    A2EError,
    ApiError,
    ConfigurationError,
    DecodeError,
    NotFound,
    RateLimited,
)

try:
    # The extra `fast`. What it rejects (NaN, huge numbers) takes the slow path.
    from orjson import loads as _quick_loads
except ImportError:
    _first_value: Final = json.JSONDecoder().raw_decode

    def _quick_loads(body: bytes | bytearray | memoryview | str, /) -> Any:
        text = body if isinstance(body, str) else str(body, "utf-8")
        # `json.loads` only adds skipping whitespace at both ends, at a measurable cost.
        value, end = _first_value(text)
        return value if end == len(text) else json.loads(text)


# Code 0 is the documented success. The others were never observed, but treating an accepted and
# charged start as refused would be worse than accepting them.
_SUCCESS_CODES: Final = frozenset({0, 200, 201, 202})
_SUCCESS_WORDS: Final = frozenset({"", "ok", "success", "succeeded"})
_ENVELOPE_KEYS: Final = frozenset(
    {"code", "data", "trace_id", "traceId", "message", "msg", "success", "error", "errors"}
)
_MAX_TRACE_CHARS: Final = 128

MAX_JSON_DEPTH: Final = 64
"""Nesting levels of lists and objects allowed in a response; records have three or four.

Each JSON parser has its own limit. A value just below that limit would parse, but raise
RecursionError later, when it is compared, copied or pickled.
"""

TRACE_HEADER: Final = "X-Trace-Id"
"""Response header with the trace id, used if the body has none."""

MAYBE_CHARGED_ADVICE: Final = (
    "It may have been accepted and charged, so it was not retried; check the list of tasks "
    "before you start it again."
)


def without_charge_advice(text: str) -> str:
    """Return an error's text without `MAYBE_CHARGED_ADVICE`, for a message that says it itself."""
    return text.replace(MAYBE_CHARGED_ADVICE, "").rstrip(". ")


_REPORT_ADVICE: Final = "If this continues, check base_url and report it with this error's excerpt."

_RECORD_ID: Final = re.compile(r"[0-9a-f]{24}")

_HTML_TITLE: Final = re.compile(r"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)


@define(eq=False)
class ApiResponse:
    """A successful response. ``data`` is the envelope's data, or the whole body if it has none.

    ``code`` is None if the envelope has no numeric code. ``headers`` are the HTTP response
    headers. The repr leaves out ``data`` and ``headers``, which may contain prompts and signed
    URLs: print ``response.data`` to see the data.
    """

    data: Any = field(repr=False)
    code: int | None
    message: str
    trace_id: str | None
    http_status: int
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)


@frozen(kw_only=True)
class _ResponseContext:
    """The facts that every error about one response reports."""

    method: str
    path: str
    host: str
    http_status: int
    body: bytes
    secret: str | Secret
    attempts: int
    retry_after: float | None
    charged: bool


def decode_plain_success(body: bytes, headers: Mapping[str, str]) -> ApiResponse | None:
    """Return the response if ``body`` (of HTTP 200) is an ordinary success envelope, else None.

    The fast path for almost every call; `decode_response` handles everything else.
    """
    try:
        value = _quick_loads(body)
    except (ValueError, RecursionError):
        return None
    if value.__class__ is not dict or "data" not in value or _too_deep(body, value):
        return None
    code = value.get("code")
    if code.__class__ is not int or code != 0 or value.get("success", True) is not True:
        return None
    message = _redacted_message(_message_of(value)) if "msg" in value or "message" in value else ""
    trace = value.get("trace_id")
    if (
        trace.__class__ is not str
        or not trace.replace("-", "").isalnum()
        or len(trace) > _MAX_TRACE_CHARS
    ):
        trace = _trace_id(value, headers.get(TRACE_HEADER))
    return ApiResponse(value["data"], 0, message, trace, 200, headers)


def decode_response(
    *,
    method: str,
    path: str,
    host: str,
    http_status: int,
    content_type: str,
    body: bytes,
    trace_header: str | None,
    retry_after: float | None,
    secret: str | Secret,
    attempts: int,
    loads: Callable[[bytes], Any] = json.loads,
    location: str | None = None,
    charged: bool = False,
) -> ApiResponse:
    """Return the decoded response, or raise the error that it reports.

    ``retry_after`` is in seconds. ``charged`` marks a call that may cost coins. ``secret`` (the
    API key) is removed from every text kept. ``location`` is the target of a redirect. Raises
    `ApiError` and its subclasses, `DecodeError`, and `ConfigurationError` for a redirect.
    """
    context = _ResponseContext(
        method=method,
        path=path,
        host=host,
        http_status=http_status,
        body=body,
        secret=secret,
        attempts=attempts,
        retry_after=retry_after,
        charged=charged,
    )
    if 300 <= http_status < 400:
        raise _redirect_error(context, location)
    good = 200 <= http_status < 300
    if good and not body.strip():
        if http_status != 200 or method == "DELETE":
            return ApiResponse(None, None, "", clean_trace_id(trace_header), http_status)
        raise _decode_error(context, "an empty response", trace_header)
    try:
        value = _decode(body, loads)
    except (ValueError, RecursionError) as error:
        failed = _not_json_error(context, content_type, trace_header, error)
    else:
        if not _too_deep(body, value):
            return _decode_value(context, value, trace_header)
        failed = _decode_error(context, "a response nested too deeply", trace_header)
    raise failed  # outside of the handler: the error gets no context


def _too_deep(body: bytes, value: Any) -> bool:
    # Counting brackets is cheap, and few responses have enough of them to need the real check.
    brackets = body.count(b"{") + body.count(b"[")
    return brackets > MAX_JSON_DEPTH and is_nested_deeper_than(value, MAX_JSON_DEPTH)


def _decode_value(context: _ResponseContext, value: Any, trace_header: str | None) -> ApiResponse:
    good = 200 <= context.http_status < 300
    if not is_mapping(value):
        if good:
            return ApiResponse(value, None, "", clean_trace_id(trace_header), context.http_status)
        raise _api_error(context, None, _text_of(value), trace_header)
    trace = _trace_id(value, trace_header)
    message = _message_of(value)
    code, refused = _numeric_code(value.get("code"))
    enveloped = "code" in value or ("data" in value and value.keys() <= _ENVELOPE_KEYS)
    from_api = code is not None and refused
    if "_id" in value and "data" not in value:
        # A record without an envelope: its own fields may be named code or success.
        enveloped = refused = from_api = False
        code = None
    elif value.get("success") in (False, "false"):
        # With a success code, it proves a refusal by the API only if the status was 200.
        from_api = from_api or (code is not None and context.http_status == 200)
        refused = True
    if not good or refused:
        if context.charged and (id := _record_id_in(value)):
            # A task exists, so the charge may, too: not a refusal that releases the budget.
            raise _decode_error(context, f"a refusal that names a record ({id})", trace)
        raise _api_error(
            context,
            code,
            message or _failure_reason(value.get("data")),
            trace,
            from_api=from_api,
        )
    data: Any = value
    if enveloped:
        data = value.get("data")
        if "data" not in value and (rest := value.keys() - _ENVELOPE_KEYS):
            data = {key: value[key] for key in value if key in rest}
    return ApiResponse(data, code, _redacted_message(message), trace, context.http_status)


def _record_id_in(value: Any) -> str | None:
    """Return the id of a record in a response body, also of one that reports a failure.

    Looks where successful responses have their records: in ``data`` and in lists.
    """
    parts: Iterable[Any] = value if is_list(value) else ()
    if is_mapping(value):
        if isinstance(id := value.get("_id"), str) and _RECORD_ID.fullmatch(id):
            return id
        parts = (part for name, part in value.items() if name == "data" or is_list(part))
    return next(filter(None, map(_record_id_in, parts)), None)


def _decode(body: bytes, loads: Callable[[bytes], Any]) -> Any:
    try:
        return loads(body)
    except (ValueError, RecursionError):
        # A faster parser may reject what the standard one accepts (NaN, a BOM, other encodings).
        body = body.removeprefix(b"\xef\xbb\xbf")
        try:
            return json.loads(body)
        except UnicodeDecodeError:
            return json.loads(body.decode("latin-1"))


def _numeric_code(value: Any) -> tuple[int | None, bool]:
    """Return the code as a number, and whether it means that the request was refused."""
    if isinstance(value, bool) or value is None:
        return None, False
    if isinstance(value, str):
        word = value.strip().lower()
        try:
            value = int(word)
        except ValueError:
            return None, word not in _SUCCESS_WORDS
    if isinstance(value, float):
        if not math.isfinite(value):
            return None, True
        value = int(value)
    if isinstance(value, int):
        return value, value not in _SUCCESS_CODES
    return None, True


def _message_of(value: Mapping[str, Any]) -> str:
    """Return the service's message, with its list of errors if that adds anything."""
    message = ""
    for key in ("message", "msg", "error", "detail"):
        if message := _text_of(value.get(key)):
            break
    errors = _text_of(value.get("errors")) if value.get("errors") else ""
    if errors and errors not in message:
        message = f"{message}: {errors}" if message else errors
    return message


def _failure_reason(data: Any) -> str:
    if is_mapping(data):
        return next(filter(None, (_text_of(data.get(name)) for name in FAILURE_TEXT_FIELDS)), "")
    return data.strip() if isinstance(data, str) else ""


def _text_of(value: Any, depth: int = 3) -> str:
    if isinstance(value, str):
        return value.strip()
    if is_mapping(value):
        for key in ("message", "msg", "detail", "error", "reason"):
            if depth and (text := _text_of(value.get(key), depth - 1)):
                return text
        return ", ".join(f"{k}: {v}" for k, v in value.items() if isinstance(v, str | int))
    if is_list(value):
        parts = (_text_of(part, depth - 1) for part in value[:20] if depth)
        return "; ".join(part for part in parts if part)
    return ""


def _trace_id(value: Mapping[str, Any], header: str | None) -> str | None:
    trace = value.get("trace_id") or value.get("traceId")
    return clean_trace_id(trace if isinstance(trace, str) and trace else header)


def clean_trace_id(trace: str | None) -> str | None:
    """Return a trace id fit for display; None for one that contains a secret."""
    if not trace:
        return None
    head = " ".join(trace[: 2 * _MAX_TRACE_CHARS].split())
    return head[:_MAX_TRACE_CHARS] if redact(head) == head and "[key]" not in head else None


def _redacted_message(message: str) -> str:
    """Return the message of a success, redacted; most are a single word."""
    return message if message.isalpha() else redact(message)


def _clean(text: str | bytes, secret: str | Secret) -> str:
    # Lone surrogates are legal in JSON, but printing them raises UnicodeEncodeError.
    return excerpt(text, secret).encode("utf-8", "replace").decode()


def _api_error(
    context: _ResponseContext,
    code: int | None,
    message: str,
    trace: str | None,
    *,
    kind: type[ApiError] | None = None,
    advice: str = "",
    from_api: bool = False,
) -> ApiError:
    kind = kind or error_class_for(context.http_status, code, message)
    if context.charged and not is_refusal(context.http_status, code, from_api=from_api):
        advice = MAYBE_CHARGED_ADVICE
    fields: dict[str, Any] = {
        "http_status": context.http_status,
        "code": code,
        "message": _clean(message, context.secret),
        "trace_id": trace,
        "method": context.method,
        "path": context.path,
        "body": _clean(context.body, context.secret),
        "attempts": context.attempts,
        "advice": advice or advice_for(kind, code),
        "from_api": from_api,
    }
    if kind is RateLimited:
        return RateLimited(retry_after=context.retry_after, **fields)
    return kind(**fields)


def _not_json_error(
    context: _ResponseContext, content_type: str, trace: str | None, reason: Exception
) -> A2EError:
    page = "html" in content_type.lower() or context.body.lstrip()[:1] == b"<"
    if context.http_status < 300:
        if page:
            what = "a web page instead of JSON, so this host is perhaps not the API"
        elif isinstance(reason, RecursionError):
            what = "a response nested too deeply"
        else:
            what = "a response that is not JSON"
        return _decode_error(context, what, trace)
    trace = clean_trace_id(trace)
    if not page:
        text = context.body[:4000].decode("utf-8", "replace")
        return _api_error(context, None, text, trace)
    title = _HTML_TITLE.search(context.body[:4000].decode("utf-8", "replace"))
    description = "a web page instead of JSON" + (f" ({title[1].strip()})" if title else "")
    if context.http_status in (404, 405):
        # A web page means a missing route; a missing record is reported in JSON.
        advice = f"The path or the host is wrong: is {context.host} the API? Check base_url."
        return _api_error(context, None, description, trace, kind=NotFound, advice=advice)
    return _api_error(context, None, description, trace)


def _decode_error(context: _ResponseContext, what: str, trace: str | None) -> DecodeError:
    trace = clean_trace_id(trace)
    shown = f" [trace {trace}]" if trace else ""
    return DecodeError(
        f"{context.method} {context.path}: {context.host} sent {what} (HTTP {context.http_status})"
        f"{shown}. {MAYBE_CHARGED_ADVICE if context.charged else _REPORT_ADVICE}",
        method=context.method,
        path=context.path,
        http_status=context.http_status,
        excerpt=_clean(context.body, context.secret),
        trace_id=trace,
        attempts=context.attempts,
    )


def _redirect_error(context: _ResponseContext, location: str | None) -> ConfigurationError:
    text = f"{context.method} {context.path}: {context.host} responded with a redirect"
    charged = f" {MAYBE_CHARGED_ADVICE}" if context.charged else ""
    scheme = host = ""
    try:
        parts = urlsplit(location or "")
        scheme, host = parts.scheme or "https", parts.netloc.rpartition("@")[2]
    except ValueError:
        pass
    if not host:
        return ConfigurationError(
            f"{text} (HTTP {context.http_status}), which the API never does. "
            f"Check base_url.{charged}"
        )
    target = _clean(f"{scheme}://{host}", context.secret)
    return ConfigurationError(
        f"{text} to {target}. Redirects are not followed, so that the key is not sent to "
        f"another host; if {target} is the API, base_url should be {target}.{charged}"
    )
