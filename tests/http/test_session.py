"""One request through rate limiter, connection limiter, HTTP and envelope, against raw servers."""

import asyncio
import gzip
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from a2e_async._core.http.rate_limit import ConnectionLimiter, Priority, RateLimiter
from a2e_async._core.http.retry import MAX_HOLD, RetryPolicy, RetrySafety
from a2e_async.errors import (
    A2EError,
    ClientClosed,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    InvalidInput,
    InvalidRequest,
    NotFound,
    RateLimited,
    ResponseTimeout,
    ServerError,
)
from a2e_async.events import Attempt, RateLimitPause

from .conftest import send

pytestmark = pytest.mark.anyio

START: dict[str, Any] = {
    "retry_safety": RetrySafety.CHARGED,
    "priority": Priority.START,
    "json": {"a": 1},
}


async def until(true: Callable[[], bool]) -> None:
    while not true():  # watches what has no event
        await asyncio.sleep(0)


async def forever(hit: Any, writer: Any) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


# -- what goes out -------------------------------------------------------------------------


async def test_a_request_carries_key_language_and_body(serve: Any, connect: Any, key: str) -> None:
    server = await serve()
    session = connect(server.url)
    await session.request("GET", "/api/v1/x", params={"a": 1, "b": None, "c": True, "d": "é&"})
    await session.request("POST", "/api/v1/y", json={"text": "é"})
    get, post = server.hits
    assert get.target == "/api/v1/x?a=1&c=true&d=%C3%A9%26"
    assert get.headers["authorization"] == f"Bearer {key}"
    assert get.headers["x-lang"] == "en-US"
    assert get.headers["user-agent"] == "a2e-async/test"
    assert "cookie" not in get.headers
    assert json.loads(post.body) == {"text": "é"}
    assert post.headers["content-type"] == "application/json"
    assert server.connections == 1


@pytest.mark.parametrize("path", ["", "@evil.example/x", ".evil.example/", ":81/x", "https://e/x"])
async def test_a_path_cannot_change_the_host(connect: Any, path: str) -> None:
    with pytest.raises(ConfigurationError):
        await connect("http://127.0.0.1:1").request("GET", path)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"])
async def test_what_json_cannot_hold_is_not_sent(serve: Any, connect: Any, value: Any) -> None:
    server = await serve()
    with pytest.raises(InvalidInput):
        await connect(server.url).request("POST", "/x", json={"a": value})
    with pytest.raises(InvalidInput):
        await connect(server.url).request("GET", "/x", timeout=0)
    assert not server.hits


async def test_the_proxy_of_the_environment_is_used(
    serve: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//user:secretpw@"))
    await connect("http://a2e.test", trust_env=True).request("GET", "/x")
    assert server.hits[0].target == "http://a2e.test/x"
    assert "proxy-authorization" in server.hits[0].headers
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    await connect(server.url, trust_env=True).request("GET", "/y")
    assert server.hits[1].target == "/y"
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="not a usable HTTP proxy"):
        await connect("http://a2e.test", trust_env=True).request("GET", "/x")


# -- a start is never put on the wire twice ------------------------------------------------


async def test_a_start_dropped_after_it_was_read_is_sent_once(serve: Any, connect: Any) -> None:
    server, events = await serve(None), list[Any]()
    session = connect(server.url, events)
    call = session.new_call("POST", "/start", **START)
    with pytest.raises(ConnectionLost) as caught:
        await send(session, call)
    assert len(server.hits) == 1
    assert call.sent
    assert [event.sends for event in events] == [1]
    error = caught.value
    assert (error.sent, error.attempts, error.path) == (True, 1, "/start")
    assert error.__cause__ is not None
    assert error.__context__ is None
    assert "may have been accepted" in str(error)


async def test_a_start_on_a_dead_kept_connection_is_sent_once(
    serve: Any, connect: Any, ok: Any
) -> None:
    server, events = await serve(ok(), None, ok()), list[Any]()
    session = connect(server.url, events)
    await session.request("GET", "/x")
    with pytest.raises(ConnectionLost):
        await session.request("POST", "/start", **START)
    assert len(server.hits) == 2
    assert server.connections == 1
    assert events[-1].sends == 1


