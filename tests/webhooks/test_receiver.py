"""The webhook receiver alone: what it accepts, what it refuses, and which attacks it withstands."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from aiohttp import web

from a2e_async._core.webhooks import receiver
from a2e_async._core.webhooks.receiver import (
    MAX_BODY_BYTES,
    MAX_EVENT_BURST,
    WEBHOOK_HEADER,
    WebhookOutcome,
    WebhookReceiver,
)
from a2e_async._core.webhooks.tokens import make_token
from a2e_async.sandbox import Sandbox

from .conftest import DUB, SECRET, MakeClient, token_of, until, waiting

pytestmark = pytest.mark.anyio

HOOK = "a2e-0123456789abcdefghij"
TOKEN = make_token(SECRET, HOOK)
FORGED = TOKEN[:-1] + ("A" if TOKEN[-1] != "A" else "B")


class Asgi:
    """The server side of an ASGI app: the messages that it received from the app."""

    def __init__(self, app: WebhookReceiver, *tokens: str, method: str = "POST") -> None:
        self.app = app
        name = WEBHOOK_HEADER.lower().encode()
        headers = [(name, one.encode()) for one in tokens]
        self.scope: dict[str, Any] = {"type": "http", "method": method, "headers": headers}
        self.sent: list[Any] = []
        self.read = 0

    async def ask(self, messages: Iterable[Any] = ({"type": "http.request"},)) -> int:
        """Return the status; after the given messages the client sends nothing more."""
        coming = iter(messages)

        async def receive() -> Any:
            message = next(coming, None)
            if message is None:
                await asyncio.Event().wait()
            self.read += 1
            return message

        async def send(message: Any) -> None:
            self.sent.append(message)

        await self.app(self.scope, receive, send)
        start, body = self.sent
        assert (start["type"], body) == (
            "http.response.start",
            {"type": "http.response.body", "body": b""},
        )
        status: int = start["status"]
        return status


@pytest.fixture
def taken() -> list[str]:
    return []


@pytest.fixture
def app(taken: list[str]) -> WebhookReceiver:
    def take(hook: str) -> bool:
        taken.append(hook)
        return True

    return WebhookReceiver(SECRET, take)


async def test_a_right_token_is_taken(app: WebhookReceiver, taken: list[str]) -> None:
    asgi = Asgi(app, TOKEN)
    assert await asgi.ask([{"type": "http.request", "body": b'{"event":"task.completed"}'}]) == 204
    assert taken == [HOOK]
    assert (app.received, app.refused) == (1, 0)
    assert TOKEN not in repr(app)


@pytest.mark.parametrize(
    "tokens",
    [(), ("",), (FORGED,), (TOKEN, TOKEN), (TOKEN + " ",), ("é" * 40,), ("x" * 100_000,), (HOOK,)],
)
async def test_any_other_is_refused_unread(
    app: WebhookReceiver, taken: list[str], tokens: tuple[str, ...]
) -> None:
    asgi = Asgi(app, *tokens)
    assert await asgi.ask() == 401
    assert (asgi.read, taken) == (0, [])
    assert asgi.sent[0]["headers"] == [(b"content-length", b"0")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "post"])
async def test_only_posts_are_taken(app: WebhookReceiver, taken: list[str], method: str) -> None:
    asgi = Asgi(app, TOKEN, method=method)
    assert await asgi.ask() == 405
    assert (b"allow", b"POST") in asgi.sent[0]["headers"]
    assert not taken


async def test_a_closed_client_says_so() -> None:
    assert await Asgi(WebhookReceiver(SECRET, lambda _: False), TOKEN).ask() == 503


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.request"}],
        [{"type": "http.request", "body": b"\xff\xfe\x00", "more_body": False}],
        [{"type": "http.request", "body": b"", "more_body": True}, {"type": "http.disconnect"}],
        [{"type": "http.disconnect"}],
        [{"type": "http.request", "body": b"[" * 1000, "more_body": True}] * 3
        + [{"type": "http.request", "body": b"]"}],
        [{}],
    ],
)
async def test_any_body_will_do(
    app: WebhookReceiver, taken: list[str], messages: list[Any]
) -> None:
    assert await Asgi(app, TOKEN).ask(messages) == 204
    assert taken == [HOOK]


async def test_an_endless_body_is_not_read_to_its_end(
    app: WebhookReceiver, taken: list[str]
) -> None:
    part = {"type": "http.request", "body": b"x" * 16_384, "more_body": True}
    asgi = Asgi(app, TOKEN)
    assert await asgi.ask(itertools.repeat(part)) == 204
    assert asgi.read == MAX_BODY_BYTES // 16_384
    assert taken == [HOOK]


async def test_a_slow_body_is_not_waited_for(
    app: WebhookReceiver, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is accepted before any of its body is read."""
    monkeypatch.setattr(receiver, "BODY_TIMEOUT", 0.05)
    part = {"type": "http.request", "body": b"{", "more_body": True}
    asking = asyncio.ensure_future(Asgi(app, TOKEN).ask([part]))
    await asyncio.sleep(0)
    assert taken == [HOOK]
    assert await asyncio.wait_for(asking, 50) == 204


