"""Receives the service's webhook events and triggers a status check.

An event is only a hint. The receiver reads nothing but its token, which identifies the start and
proves that this client asked for the event. The body is discarded, so no sender can forge a result.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from a2e_async.errors import ConfigurationError
from a2e_async.redact import Secret
from a2e_async.tasks.hooks import Webhook, hook_of

if TYPE_CHECKING:
    from aiohttp import web

    from a2e_async.tasks.book import Book
    from a2e_async.tasks.poller import Poller

logger = logging.getLogger("a2e_async.webhooks")

HEADER: Final = "X-A2e-Webhook-Token"
"""The request header in which the service returns the token of the start."""

BODY_MOST: Final = 64 * 1024
"""Bytes of a body that are read (and discarded) before the response."""

BODY_TIME: Final = 5.0
"""Time limit for reading a body (s)."""

RATE: Final = 500.0
"""Accepted events per second. Further ones get 429; their tasks are polled at the normal interval.
"""
BURST: Final = 5_000.0
"""Accepted events at once."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@frozen
class Receipt:
    """The outcome of one request: its HTTP status, and its webhook id if the token was valid."""

    status: int
    hook: str | None = None
    body: bytes = b""


class Receiver:
    """An ASGI app that accepts webhook events on any path.

    ``on_event`` is called with the webhook id of each valid event, ``on_request`` with the outcome
    of every request. Responses: 204 accepted; 401 no token, or an invalid one; 405 not a POST; 429
    too many events; 503 the client is closed (``on_event`` returned False).
    """

    def __init__(
        self,
        secret: str | Secret,
        take: Callable[[str], bool],
        *,
        seen: Callable[[Receipt], None] | None = None,
    ) -> None:
        self._secret = Secret(secret, "[webhook secret]")
        self._take = take
        self._seen = seen
        self._left = BURST
        self._filled = 0.0
        self.received = 0
        self.refused = 0

    def __repr__(self) -> str:
        return f"<Receiver {self.received} received, {self.refused} refused>"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        tokens = [v for name, v in scope["headers"] if name.lower() == _HEADER]
        webhook_id, status = self._judge(scope["method"], tokens)
        body = await _collect(_asgi_body(receive)) if status == 204 else b""
        headers = [(b"content-length", b"0")] if status != 204 else []
        headers += [(b"allow", b"POST")] if status == 405 else []
        self._tell(Receipt(status, webhook_id, body))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def handle(self, request: "web.Request") -> "web.Response":
        """Handle one aiohttp.web request."""
        from aiohttp import web

        tokens = [
            value.encode("utf-8", "surrogateescape") for value in request.headers.getall(HEADER, [])
        ]
        webhook_id, status = self._judge(request.method, tokens)
        body = await _collect(request.content.readany) if status == 204 else b""
        self._tell(Receipt(status, webhook_id, body))
        response = web.Response(status=status, headers={"Allow": "POST"} if status == 405 else None)
        if status != 204:
            response.force_close()  # the rest of the body was not read
        return response

    def _judge(self, method: str, tokens: Sequence[bytes]) -> tuple[str | None, int]:
        if method != "POST":
            return None, 405
        # Several token headers are refused: a proxy and the app might each read another one.
        webhook_id = hook_of(self._secret, tokens[0]) if len(tokens) == 1 else None
        if webhook_id is None:
            return None, 401
        if not self._room():
            return webhook_id, 429
        return webhook_id, 204 if self._take(webhook_id) else 503

    def _room(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._left = min(BURST, self._left + (now - self._filled) * RATE)
        self._filled = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _tell(self, receipt: Receipt) -> None:
        if receipt.status == 204:
            self.received += 1
        else:
            self.refused += 1
        if self._seen is not None:
            self._seen(receipt)


class Webhooks:
    """``a2e.webhooks``: the receiver of a client's events, to mount in a web app.

    ``received`` counts requests with a valid token, ``refused`` all others.
    """

    def __init__(self, webhook: Webhook | None, poller: "Poller", book: "Book | None") -> None:
        self._poller = poller
        self._book = book
        self._receiver = Receiver(webhook.secret, self._take) if webhook is not None else None
        self._owed: set[str] = set()
        self._passing: asyncio.Task[None] | None = None

    @property
    def received(self) -> int:
        """Number of requests so far with a valid token."""
        return self._receiver.received if self._receiver else 0

    @property
    def refused(self) -> int:
        """Number of refused requests so far."""
        return self._receiver.refused if self._receiver else 0

    def app(self) -> Receiver:
        """Return the receiver as an ASGI app, to mount at the path of ``webhook_url``.

        It accepts POST on any path. Raises `ConfigurationError` without ``webhook_url``.
        """
        if self._receiver is None:
            raise ConfigurationError(
                "This client receives no webhooks: create it with A2E(webhook_url=…)."
            )
        return self._receiver

    def aiohttp_app(self) -> "web.Application":
        """Return the receiver as an aiohttp.web app: ``app.add_subapp("/a2e", …)``.

        It accepts POST on that path, with or without a trailing slash. Raises `ConfigurationError`
        without ``webhook_url``.
        """
        from aiohttp import web

        handle = self.app().handle
        app = web.Application()
        for path in ("", "/"):
            app.router.add_route("*", path, handle)
        return app

    async def aclose(self) -> None:
        """Stop recording events in the journal."""
        if self._passing is None or self._passing.done() or self._poller.home.outlived():
            return
        self._passing.cancel()
        await asyncio.wait([self._passing])

    def _take(self, hook: str) -> bool:
        return self._poller.at_home(lambda: self._event(hook))

    def _event(self, hook: str) -> None:
        logger.debug("webhook event for %s", hook)
        if not self._poller.news.event(hook) or self._book is None:
            return
        # Another process may be waiting for this start: record the event in the journal.
        self._owed.add(hook)
        if self._passing is None or self._passing.done():
            loop = asyncio.get_running_loop()
            self._passing = loop.create_task(self._pass_on(self._book), context=Context())

    async def _pass_on(self, book: "Book") -> None:
        while self._owed:
            webhook_ids, self._owed = self._owed, set()
            for entry in await book.heard(webhook_ids):
                self._poller.news.ended(entry)


_HEADER: Final = HEADER.lower().encode()


async def _live(receive: Receive, send: Send) -> None:
    """Handle the ASGI lifespan protocol of a server that starts and stops."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _asgi_body(receive: Receive) -> Callable[[], Awaitable[bytes]]:
    over = False

    async def read() -> bytes:
        nonlocal over
        while not over:
            message = await receive()
            over = message["type"] != "http.request" or not message.get("more_body", False)
            if body := message.get("body", b""):
                return bytes(body)
        return b""

    return read


async def _collect(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return the beginning of a body; stop reading where it is too long, too slow or broken."""
    parts: list[bytes] = []
    size = 0
    with suppress(Exception):  # the event is accepted whatever happens to its body
        async with asyncio.timeout(BODY_TIME):
            while size < BODY_MOST and (part := await read()):
                parts.append(part[: BODY_MOST - size])
                size += len(part)
    return b"".join(parts)
