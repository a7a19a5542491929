"""Send API requests: rate limit, connection slot, HTTP, envelope, retry. All API calls pass here.

Whether a failed attempt is retried is decided by `a2e_async.transport.retry`, from two facts
that this module provides: the kind of the call, and whether its bytes left this machine (see
`a2e_async.transport.wire`).
"""

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Any, Final, Unpack
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from a2e_async._clock import utc_now
from a2e_async.config import Account
from a2e_async.errors import A2EError, DecodeError, without_frames
from a2e_async.events import Event
from a2e_async.redact import HiddenText
from a2e_async.transport.envelope import TRACE_HEADER, Answer, clean_trace, read_answer, read_plain
from a2e_async.transport.link import Link
from a2e_async.transport.loops import Naps, closed_error
from a2e_async.transport.ratelimit import Gate, HeldTooLong, Pacer, Priority
from a2e_async.transport.retry import (
    Quota,
    Repeat,
    Retrier,
    RetryPolicy,
    Verdict,
    judge,
    parse_retry_after,
)
from a2e_async.transport.watch import Watcher
from a2e_async.transport.wire import (
    Call,
    CallOptions,
    absolute,
    client_timeout,
    current,
    held,
    is_stream,
    late,
    read_body,
    read_events,
    translate,
    usual_timeout,
    wire_json,
    wire_params,
)

__all__ = ["MAX_BYTES", "Answer", "Session"]

MAX_BYTES: Final = 32 * 1024 * 1024
"""Largest response body that is read, in bytes; API responses are JSON, not files."""

DECODE_ATTEMPTS: Final = 2
"""Attempts that may end in an unreadable response: a wrong host never sends a readable one."""

# What aiohttp raises before it writes a request; RuntimeError if its session was closed.
_EXPECTED: Final = (aiohttp.ClientError, OSError, RuntimeError)

_JSON: Final = {"Content-Type": "application/json"}
_STREAM: Final = {"Accept": "text/event-stream"}