async def test_a_read_on_a_dead_kept_connection_shows_aiohttps_second_send(
    serve: Any, connect: Any, ok: Any
) -> None:
    server, events = await serve(ok(), None, ok(7)), list[Any]()
    session = connect(server.url, events)
    await session.request("GET", "/x")
    answer = await session.request("GET", "/x")
    assert answer.data == 7
    assert [(event.attempt, event.sends) for event in events] == [(1, 1), (1, 2)]
    assert len(server.hits) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_start_answered_5xx_is_sent_once(
    serve: Any, connect: Any, reply: Any, status: int
) -> None:
    server = await serve(reply(status, {}, headers="Retry-After: 0\r\n"))
    with pytest.raises(ServerError):
        await connect(server.url).request("POST", "/start", **START)
    assert len(server.hits) == 1


@pytest.mark.parametrize("body", [b"<html>", b"{", b"", b"[" * 100_000])
async def test_a_start_answered_with_nonsense_is_sent_once(
    serve: Any, connect: Any, reply: Any, body: bytes
) -> None:
    server = await serve(reply(200, body))
    with pytest.raises(DecodeError):
        await connect(server.url).request("POST", "/start", **START)
    assert len(server.hits) == 1


async def test_a_start_without_an_answer_is_sent_once(serve: Any, connect: Any) -> None:
    server = await serve(forever)
    with pytest.raises(ResponseTimeout) as caught:
        await connect(server.url).request("POST", "/start", **START, timeout=0.1)
    assert caught.value.sent
    assert len(server.hits) == 1


async def test_a_start_answered_429_is_sent_again_and_reported(
    serve: Any, connect: Any, reply: Any, ok: Any
) -> None:
    server = await serve(reply(429, {}, headers="Retry-After: 0.5\r\n"), ok({"_id": "a"}))
    events, steps = list[Any](), list[bool]()
    session = connect(server.url, events)
    call = session.new_call("POST", "/start", **START)
    answer = await send(session, call, steps)
    assert answer.data == {"_id": "a"}
    assert len(server.hits) == 2
    assert steps == [False, False, False, True]  # before and after each turn: sent, and not refused
    hold, first, second = events
    assert isinstance(hold, RateLimitPause)
    assert hold.seconds == 0.5
    assert (first.status, first.error, first.retry_in) == (429, "RateLimited", 0.5)
    assert (second.status, second.error, second.attempt) == (200, None, 2)
    assert second.waited > 0


async def test_a_withdrawn_call_is_not_written(serve: Any, connect: Any, ok: Any) -> None:
    """Also if its task learns of it only after the connection was made."""
    server = await serve(ok())
    session = connect(server.url)
    call = session.new_call("POST", "/start", **START)
    call.withdrawn = True
    with pytest.raises(asyncio.CancelledError):
        await send(session, call)
    assert not server.hits
    assert not call.sent
    assert (await session.request("GET", "/x")).code == 0


async def test_a_turn_that_ends_unused_is_given_back(serve: Any, connect: Any, ok: Any) -> None:
    """Whatever fails before the call is sent, for example a write to the journal."""
    server = await serve(ok())
    session = connect(
        server.url, rate_limiter=RateLimiter(0.01, 1), connection_limiter=ConnectionLimiter(1)
    )
    call = session.new_call("POST", "/start", **START)
    with pytest.raises(JournalFull):
        async with session.turn(call):
            raise JournalFull
    assert not server.hits
    assert (await session.request("GET", "/x")).code == 0


class JournalFull(Exception):
    pass


# -- what is free to repeat is repeated ----------------------------------------------------


async def test_reads_are_sent_again_on_5xx_drops_and_nonsense(
    serve: Any, connect: Any, reply: Any, ok: Any
) -> None:
    server, events = await serve(reply(503, {}), None, reply(502, b"<html>"), ok(5)), list[Any]()
    answer = await connect(server.url, events).request("POST", "/quote", json={})
    assert answer.data == 5
    assert len(server.hits) == 4
    assert [event.error for event in events] == [
        "ServerError",
        "ConnectionLost",
        "ServerError",
        None,
    ]
    assert [event.attempt for event in events] == [1, 2, 3, 4]
    assert all(event.retry_in is not None for event in events[:-1])


