"""The state of one API call, and its aiohttp request.

aiohttp does not report whether a failed request had left this machine. `TrackedRequest` does: when
aiohttp begins to write a request, it increments a counter on the call in flight, found through a
context variable. A count of 0 proves that nothing was sent, whatever the exception looks like. A
count of 2 means that aiohttp silently resent an idempotent request on a second connection.
"""

import asyncio
import json as json_module
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from attrs import define
from yarl import URL

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.http.envelope import ApiResponse
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import AttemptOutcome, RetryPlanner, RetrySafety
from a2e_async._core.http.sse import SseParser
from a2e_async._core.redact import HiddenText, Secret
from a2e_async.errors import (
    A2EError,
    ConfigurationError,
    InvalidInput,
)

if TYPE_CHECKING:
    from aiohttp.connector import Connection

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for DNS, connecting and TLS; at most nine tenths of the attempt's timeout."""


@define(eq=False, repr=False)
class ApiCall:
    """One API call through all its attempts. The repr has neither body nor query.

    Created by `ApiSession.new_call` for one request. Changed by the session and its turns; its
    `TrackedRequest` counts how often it was written; who made it may set ``withdrawn``.
    """

    method: str
    path: str
    params: Mapping[str, str] | None
    data: bytes | None
    headers: Mapping[str, str] | None
    retry_safety: RetrySafety
    priority: Priority
    cost: float
    timeout: float
    deadline: float | None
    retry: bool
    max_bytes: int
    stream: bool = False
    withdrawn: bool = False
    """Its caller has withdrawn it: it must not be sent."""
    attempt: int = 0
    started_at: float = 0.0
    """Loop time at which the first attempt began; ``RetryPolicy.max_elapsed`` counts from it."""
    send_count: int = 0
    """How often the current attempt was written to a connection, unless a 429 refused it."""
    retry_delay: float = 0.0
    """Seconds to wait before the next attempt."""
    status: int | None = None
    retry_after: float | None = None
    never_retry: bool = False
    """Another attempt would fail in the same way."""
    retry_planner: RetryPlanner | None = None
    last_outcome: AttemptOutcome | None = None
    last_error: A2EError | None = None
    response: aiohttp.ClientResponse | None = None

    def __repr__(self) -> str:
        return f"<Call {self.method} {self.path}, attempt {self.attempt}>"

    @property
    def sent(self) -> bool:
        """Whether it may have reached the service, which has not refused it by a 429."""
        return self.send_count > 0

    def mark_sent(self) -> None:
        """Record that the request is about to be written. Raises if it was withdrawn."""
        if self.withdrawn:
            # Its task is cancelled, but would only learn of it after the request was written.
            # This is the last point at which nothing has been sent.
            raise asyncio.CancelledError
        self.send_count += 1


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of `ApiSession.request`, which documents them."""

    params: Mapping[str, Any] | None
    json: Any
    retry_safety: RetrySafety
    priority: Priority
    cost: float
    timeout: float | None
    deadline: float | None
    retry: bool
    max_bytes: int


class RequestKwargs(TypedDict):
    """The keyword arguments of a request that follow from the options of a client."""

    timeout: float
    priority: NotRequired[Priority]


current_call: ContextVar[ApiCall | None] = ContextVar("a2e_async_call", default=None)


class CheckedRequest(aiohttp.ClientRequest):
    """A request that is not written to a connection which holds unrequested data.

    A server or gateway that responds twice leaves a response on an idle connection. aiohttp would
    take it for the response to the next request there: the result or refusal of another call.
    """

    # Not async: one more coroutine per request has a measurable cost.
    def send(  # pyright: ignore[reportIncompatibleMethodOverride]  # it calls the type of an async method CoroutineType
        self, conn: "Connection"
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Write the request. Raises `aiohttp.ServerDisconnectedError`, before any byte is sent."""
        if conn.protocol is not None and conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError("the server sent a response without a request")
        self.record_write()
        return aiohttp.ClientRequest.send(self, conn)

    def record_write(self) -> None:
        """Do what has to precede the write."""


class TrackedRequest(CheckedRequest):
    """A request that records on its call when it is written to a connection."""

    def update_proxy(self, proxy: URL | None, proxy_auth: Any, proxy_headers: Any) -> None:
        """Set the proxy without the session's headers.

        aiohttp would send them to the proxy, with the API key as Proxy-Authorization, without
        TLS.
        """
        super().update_proxy(proxy, proxy_auth, None)

    def record_write(self) -> None:
        """Record the write on the current call."""
        call = current_call.get()
        if call is not None:
            call.mark_sent()


