"""Servers that speak raw bytes, and sessions against them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from attrs import define, field

from a2e_async._core.config import Account
from a2e_async._core.http.call import ApiCall
from a2e_async._core.http.envelope import ApiResponse
from a2e_async._core.http.rate_limit import ConnectionLimiter, RateLimiter
from a2e_async._core.http.retry import RetryPolicy
from a2e_async._core.http.session import ApiSession
from a2e_async.events import RequestStarted

KEY = "sk_" + "verysecretkey0123456789"

Reply = bytes | None | Callable[["Hit", asyncio.StreamWriter], Awaitable[bytes | None]]


@pytest.fixture
def key() -> str:
    return KEY


@define
class Hit:
    """A request as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def http(
    status: int = 200,
    body: Any = b"",
    *,
    kind: str = "application/json",
    headers: str = "",
    length: int | None = None,
) -> bytes:
    """Return one HTTP answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = len(data) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    return (head + headers + "\r\n").encode() + data


def good(data: Any = None) -> bytes:
    """Return a success in the usual envelope."""
    return http(body={"code": 0, "data": data, "trace_id": "abc123"})


@define
class Server:
    """Responds to the n-th request with the n-th reply and to the rest with the last one.

    A reply of None drops the connection.
    """

    replies: list[Reply] = field(factory=list)
    hits: list[Hit] = field(factory=list)
    connections: int = 0
    url: str = ""
    serving: set["asyncio.Task[None]"] = field(factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                pairs = (line.split(": ", 1) for line in head[1:] if line)
                headers = {name.lower(): value for name, value in pairs}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                hit = Hit(method, target, headers, body)
                reply = self.replies[min(len(self.hits), len(self.replies) - 1)]
                self.hits.append(hit)
                if callable(reply):
                    reply = await reply(hit, writer)
                if reply is None:
                    return
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.serving.discard(task)
            writer.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """Start servers: ``await serve(reply, reply, …)``."""
    async with AsyncExitStack() as stack:

        async def start(*replies: Reply) -> Server:
            server = Server(list(replies) or [good()])
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"

            async def stop() -> None:
                listening.close()
                for task in server.serving:
                    task.cancel()
                await asyncio.gather(*server.serving, return_exceptions=True)

            stack.push_async_callback(stop)
            return server

        yield start


QUICK = RetryPolicy(max_elapsed=5, initial=0.001, max_delay=0.005, max_attempts=4)


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., ApiSession]]:
    """Make sessions: ``connect(server.url, events=[], …)``; all are closed at the end.

    The events that requests begin are left out: each is followed by its `Attempt`.
    """
    made: list[ApiSession] = []

    def make(url: str, events: list[Any] | None = None, **options: Any) -> ApiSession:
        def emit(event: Any) -> None:
            if events is not None and not isinstance(event, RequestStarted):
                events.append(event)

        settings: dict[str, Any] = {
            "rate_limiter": RateLimiter(None, 1),
            "connection_limiter": ConnectionLimiter(8),
            "policy": QUICK,
            "request_timeout": 10.0,
            "language": "en-US",
            "trust_env": False,
            "proxy": None,
            "emit": None if events is None else emit,
            "user_agent": "a2e-async/test",
        }
        session = ApiSession(Account(KEY, url), **(settings | options))
        made.append(session)
        return session

    yield make
    for session in made:
        await session.aclose()


@pytest.fixture
def reply() -> Callable[..., bytes]:
    return http


@pytest.fixture
def ok() -> Callable[..., bytes]:
    return good


async def send(session: ApiSession, call: ApiCall, steps: list[bool] | None = None) -> ApiResponse:
    """Send a call turn by turn; ``steps`` gets ``call.sent`` before and after each of them."""
    response = None
    while response is None:
        async with session.turn(call) as turn:
            before = call.sent
            response = await turn.send()
        if steps is not None:
            steps += [before, call.sent]
    return response
