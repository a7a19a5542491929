"""One request in; one decoded answer or one error out. All API traffic passes here.

Every attempt goes: pace, gate, wire, envelope. Whether a failed one is made again is decided
by `a2e_async.transport.retry` from two facts that this module owes it: what kind of call it is,
and whether its bytes left this machine (`a2e_async.transport.wire`).
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
"""Bytes of one answer that are read at most; API answers are JSON, not files."""

DECODE_ATTEMPTS: Final = 2
"""How often an unreadable answer is asked for: a wrong host answers so for ever."""

# What aiohttp raises before a request is written; RuntimeError when its session was closed.
_EXPECTED: Final = (aiohttp.ClientError, OSError, RuntimeError)

_JSON: Final = {"Content-Type": "application/json"}
_STREAM: Final = {"Accept": "text/event-stream"}


class Session:
    """The connection to one account at one host; made without I/O and without a loop.

    ``request_timeout`` in seconds per attempt; ``language`` picks that of the service's
    messages; ``proxy`` wins over the environment's, which counts if ``trust_env``. ``emit``
    is told every attempt and hold; what it raises is logged and does no harm.
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
        """True after `aclose`."""
        return self._link.closed

    def without_key(self, answer: Answer) -> Answer:
        """Return an answer whose headers, as a caller gets them, do not repeat the API key."""
        key = self._secret.reveal()
        if any(key in value for value in answer.headers.values()):
            pairs = [(name, value.replace(key, "[key]")) for name, value in answer.headers.items()]
            answer.headers = CIMultiDictProxy(CIMultiDict(pairs))
        return answer

    def is_free(self) -> bool:
        """Return whether a start would be sent at once: neither pace nor connections keep it."""
        return self._pacer.is_free() and self._gate.is_free(is_start=True)

    def clock(self) -> float:
        """Return the running loop's time in seconds; deadlines are instants of it."""
        return self._link.time()

    # Not async: a coroutine more on the way of every request is not free.
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
        timeout: float | None = None,  # per attempt on the wire, not of the whole call
        deadline: float | None = None,
        retry: bool = True,
        on_sent: Callable[[], None] | None = None,
        on_refused: Callable[[], None] | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        max_bytes: int = MAX_BYTES,
        streamed: bool = False,  # for `stream`: the answer to a stream has its call as data
    ) -> Coroutine[Any, Any, Answer]:
        """Send one call to the API, again where that is safe, and return its answer.

        ``path`` begins with "/" and has no query. ``timeout``: seconds per attempt;
        ``deadline``: instant of `clock` after which nothing is sent or waited for. ``on_sent``
        is called before the first byte leaves, and once more for an attempt after a 429;
        ``on_refused`` after such a 429, when nothing is at the service any more. ``before`` is
        awaited when an attempt's turn has come, before it is connected. ``retry=False``
        makes one attempt. Raises the errors of `a2e_async.errors`.
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
        """Yield the (event, data) pairs of a Server-Sent-Events answer, as they come.

        Arguments and errors are those of `request`; nothing is sent again once the stream has
        begun. ``timeout`` holds for the whole stream, ``max_bytes`` for one event. An answer
        that is no stream gives one pair: "result" and its data as JSON.
        """
        answer = await self.request(method, path, streamed=True, **options)
        call, events = answer.data, read_events(answer, self._failed)
        try:
            yield events
        finally:
            if isinstance(call, Call) and call.response is not None:
                call.response.close()
                self._gate.leave(call.priority is Priority.START)
            await events.aclose()

    async def aclose(self) -> None:
        """Close the connections; calls under way end with an error. May be called twice."""
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
            paced = self._pacer.try_acquire(call.cost)
            if not paced or not self._gate.try_enter(is_start):
                await self._queue(call, is_start, paced)
                sent = self._link.time()
            if call.attempt == 1:
                call.first = sent
            if call.deadline is not None and call.deadline <= sent:
                self._gate.leave(is_start)
                self._pacer.give_back(call.cost)
                raise late(call)
            try:
                if call.before is not None:
                    await self._prepare(call, call.before)
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
                # The connection remembers this call for as long as it is kept.
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
            # After a 429 the pacer holds this call with all others, in their order.
            if call.after is not Verdict.PACED:
                await self._naps.take(delay)

    async def _attempt(
        self, http: aiohttp.ClientSession, call: Call, now: float
    ) -> Answer | A2EError:
        """Return the answer or the error; errors are returned so that none has a context."""
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
            # A session closed under a request breaks aiohttp in ways of its own.
            if not (call.sends or self.closed or isinstance(raw, _EXPECTED)):
                raise
            return self._failed(raw, call)
        except BaseException as error:
            if response is not None:
                response.close()
            without_frames(error)  # aiohttp's hold headers, body and proxy
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
        """Return the seconds until the next attempt, None when ``error`` is the outcome."""
        verdict = call.after = judge(error, call.sends > 0)
        if verdict is Verdict.FINAL or self._link.closed:
            return None
        retrier = call.retrier
        if retrier is None:
            retrier = call.retrier = Retrier(self._policy, call.repeat, self._quota, random.random)
        now = self._link.time()
        asked = call.retry_after
        if verdict is Verdict.PACED:
            asked = retrier.pause(call.attempt, asked)
            if self._pacer.pause_until(now + asked):
                self._watcher.hold(call, self._host, asked)
        if not call.retry or call.hopeless:
            return None
        if isinstance(error, DecodeError) and call.attempt >= DECODE_ATTEMPTS:
            return None
        delay = retrier.next_delay(verdict, call.attempt, now - call.first, asked)
        if delay is None or (call.deadline is not None and now + delay >= call.deadline):
            return None
        if verdict is Verdict.PACED:
            call.told = False
            if call.on_refused is not None:
                call.on_refused()
        return delay

    # -- waiting ---------------------------------------------------------------------------

    async def _queue(self, call: Call, is_start: bool, paced: bool) -> None:
        """Wait for a turn, unless it is there (``paced``), and then for a connection."""
        error: A2EError | None = None
        try:
            if not paced:
                budget = self._policy.max_elapsed - (self._link.time() - call.first)
                await self._pacer.acquire(call.cost, call.priority, call.deadline, max(0.0, budget))
                paced = True
            await self._gate.enter(is_start, call.deadline)
        except HeldTooLong as signal:
            error = held(call, signal.seconds) if signal.held else late(call)
            if paced:
                self._pacer.give_back(call.cost)
        except BaseException:
            if paced:
                self._pacer.give_back(call.cost)
            raise
        if error is not None:
            raise error

    async def _prepare(self, call: Call, before: Callable[[], Awaitable[None]]) -> None:
        try:
            await before()
        except BaseException:
            self._pacer.give_back(call.cost)  # nothing is sent in this turn
            raise

    # -- errors ----------------------------------------------------------------------------

    def _failed(self, raw: Exception, call: Call) -> A2EError:
        if self._link.closed and not (call.sends and call.repeat is Repeat.CHARGED):
            return closed_error(f"{call.method} {call.path}")
        elapsed = self._link.time() - call.first
        return translate(raw, call, host=self._host, secret=self._secret, elapsed=elapsed)
