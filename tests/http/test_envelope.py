"""Every response becomes one value or one library error."""

import json
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async._core.http.envelope import ApiResponse, decode_plain_success, decode_response
from a2e_async.errors import (
    A2EError,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    ContentRejected,
    DecodeError,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)
from tests.samples import RANDOM_CASES

SECRET = "sk_" + "thekey0123456789"
PAGE = b"<!doctype html><html><head><title>502 Bad Gateway</title></head></html>"


def read(
    body: Any = b"",
    status: int = 200,
    *,
    method: str = "GET",
    kind: str = "application/json",
    location: str | None = None,
    retry_after: float | None = None,
    loads: Callable[[bytes], Any] = json.loads,
) -> ApiResponse:
    return decode_response(
        method=method,
        path="/api/v1/x",
        host="video.example",
        http_status=status,
        content_type=kind,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        trace_header="fromheader",
        retry_after=retry_after,
        secret=SECRET,
        attempts=3,
        loads=loads,
        location=location,
    )


def fails(expected: type[A2EError], *args: Any, **kwargs: Any) -> Any:
    with pytest.raises(expected) as caught:
        read(*args, **kwargs)
    assert type(caught.value) is expected
    again = pickle.loads(pickle.dumps(caught.value))  # our own bytes
    assert str(again) == str(caught.value)
    return caught.value


RECORD = {"_id": "66ea4dd8", "status": "ok", "code": "xyz", "success": False}


@pytest.mark.parametrize(
    ("body", "data", "code"),
    [
        ({"code": 0, "data": {"_id": "a"}}, {"_id": "a"}, 0),
        ({"code": 0, "data": None}, None, 0),
        ({"code": 0, "data": "https://x/y.mp3"}, "https://x/y.mp3", 0),
        ({"code": 0, "data": []}, [], 0),
        ({"code": "0", "data": 1}, 1, 0),
        ({"code": 0.0, "data": 1}, 1, 0),
        ({"code": 200, "data": 1}, 1, 200),
        ({"code": "ok", "data": 1}, 1, None),
        ({"code": True, "data": 1}, 1, None),
        ({"code": None, "data": 1}, 1, None),
        ({"data": {"_id": "a"}, "trace_id": "t"}, {"_id": "a"}, None),
        ({"code": 0, "rows": [1], "count": 1}, {"rows": [1], "count": 1}, 0),
        ({"code": 0}, None, 0),
        ([{"_id": "a"}], [{"_id": "a"}], None),
        (RECORD, RECORD, None),
        ({"rows": [], "count": 0}, {"rows": [], "count": 0}, None),
        ({"data": [], "total": 3}, {"data": [], "total": 3}, None),
        ("https://x/y.mp3", "https://x/y.mp3", None),
        (None, None, None),
        (b'{"code":0,"data":1,"data":2}', 2, 0),
        (b'\xef\xbb\xbf{"code":0,"data":1}', 1, 0),
        ('{"code":0,"data":"é"}'.encode("latin-1"), "é", 0),
        ('{"code":0,"data":"é"}'.encode("utf-16"), "é", 0),
        (b'  {"code":0,"data":1}\r\n', 1, 0),
    ],
)
def test_good_answers(body: Any, data: Any, code: int | None) -> None:
    answer = read(body)
    assert answer.data == data
    assert answer.code == code
    assert answer.http_status == 200


def test_nan_is_read_whatever_the_parser() -> None:
    def strict(body: bytes) -> Any:
        raise ValueError("no NaN here")

    assert math.isnan(read(b'{"code":0,"data":NaN}', loads=strict).data)


def test_message_and_trace_id_are_kept() -> None:
    answer = read({"code": 0, "data": 1, "msg": "fine", "trace_id": "fromthebody"})
    assert (answer.message, answer.trace_id) == ("fine", "fromthebody")
    assert read([]).trace_id == "fromheader"


@pytest.mark.parametrize("status", [202, 204])
def test_other_successes_may_be_empty(status: int) -> None:
    assert read(b"", status).data is None
    assert read(b"", status).http_status == status
    assert read({"code": 0, "data": 1}, 202).data == 1


