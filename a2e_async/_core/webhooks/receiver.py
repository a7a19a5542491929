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

from a2e_async._core.redact import Secret
from a2e_async._core.webhooks.tokens import WebhookTarget, verify_token
from a2e_async.errors import ConfigurationError

if TYPE_CHECKING:
    from aiohttp import web

    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.polling.poller import Poller

logger = logging.getLogger("a2e_async.webhooks")

WEBHOOK_HEADER: Final = "X-A2e-Webhook-Token"
"""The request header in which the service returns the token of the start."""

MAX_BODY_BYTES: Final = 64 * 1024
"""Bytes of a body that are read (and discarded) before the response."""

BODY_TIMEOUT: Final = 5.0
"""Time limit for reading a body (s)."""

MAX_EVENT_RATE: Final = 500.0
"""Accepted events per second. Further ones get 429; their tasks are polled at the normal interval.
"""
MAX_EVENT_BURST: Final = 5_000.0
"""Accepted events at once."""

AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]


@frozen
class WebhookOutcome:
    """The outcome of one request: its HTTP status, and its webhook id if the token was valid."""

    status: int
    webhook_id: str | None = None
    body: bytes = b""


class WebhookReceiver:
    """An ASGI app that accepts webhook events on any path.

    ``on_event`` is called with the webhook id of each valid event, ``on_request`` with the outcome
    of every request. Responses: 204 accepted; 401 no token, or an invalid one; 405 not a POST; 429
    too many events; 503 the client is closed (``on_event`` returned False).

    Created by `Webhooks`, or by the ``a2e webhook`` command; changed by the requests that it
    receives.
    """

    def __init__(
        self,
        secret: str | Secret,
        on_event: Callable[[str], bool],
        *,
        on_request: Callable[[WebhookOutcome], None] | None = None,
    ) -> None:
        self._secret = Secret(secret, "[webhook secret]")
        self._on_event = on_event
        self._on_request = on_request
        self._tokens_left = MAX_EVENT_BURST
        self._refilled_at = 0.0
        self.received: int = 0
        self.refused: int = 0

    def __repr__(self) -> str:
        return f"<Receiver {self.received} received, {self.refused} refused>"

    async def __call__(self, scope: AsgiMessage, receive: AsgiReceive, send: AsgiSend) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "lifespan":
            await _run_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        tokens = [v for name, v in scope["headers"] if name.lower() == _ASGI_TOKEN_HEADER]
        webhook_id, status = self._check_request(scope["method"], tokens)
        body = await _read_body(_asgi_body_reader(receive)) if status == 204 else b""
        headers = [(b"content-length", b"0")] if status != 204 else []
        headers += [(b"allow", b"POST")] if status == 405 else []
        self._record_outcome(WebhookOutcome(status, webhook_id, body))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def handle(self, request: "web.Request") -> "web.Response":
        """Handle one aiohttp.web request."""
        from aiohttp import web

        tokens = [
            value.encode("utf-8", "surrogateescape")
            for value in request.headers.getall(WEBHOOK_HEADER, [])
        ]
        webhook_id, status = self._check_request(request.method, tokens)
        body = await _read_body(request.content.readany) if status == 204 else b""
        self._record_outcome(WebhookOutcome(status, webhook_id, body))
        response = web.Response(status=status, headers={"Allow": "POST"} if status == 405 else None)
        if status != 204:
            response.force_close()  # the rest of the body was not read
        return response

    def _check_request(self, method: str, tokens: Sequence[bytes]) -> tuple[str | None, int]:
        if method != "POST":
            return None, 405
        # Several token headers are refused: a proxy and the app might each read another one.
        webhook_id = verify_token(self._secret, tokens[0]) if len(tokens) == 1 else None
        if webhook_id is None:
            return None, 401
        if not self._try_take_token():
            return webhook_id, 429
        return webhook_id, 204 if self._on_event(webhook_id) else 503

    def _try_take_token(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._tokens_left = min(
            MAX_EVENT_BURST, self._tokens_left + (now - self._refilled_at) * MAX_EVENT_RATE
        )
        self._refilled_at = now
        if self._tokens_left < 1:
            return False
        self._tokens_left -= 1
        return True

    def _record_outcome(self, outcome: WebhookOutcome) -> None:
        if outcome.status == 204:
            self.received += 1
        else:
            self.refused += 1
        if self._on_request is not None:
            self._on_request(outcome)


class Webhooks:
    """``a2e.webhooks``: the receiver of a client's events, to mount in a web app.

    ``received`` counts requests with a valid token, ``refused`` all others.

    Created once per client, which closes it; events may come in on another event loop or thread,
    and are handed to the client's.
    """

    def __init__(
        self, target: WebhookTarget | None, poller: "Poller", recorder: "JournalRecorder | None"
    ) -> None:
        self._poller = poller
        self._recorder = recorder
        self._receiver = (
            WebhookReceiver(target.secret, self._accept_event) if target is not None else None
        )
        self._unrecorded: set[str] = set()
        self._record_task: asyncio.Task[None] | None = None

    @property
    def received(self) -> int:
        """Number of requests so far with a valid token."""
        return self._receiver.received if self._receiver else 0

    @property
    def refused(self) -> int:
        """Number of refused requests so far."""
        return self._receiver.refused if self._receiver else 0

    def app(self) -> WebhookReceiver:
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
        if (
            self._record_task is None
            or self._record_task.done()
            or self._poller.loop_affinity.loop_is_gone()
        ):
            return
        self._record_task.cancel()
        await asyncio.wait([self._record_task])

    def _accept_event(self, webhook_id: str) -> bool:
        return self._poller.call_on_loop(lambda: self._handle_event(webhook_id))

    def _handle_event(self, webhook_id: str) -> None:
        logger.debug("webhook event for %s", webhook_id)
        if not self._poller.wakeups.webhook_event(webhook_id) or self._recorder is None:
            return
        # Another process may be waiting for this start: record the event in the journal.
        self._unrecorded.add(webhook_id)
        if self._record_task is None or self._record_task.done():
            loop = asyncio.get_running_loop()
            self._record_task = loop.create_task(
                self._record_events(self._recorder), context=Context()
            )

    async def _record_events(self, recorder: "JournalRecorder") -> None:
        while self._unrecorded:
            webhook_ids, self._unrecorded = self._unrecorded, set()
            for entry in await recorder.record_events(webhook_ids):
                self._poller.wakeups.entry_ended(entry)


_ASGI_TOKEN_HEADER: Final = WEBHOOK_HEADER.lower().encode()


async def _run_lifespan(receive: AsgiReceive, send: AsgiSend) -> None:
    """Handle the ASGI lifespan protocol of a server that starts and stops."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _asgi_body_reader(receive: AsgiReceive) -> Callable[[], Awaitable[bytes]]:
    ended = False

    async def read() -> bytes:
        nonlocal ended
        while not ended:
            message = await receive()
            ended = message["type"] != "http.request" or not message.get("more_body", False)
            if body := message.get("body", b""):
                return bytes(body)
        return b""

    return read


async def _read_body(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return the beginning of a body; stop reading where it is too long, too slow or broken."""
    parts: list[bytes] = []
    size = 0
    with suppress(Exception):  # the event is accepted whatever happens to its body
        async with asyncio.timeout(BODY_TIMEOUT):
            while size < MAX_BODY_BYTES and (part := await read()):
                parts.append(part[: MAX_BODY_BYTES - size])
                size += len(part)
    return b"".join(parts)
