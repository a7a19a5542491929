"""Charged calls that start no task: each is sent once, and what it paid for is kept.

Speech, watermarks, rooms and the like have no list to be found in again, so the answer is all
there is. As with starts, the call is carried by an asyncio task that the client owns: a caller
that is cancelled before the bytes leave withdraws it; afterwards it runs to its end.
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
"""Results of each kind that are kept for callers who are gone; the oldest goes first."""


@frozen(kw_only=True)
class ChargedCall(Generic[T]):
    """One paid call. ``read`` returns what its answer gives, None when nothing of use is in it.

    ``left`` is given a result that nobody took; without it an Output, or anything where ``keep``
    is True, is kept for `unclaimed`, and the rest is dropped. ``upload`` tells a permit to upload,
    which counts in a budget as such. ``timeout`` in seconds; ``advice`` says where to look when
    the answer was lost. ``kind`` is no task kind: it names the call in `Recovery`.
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
    advice: str = "The service keeps no list to look in"


@define(eq=False, repr=False)
class _Flight(Generic[T]):
    """One call on its way. ``sent`` turns True at the instant its bytes leave."""

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
    """Something owed to the service. It is done once, at the latest when the client closes."""

    _start: "Callable[[Duty], asyncio.Task[None]]"
    _doing: asyncio.Task[None] | None = field(default=None, init=False)

    def begin(self) -> asyncio.Task[None]:
        """Return the asyncio task of the client's that does it; begins it if need be."""
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
        self._poller = poller  # which knows the client's event loop
        self._book = book
        self._ask_price = quote
        self._budgets = budgets
        self._queue = queue or BudgetQueue()
        self._unpriced: set[str] = set()
        """Operations for which the service was seen to quote nothing."""
        self._teller = teller
        self._carrying: set[asyncio.Task[Any]] = set()
        self._duties: set[Duty] = set()
        self._unclaimed: dict[str, deque[Any]] = {}
        self._lost: deque[Recovery] = deque(maxlen=KEPT)
        self._flying: set[_Flight[Any]] = set()
        self._closed = False

    def unclaimed(self, kind: str) -> tuple[Any, ...]:
        """Return paid results of this kind whose callers were gone, oldest first."""
        return tuple(self._unclaimed.get(kind, ()))

    def unknown(self) -> tuple[Recovery, ...]:
        """Return calls whose outcome is unknown and whose callers were gone by then."""
        return tuple(self._lost)

    def busy(self) -> set[str]:
        """Return the journal's keys of the calls that are under way in this client."""
        return {flight.key for flight in self._flying}

    def lost_before(self, entry: "Entry") -> None:
        """Take in a call of an earlier process, or of this one, whose answer was lost."""
        recovery = recovery_of(entry)
        if not any(same_recovery(one, recovery) for one in self._lost):
            self._lost.append(recovery)
            logger.warning(
                "the outcome of a call (%s, key %s) is unknown: it may have been charged; "
                "a2e.credits.history() shows whether it was",
                entry.kind,
                entry.key,
            )

    @sealed
    async def call(self, what: ChargedCall[T]) -> T:
        """Send a call once and return what it gave.

        Raises `StartOutcomeUnknown` when the answer was lost, `ApiError` when the service
        refused, `BudgetExceeded` before anything is sent, `ClientClosed` when the client was
        closed before it was sent.
        """
        if self._closed:
            raise ClientClosed("The client is closed; nothing was sent. Make a new A2E().")
        self._poller.home.check()
        flight = _Flight(what)
        self._flying.add(flight)
        carry = flight.carry = self._spawn(self._carry(flight))
        carry.add_done_callback(lambda _: self._flying.discard(flight))
        try:
            await asyncio.wait([carry])
        except asyncio.CancelledError:
            flight.alone = True
            if carry.done():
                self._settle(flight)
            elif not flight.sent:
                flight.withdrawn = True
                carry.cancel()
            raise
        if carry.cancelled():
            if flight.result is not None:
                return flight.result  # paid for; only its journal was too slow for the closing
            raise ClientClosed("The client was closed before the call was sent; nothing was spent.")
        return carry.result()

    def owe(self, do: Callable[[], Coroutine[Any, Any, None]]) -> Duty:
        """Return a duty that the client does when it closes, unless it was begun before."""

        def start(duty: Duty) -> asyncio.Task[None]:
            self._duties.discard(duty)
            return self._spawn(do())

        duty = Duty(start)
        self._duties.add(duty)
        return duty

    async def set_aside(self, kind: str, path: str, body: Mapping[str, Any]) -> Held:
        """Reserve the price of a paid call in the client's budget, as soon as there is room.

        Raises `BudgetExceeded` when nothing in flight can make room, `ClientClosed`.
        """
        held = Held(self._budgets)
        if not self._budgets:
            return held
        quoted: int | None = None
        if kind != UPLOAD and self._ask_price is not None and path not in self._unpriced:
            try:
                quoted = await self._ask_price(path, body)
            except InvalidRequest as error:
                logger.debug("no price for %s: %s", path, error)  # the call itself tells
            if quoted is None:
                self._unpriced.add(path)
        await self._queue.reserve(held, lambda: [(kind, quoted)])
        return held

    async def aclose(self) -> None:
        """Do what is owed and let calls under way end (at most 30 s), then give them up."""
        self._closed = True
        self._queue.close()
        if self._poller.home.outlived():
            return
        until = asyncio.get_running_loop().time() + FINISH_STARTS
        while True:
            for duty in tuple(self._duties):
                duty.begin()
            if not self._carrying:
                return
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            await asyncio.wait(self._carrying, timeout=left)
        late = list(self._carrying)
        for carry in late:
            carry.cancel()
        await asyncio.wait(late)

    # -- inside ----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # An empty context: what the caller has in its own must not outlive it.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._carrying.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._carrying.discard(task)
        if not task.cancelled():
            task.exception()  # seen here, should every caller have gone

    async def _carry(self, flight: _Flight[T]) -> T:
        try:
            flight.result = await self._send(flight)
        except StartOutcomeUnknown as error:
            flight.lost = error
            raise
        finally:
            flight.held.keep()  # what is neither settled nor given back may have been paid
            # Here and not later: the loop may end in the turn in which this task does.
            if flight.alone:
                self._settle(flight)
        return flight.result

    async def _send(self, flight: _Flight[T]) -> T:
        what = flight.what
        counted = UPLOAD if what.upload else what.kind
        held = flight.held = await self.set_aside(counted, what.path, what.body)
        recovery = Recovery(
            kind=what.kind,
            path=what.path,
            name=None,
            mark=None,
            digest=call_digest(what.kind, what.body),
            sent_at=utc_now(),
        )

        def sent() -> None:
            if flight.withdrawn:
                # The cancellation is on its way and would come only after the bytes.
                raise asyncio.CancelledError
            flight.sent = True
            if self._book is not None:
                self._book.sent(key)

        def refused() -> None:
            # A 429: nothing is at the service, so the call may be withdrawn again.
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
            answer = await self._session.request(
                "POST",
                what.path,
                json=dict(what.body),
                repeat=Repeat.CHARGED,
                priority=Priority.START if what.priority is None else what.priority,
                timeout=what.timeout,
                before=before,
                on_sent=sent,
                on_refused=refused,
            )
            result = what.read(answer)
        except asyncio.CancelledError as error:
            if flight.sent:
                why = "the client stopped before the answer came"
                raise self._lose(what, recovery, why) from error
            await self._forget(key, held)
            raise
        except A2EError as error:
            if flight.sent and could_be_accepted(error):
                raise self._lose(what, recovery, str(error)) from error
            await self._forget(key, held)
            raise
        except Exception as error:
            # A fault of this package must not make a paid call look like one that never was.
            if flight.sent:
                raise self._lose(what, recovery, f"{type(error).__name__}: {error}") from error
            await self._forget(key, held)
            raise
        except BaseException:
            # Ctrl-C in this very step, or the loop was closed: no time to wait for the journal.
            if self._book is not None and not flight.sent:
                self._book.withdraw(key)
            raise
        if result is not None:
            flight.result = result  # paid: whatever comes between now, it is not lost
            held.settle(counted, _price_of(result))
            if self._book is not None:
                if _is_task(result):
                    await self._book.adopt(result, recovery)
                urls = (result.url,) if isinstance(result, Output) else ()
                await self._book.end_call(key, urls)
            return result
        reason = _refusal(answer.data)
        if reason and answer.code is not None and answer.http_status == 200:
            await self._forget(key, held)
            raise InvalidRequest(
                http_status=answer.http_status,
                code=answer.code,
                message=excerpt(reason),
                trace_id=answer.trace_id,
                method="POST",
                path=what.path,
                advice="The service made nothing.",
                from_api=True,
            )
        raise self._lose(what, recovery, "the service answered success without a result")

    async def _forget(self, key: str, held: Held) -> None:
        held.release()
        if self._book is not None:
            await self._book.drop_call(key)

    def _settle(self, flight: _Flight[T]) -> None:
        """Look after what came of a call whose caller is gone."""
        if flight.lost is not None:
            self._lost.append(flight.lost.recovery)
        elif flight.result is None:
            return
        elif flight.what.left is not None:
            flight.what.left(flight.result)
        elif flight.what.keep or isinstance(flight.result, Output):
            self._keep(flight.what.kind, flight.result)

    def _keep(self, kind: str, result: Any) -> None:
        kept = self._unclaimed.setdefault(kind, deque(maxlen=KEPT))
        if len(kept) == KEPT:
            logger.warning("%d unclaimed results of %s: the oldest is dropped", KEPT, kind)
        kept.append(result)
        logger.info("a result of %s was paid, and its caller was cancelled", kind)

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
            f"carried out and charged, so it was not sent again. {what.advice}; "
            "a2e.credits.history() shows whether it was paid.",
            recovery=recovery,
        )


def _refusal(data: Any) -> str | None:
    """Return the reason that an answer without a result gives, if it says that there is none."""
    if is_map(data):
        for name in ("failed_message", "faild_message"):
            reason = data.get(name)
            if isinstance(reason, str) and reason.strip():
                return reason.strip()
        if data.get("success") is False:
            return "the service said success: false and no reason"
    return None


def _price_of(value: object) -> int | None:
    """Return what a call has cost, where its result tells."""
    return value.coins if _is_task(value) else None


def _is_task(value: object) -> TypeGuard[Task[Any]]:
    return isinstance(value, Task)
