"""Send API requests: rate limit, connection slot, HTTP, envelope, retry. All API calls pass here.

Whether a failed attempt is retried is decided by `a2e_async._core.http.retry`, from two facts
that this module provides: the kind of the call, and whether its bytes left this machine (see
`a2e_async._core.http.call`).
"""

# pyright: reportPrivateUsage=false
# A session and its turns are one thing; the underscore keeps all others out.

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, Unpack
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from a2e_async._core.base_errors import without_frames
from a2e_async._core.clock import utc_now
from a2e_async._core.config import Account
from a2e_async._core.http.call import (
    ApiCall,
    RequestOptions,
    cached_client_timeout,
    check_path,
    client_timeout,
    current_call,
    encode_json,
    encode_params,
    is_event_stream,
    read_body,
    read_events,
)
from a2e_async._core.http.connection import SessionHolder
from a2e_async._core.http.envelope import (
    TRACE_HEADER,
    ApiResponse,
    clean_trace_id,
    decode_plain_success,
    decode_response,
)
from a2e_async._core.http.error_mapping import (
    deadline_error,
    map_exception,
    rate_limit_pause_error,
)
from a2e_async._core.http.loop_affinity import CancellableSleep, closed_error
from a2e_async._core.http.rate_limit import (
    AdmissionTimeout,
    ConnectionLimiter,
    Priority,
    RateLimiter,
)
from a2e_async._core.http.request_events import RequestReporter
from a2e_async._core.http.retry import (
    AttemptOutcome,
    RetryBudget,
    RetryPlanner,
    RetryPolicy,
    RetrySafety,
    classify_failure,
    parse_retry_after,
)
from a2e_async._core.redact import HiddenText
from a2e_async.errors import A2EError, DecodeError

if TYPE_CHECKING:
    from a2e_async.events import Event

__all__ = ["MAX_RESPONSE_BYTES", "ApiResponse", "ApiSession", "Turn"]

MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024
"""Largest response body that is read, in bytes; API responses are JSON, not files."""

MAX_DECODE_ATTEMPTS: Final = 2
"""Attempts that may end in an unreadable response: a wrong host never sends a readable one."""

# What aiohttp raises before it writes a request; RuntimeError if its session was closed.
_EXPECTED: Final = (aiohttp.ClientError, OSError, RuntimeError)

ResponseObserver = Callable[[ApiCall, int, Mapping[str, str], bytes], None]
"""Called with a call, and the status, headers and body of its response, without the API key."""

_JSON: Final = {"Content-Type": "application/json"}
_STREAM: Final = {"Accept": "text/event-stream"}


