"""The service's answers in all their shapes: one value or one error out (pure).

An answer counts as good when the HTTP status is 2xx, the envelope's code (if there is one) is
0, and it does not say ``success: false``. Everything else becomes the one error of the tree
that tells the caller what to do. Whatever bytes come, nothing but an `Answer` or an `A2EError`
leaves `read_answer`.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from a2e_async.errors import (
    A2EError,
    ApiError,
    ConfigurationError,
    DecodeError,
    NotFound,
    RateLimited,
)
from a2e_async.narrow import deeper_than, is_list, is_map
from a2e_async.redact import Secret, excerpt, redact
from a2e_async.transport.classify import advice_for, classify, is_refusal

try:
    # The extra `fast`. What it refuses (NaN, huge numbers) is read the long way.
    from orjson import loads as _quick_loads
except ImportError:
    _first_value: Final = json.JSONDecoder().raw_decode

    def _quick_loads(body: bytes | bytearray | memoryview | str, /) -> Any:
        text = body if isinstance(body, str) else str(body, "utf-8")
        # All that `json.loads` does beyond it is to skip blanks before and after.
        value, end = _first_value(text)
        return value if end == len(text) else json.loads(text)


# Code 0 is the documented success. The others were never seen, but reading an accepted and
# charged start as refused would be worse than believing them.
_GOOD_CODES: Final = frozenset({0, 200, 201, 202})
_GOOD_WORDS: Final = frozenset({"", "ok", "success", "succeeded"})
_ENVELOPE_KEYS: Final = frozenset(
    {"code", "data", "trace_id", "traceId", "message", "msg", "success", "error", "errors"}
)
_TRACE_CHARS: Final = 128

MAX_DEPTH: Final = 64
"""Levels of lists and objects in an answer; records have three or four.

Parsers give up at some depth, each at its own; below it, what was parsed breaks later, where it
is walked, compared, copied or pickled.
"""

TRACE_HEADER: Final = "X-Trace-Id"
"""Where a trace id stands that the body does not have."""

MAYBE_CHARGED: Final = (
    "It may have been accepted and charged, so it was not sent again; look for it in the list "
    "before you repeat it."
)

_REPORT: Final = "If this lasts, check base_url and report it with the excerpt of this error."

_RECORD: Final = re.compile(r"[0-9a-f]{24}")

_TITLE: Final = re.compile(r"<title[^>]*>\s*([^<]{1,200})", re.IGNORECASE)


@define(eq=False)
class Answer:
    """One good answer. ``data`` is the envelope's data, or the whole body if it has none.

    ``code`` is None where no numeric code came; ``headers`` are those of the response. Its repr
    leaves ``data`` and ``headers`` out, which may hold prompts and signed URLs: print
    ``answer.data`` to see it.
    """

    data: Any = field(repr=False)
    code: int | None
    message: str
    trace_id: str | None
    http_status: int
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)


@frozen(kw_only=True)
class _Reply:
    """What all errors about one answer tell."""

    method: str
    path: str
    host: str
    http_status: int
    body: bytes
    secret: str | Secret
    attempts: int
    retry_after: float | None
    charged: bool


def read_plain(body: bytes, headers: Mapping[str, str]) -> Answer | None:
    """Return the answer if ``body`` (of HTTP 200) is the usual envelope of a success, else None.

    The short way for almost every call; `read_answer` knows everything else.
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
    message = _shown(_message(value)) if "msg" in value or "message" in value else ""
    trace = value.get("trace_id")
    if (
        trace.__class__ is not str
        or not trace.replace("-", "").isalnum()
        or len(trace) > _TRACE_CHARS
    ):
        trace = _trace(value, headers.get(TRACE_HEADER))
    return Answer(value["data"], 0, message, trace, 200, headers)


