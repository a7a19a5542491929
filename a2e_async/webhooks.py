"""Receives the service's webhook events and tells the poller to look.

An event is a hint. Only its token is read: it says which start the event is of, and that this
client asked for it. The body is thrown away, so nothing that anybody sends can become a result.
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
"""The request header in which the service gives a start's token back."""

BODY_MOST: Final = 64 * 1024
"""Bytes of a body that are read (and dropped) before the answer."""

BODY_TIME: Final = 5.0
"""Seconds for which a body is read."""

RATE: Final = 500.0
BURST: Final = 5_000.0
"""Events per second, and at once, that are taken; what is more gets 429, and a look in its time."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@frozen
class Receipt:
    """What came of one request: the HTTP status it got, and its start if its token was right."""

    status: int
    hook: str | None = None
    body: bytes = b""


class Receiver:
    """An ASGI app that takes events, whatever its path. ``take`` gets the hook of each valid one.

    204: taken. 401: no token, or not one of ours. 405: not a POST. 429: too many. 503: closed,
    when ``take`` returns False. ``seen`` is told of every request.
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
        """Answer one ASGI connection."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        tokens = [v for name, v in scope["headers"] if name.lower() == _HEADER]
        hook, status = self._judge(scope["method"], tokens)
        body = await _collect(_asgi_body(receive)) if status == 204 else b""
        headers = [(b"content-length", b"0")] if status != 204 else []
        headers += [(b"allow", b"POST")] if status == 405 else []
        self._tell(Receipt(status, hook, body))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def handle(self, request: "web.Request") -> "web.Response":
        """Answer one request of aiohttp.web."""
        from aiohttp import web

        tokens = [
            value.encode("utf-8", "surrogateescape") for value in request.headers.getall(HEADER, [])
        ]
        hook, status = self._judge(request.method, tokens)
        body = await _collect(request.content.readany) if status == 204 else b""
        self._tell(Receipt(status, hook, body))
        answer = web.Response(status=status, headers={"Allow": "POST"} if status == 405 else None)
        if status != 204:
            answer.force_close()  # its body is not read
        return answer

    def _judge(self, method: str, tokens: Sequence[bytes]) -> tuple[str | None, int]:
        if method != "POST":
            return None, 405
        hook = hook_of(self._secret, tokens[0]) if len(tokens) == 1 else None
        if hook is None:
            return None, 401
        if not self._room():
            return hook, 429
        return hook, 204 if self._take(hook) else 503

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
    """``a2e.webhooks``: the receiver of a client's events, to be put into a web app.

    ``received`` and ``refused`` count requests: events with a valid token, and all others.
    """

    def __init__(self, webhook: Webhook | None, poller: "Poller", book: "Book | None") -> None:
        self._poller = poller
        self._book = book
        self._receiver = Receiver(webhook.secret, self._take) if webhook is not None else None
        self._owed: set[str] = set()
        self._passing: asyncio.Task[None] | None = None

    @property
    def received(self) -> int:
        """Requests so far that carried a valid token."""
        return self._receiver.received if self._receiver else 0

    @property
    def refused(self) -> int:
        """Requests so far that were refused."""
        return self._receiver.refused if self._receiver else 0

    def app(self) -> Receiver:
        """Return the receiver as an ASGI app, to be mounted where ``webhook_url`` leads.

        It answers POST on any path. Raises `ConfigurationError` without ``webhook_url``.
        """
        if self._receiver is None:
            raise ConfigurationError(
                "There are no webhooks to receive: make the client with A2E(webhook_url=…)."
            )
        return self._receiver

    def aiohttp_app(self) -> "web.Application":
        """Return the receiver for aiohttp.web: ``app.add_subapp("/a2e", …)``.

        It answers POST on that path, with a slash at its end or without. Raises
        `ConfigurationError` without ``webhook_url``.
        """
        from aiohttp import web

        handle = self.app().handle
        app = web.Application()
        for path in ("", "/"):
            app.router.add_route("*", path, handle)
        return app

    async def aclose(self) -> None:
        """Pass nothing more on."""
        if self._passing is None or self._passing.done() or self._poller.home.outlived():
            return
        self._passing.cancel()
        await asyncio.wait([self._passing])

    def _take(self, hook: str) -> bool:
        return self._poller.at_home(lambda: self._event(hook))

    def _event(self, hook: str) -> None:
        logger.debug("a webhook event of %s", hook)
        if not self._poller.news.event(hook) or self._book is None:
            return
        # It may be of a start that another process waits for.
        self._owed.add(hook)
        if self._passing is None or self._passing.done():
            loop = asyncio.get_running_loop()
            self._passing = loop.create_task(self._pass_on(self._book), context=Context())

    async def _pass_on(self, book: "Book") -> None:
        while self._owed:
            hooks, self._owed = self._owed, set()
            for entry in await book.heard(hooks):
                self._poller.news.ended(entry)


_HEADER: Final = HEADER.lower().encode()


async def _live(receive: Receive, send: Send) -> None:
    """Answer the messages of a server that starts and stops."""
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
    """Return the beginning of a body; what is long, slow or broken is left where it is."""
    parts: list[bytes] = []
    size = 0
    with suppress(Exception):  # whatever becomes of the body, its event is taken
        async with asyncio.timeout(BODY_TIME):
            while size < BODY_MOST and (part := await read()):
                parts.append(part[: BODY_MOST - size])
                size += len(part)
    return b"".join(parts)
