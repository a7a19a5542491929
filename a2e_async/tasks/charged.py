"""Charged calls that start no task: each is sent at most once, and its result is kept.

The service has no list of speech, watermarks, streaming rooms and the like, so a lost response
cannot be recovered. As with starts, the call runs in an asyncio task that the client owns: a
caller cancelled before the request is sent withdraws it; after that the call completes.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, TypeVar

from attrs import define, field, frozen

from a2e_async._clock import utc_now
from a2e_async.errors import A2EError, ClientClosed, InvalidRequest, StartOutcomeUnknown, sealed
from a2e_async.models import Output, Recovery
from a2e_async.narrow import is_map
from a2e_async.redact import excerpt
from a2e_async.tasks.book import recovery_of
from a2e_async.tasks.budget import UPLOAD, Budget, BudgetQueue, Held
from a2e_async.tasks.flight import call_digest, made_key
from a2e_async.tasks.recovery import same_recovery
from a2e_async.tasks.starter import FINISH_STARTS
from a2e_async.tasks.task import Task
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat, could_be_accepted

if TYPE_CHECKING:
    from a2e_async.tasks.book import Book
    from a2e_async.tasks.journal import Entry
    from a2e_async.tasks.poller import Poller
    from a2e_async.tasks.quotes import AskPrice
    from a2e_async.tasks.telling import Teller
    from a2e_async.transport.session import Answer, Session

T = TypeVar("T")

logger = logging.getLogger("a2e_async.charged")

KEPT: Final = 100
"""How many results of each kind are kept for cancelled callers; the oldest are dropped first."""


@frozen(kw_only=True)
class ChargedCall(Generic[T]):
    """One paid call. ``read_result`` returns the result in a response, None if there is none.

    ``on_unclaimed`` receives the result if the caller was cancelled. Without it, an `Output` is
    kept for `unclaimed`, other results only with ``keep_unclaimed``. ``is_upload``: the call is a
    permission to upload, which budgets count as an upload. ``timeout`` in seconds. ``advice``
    tells the user where to check if the response is lost. ``kind`` names the call in `Recovery`;
    it is not a task kind.
    """

    kind: str
    path: str
    body: Mapping[str, Any] = field(repr=False)
    timeout: float
    priority: Priority | None = None
    read: "Callable[[Answer], T | None]"
    left: Callable[[T], None] | None = None
    keep: bool = False
    upload: bool = False
    advice: str = "The service has no list of these results"


@define(eq=False, repr=False)
class _Flight(Generic[T]):
    """One call in progress. ``sent`` becomes True immediately before the request is written."""

    what: ChargedCall[T]
    key: str = field(factory=lambda: made_key("call"))
    """Its key in the journal."""
    carry: asyncio.Task[T] | None = None
    sent: bool = False
    alone: bool = False
    """The caller was cancelled."""
    withdrawn: bool = False
    result: T | None = None
    lost: StartOutcomeUnknown | None = None
    held: Held = field(factory=Held)
    """What its budgets have reserved for it."""


@define(eq=False)
class Duty:
    """A cleanup at the service. It runs once, at the latest when the client is closed."""

    _start: "Callable[[Duty], asyncio.Task[None]]"
    _doing: asyncio.Task[None] | None = field(default=None, init=False)

    def begin(self) -> asyncio.Task[None]:
        """Start the cleanup if it has not run yet; return its asyncio task."""
        if self._doing is None:
            self._doing = self._start(self)
        return self._doing


class ChargedCalls:
    """Makes the charged calls of one client that start no task."""

    def __init__(
        self,
        session: "Session",
        poller: "Poller",
        *,
        book: "Book | None" = None,
        quote: "AskPrice | None" = None,
        budgets: tuple[Budget, ...] = (),
        queue: BudgetQueue | None = None,
        teller: "Teller | None" = None,
    ) -> None:
        self._session = session
        self._poller = poller  # for the event loop that the client belongs to
        self._book = book
        self._ask_price = quote
        self._budgets = budgets
        self._queue = queue or BudgetQueue()
        self._unpriced: set[str] = set()
        """Paths for which the service has quoted no price."""
        self._teller = teller
        self._carrying: set[asyncio.Task[Any]] = set()
        self._duties: set[Duty] = set()
        self._unclaimed: dict[str, deque[Any]] = {}
        self._lost: deque[Recovery] = deque(maxlen=KEPT)
        self._flying: set[_Flight[Any]] = set()
        self._closed = False

    def unclaimed(self, kind: str) -> tuple[Any, ...]:
        """Return paid results of this kind whose callers were cancelled, oldest first."""
        return tuple(self._unclaimed.get(kind, ()))

    def unknown(self) -> tuple[Recovery, ...]:
        """Return calls whose outcome is unknown and whose callers were cancelled."""
        return tuple(self._lost)

    def busy(self) -> set[str]:
        """Return the journal keys of the calls in progress in this client."""
        return {attempt.key for attempt in self._flying}

    def lost_before(self, entry: "Entry") -> None:
        """Add a journaled call whose response was lost, by this process or an earlier one."""
        recovery = recovery_of(entry)
        if not any(same_recovery(one, recovery) for one in self._lost):
            self._lost.append(recovery)
            logger.warning(
                "the outcome of a call (%s, key %s) is unknown: it may have been charged; "
                "check a2e.credits.history()",
                entry.kind,
                entry.key,
            )

    @sealed
    async def call(self, what: ChargedCall[T]) -> T:
        """Send a call at most once and return its result.

        Raises `StartOutcomeUnknown` when the response was lost, `ApiError` when the service
        refused, `BudgetExceeded` before anything is sent, and `ClientClosed` when the client was
        closed before the call was sent.
        """
        if self._closed:
            raise ClientClosed("The client is closed; nothing was sent. Create a new A2E().")
        self._poller.home.check()
        attempt = _Flight(what)
        self._flying.add(attempt)
        run_task = attempt.carry = self._spawn(self._carry(attempt))
        run_task.add_done_callback(lambda _: self._flying.discard(attempt))
        try:
            await asyncio.wait([run_task])
        except asyncio.CancelledError:
            attempt.alone = True
            if run_task.done():
                self._settle(attempt)
            elif not attempt.sent:
                attempt.withdrawn = True
                run_task.cancel()
            raise
        if run_task.cancelled():
            if attempt.result is not None:
                return attempt.result  # paid; the client closed while the journal was written
            raise ClientClosed(
                "The client was closed before the call was sent; nothing was charged."
            )
        return run_task.result()

    def owe(self, do: Callable[[], Coroutine[Any, Any, None]]) -> Duty:
        """Return a cleanup that runs when the client closes, unless it has run before."""

        def start(duty: Duty) -> asyncio.Task[None]:
            self._duties.discard(duty)
            return self._spawn(do())

        duty = Duty(start)
        self._duties.add(duty)
        return duty

    async def set_aside(self, kind: str, path: str, body: Mapping[str, Any]) -> Held:
        """Reserve the price of a paid call in the client's budget; wait for room if necessary.

        Raises `BudgetExceeded` when no call in flight can make room, and `ClientClosed`.
        """
        reservation = Held(self._budgets)
        if not self._budgets:
            return reservation
        quoted: int | None = None
        # The service quotes nothing for uploads; budgets count a fixed price for them.
        if kind != UPLOAD and self._ask_price is not None and path not in self._unpriced:
            try:
                quoted = await self._ask_price(path, body)
            except InvalidRequest as error:
                # Invalid inputs are not reported here: the call itself gets the same error.
                logger.debug("no price for %s: %s", path, error)
            if quoted is None:
                self._unpriced.add(path)
        await self._queue.reserve(reservation, lambda: [(kind, quoted)])
        return reservation

    async def aclose(self) -> None:
        """Run the deferred cleanups and wait for calls in progress, at most 30 s in all.

        Then cancel what is left.
        """
        self._closed = True
        self._queue.close()
        if self._poller.home.outlived():
            return
        deadline = asyncio.get_running_loop().time() + FINISH_STARTS
        while True:
            # In the loop: a call in progress may add a cleanup when it completes.
            for cleanup in tuple(self._duties):
                cleanup.begin()
            if not self._carrying:
                return
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(self._carrying, timeout=left)
        late = list(self._carrying)
        for run_task in late:
            run_task.cancel()
        await asyncio.wait(late)

    # -- inside ----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # An empty context, because the task may outlive the caller's: a copy of the caller's
        # context would keep its values (a request, a session) alive.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._carrying.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._carrying.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller may have been cancelled

    async def _carry(self, flight: _Flight[T]) -> T:
        try:
            flight.result = await self._send(flight)
        except StartOutcomeUnknown as error:
            flight.lost = error
            raise
        finally:
            flight.held.keep()  # neither committed nor released: it may have been charged
            # Not in a done callback: the loop may stop before it would run.
            if flight.alone:
                self._settle(flight)
        return flight.result

    async def _send(self, flight: _Flight[T]) -> T:
        call = flight.what
        counted_kind = UPLOAD if call.upload else call.kind
        reservation = flight.held = await self.set_aside(counted_kind, call.path, call.body)
        recovery = Recovery(
            kind=call.kind,
            path=call.path,
            name=None,
            mark=None,
            digest=call_digest(call.kind, call.body),
            sent_at=utc_now(),
        )

        def sent() -> None:
            if flight.withdrawn:
                # The cancellation has been requested but would only arrive after the request
                # was written. This is the last point at which nothing has been sent.
                raise asyncio.CancelledError
            flight.sent = True
            if self._book is not None:
                self._book.sent(key)

        def refused() -> None:
            # 429: the service did not accept it, so the call can be withdrawn again.
            flight.sent = False
            if self._book is not None:
                self._book.refused(key, recovery.sent_at)
            if flight.alone and flight.carry is not None:
                flight.withdrawn = True
                flight.carry.cancel()

        key = flight.key

        async def before() -> None:
            if self._book is not None:
                await self._book.intend_call(key, recovery)

        try:
            response = await self._session.request(
                "POST",
                call.path,
                json=dict(call.body),
                repeat=Repeat.CHARGED,
                priority=Priority.START if call.priority is None else call.priority,
                timeout=call.timeout,
                before=before,
                on_sent=sent,
                on_refused=refused,
            )
            result = call.read(response)
        except asyncio.CancelledError as error:
            if flight.sent:
                why = "the client was closed before the response arrived"
                raise self._lose(call, recovery, why) from error
            await self._forget(key, reservation)
            raise
        except A2EError as error:
            if flight.sent and could_be_accepted(error):
                raise self._lose(call, recovery, str(error)) from error
            await self._forget(key, reservation)
            raise
        except Exception as error:
            # A bug in this package must not report a call that may be charged as not sent.
            if flight.sent:
                raise self._lose(call, recovery, f"{type(error).__name__}: {error}") from error
            await self._forget(key, reservation)
            raise
        except BaseException:
            # KeyboardInterrupt, or the loop is closing: awaiting the journal is not possible.
            if self._book is not None and not flight.sent:
                self._book.withdraw(key)
            raise
        if result is not None:
            flight.result = result  # set first: a cancellation below must not lose what was paid
            reservation.settle(counted_kind, _price_of(result))
            if self._book is not None:
                if _is_task(result):
                    await self._book.adopt(result, recovery)
                urls = (result.url,) if isinstance(result, Output) else ()
                await self._book.end_call(key, urls)
            return result
        reason = _refusal(response.data)
        if reason and response.code is not None and response.http_status == 200:
            await self._forget(key, reservation)
            raise InvalidRequest(
                http_status=response.http_status,
                code=response.code,
                message=excerpt(reason),
                trace_id=response.trace_id,
                method="POST",
                path=call.path,
                advice="The service created nothing.",
                from_api=True,
            )
        raise self._lose(call, recovery, "the service reported success without a result")

    async def _forget(self, key: str, held: Held) -> None:
        held.release()
        if self._book is not None:
            await self._book.drop_call(key)

    def _settle(self, flight: _Flight[T]) -> None:
        """Keep or pass on the result of a call whose caller was cancelled."""
        if flight.lost is not None:
            self._lost.append(flight.lost.recovery)
        elif flight.result is None:
            return
        elif flight.what.left is not None:
            flight.what.left(flight.result)
        elif flight.what.keep or isinstance(flight.result, Output):
            self._keep(flight.what.kind, flight.result)

    def _keep(self, kind: str, result: Any) -> None:
        results = self._unclaimed.setdefault(kind, deque(maxlen=KEPT))
        if len(results) == KEPT:
            logger.warning("%d unclaimed results of %s: the oldest is dropped", KEPT, kind)
        results.append(result)
        logger.info("kept a paid result of %s whose caller was cancelled", kind)

    def _lose(self, what: ChargedCall[Any], recovery: Recovery, why: str) -> StartOutcomeUnknown:
        logger.warning(
            "the outcome of a call (%s, inputs %s) is unknown; it was not sent again",
            recovery.kind,
            recovery.digest[:12],
        )
        if self._teller is not None:
            self._teller.lost(recovery)
        return StartOutcomeUnknown(
            f"POST {what.path} was sent, but its outcome is unknown ({why}). It may have been "
            f"charged, so it was not sent again. {what.advice}; a2e.credits.history() shows "
            "whether it was charged.",
            recovery=recovery,
        )


def _refusal(data: Any) -> str | None:
    """Return why there is no result, if the response says so."""
    if is_map(data):
        for name in ("failed_message", "faild_message"):
            reason = data.get(name)
            if isinstance(reason, str) and reason.strip():
                return reason.strip()
        if data.get("success") is False:
            return "the service answered success: false without a reason"
    return None


def _price_of(value: object) -> int | None:
    """Return the price of a call (coins), if its result has one."""
    return value.coins if _is_task(value) else None


def _is_task(value: object) -> TypeGuard[Task[Any]]:
    return isinstance(value, Task)