async def test_what_is_seen_of_a_request(taken: list[str]) -> None:
    seen: list[WebhookOutcome] = []
    app = WebhookReceiver(SECRET, lambda hook: True, on_request=seen.append)
    await Asgi(app, TOKEN).ask([{"type": "http.request", "body": b"{}"}])
    await Asgi(app, FORGED).ask([{"type": "http.request", "body": b"{}"}])
    assert seen == [WebhookOutcome(204, HOOK, b"{}"), WebhookOutcome(401)]


async def test_a_servers_life_is_followed(app: WebhookReceiver) -> None:
    asgi = Asgi(app)
    asgi.scope = {"type": "lifespan"}
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        asgi.sent.append(message["type"])

    await app(asgi.scope, receive, send)
    assert asgi.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_web_socket_is_refused(app: WebhookReceiver) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({"type": "websocket"}, receive, send)
    assert sent == [{"type": "websocket.close"}]


async def test_too_many_at_once_are_turned_away(app: WebhookReceiver, taken: list[str]) -> None:
    """Even valid events: no client has so many tasks. A refused event only costs a delay."""
    statuses = [
        app._check_request("POST", [TOKEN.encode()])[1] for _ in range(int(MAX_EVENT_BURST) + 3000)
    ]
    assert statuses[:5000] == [204] * 5000
    assert 429 in statuses
    assert len(taken) == statuses.count(204)


async def test_forged_ones_do_not_push_right_ones_away(
    app: WebhookReceiver, taken: list[str]
) -> None:
    """Invalid tokens are rejected before anything is counted, stored or read."""
    forged = [FORGED.encode()]
    for _ in range(3 * int(MAX_EVENT_BURST)):
        assert app._check_request("POST", forged) == (None, 401)
    assert app._check_request("POST", [TOKEN.encode()]) == (HOOK, 204)
    assert taken == [HOOK]


# -- in aiohttp.web ------------------------------------------------------------------------


@pytest.fixture
async def port(app: WebhookReceiver, anyio_backend: str) -> AsyncIterator[int]:
    """The receiver as part of a web app, below /a2e."""
    client = receiver.Webhooks(None, None, None)  # type: ignore[arg-type]  # only its receiver is used
    client._receiver = app
    whole = web.Application()
    whole.add_subapp("/a2e", client.aiohttp_app())
    runner = web.AppRunner(whole, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def talk(port: int, *parts: bytes, close: bool = False) -> int:
    """Send raw bytes; return the response's status, even if the request was not read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), 10)
        return int(line.split()[1])
    finally:
        writer.close()


def head(given: str = TOKEN, path: str = "/a2e", **more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"x-a2e-webhook-token: {given}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    "parts",
    [
        (head(),),
        (head(path="/a2e/"),),
        (head(Content_Length="2"), b"{}"),
        (head(Content_Length="3"), b"\xff\xfe\x00"),
        (head(Transfer_Encoding="chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
        (head(Content_Length="300000"), b"x" * 300_000),
        (head(Content_Length="2", Content_Encoding="gzip"), b"xx"),
    ],
    ids=["none", "slash", "json", "binary", "chunked", "big", "no-gzip"],
)
async def test_any_request_with_a_right_token(
    port: int, taken: list[str], parts: tuple[bytes, ...]
) -> None:
    assert await talk(port, *parts) == 204
    assert taken == [HOOK]


async def test_a_body_that_breaks(
    port: int, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event was accepted with the headers."""
    monkeypatch.setattr(receiver, "BODY_TIMEOUT", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(Transfer_Encoding="chunked"))
    await until(lambda: taken == [HOOK])
    writer.write(b"2\r\n{}\r\nnonsense\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == b"204"
    writer.close()


async def test_a_slow_sender(port: int, taken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a valid token it gets a response in time; with an invalid one it gets it at once."""
    monkeypatch.setattr(receiver, "BODY_TIMEOUT", 0.05)
    assert await talk(port, head(Content_Length="1000"), b"{") == 204
    assert taken == [HOOK]
    assert await talk(port, head(FORGED, Content_Length="1000"), b"{") == 401
    assert await talk(port, b"GET /a2e HTTP/1.1\r\nHost: x\r\n\r\n") == 405
    assert taken == [HOOK]


async def test_an_event_by_asgi_ends_a_wait(make_client: MakeClient, sandbox: Sandbox) -> None:
    a2e = make_client(webhook_url="https://x.example/a2e")
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    assert await Asgi(a2e.webhooks.app(), token_of(sandbox)).ask() == 204
    await asyncio.wait_for(wait, 50)
    await a2e.aclose()
    assert await Asgi(a2e.webhooks.app(), token_of(sandbox)).ask() == 503
    await until(lambda: a2e.webhooks.refused == 1)