async def test_attempts_end_and_are_reported(serve: Any, connect: Any, reply: Any) -> None:
    server = await serve(reply(503, {"message": "down"}))
    with pytest.raises(ServerError) as caught:
        await connect(server.url).request("GET", "/x")
    assert caught.value.attempts == len(server.hits) == 4
    with pytest.raises(ServerError):
        await connect(server.url).request("GET", "/x", retry=False)
    assert len(server.hits) == 5


async def test_a_wrong_host_is_reported_after_two_attempts(
    serve: Any, connect: Any, reply: Any
) -> None:
    server = await serve(reply(200, b"<html>hello", kind="text/html"))
    with pytest.raises(DecodeError, match="web page"):
        await connect(server.url).request("GET", "/x")
    assert len(server.hits) == 2


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidRequest), (404, NotFound)])
async def test_final_answers_are_final(
    serve: Any, connect: Any, reply: Any, status: int, kind: type[A2EError]
) -> None:
    server = await serve(reply(status, {}))
    with pytest.raises(kind):
        await connect(server.url).request("GET", "/x")
    assert len(server.hits) == 1


async def test_redirects_are_not_followed(serve: Any, connect: Any, reply: Any) -> None:
    other = await serve()
    server = await serve(reply(307, headers=f"Location: {other.url}/x?token=abc\r\n"))
    with pytest.raises(ConfigurationError, match="base_url should be") as caught:
        await connect(server.url).request("POST", "/start", **START)
    assert other.url in str(caught.value)
    assert "abc" not in str(caught.value)
    assert not other.hits


# -- no connection -------------------------------------------------------------------------


async def test_a_refused_connection_is_not_sent_and_tried_again(connect: Any) -> None:
    events = list[Any]()
    session = connect("http://127.0.0.1:1", events)
    call = session.new_call("POST", "/start", **START)
    with pytest.raises(ConnectError) as caught:
        await send(session, call)
    assert (caught.value.sent, caught.value.attempts, call.sent) == (False, 4, False)
    assert [event.sends for event in events] == [0, 0, 0, 0]
    assert "127.0.0.1:1" in str(caught.value)
    assert "4 attempts" in str(caught.value)


async def test_an_unknown_host_is_not_sent(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: Any, **__: Any) -> Any:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(ConnectError) as caught:
        await connect("http://no-such-host.test").request("POST", "/start", **START)
    assert not caught.value.sent
    assert caught.value.attempts == 4


async def test_a_tls_failure_is_reported_at_once(connect: Any) -> None:
    def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="TLS") as caught:
            await connect(f"https://127.0.0.1:{port}").request("GET", "/x")
    assert caught.value.attempts == 1
    assert not caught.value.sent


# -- bodies --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_an_answer_beyond_the_limit_is_not_read(
    serve: Any, connect: Any, reply: Any, how: str
) -> None:
    body = json.dumps({"code": 0, "data": "x" * 100_000}).encode()
    answer = {
        "length": reply(200, body),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(body), body),
        "gzip": reply(200, gzip.compress(body), headers="Content-Encoding: gzip\r\n"),
    }[how]
    server = await serve(answer)
    session = connect(server.url)
    with pytest.raises(DecodeError, match="larger than 9999 bytes"):
        await session.request("GET", "/x", max_bytes=9999)
    assert len(server.hits) == 1
    assert len((await session.request("GET", "/x")).data) == 100_000


async def test_a_cut_body_is_a_lost_connection(serve: Any, connect: Any, reply: Any) -> None:
    async def cut(hit: Any, writer: Any) -> None:
        writer.write(reply(200, b'{"code":0', length=500))
        await writer.drain()

    server = await serve(cut)
    with pytest.raises(ConnectionLost):
        await connect(server.url).request("POST", "/start", **START)
    assert len(server.hits) == 1