def read_answer(
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
) -> Answer:
    """Return the answer, or raise the error that it is.

    ``retry_after`` in seconds; ``charged``: a call that may have cost, whatever came back;
    ``secret`` (the API key) is taken out of every text kept; ``location`` is the target of a
    redirect. Raises `ApiError` and its children,
    `DecodeError`, and `ConfigurationError` for a redirect.
    """
    reply = _Reply(
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
        raise _redirect_error(reply, location)
    good = 200 <= http_status < 300
    if good and not body.strip():
        if http_status != 200 or method == "DELETE":
            return Answer(None, None, "", clean_trace(trace_header), http_status)
        raise _undecodable(reply, "an empty answer", trace_header)
    try:
        value = _decode(body, loads)
    except (ValueError, RecursionError) as error:
        failed = _not_json(reply, content_type, trace_header, error)
    else:
        if not _too_deep(body, value):
            return _read_value(reply, value, trace_header)
        failed = _undecodable(reply, "an answer nested too deeply", trace_header)
    raise failed


def _too_deep(body: bytes, value: Any) -> bool:
    # Few answers have so many brackets at all: most are not walked through.
    brackets = body.count(b"{") + body.count(b"[")
    return brackets > MAX_DEPTH and deeper_than(value, MAX_DEPTH)


def _read_value(reply: _Reply, value: Any, trace_header: str | None) -> Answer:
    good = 200 <= reply.http_status < 300
    if not is_map(value):
        if good:
            return Answer(value, None, "", clean_trace(trace_header), reply.http_status)
        raise _api_error(reply, None, _text(value), trace_header)
    trace = _trace(value, trace_header)
    message = _message(value)
    code, refused = _code(value.get("code"))
    enveloped = "code" in value or ("data" in value and value.keys() <= _ENVELOPE_KEYS)
    from_api = code is not None and refused
    if "_id" in value and "data" not in value:
        # A record without an envelope, whose own fields may be called code or success.
        enveloped = refused = from_api = False
        code = None
    elif value.get("success") in (False, "false"):
        # Beside a good code it is the API's own word only where it answered 200.
        from_api = from_api or (code is not None and reply.http_status == 200)
        refused = True
    if not good or refused:
        if reply.charged and (id := _named(value)):
            raise _undecodable(reply, f"a refusal that names a record ({id})", trace)
        raise _api_error(
            reply,
            code,
            message or _reason(value.get("data")),
            trace,
            from_api=from_api,
        )
    data: Any = value
    if enveloped:
        data = value.get("data")
        if "data" not in value and (rest := value.keys() - _ENVELOPE_KEYS):
            data = {key: value[key] for key in value if key in rest}
    return Answer(data, code, _shown(message), trace, reply.http_status)


def _named(value: Mapping[str, Any]) -> str | None:
    """Return the id of a record that an answer shows, whatever else it says."""
    data = value.get("data")
    for part in (value, *(data if is_list(data) else (data,))):
        if is_map(part) and isinstance(id := part.get("_id"), str) and _RECORD.fullmatch(id):
            return id
    return None


def _decode(body: bytes, loads: Callable[[bytes], Any]) -> Any:
    try:
        return loads(body)
    except (ValueError, RecursionError):
        # A faster parser may refuse what the standard one takes (NaN, a BOM, other encodings).
        body = body.removeprefix(b"\xef\xbb\xbf")
        try:
            return json.loads(body)
        except UnicodeDecodeError:
            return json.loads(body.decode("latin-1"))


def _code(value: Any) -> tuple[int | None, bool]:
    """Return the code as a number, and whether it says that the request was refused."""
    if isinstance(value, bool) or value is None:
        return None, False
    if isinstance(value, str):
        word = value.strip().lower()
        try:
            value = int(word)
        except ValueError:
            return None, word not in _GOOD_WORDS
    if isinstance(value, float):
        if not math.isfinite(value):
            return None, True
        value = int(value)
    if isinstance(value, int):
        return value, value not in _GOOD_CODES
    return None, True


def _message(value: Mapping[str, Any]) -> str:
    """Return the service's text: its message, and its list of errors where that adds any."""
    said = ""
    for key in ("message", "msg", "error", "detail"):
        if said := _text(value.get(key)):
            break
    errors = _text(value.get("errors")) if value.get("errors") else ""
    if errors and errors not in said:
        said = f"{said}: {errors}" if said else errors
    return said


def _reason(data: Any) -> str:
    if is_map(data):
        return _text(data.get("failed_message")) or _text(data.get("faild_message"))
    return data.strip() if isinstance(data, str) else ""


def _text(value: Any, depth: int = 3) -> str:
    if isinstance(value, str):
        return value.strip()
    if is_map(value):
        for key in ("message", "msg", "detail", "error", "reason"):
            if depth and (text := _text(value.get(key), depth - 1)):
                return text
        return ", ".join(f"{k}: {v}" for k, v in value.items() if isinstance(v, str | int))
    if is_list(value):
        parts = (_text(part, depth - 1) for part in value[:20] if depth)
        return "; ".join(part for part in parts if part)
    return ""


def _trace(value: Mapping[str, Any], header: str | None) -> str | None:
    trace = value.get("trace_id") or value.get("traceId")
    return clean_trace(trace if isinstance(trace, str) and trace else header)


def clean_trace(trace: str | None) -> str | None:
    """Return a trace id, None for one that holds a secret."""
    if not trace:
        return None
    head = " ".join(trace[: 2 * _TRACE_CHARS].split())
    return head[:_TRACE_CHARS] if redact(head) == head and "[key]" not in head else None


def _shown(message: str) -> str:
    """Return the message of a success; most are a word."""
    return message if message.isalpha() else redact(message)


def _clean(text: str | bytes, secret: str | Secret) -> str:
    # Lone surrogates are legal in JSON and fatal to whoever prints them.
    return excerpt(text, secret).encode("utf-8", "replace").decode()


def _api_error(
    reply: _Reply,
    code: int | None,
    message: str,
    trace: str | None,
    *,
    kind: type[ApiError] | None = None,
    advice: str = "",
    from_api: bool = False,
) -> ApiError:
    kind = kind or classify(reply.http_status, code, message)
    if reply.charged and not is_refusal(reply.http_status, code, from_api=from_api):
        advice = MAYBE_CHARGED
    fields: dict[str, Any] = {
        "http_status": reply.http_status,
        "code": code,
        "message": _clean(message, reply.secret),
        "trace_id": trace,
        "method": reply.method,
        "path": reply.path,
        "body": _clean(reply.body, reply.secret),
        "attempts": reply.attempts,
        "advice": advice or advice_for(kind, code),
        "from_api": from_api,
    }
    if kind is RateLimited:
        return RateLimited(retry_after=reply.retry_after, **fields)
    return kind(**fields)


def _not_json(reply: _Reply, content_type: str, trace: str | None, why: Exception) -> A2EError:
    page = "html" in content_type.lower() or reply.body.lstrip()[:1] == b"<"
    if reply.http_status < 300:
        if page:
            what = "a web page instead of JSON, so this host is perhaps not the API"
        elif isinstance(why, RecursionError):
            what = "an answer nested too deeply"
        else:
            what = "an answer that is not JSON"
        return _undecodable(reply, what, trace)
    trace = clean_trace(trace)
    if not page:
        text = reply.body[:4000].decode("utf-8", "replace")
        return _api_error(reply, None, text, trace)
    title = _TITLE.search(reply.body[:4000].decode("utf-8", "replace"))
    said = "a web page instead of JSON" + (f" ({title[1].strip()})" if title else "")
    if reply.http_status in (404, 405):
        # A page tells of a missing route, never of a missing record.
        advice = f"The path or the host is wrong: is {reply.host} the API? Check base_url."
        return _api_error(reply, None, said, trace, kind=NotFound, advice=advice)
    return _api_error(reply, None, said, trace)


def _undecodable(reply: _Reply, what: str, trace: str | None) -> DecodeError:
    trace = clean_trace(trace)
    shown = f" [trace {trace}]" if trace else ""
    return DecodeError(
        f"{reply.method} {reply.path}: {reply.host} sent {what} (HTTP {reply.http_status})"
        f"{shown}. {MAYBE_CHARGED if reply.charged else _REPORT}",
        method=reply.method,
        path=reply.path,
        http_status=reply.http_status,
        excerpt=_clean(reply.body, reply.secret),
        trace_id=trace,
        attempts=reply.attempts,
    )


def _redirect_error(reply: _Reply, location: str | None) -> ConfigurationError:
    said = f"{reply.method} {reply.path}: {reply.host} answered with a redirect"
    charged = f" {MAYBE_CHARGED}" if reply.charged else ""
    scheme = host = ""
    try:
        parts = urlsplit(location or "")
        scheme, host = parts.scheme or "https", parts.netloc.rpartition("@")[2]
    except ValueError:
        pass
    if not host:
        return ConfigurationError(
            f"{said} (HTTP {reply.http_status}), which the API never does. Check base_url.{charged}"
        )
    target = _clean(f"{scheme}://{host}", reply.secret)
    return ConfigurationError(
        f"{said} to {target}. Redirects are not followed, so that the key is not sent to "
        f"another host; if {target} is the API, base_url should be {target}.{charged}"
    )