def test_an_empty_200_is_an_error_unless_something_was_deleted() -> None:
    assert read(b"", method="DELETE").data is None
    assert "empty" in str(fails(DecodeError, b" \n"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"code": 1, "message": "bad"}, InvalidRequest),
        (400, {"code": 0, "data": {}}, InvalidRequest),
        (401, {"message": "Invalid token"}, AuthenticationError),
        (402, {}, InsufficientCredits),
        (403, {"msg": "Forbidden"}, PermissionDenied),
        (403, {"msg": "only for pro or max"}, PermissionDenied),
        (403, {"msg": "a portrait of a real person"}, ContentRejected),
        (403, {"msg": "this needs proof of age"}, ContentRejected),
        (403, {"msg": "insufficient coins"}, InsufficientCredits),
        (404, {"msg": "sensitive"}, NotFound),
        (409, {"msg": "conflict"}, InvalidRequest),
        (429, {"msg": "slow down"}, RateLimited),
        (500, {"msg": "rate limit"}, ServerError),
        (503, b"upstream down", ServerError),
        (400, {"code": 1003, "message": "no"}, ContentRejected),
        (200, {"code": 1004, "message": "no"}, ContentRejected),
        (200, {"code": 1001, "message": "hosts are occupied"}, ApiError),
        (200, {"code": 30005, "message": "two backgrounds"}, ApiError),
        (200, {"code": 401, "message": ""}, AuthenticationError),
        (200, {"code": "404"}, NotFound),
        (200, {"code": 500}, ServerError),
        (200, {"code": 503, "data": {}}, ServerError),
        (200, {"code": 429}, RateLimited),
        (200, {"code": 422}, InvalidRequest),
        (200, {"code": -1, "msg": "Not enough coins"}, InsufficientCredits),
        (200, {"code": 1, "msg": "Insufficient user quota."}, InsufficientCredits),
        (200, {"code": 1, "msg": "your balance is insufficient"}, InsufficientCredits),
        (200, {"code": 1, "msg": "Too many requests"}, RateLimited),
        (200, {"code": 1, "msg": "Content is NSFW"}, ContentRejected),
        (200, {"code": 1, "msg": "violates our content policy"}, ContentRejected),
        (200, {"code": 1, "msg": "invalid token"}, AuthenticationError),
        (200, {"code": 1, "msg": "free user cannot"}, PermissionDenied),
        (200, {"code": 1, "msg": "record not found"}, NotFound),
        (200, {"code": "FAIL", "msg": "no"}, ApiError),
        (200, {"code": {}, "msg": "no"}, ApiError),
        (200, {"code": 0, "success": False, "data": None}, ApiError),
        (200, {"success": "false", "msg": "no"}, ApiError),
        (200, b'{"code":NaN}', ApiError),
        (200, b'{"code":1e400}', ApiError),
        (400, {"errors": ["copyright problem"]}, ContentRejected),
        (400, {"error": {"message": "moderation refused it"}}, ContentRejected),
    ],
)
def test_failures_have_their_class(status: int, body: Any, kind: type[ApiError]) -> None:
    error = fails(kind, body, status)
    assert error.http_status == status
    assert error.attempts == 3
    assert "/api/v1/x" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        'Invalid value for prompt: "a celebrity, nsfw, too many requests"',
        "Cannot use 'a sensitive copyright moderation' here",
        "aspect_ratio portrait is not supported for this image",
        "the average storage of images is managed by pages",
        "insensitive name",
        "coins must be a number",
        "age must be a number",
    ],
)
def test_inputs_echoed_in_a_message_do_not_decide(message: str) -> None:
    fails(InvalidRequest, {"code": 1, "message": message}, 400)


def test_all_the_service_says_is_in_the_message() -> None:
    error = fails(
        InvalidRequest,
        {"message": "Bad Request", "errors": [{"field": "a", "message": "too long"}, "and b"]},
        400,
    )
    assert error.message == "Bad Request: too long; and b"
    refused = {"code": 7, "data": {"failed_message": "no face found"}}
    assert fails(NotFound, {"code": 7, "data": "voice not found"}).message == "voice not found"
    assert fails(ApiError, {**refused, "code": 8}).message == "no face found"


def test_retry_after_stays_on_the_error() -> None:
    assert fails(RateLimited, {}, 429, retry_after=7.0).retry_after == 7.0


@pytest.mark.parametrize("status", [404, 405])
def test_a_web_page_for_a_missing_path_blames_the_host(status: int) -> None:
    error = fails(NotFound, PAGE, status, kind="text/html")
    assert "video.example" in str(error)
    assert "base_url" in str(error)


def test_a_web_page_is_reported_as_such() -> None:
    error = fails(ServerError, PAGE, 502, kind="text/html")
    assert "502 Bad Gateway" in error.message
    error = fails(DecodeError, PAGE)
    assert "web page" in str(error)
    assert "video.example" in str(error)
    assert fails(AuthenticationError, PAGE, 401)
    assert read(b'{"code":0,"data":1}', kind="text/html").data == 1


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 200_000, b"[" * 900 + b"]" * 900])
def test_deep_nesting_is_one_of_our_errors(body: bytes) -> None:
    try:
        answer = read(body)
    except A2EError as error:
        assert isinstance(error, DecodeError)  # noqa: PT017  # either outcome is right
    else:
        assert isinstance(answer.data, list)