class Session:
    """Sends requests to one account on one host. Constructed without I/O or an event loop.

    ``request_timeout`` is in seconds, per attempt. ``language`` selects the language of the
    service's messages. ``proxy`` overrides the environment's proxy, which is used if
    ``trust_env``. ``emit`` is called with every attempt and hold; exceptions from it are logged.
    """

    def __init__(
        self,
        account: Account,
        *,
        pacer: Pacer,
        gate: Gate,
        policy: RetryPolicy,
        request_timeout: float,
        language: str,
        trust_env: bool,
        proxy: str | None,
        emit: Callable[[Event], None] | None,
        user_agent: str,
    ) -> None:
        self._base = account.base_url
        self._secret = account.api_key
        self._host = urlsplit(account.base_url).netloc
        self._pacer = pacer
        self._gate = gate
        self._policy = policy
        self._timeout = request_timeout
        client_timeout(request_timeout)
        self._link = Link(
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
        self._watcher = Watcher(emit)
        self._quota = Quota()
        self._naps = Naps()

    def __repr__(self) -> str:
        return f"<Session {self._base}{' closed' if self._link.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether `aclose` has been called."""
        return self._link.closed

    def without_key(self, answer: Answer) -> Answer:
        """Remove the API key from the headers of a response that is given to the user."""
        key = self._secret.reveal()
        if any(key in value for value in answer.headers.values()):
            pairs = [(name, value.replace(key, "[key]")) for name, value in answer.headers.items()]
            answer.headers = CIMultiDictProxy(CIMultiDict(pairs))
        return answer

    def is_free(self) -> bool:
        """Return whether a start could be sent at once: a turn and a connection are available."""
        return self._pacer.is_free() and self._gate.is_free(is_start=True)

    def clock(self) -> float:
        """Return the running loop's time in seconds, the clock of all deadlines."""
        return self._link.time()

    # Not async: one more coroutine per request has a measurable cost.
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        repeat: Repeat = Repeat.FREE,
        priority: Priority = Priority.CALL,
        cost: float = 1,
        timeout: float | None = None,  # per attempt, not of the whole call
        deadline: float | None = None,
        retry: bool = True,
        on_sent: Callable[[], None] | None = None,
        on_refused: Callable[[], None] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        max_bytes: int = MAX_BYTES,
        streamed: bool = False,  # for `stream`: the response to a stream has its ApiCall as data
    ) -> Coroutine[Any, Any, Answer]:
        """Send an API request, retrying where that is safe, and return its response.

        ``path`` begins with "/" and has no query. ``timeout`` is in seconds per attempt.
        ``deadline`` is a time of `loop_time` after which nothing is sent or awaited. ``on_sent``
        is called before the first byte leaves, and again for an attempt after a 429.
        ``on_rate_limited`` is called after such a 429: the request was refused and not
        executed. ``before_send`` is awaited when an attempt has its turn, before it connects.
        ``retry=False`` makes a single attempt. Raises the errors of `a2e_async.errors`.
        """
        headers = None if json is None else _JSON
        call = Call(
            method,
            absolute(path),
            wire_params(params) if params else None,
            None if json is None else wire_json(json),
            {**_STREAM, **(headers or {})} if streamed else headers,
            repeat,
            priority,
            cost,
            self._timeout if timeout is None else timeout,
            deadline,
            retry,
            max_bytes,
            on_sent,
            on_refused,
            streamed,
            before,
        )
        return self._run(call)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Unpack[CallOptions]
    ) -> AsyncGenerator[AsyncIterator[tuple[str, str]], None]:
        """Yield the (event, data) pairs of a Server-Sent Events response as they arrive.

        Arguments and errors are those of `request`. There are no retries once the stream has
        begun. ``timeout`` applies to the whole stream, ``max_bytes`` to one event. A response
        that is not a stream yields one pair: "result" and its data as JSON.
        """
        answer = await self.request(method, path, streamed=True, **options)
        call, events = answer.data, read_events(answer, self._map_error)
        try:
            yield events
        finally:
            if isinstance(call, Call) and call.response is not None:
                call.response.close()
                self._gate.leave(call.priority is Priority.START)
            await events.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls in flight end with an error. May be called twice."""
        if self.closed:
            return
        http = self._link.close()
        for queue in (self._pacer, self._gate):
            queue.close(closed_error())
        self._naps.close()
        if http is not None:
            await http.close()

    # -- one call --------------------------------------------------------------------------

    async def _run(self, call: Call) -> Answer:
        is_start = call.priority is Priority.START
        while True:
            http = self._link.http()
            began = sent = self._link.time()
            if call.attempt == 0:
                call.first = began
            call.attempt += 1
            has_turn = self._pacer.try_acquire(call.cost)
            if not has_turn or not self._gate.try_enter(is_start):
                await self._admit(call, is_start, has_turn)
                sent = self._link.time()
            if call.attempt == 1:
                call.first = sent  # waiting for the first turn does not use up max_elapsed
            if call.deadline is not None and call.deadline <= sent:
                self._gate.leave(is_start)
                self._pacer.give_back(call.cost)
                raise late(call)
            try:
                if call.before is not None:
                    await self._run_before_send(call, call.before)
                outcome = await self._attempt(http, call, sent)
            except asyncio.CancelledError:
                if self._watcher.listens():
                    self._watcher.attempt(call, (began, sent, self._link.time()), "CancelledError")
                raise
            finally:
                if call.response is None:
                    self._gate.leave(is_start)
            if isinstance(outcome, Answer):
                if self._quota.left < self._quota.capacity:
                    self._quota.succeeded(call.after)
                if self._watcher.listens():
                    times = (began, sent, self._link.time())
                    self._watcher.attempt(call, times, None, None, outcome.trace_id)
                # The kept-alive connection references this call: do not keep the callbacks alive.
                call.on_sent = call.on_refused = call.before = None
                return outcome
            delay = self._decide(call, outcome)
            if self._watcher.listens():
                trace = getattr(outcome, "trace_id", None)
                times = (began, sent, self._link.time())
                self._watcher.attempt(call, times, type(outcome).__name__, delay, trace)
            if delay is None:
                raise outcome
            call.last = outcome
            # After a 429 the rate limiter holds this call together with all others, in order.
            if call.after is not Verdict.PACED:
                await self._naps.take(delay)

    async def _attempt(
        self, http: aiohttp.ClientSession, call: Call, now: float
    ) -> Answer | A2EError:
        """Make one attempt. Errors are returned, not raised, so that they have no context."""
        call.sends = 0
        call.status = call.retry_after = None
        if call.deadline is not None and call.deadline - now < call.timeout:
            timeout = client_timeout(call.deadline - now)
        else:
            timeout = usual_timeout(call.timeout)
        response: aiohttp.ClientResponse | None = None
        token = current.set(call)
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
            if call.stream and is_stream(response):
                call.response = response
                trace = clean_trace(headers.get(TRACE_HEADER))
                return Answer(call, None, "", trace, status, headers)
            length = response.content_length
            if length is None or length > call.max_bytes or hdrs.CONTENT_ENCODING in headers:
                body = await read_body(response, call.max_bytes)
            else:
                body = await response.read()
            body = self._secret.scrub(body)
        except Exception as raw:
            if response is not None:
                response.close()
            # If the session is closed during a request, aiohttp may raise anything.
            if not (call.sends or self.closed or isinstance(raw, _EXPECTED)):
                raise
            return self._map_error(raw, call)
        except BaseException as error:
            if response is not None:
                response.close()
            without_frames(error)  # aiohttp's frames hold headers, body and proxy
            raise
        finally:
            current.reset(token)
        if status == 200 and (plain := read_plain(body, headers)) is not None:
            return plain
        if (wait := headers.get(hdrs.RETRY_AFTER)) is not None:
            call.retry_after = parse_retry_after(wait, utc_now(), headers.get(hdrs.DATE))
        try:
            answer = read_answer(
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
                charged=call.repeat is Repeat.CHARGED,
            )
        except A2EError as error:
            return without_frames(error)
        answer.headers = headers
        return answer

    def _decide(self, call: Call, error: A2EError) -> float | None:
        """Return the seconds until the next attempt; None if ``error`` is final."""
        verdict = call.after = judge(error, call.sends > 0)
        if verdict is Verdict.FINAL or self._link.closed:
            return None
        retrier = call.retrier
        if retrier is None:
            retrier = call.retrier = Retrier(self._policy, call.repeat, self._quota, random.random)
        now = self._link.time()
        hold = call.retry_after
        if verdict is Verdict.PACED:
            hold = retrier.pause(call.attempt, hold)
            if self._pacer.pause_until(now + hold):
                self._watcher.hold(call, self._host, hold)
        if not call.retry or call.hopeless:
            return None
        if isinstance(error, DecodeError) and call.attempt >= DECODE_ATTEMPTS:
            return None
        delay = retrier.next_delay(verdict, call.attempt, now - call.first, hold)
        if delay is None or (call.deadline is not None and now + delay >= call.deadline):
            return None
        if verdict is Verdict.PACED:
            call.told = False
            if call.on_refused is not None:
                call.on_refused()
        return delay

    # -- waiting ---------------------------------------------------------------------------

    async def _admit(self, call: Call, is_start: bool, has_turn: bool) -> None:
        """Wait for a turn, unless already granted (``has_turn``), then for a connection."""
        error: A2EError | None = None
        try:
            if not has_turn:
                budget = self._policy.max_elapsed - (self._link.time() - call.first)
                await self._pacer.acquire(call.cost, call.priority, call.deadline, max(0.0, budget))
                has_turn = True
            await self._gate.enter(is_start, call.deadline)
        except HeldTooLong as signal:
            error = held(call, signal.seconds) if signal.held else late(call)
            if has_turn:
                self._pacer.give_back(call.cost)
        except BaseException:
            if has_turn:
                self._pacer.give_back(call.cost)
            raise
        if error is not None:
            raise error

    async def _run_before_send(self, call: Call, before: Callable[[], Awaitable[None]]) -> None:
        try:
            await before()
        except BaseException:
            self._pacer.give_back(call.cost)  # this turn was not used
            raise

    # -- errors ----------------------------------------------------------------------------

    def _map_error(self, raw: Exception, call: Call) -> A2EError:
        if self._link.closed and not (call.sends and call.repeat is Repeat.CHARGED):
            return closed_error(f"{call.method} {call.path}")
        elapsed = self._link.time() - call.first
        return translate(raw, call, host=self._host, secret=self._secret, elapsed=elapsed)