async def test_what_is_not_http_is_undecodable(serve: Any, connect: Any) -> None:
    server = await serve(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    with pytest.raises(DecodeError, match="an invalid HTTP response"):
        await connect(server.url).request("POST", "/start", **START)
    assert len(server.hits) == 1


async def test_the_headers_come_with_the_answer(serve: Any, connect: Any, reply: Any) -> None:
    server = await serve(reply(200, {"code": 0, "data": 1}, headers="X-Trace-Id: t77\r\n"))
    answer = await connect(server.url).request("GET", "/x")
    assert answer.headers["x-trace-id"] == answer.trace_id == "t77"
    server = await serve(reply(202, b""))
    answer = await connect(server.url).request("GET", "/x")
    assert (answer.data, answer.http_status) == (None, 202)


# -- the pace of the service ---------------------------------------------------------------


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_pause_beyond_the_budget_fails_all_at_once(
    serve: Any, connect: Any, reply: Any, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    value = "500" if form == "seconds" else when
    server = await serve(reply(429, {"message": "slow"}, headers=f"Retry-After: {value}\r\n"))
    rate_limiter = RateLimiter(0.001, 1)
    session = connect(server.url, rate_limiter=rate_limiter)
    first = asyncio.create_task(session.request("GET", "/x"))
    queued = [asyncio.create_task(session.request("GET", "/x")) for _ in range(3)]
    for task in (first, *queued):
        with pytest.raises(RateLimited) as caught:
            await task
        assert caught.value.retry_after == pytest.approx(500, abs=5)
    with pytest.raises(RateLimited, match="It was not sent"):
        await session.request("POST", "/start", **START)
    assert len(server.hits) == 1
    assert rate_limiter.remaining_hold(session.loop_time()) > 400
    ours = [record for record in caplog.records if record.name.startswith("a2e_async.")]
    held = [record for record in ours if record.levelno == logging.WARNING]
    assert len(held) == 1


async def test_a_pause_of_a_day_is_probed_after_the_longest_hold(
    serve: Any, connect: Any, reply: Any, ok: Any
) -> None:
    server = await serve(reply(429, {}, headers="Retry-After: 86400\r\n"), ok(3))
    passed, events = [0.0], list[Any]()
    rate_limiter = RateLimiter(None, 1, clock=lambda: asyncio.get_running_loop().time() + passed[0])
    session = connect(server.url, events, rate_limiter=rate_limiter)
    with pytest.raises(RateLimited) as caught:
        await session.request("GET", "/x")
    assert caught.value.retry_after == 86_400
    with pytest.raises(RateLimited, match="It was not sent") as caught:
        await session.request("GET", "/x")
    assert caught.value.retry_after == pytest.approx(MAX_HOLD, abs=5)
    assert [event.seconds for event in events if isinstance(event, RateLimitPause)] == [MAX_HOLD]
    passed[0] = MAX_HOLD
    assert (await session.request("GET", "/x")).data == 3
    assert len(server.hits) == 2


async def test_a_date_is_read_by_the_services_clock(serve: Any, connect: Any, reply: Any) -> None:
    dates = "Retry-After: Fri, 20 Nov 2043 12:01:40 GMT\r\nDate: Fri, 20 Nov 2043 12:00:00 GMT\r\n"
    server = await serve(reply(429, {}, headers=dates))
    with pytest.raises(RateLimited) as caught:
        await connect(server.url).request("GET", "/x")
    assert caught.value.retry_after == 100


async def test_all_callers_hold_and_the_hold_is_reported_once(
    serve: Any, connect: Any, reply: Any, ok: Any
) -> None:
    refusal = reply(429, {}, headers="Retry-After: 0.05\r\n")
    server, events = await serve(*[refusal] * 5, ok()), list[Any]()
    session = connect(server.url, events)
    await asyncio.gather(*(session.request("POST", "/start", **START) for _ in range(5)))
    assert len(server.hits) == 10
    assert sum(isinstance(event, RateLimitPause) for event in events) == 1


async def test_a_pause_beyond_the_deadline_is_not_waited_for(
    serve: Any, connect: Any, reply: Any
) -> None:
    server = await serve(reply(429, {}, headers="Retry-After: 3\r\n"))
    session = connect(server.url)
    before = session.loop_time()
    with pytest.raises(RateLimited) as caught:
        await session.request("GET", "/x", deadline=before + 2)
    assert caught.value.retry_after == 3
    assert session.loop_time() < before + 2


# -- deadlines -----------------------------------------------------------------------------


async def test_an_attempt_ends_at_the_deadline(serve: Any, connect: Any) -> None:
    server = await serve(forever)
    session = connect(server.url)
    with pytest.raises(ResponseTimeout):
        await session.request("GET", "/x", deadline=session.loop_time() + 0.1)
    assert len(server.hits) == 1


@pytest.mark.parametrize("full", ["pace", "connection_limiter", "neither"])
async def test_nothing_is_sent_after_the_deadline(serve: Any, connect: Any, full: str) -> None:
    server = await serve()
    rate_limiter, connection_limiter = RateLimiter(0.01, 1), ConnectionLimiter(1)
    if full == "pace":
        assert rate_limiter.try_acquire()
    elif full == "connection_limiter":
        assert connection_limiter.try_acquire()
    session = connect(server.url, rate_limiter=rate_limiter, connection_limiter=connection_limiter)
    with pytest.raises(ConnectError, match="deadline") as caught:
        await session.request("GET", "/x", deadline=session.loop_time() - 1)
    assert not caught.value.sent
    assert not server.hits
    assert connection_limiter.in_use == (full == "connection_limiter")
    assert full == "pace" or rate_limiter.try_acquire()


# -- life and death ------------------------------------------------------------------------


async def test_closing_ends_calls_in_flight(serve: Any, connect: Any) -> None:
    server = await serve(forever)
    session = connect(
        server.url, connection_limiter=ConnectionLimiter(3), rate_limiter=RateLimiter(None, 1)
    )
    read = asyncio.create_task(session.request("GET", "/x"))
    start = asyncio.create_task(session.request("POST", "/start", **START))
    await until(lambda: len(server.hits) == 2)
    await session.aclose()
    assert session.closed
    with pytest.raises(ClientClosed):
        await read
    with pytest.raises(ConnectionLost):
        await start
    with pytest.raises(ClientClosed):
        await session.request("GET", "/x")
    await session.aclose()


async def test_closing_ends_calls_that_wait(serve: Any, connect: Any, reply: Any) -> None:
    server = await serve(reply(503, {}))
    slow = RetryPolicy(initial=60, max_delay=60, max_elapsed=1000)
    pausing = connect(server.url, policy=slow)
    paced = connect(server.url, rate_limiter=RateLimiter(0.001, 1))
    crowded = connect(server.url, connection_limiter=ConnectionLimiter(1))
    assert paced._rate_limiter.try_acquire()
    assert crowded._connection_limiter.try_acquire()
    sessions = (pausing, paced, crowded)
    tasks = [asyncio.create_task(session.request("GET", "/x")) for session in sessions]
    await until(lambda: bool(pausing._sleeps.pending))
    for session in sessions:
        await session.aclose()
    for task in tasks:
        with pytest.raises(ClientClosed):
            await task
    assert len(server.hits) == 1


async def test_it_is_opened_and_closed_in_different_tasks(serve: Any, connect: Any) -> None:
    server = await serve()
    session = connect(server.url)
    await asyncio.create_task(session.request("GET", "/x"))
    await asyncio.create_task(session.aclose())
    assert session.closed


async def test_a_session_never_used_closes_anywhere(connect: Any) -> None:
    session = connect("http://127.0.0.1:1")
    await asyncio.to_thread(lambda: asyncio.run(session.aclose()))
    with pytest.raises(ClientClosed):
        await session.request("GET", "/x")


async def test_use_from_another_loop_is_refused(serve: Any, connect: Any) -> None:
    server = await serve()
    session = connect(server.url)
    await session.request("GET", "/x")

    def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(session.request("GET", "/x"))
        with pytest.raises(ConfigurationError, match="event loop it was used on"):
            asyncio.run(session.aclose())

    await asyncio.to_thread(elsewhere)
    assert (await session.request("GET", "/x")).code == 0


SCRIPT = """
import asyncio, os, sys
from a2e_async._core.config import Account
from a2e_async.errors import A2EError
from a2e_async._core.http.rate_limit import ConnectionLimiter, RateLimiter
from a2e_async._core.http.retry import RetryPolicy
from a2e_async._core.http.session import ApiSession

session = ApiSession(
    Account("sk_abcdef0123", sys.argv[1]), rate_limiter=RateLimiter(None, 1),
    connection_limiter=ConnectionLimiter(4),
    policy=RetryPolicy(max_attempts=1), request_timeout=5, language="en-US", trust_env=False,
    proxy=None, emit=None, user_agent="t",
)

async def use():
    try:
        await session.request("GET", "/x")
    except A2EError as error:
        print(type(error).__name__, error, flush=True)

runner = asyncio.Runner()
runner.run(use())
if os.fork() == 0:
    asyncio.set_event_loop(None)
    async def child():
        await use()
        await session.aclose()
    thread_free = asyncio.new_event_loop()
    thread_free.run_until_complete(child())
    thread_free.close()
    os._exit(0)
os.wait()
runner.run(session.aclose())
runner.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_gets_an_error(serve: Any) -> None:
    server = await serve()
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            SCRIPT,
            server.url,
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "ConfigurationError" in done.stdout
    assert "forked" in done.stdout
    assert done.stderr == ""
    assert len(server.hits) == 1


async def test_the_module_needs_no_loop_to_be_constructed(connect: Any) -> None:
    assert repr(await asyncio.to_thread(connect, "http://127.0.0.1:1")) == (
        "<Session http://127.0.0.1:1>"
    )


# -- who watches ---------------------------------------------------------------------------


async def test_a_failing_on_event_does_no_harm(
    serve: Any, connect: Any, reply: Any, ok: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: object) -> None:
        raise ZeroDivisionError

    server = await serve(reply(429, {}, headers="Retry-After: 0\r\n"), ok(3))
    answer = await connect(server.url, emit=broken).request("GET", "/x")
    assert answer.data == 3
    assert sum("on_event raised an exception" in record.message for record in caplog.records) >= 2


async def test_attempts_are_reported_without_queries(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, events = await serve(), list[Any]()
    caplog.set_level(logging.DEBUG, "a2e_async")
    await connect(server.url, events).request("GET", "/x", params={"prompt": "private"})
    (event,) = events
    assert isinstance(event, Attempt)
    assert (event.path, event.status, event.trace_id) == ("/x", 200, "abc123")
    assert event.duration > 0
    assert "private" not in caplog.text + repr(events)
    assert "GET /x: attempt 1, status 200, ok" in caplog.text


# -- streams -------------------------------------------------------------------------------

EVENTS = b"event: delta\ndata: a\n\n: note\n\nevent: result\r\ndata: b\r\ndata: c\r\n\r\ndata: end"


def sse(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_events_are_read_as_they_come(serve: Any, connect: Any, size: int) -> None:
    server, connection_limiter = await serve(sse(EVENTS, size)), ConnectionLimiter(1)
    session = connect(server.url, connection_limiter=connection_limiter)
    async with session.stream("POST", "/x", json={"stream": True}) as events:
        assert [event async for event in events] == [
            ("delta", "a"),
            ("result", "b\nc"),
            ("message", "end"),
        ]
        assert connection_limiter.in_use == 1
    assert connection_limiter.in_use == 0
    assert server.hits[0].headers["accept"] == "text/event-stream"


async def test_a_stream_has_the_same_errors_and_retries(
    serve: Any, connect: Any, reply: Any, ok: Any
) -> None:
    server, connection_limiter = (
        await serve(reply(503, {}), ok({"a": 1}), reply(403, {})),
        ConnectionLimiter(1),
    )
    session = connect(server.url, connection_limiter=connection_limiter)
    async with session.stream("POST", "/x", json={}) as events:
        assert [event async for event in events] == [("result", '{"a": 1}')]
    with pytest.raises(A2EError, match="403"):
        async with session.stream("POST", "/x", json={}):
            raise AssertionError
    assert connection_limiter.in_use == 0


@pytest.mark.parametrize("way", ["cut", "large", "left"])
async def test_a_stream_that_does_not_end_well_leaves_nothing(
    serve: Any, connect: Any, way: str
) -> None:
    async def part(hit: Any, writer: Any) -> None:
        writer.write(sse(b"data: one\n\ndata: " + b"x" * 5000, 10_000)[:-5])
        await writer.drain()

    server, connection_limiter = await serve(part), ConnectionLimiter(1)
    session = connect(server.url, connection_limiter=connection_limiter)
    kind: type[A2EError] = DecodeError if way == "large" else ConnectionLost
    limit = 1000 if way == "large" else 100_000
    async with session.stream("POST", "/x", json={}, max_bytes=limit) as events:
        assert await anext(events) == ("message", "one")
        if way != "left":
            with pytest.raises(kind):
                await anext(events)
    assert connection_limiter.in_use == 0