@pytest.mark.parametrize(("depth", "kind"), [(30, InvalidRequest), (200, DecodeError)])
def test_deep_errors_are_cut(depth: int, kind: type[A2EError]) -> None:
    """A response that is nested too deeply is not from the API."""
    value: Any = "deep"
    for _ in range(depth):
        value = [{"message": value}]
    fails(kind, {"errors": value}, 400)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://other.example/api?token=abc#x", "https://other.example"),
        ("//other.example/x", "https://other.example"),
        ("https://user:pw@other.example/x", "https://other.example"),
        ("/login?next=abc", "Check base_url"),
        (None, "Check base_url"),
        ("http://[broken", "Check base_url"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_reported_and_not_followed(
    status: int, location: str | None, shown: str
) -> None:
    error = fails(ConfigurationError, PAGE, status, location=location)
    assert shown in str(error)
    assert "abc" not in str(error)
    assert "pw" not in str(error)


def test_no_secret_leaves() -> None:
    text = f"key {SECRET} at https://r2.example/f?X-Amz-Signature=deadbeef"
    bodies = [{"code": 1, "message": text, "trace_id": text}, {"errors": [text]}, text]
    for body in (*bodies, text.encode(), PAGE + text.encode()):
        for status in (200, 400, 401, 500):
            try:
                read(body, status)
            except A2EError as error:
                shown = f"{error} {error!r} {vars(error)}"
                assert SECRET not in shown
                assert "deadbeef" not in shown


def test_lone_surrogates_can_be_printed() -> None:
    error = fails(InvalidRequest, b'{"message":"\\ud800 bad"}', 400)
    str(error).encode()


def test_the_short_way_reads_as_the_long_one() -> None:
    for body in (
        {"code": 0, "data": [1], "msg": "m", "trace_id": "abc"},
        {"code": 0, "data": None, "trace_id": "sk_0123456789 and more"},
        {"code": 0, "data": 1, "trace_id": 5},
    ):
        raw = json.dumps(body).encode()
        short, long = decode_plain_success(raw, {"X-Trace-Id": "fromheader"}), read(raw)
        assert short is not None
        assert (short.data, short.code, short.message, short.trace_id) == (
            (long.data, long.code, long.message, long.trace_id)
        )
    for other in (b"", b"[]", b"[" * 100_000, b'{"code":0}', b'{"code":false,"data":1}'):
        assert decode_plain_success(other, {}) is None
    assert decode_plain_success(b'{"code":0,"data":1,"success":false}', {}) is None


# -- anything at all -----------------------------------------------------------------------

STATUSES = (200, 200, 200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 405, 422, 429, 500, 503)
KINDS = ("application/json", "text/html", "", "text/plain; charset=latin-1")
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 200, 404, 503, 1003, 1e308, float("nan"), float("inf"), "0",
    "x", "", "200", "not found", "insufficient coins", "\ud800", "٣", [], {}, [None], {"a": []},
    10**30, "9" * 5000,
)  # fmt: skip
NAMES = (
    "code", "data", "msg", "message", "errors", "error", "detail", "trace_id", "success", "_id",
    "rows", "traceId",
)  # fmt: skip


def varied(rng: random.Random) -> bytes:
    """Return a body between a good envelope and noise."""
    envelope: dict[str, Any] = {"code": 0, "data": {"_id": "a"}, "trace_id": "t"}
    for _ in range(rng.randrange(5)):
        value: Any = rng.choice(VALUES)
        for _ in range(rng.randrange(3)):
            value = rng.choice(([value], {rng.choice(NAMES): value}, [value, value]))
        envelope[rng.choice(NAMES)] = value
    for _ in range(rng.randrange(2)):
        envelope.pop(rng.choice(NAMES), None)
    top: Any = rng.choice((envelope, envelope, envelope, [envelope], rng.choice(VALUES)))
    body = bytearray(json.dumps(top).encode())
    for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
        at = rng.randrange(len(body) + 1)
        change = rng.randrange(4)
        if change == 0:
            body[at:at] = rng.randbytes(rng.randrange(1, 4))
        elif change == 1:
            del body[at : at + rng.randrange(1, 5)]
        elif change == 2:
            body[at:] = b""
        else:
            body[:0] = rng.choice((b"\xef\xbb\xbf", b"<html>", b"[", b"\xff\xfe", b" "))
    return bytes(body) if rng.random() > 0.02 else rng.randbytes(rng.randrange(40))


def test_many_bodies_give_an_answer_or_one_of_our_errors() -> None:
    rng = random.Random(20261121)  # varied, not secret
    outcomes: dict[str, int] = {}
    for _ in range(RANDOM_CASES):
        body, status = varied(rng), rng.choice(STATUSES)
        try:
            outcome: Any = decode_plain_success(body, {}) if status == 200 else None
            outcome = outcome or read(body, status, kind=rng.choice(KINDS))
        except A2EError as error:
            outcome = error
        name = type(outcome).__name__
        outcomes[name] = outcomes.get(name, 0) + 1
    assert outcomes.keys() == {
        "ApiResponse",
        "ApiError",
        "AuthenticationError",
        "ConfigurationError",
        "ContentRejected",
        "DecodeError",
        "InsufficientCredits",
        "InvalidRequest",
        "NotFound",
        "PermissionDenied",
        "RateLimited",
        "ServerError",
    }


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    body=values.map(json.dumps).map(str.encode) | st.binary(),
    status=st.sampled_from(STATUSES) | st.integers(200, 599),
    kind=st.sampled_from(KINDS),
    location=st.none() | st.text(),
)
def test_any_body_gives_an_answer_or_one_of_our_errors(
    body: bytes, status: int, kind: str, location: str | None
) -> None:
    try:
        answer = read(body, status, kind=kind, location=location)
    except A2EError as error:
        str(error).encode()
    else:
        assert isinstance(answer, ApiResponse)
