"""All faults worth testing, grouped by the request that they affect."""

from collections.abc import Sequence
from typing import Any, Final

from .faults import Fault

REDIRECTS: Final = (301, 302, 303, 307, 308)
CLIENT_STATUSES: Final = (
    *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 413, 414, 415, 418, 421),
    *(422, 423, 424, 425, 426, 428, 431, 444, 449, 451, 460, 494, 499),
)
SERVER_STATUSES: Final = (500, 501, 502, 503, 504, 507, 520, 522, 524, 529, 599)
REFUSING_STATUSES: Final = (200, 400, 401, 402, 403, 404, 405, 413, 415, 422)
"""Statuses with which the API itself refuses, with a code in its envelope."""

LOST: Final[Sequence[Fault]] = (
    *(Fault.status(status) for status in REDIRECTS),
    *(Fault.redirect(303, place) for place in ("http://[", "//", "http://x:99999/", "")),
    *(Fault.status(status) for status in CLIENT_STATUSES),
    *(Fault.page(status) for status in (200, *CLIENT_STATUSES)),
    *(Fault.bare_json(status) for status in (200, 400, 403, 404, 409, 422)),
    *(Fault.status(status) for status in SERVER_STATUSES),
    *(Fault.page(status) for status in (500, 502, 503)),
    *(Fault.envelope(status, 500) for status in (408, 409, 425, 499, 500, 502, 503)),
    Fault.empty(),
    Fault.empty(202),
    Fault.empty(204),
    Fault.empty(205),
    Fault.body("text", b"accepted", "text/plain"),
    Fault.body("NaN", b"NaN"),
    Fault.body("a number", b"5"),
    Fault.body("a list of numbers", b"[1, 2]"),
    Fault.body("invalid UTF-8", b'{"code": 0, "data": {"_id": "\xff\xfe"}}'),
    Fault.body("a lone surrogate", b'{"code": 0, "data": {"name": "\\ud800"}}'),
    Fault.body("no data", b'{"code": 0}'),
    Fault.body("a text as code", b'{"code": "zero", "data": null}'),
    Fault.body("two envelopes", b'{"code": 0, "data": null}{"code": 0, "data": null}'),
    Fault.data(None),
    Fault.data({}),
    Fault.data([]),
    Fault.data("queued"),
    Fault.data(True),
    Fault.data([None, 1, "x"]),
    Fault.nested(1_000),
    Fault.nested(100_000),
    Fault.disconnect(),
    Fault.cut(),
    Fault.cut(0.0),
    Fault.cut(reset=False),
    Fault.cut(length=False),
    Fault.cut_text(),
    Fault.encoded("br"),
)
"""Responses that do not show whether a paid request was accepted."""

REFUSALS: Final[Sequence[Fault]] = (
    *(Fault.refusal(status, 4000 + status) for status in REFUSING_STATUSES),
    Fault.refusal(429, 429, "too many requests", Retry_After="0"),
    Fault.refusal(200, 1001, "streaming hosts all occupied"),
)
"""Responses with which the API itself refuses a request."""


def _record(name: str, value: Any) -> Fault:
    return Fault.field(name, value)


ODD_ACCEPTANCES: Final[Sequence[Fault]] = (
    *(_record("coins", value) for value in (2**63, 2**70, -5, 0.5, "7", "seven", None, True, [7])),
    _record("coins", 1e300),
    *(_record("createdAt", value) for value in (17, None, "yesterday", {}, -1, 10**20)),
    *(_record("name", value) for value in (None, 5, {"x": 1}, "x" * 100_000)),
    *(_record(status, ["sent"]) for status in ("current_status", "status", "state")),
    *(_record("result_url", value) for value in (5, "not a url", "http://[", {}, [[[]]], "")),
    *(_record("image_urls", value) for value in (5, "", [None], {"a": 1})),
    _record("failed_message", {"x": [1]}),
    Fault.edit("only ids", lambda data: _only_ids(data)),
    Fault.edit("rows", lambda data: {"rows": data if isinstance(data, list) else [data]}),
    Fault.edit("a list", lambda data: data if isinstance(data, list) else [data]),
    Fault.edit("records twice", lambda data: [*data, *data] if isinstance(data, list) else data),
    Fault.edit("in reverse", lambda data: data[::-1] if isinstance(data, list) else data),
    Fault.fewer_records(),
    Fault.huge(300_000),
    Fault.mistyped("text/plain"),
    Fault.mistyped("text/html"),
    Fault.mistyped("application/octet-stream"),
    Fault.encoded("gzip"),
    Fault.encoded("gzip-members"),
    Fault.encoded("deflate"),
    Fault.chunked(),
    Fault.slow(0.05),
    Fault.header("Set-Cookie", "session=1; Path=/"),
    Fault.header("Date", "no date at all"),
    Fault.header("Retry-After", "soon"),
)
"""Responses of unusual form that accept the request."""


def _only_ids(data: Any) -> Any:
    if isinstance(data, list):
        return [_only_ids(one) for one in data]
    return {"_id": data["_id"]} if isinstance(data, dict) and "_id" in data else data


FILE_FAULTS: Final[Sequence[Fault]] = (
    *(Fault.status(status) for status in (400, 403, 404, 408, 410, 416, 425, 429, 500, 503)),
    *(Fault.page(status) for status in (200, 203, 404, 503)),
    *(
        Fault.body(f"error document {kind}", text, kind)
        for kind, text in (
            ("application/xml", b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"),
            ("application/json", b'{"error": "internal"}'),
            ("text/plain", b"upstream request timeout"),
            ("video/mp4", b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"),
            ("application/octet-stream", b'{"code": 500, "msg": "internal"}'),
        )
    ),
    *(Fault.redirect(302, place) for place in ("http://[", "//", "http://x:99999/", "ftp://x/y")),
    Fault.empty(),
    Fault.empty(204),
    Fault.disconnect(),
    Fault.cut(),
    Fault.cut(0.0),
    Fault.cut(reset=False),
    Fault.cut(length=False),
    Fault.cut(0.99),
    *(
        Fault.encoded(coding)
        for coding in ("gzip", "gzip-members", "deflate", "raw-deflate", "aws-chunked", "binary")
    ),
    Fault.chunked(500),
    Fault.mistyped("text/html"),
    Fault.mistyped("binary/octet-stream"),
)
"""Responses of a file store in place of a result."""