class ApiSession:
    """Sends requests to one account on one host. Constructed without I/O or an event loop.

    ``request_timeout`` is in seconds, per attempt. ``language`` selects the language of the
    service's messages. ``proxy`` overrides the environment's proxy, which is used if
    ``trust_env``. ``emit`` is called with every attempt and hold; exceptions from it are logged.
    """

    def __init__(
        self,
        account: Account,
        *,
        rate_limiter: RateLimiter,
        connection_limiter: ConnectionLimiter,
        policy: RetryPolicy,
        request_timeout: float,
        language: str,
        trust_env: bool,
        proxy: str | None,
        emit: "Callable[[Event], None] | None",
        user_agent: str,
    ) -> None:
        self._base = account.base_url
        self._secret = account.api_key
        self._host = urlsplit(account.base_url).netloc
        self._rate_limiter = rate_limiter
        self._connection_limiter = connection_limiter
        self._policy = policy
        self._timeout = request_timeout
        client_timeout(request_timeout)
        self._session_holder = SessionHolder(
            account.base_url,
            {
                "Authorization": HiddenText(f"Bearer {account.api_key.reveal()}"),
                "x-lang": language,
                "User-Agent": user_agent,
                "Accept": "application/json",
            },
            trust_env=trust_env,
            proxy=proxy,
        )
        self._reporter = RequestReporter(emit)
        self._retry_budget = RetryBudget()
        self._sleeps = CancellableSleep()
        self.observer: ResponseObserver | None = None
        """Called with every response that was read completely."""

    def __repr__(self) -> str:
        return f"<Session {self._base}{' closed' if self._session_holder.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether `aclose` has been called."""
        return self._session_holder.closed

    def redact_key(self, response: ApiResponse) -> ApiResponse:
        """Remove the API key from the headers of a response that is given to the user."""
        key = self._secret.reveal()
        if any(key in value for value in response.headers.values()):
            pairs = [
                (name, value.replace(key, "[key]")) for name, value in response.headers.items()
            ]
            response.headers = CIMultiDictProxy(CIMultiDict(pairs))
        return response

    def can_start_now(self) -> bool:
        """Return whether a start could be sent at once: a turn and a connection are available."""
        return self._rate_limiter.is_available() and self._connection_limiter.is_available(
            is_start=True
        )

    @property
    def queued_requests(self) -> int:
        """How many requests wait for the rate limit or for a connection."""
        return len(self._rate_limiter) + self._connection_limiter.waiting_count

    @property
    def connections_in_use(self) -> int:
        """How many requests have a connection slot."""
        return self._connection_limiter.in_use

    def remaining_pause(self) -> float:
        """Return the seconds left of a pause that the service asked for; 0 if there is none."""
        return self._rate_limiter.remaining_hold(self.loop_time())

    def loop_time(self) -> float:
        """Return the running loop's time in seconds, the clock of all deadlines."""
        return self._session_holder.time()

    def new_call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        retry_safety: RetrySafety = RetrySafety.FREE,
        priority: Priority = Priority.CALL,
        cost: float = 1,
        timeout: float | None = None,  # per attempt, not of the whole call
        deadline: float | None = None,
        retry: bool = True,
        max_bytes: int = MAX_RESPONSE_BYTES,
        stream: bool = False,
    ) -> ApiCall:
        """Return a call for `turn`; the arguments are those of `request`.

        With ``stream``, the data of a response that is a stream of events is the call.
        """
        headers = None if json is None else _JSON
        return ApiCall(
            method,
            check_path(path),
            encode_params(params) if params else None,
            None if json is None else encode_json(json),
            {**_STREAM, **(headers or {})} if stream else headers,
            retry_safety,
            priority,
            cost,
            self._timeout if timeout is None else timeout,
            deadline,
            retry,
            max_bytes,
            stream,
        )

    # Not async: one more coroutine per request has a measurable cost.
    def request(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> Coroutine[Any, Any, ApiResponse]:
        """Send an API request, retrying where that is safe, and return its response.

        ``path`` begins with "/" and has no query. ``timeout`` is in seconds per attempt.
        ``deadline`` is a time of `loop_time` after which nothing is sent or awaited.
        ``retry=False`` makes a single attempt. Raises the errors of `a2e_async.errors`.
        """
        return self.send(self.new_call(method, path, **options))

    async def send(self, call: ApiCall) -> ApiResponse:
        """Send a call, as `request` does, and return its response."""
        while True:
            if call.retry_delay:
                await self._sleeps.sleep(call.retry_delay)
            turn = Turn(self, call)
            if not turn.try_enter():
                await turn.wait()
            try:
                response = await turn.send()
            finally:
                turn.leave()
            if response is not None:
                return response

    def turn(self, call: ApiCall) -> "Turn":
        """Return the turn for the next attempt of a call.

        For what has to happen just before a call is sent, as often as it is sent; `send` takes
        all turns of a call by itself.
        """
        return Turn(self, call)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[AsyncIterator[tuple[str, str]], None]:
        """Yield the (event, data) pairs of a Server-Sent Events response as they arrive.

        Arguments and errors are those of `request`. There are no retries once the stream has
        begun. ``timeout`` applies to the whole stream, ``max_bytes`` to one event. A response
        that is not a stream yields one pair: "result" and its data as JSON.
        """
        response = await self.send(self.new_call(method, path, stream=True, **options))
        async with self.events(response) as events:
            yield events

    @asynccontextmanager
    async def events(
        self, response: ApiResponse
    ) -> AsyncGenerator[AsyncIterator[tuple[str, str]], None]:
        """Yield the events of the response to a streamed call, as `stream` does."""
        call, events = response.data, read_events(response, self._map_error)
        try:
            yield events
        finally:
            if isinstance(call, ApiCall) and call.response is not None:
                call.response.close()
                self._connection_limiter.release(call.priority is Priority.START)
            await events.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls in flight end with an error. May be called twice."""
        if self.closed:
            return
        http = self._session_holder.close()
        for queue in (self._rate_limiter, self._connection_limiter):
            queue.close(closed_error())
        self._sleeps.end_all()
        if http is not None:
            await http.close()

    # -- one call --------------------------------------------------------------------------

    async def _attempt(
        self, http: aiohttp.ClientSession, call: ApiCall, now: float
    ) -> ApiResponse | A2EError:
        """Make one attempt. Errors are returned, not raised, so that they have no context."""
        call.send_count = 0
        call.status = call.retry_after = None
        if call.deadline is not None and call.deadline - now < call.timeout:
            timeout = client_timeout(call.deadline - now)
        else:
            timeout = cached_client_timeout(call.timeout)
        response: aiohttp.ClientResponse | None = None
        token = current_call.set(call)
        try:
            response = await http.request(
                call.method,
                self._base + call.path,
                params=call.params,
                data=call.data,
                headers=call.headers,
                timeout=timeout,
                allow_redirects=False,
            )
            status = call.status = response.status
            headers = response.headers
            if call.stream and is_event_stream(response):
                call.response = response
                trace = clean_trace_id(headers.get(TRACE_HEADER))
                return ApiResponse(call, None, "", trace, status, headers)
            length = response.content_length
            if length is None or length > call.max_bytes or hdrs.CONTENT_ENCODING in headers:
                body = await read_body(response, call.max_bytes)
            else:
                body = await response.read()
            body = self._secret.scrub(body)
            if self.observer is not None:
                self.observer(call, status, headers, body)
        except Exception as raw:
            if response is not None:
                response.close()
            # If the session is closed during a request, aiohttp may raise anything.
            if not (call.send_count or self.closed or isinstance(raw, _EXPECTED)):
                raise
            return self._map_error(raw, call)
        except BaseException as error:
            if response is not None:
                response.close()
            without_frames(error)  # aiohttp's frames hold headers, body and proxy
            raise
        finally:
            current_call.reset(token)
        if status == 200 and (plain := decode_plain_success(body, headers)) is not None:
            return plain
        if (wait := headers.get(hdrs.RETRY_AFTER)) is not None:
            call.retry_after = parse_retry_after(wait, utc_now(), headers.get(hdrs.DATE))
        try:
            answer = decode_response(
                method=call.method,
                path=call.path,
                host=self._host,
                http_status=status,
                content_type=headers.get(hdrs.CONTENT_TYPE, ""),
                body=body,
                trace_header=headers.get(TRACE_HEADER),
                retry_after=call.retry_after,
                secret=self._secret,
                attempts=call.attempt,
                location=headers.get(hdrs.LOCATION),
                charged=call.retry_safety is RetrySafety.CHARGED,
            )
        except A2EError as error:
            return without_frames(error)
        answer.headers = headers
        return answer

    def _retry_delay(self, call: ApiCall, error: A2EError) -> float | None:
        """Return the seconds until the next attempt; None if ``error`` is final."""
        outcome = call.last_outcome = classify_failure(error, call.send_count > 0)
        if outcome is AttemptOutcome.FINAL or self._session_holder.closed:
            return None
        planner = call.retry_planner
        if planner is None:
            planner = call.retry_planner = RetryPlanner(
                self._policy, call.retry_safety, self._retry_budget, random.random
            )
        now = self._session_holder.time()
        hold = call.retry_after
        if outcome is AttemptOutcome.RATE_LIMITED:
            hold = planner.hold_seconds(call.attempt, hold)
            if self._rate_limiter.hold_until(now + hold):
                self._reporter.report_hold(call, self._host, hold)
        if not call.retry or call.never_retry:
            return None
        if isinstance(error, DecodeError) and call.attempt >= MAX_DECODE_ATTEMPTS:
            return None
        delay = planner.next_delay(outcome, call.attempt, now - call.started_at, hold)
        if delay is None or (call.deadline is not None and now + delay >= call.deadline):
            return None
        return delay

    # -- waiting ---------------------------------------------------------------------------

    async def _admit(self, call: ApiCall, is_start: bool, has_turn: bool) -> None:
        """Wait for a turn, unless already granted (``has_turn``), then for a connection."""
        error: A2EError | None = None
        try:
            if not has_turn:
                budget = self._policy.max_elapsed - (self._session_holder.time() - call.started_at)
                await self._rate_limiter.acquire(
                    call.cost, call.priority, call.deadline, max(0.0, budget)
                )
                has_turn = True
            await self._connection_limiter.acquire(is_start, call.deadline)
        except AdmissionTimeout as signal:
            error = (
                rate_limit_pause_error(call, signal.seconds)
                if signal.rate_limited
                else deadline_error(call)
            )
            if has_turn:
                self._rate_limiter.refund(call.cost)
        except BaseException:
            if has_turn:
                self._rate_limiter.refund(call.cost)
            raise
        if error is not None:
            raise error

    # -- errors ----------------------------------------------------------------------------

    def _map_error(self, raw: Exception, call: ApiCall) -> A2EError:
        if self._session_holder.closed and not (
            call.send_count and call.retry_safety is RetrySafety.CHARGED
        ):
            return closed_error(f"{call.method} {call.path}")
        elapsed = self._session_holder.time() - call.started_at
        return map_exception(raw, call, host=self._host, secret=self._secret, elapsed=elapsed)


class Turn:
    """The right to send one attempt of a call: its turn at the rate limit, and a connection.

    Made by `ApiSession.turn` for one ``async with`` block, which waits for both. At its end it
    gives the connection back, and the turn, too, if nothing was sent. The session and this class
    alone change the call, apart from ``withdrawn``.
    """

    __slots__ = (
        "_began",
        "_call",
        "_granted",
        "_has_turn",
        "_http",
        "_is_start",
        "_session",
        "_used",
    )

    def __init__(self, session: ApiSession, call: ApiCall) -> None:
        self._session = session
        self._call = call
        self._is_start = call.priority is Priority.START
        self._http: aiohttp.ClientSession | None = None
        self._began = self._granted = 0.0
        self._used = self._has_turn = False

    async def __aenter__(self) -> Self:
        if self._call.retry_delay:
            await self._session._sleeps.sleep(self._call.retry_delay)
        if not self.try_enter():
            await self.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    # `ApiSession.send` takes these steps itself, which saves two coroutines for each request.

    def try_enter(self) -> bool:
        """Begin the attempt; return whether it has its turn already, else `wait` for it."""
        session, call = self._session, self._call
        self._http = session._session_holder.get_session()
        self._began = self._granted = session.loop_time()
        if call.attempt == 0:
            call.started_at = self._began
        call.attempt += 1
        self._has_turn = session._rate_limiter.try_acquire(call.cost)
        if not self._has_turn or not session._connection_limiter.try_acquire(self._is_start):
            return False
        self._check_deadline()
        return True

    async def wait(self) -> None:
        """Wait for what `try_enter` did not get at once."""
        await self._session._admit(self._call, self._is_start, self._has_turn)
        self._granted = self._session.loop_time()
        self._check_deadline()

    def leave(self) -> None:
        """Give the connection back, and the turn, too, if it was not used."""
        if not self._used:
            self._give_back()
        elif self._call.response is None:  # a stream has the connection until it ends
            self._session._connection_limiter.release(self._is_start)

    def _check_deadline(self) -> None:
        call = self._call
        if call.attempt == 1:
            call.started_at = self._granted  # waiting for the first turn uses up no max_elapsed
        if call.deadline is not None and call.deadline <= self._granted:
            self._give_back()
            raise deadline_error(call)

    async def send(self) -> ApiResponse | None:
        """Send the call; return its response, or None if its next turn may send it again.

        Raises the error with which the call ends. Called once.
        """
        session, call, self._used = self._session, self._call, True
        assert self._http is not None  # noqa: S101  # set on entry
        session._reporter.report_start(call, session._base)
        try:
            outcome = await session._attempt(self._http, call, self._granted)
        except (asyncio.CancelledError, Exception) as error:
            self._report(type(error).__name__)
            raise
        if isinstance(outcome, ApiResponse):
            budget = session._retry_budget
            if budget.remaining < budget.capacity:
                budget.record_success(call.last_outcome)
            self._report(None, trace_id=outcome.trace_id)
            return outcome
        delay = session._retry_delay(call, outcome)
        self._report(type(outcome).__name__, delay, getattr(outcome, "trace_id", None))
        if delay is None:
            raise outcome
        call.last_error, call.retry_delay = outcome, delay
        if call.last_outcome is AttemptOutcome.RATE_LIMITED:
            call.send_count = 0  # the service has refused it: nothing of it is there
            call.retry_delay = 0.0  # the rate limiter holds it with all others, in their order
        return None

    def _give_back(self) -> None:
        self._session._connection_limiter.release(self._is_start)
        self._session._rate_limiter.refund(self._call.cost)

    def _report(
        self, error: str | None, retry_in: float | None = None, trace_id: str | None = None
    ) -> None:
        session = self._session
        if session._reporter.is_enabled():
            times = (self._began, self._granted, session.loop_time())
            session._reporter.report_attempt(self._call, times, error, retry_in, trace_id)