class ResponseTooLarge(Exception):  # a signal inside the transport, never shown to users
    """The response body is larger than the call's limit."""


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the whole body. Raises `ResponseTooLarge` if it exceeds ``max_bytes``."""
    length = response.content_length
    if length is not None and length > max_bytes:
        raise ResponseTooLarge
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise ResponseTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


async def read_events(
    response: ApiResponse, map_error: Callable[[Exception, ApiCall], A2EError]
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the (event, data) pairs of a response to `ApiSession.stream`.

    ``map_error`` converts an exception of aiohttp to the error that is raised.
    """
    call = response.data
    if not isinstance(call, ApiCall) or call.response is None:
        yield "result", json_module.dumps(response.data)
        return
    reader = SseParser()
    try:
        async for chunk in call.response.content.iter_any():
            for event in reader.feed(chunk):
                yield event
            if reader.pending > call.max_bytes:
                raise ResponseTooLarge
    except (aiohttp.ClientError, OSError, ResponseTooLarge) as raw:
        error = map_error(raw, call)
    else:
        for event in reader.finish():
            yield event
        return
    raise error


def is_event_stream(response: aiohttp.ClientResponse) -> bool:
    """Return whether a response is a successful Server-Sent Events stream."""
    kind = response.headers.get(aiohttp.hdrs.CONTENT_TYPE, "")
    return response.ok and kind.lower().startswith("text/event-stream")


def client_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return aiohttp's timeout for one attempt of ``seconds``; inf means no timeout."""
    if not seconds > 0:
        raise InvalidInput(f"timeout must be above 0 seconds, not {seconds}.", field="timeout")
    if math.isinf(seconds):
        return aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT)
    connect = min(CONNECT_TIMEOUT, 0.9 * seconds)
    # aiohttp rounds timers above the threshold up to whole seconds; our deadlines are exact.
    return aiohttp.ClientTimeout(
        total=seconds, connect=connect, sock_connect=connect, ceil_threshold=math.inf
    )


cached_client_timeout: Final = lru_cache(64)(client_timeout)
"""`client_timeout` with a cache, for timeouts that many attempts share."""


def check_path(path: str) -> str:
    """Return ``path`` if it begins with "/". Raises `ConfigurationError` otherwise."""
    # Appended to the base URL, ".other.example/x" would change the host that gets the API key.
    if not path.startswith("/"):
        raise ConfigurationError(f"the path {path!r:.60} must begin with '/'.")
    return path


def encode_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return query parameters as strings; None is left out, a bool becomes true or false."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }


# `json.dumps` with options builds an encoder on every call.
_encode: Final = json_module.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def encode_json(value: Any) -> bytes:
    """Encode ``value`` as JSON. Raises `InvalidInput` for values that JSON cannot represent."""
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"The inputs cannot be encoded as JSON: {error}.") from None


@hide_frames
def environment_proxy(base_url: str) -> str | None:
    """Return the environment's proxy for this host, for API and file requests.

    Replaces aiohttp's ``trust_env``, which reads the environment in a thread for every request,
    ignores ALL_PROXY, and fails if a netrc entry collides with the bearer token. Raises
    `ConfigurationError` as `check_proxy` does.
    """
    found = proxy_setting(base_url)
    return None if found is None else check_proxy(found)


def proxy_setting(url: str) -> str | None:
    """Return the environment's proxy for a URL, unchecked; adds a missing scheme."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    found = (proxies.get(parts.scheme) or proxies.get("all") or "").strip()
    if not found:
        return None
    return found if "://" in found else f"http://{found}"


class ProxyUrl(HiddenText):
    """A proxy's URL. The repr hides the password, and `redact` removes it from all texts."""

    __slots__ = ("_password",)

    _password: Secret

    def __new__(cls, url: str) -> "ProxyUrl":
        """Create the URL; ``url`` must be parseable."""
        made = super().__new__(cls, url)
        made._password = Secret(unquote(urlsplit(url).password or ""), "[password]")
        return made


@hide_frames
def check_proxy(url: str) -> ProxyUrl:
    """Return the proxy's URL; adds ``http://`` to a plain ``host:port``.

    Raises `ConfigurationError` for a URL that aiohttp cannot use. The message contains no part of
    ``url``, which often has a password.
    """
    url = url.strip()
    full = url if "://" in url else f"http://{url}"
    try:
        parts, port = urlsplit(full), URL(full).explicit_port
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    except ValueError:
        good, port = False, None
    if not good or not full.isprintable() or " " in full or (full is not url and port is None):
        raise ConfigurationError(
            "The proxy is not a usable HTTP proxy URL. Pass one like http://host:port as proxy=…; "
            "or, if it comes from the environment, pass trust_env=False."
        )
    return ProxyUrl(full)
