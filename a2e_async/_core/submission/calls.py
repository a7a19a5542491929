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

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.clock import utc_now
from a2e_async._core.http.envelope import without_charge_advice
from a2e_async._core.http.loop_affinity import closed_before_sent_error, nothing_sent_error
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety, may_have_been_accepted
from a2e_async._core.journal.keys import generate_key
from a2e_async._core.journal.protocol import UPLOAD
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.journal.rules import is_same_start
from a2e_async._core.redact import excerpt
from a2e_async._core.submission.attempt import call_digest
from a2e_async._core.submission.budget import UPLOAD_COST, Budget, BudgetQueue, Reservation
from a2e_async._core.submission.starts import CLOSE_TIMEOUT
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import failure_text, is_mapping
from a2e_async.errors import A2EError, InvalidRequest, StartOutcomeUnknown
from a2e_async.models import Output, Recovery

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.http.session import ApiResponse, ApiSession
    from a2e_async._core.journal.protocol import Entry
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.polling.poller import Poller
    from a2e_async._core.submission.quotes import FetchPrice

T = TypeVar("T")

logger = logging.getLogger("a2e_async.submission")

MAX_UNCLAIMED_PER_KIND: Final = 100
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
    read_result: "Callable[[ApiResponse], T | None]"
    on_unclaimed: Callable[[T], None] | None = None
    keep_unclaimed: bool = False
    is_upload: bool = False
    advice: str = "The service has no list of these results"


@define(eq=False, repr=False)
class _CallAttempt(Generic[T]):
    """One call in progress. ``sent`` becomes True immediately before the request is written."""

    call: ChargedCall[T]
    key: str = field(factory=lambda: generate_key("call"))
    """Its key in the journal."""
    run_task: asyncio.Task[T] | None = None
    sent: bool = False
    caller_cancelled: bool = False
    """The caller was cancelled."""
    withdrawn: bool = False
    result: T | None = None
    unknown_outcome: StartOutcomeUnknown | None = None
    reservation: Reservation = field(factory=Reservation)
    """What its budgets have reserved for it."""


@define(eq=False)
class DeferredCleanup:
    """A cleanup at the service. It runs once, at the latest when the client is closed."""

    _spawn: "Callable[[DeferredCleanup], asyncio.Task[None]]"
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def run(self) -> asyncio.Task[None]:
        """Start the cleanup if it has not run yet; return its asyncio task."""
        if self._task is None:
            self._task = self._spawn(self)
        return self._task


class ChargedCalls:
    """Makes the charged calls of one client that start no task."""

    def __init__(
        self,
        session: "ApiSession",
        poller: "Poller",
        *,
        recorder: "JournalRecorder | None" = None,
        fetch_price: "FetchPrice | None" = None,
        budgets: tuple[Budget, ...] = (),
        budget_queue: BudgetQueue | None = None,
        emitter: "EventEmitter | None" = None,
    ) -> None:
        self._session = session
        self._poller = poller  # for the event loop that the client belongs to
        self._recorder = recorder
        self._fetch_price = fetch_price
        self._budgets = budgets
        self._budget_queue = budget_queue or BudgetQueue()
        self._paths_without_price: set[str] = set()
        """Paths for which the service has quoted no price."""
        self._emitter = emitter
        self._run_tasks: set[asyncio.Task[Any]] = set()
        self._deferred_cleanups: set[DeferredCleanup] = set()
        self._unclaimed: dict[str, deque[Any]] = {}
        self._unknown_calls: deque[Recovery] = deque(maxlen=MAX_UNCLAIMED_PER_KIND)
        self._attempts: set[_CallAttempt[Any]] = set()
        self._closed = poller.loop_affinity.closed

    @property
    def in_progress(self) -> int:
        """How many calls are in progress."""
        return len(self._attempts)

    def unclaimed(self, kind: str) -> tuple[Any, ...]:
        """Return paid results of this kind whose callers were cancelled, oldest first."""
        return tuple(self._unclaimed.get(kind, ()))

    def unknown(self) -> tuple[Recovery, ...]:
        """Return calls whose outcome is unknown and whose callers were cancelled."""
        return tuple(self._unknown_calls)

    def keys_in_progress(self) -> set[str]:
        """Return the journal keys of the calls in progress in this client."""
        return {attempt.key for attempt in self._attempts}

    def add_unknown(self, entry: "Entry") -> None:
        """Add a journaled call whose response was lost, by this process or an earlier one."""
        recovery = recovery_from_entry(entry)
        if not any(is_same_start(one, recovery) for one in self._unknown_calls):
            self._unknown_calls.append(recovery)
            logger.warning(
                "the outcome of a call (%s, key %s) is unknown: it may have been charged; "
                "check a2e.credits.history()",
                entry.kind,
                entry.key,
            )

    @hide_frames
    async def call(self, charged_call: ChargedCall[T]) -> T:
        """Send a call at most once and return its result.

        Raises `StartOutcomeUnknown` when the response was lost, `ApiError` when the service
        refused, `BudgetExceeded` before anything is sent, and `ClientClosed` when the client was
        closed before the call was sent.
        """
        if self._closed:
            raise nothing_sent_error()
        self._poller.loop_affinity.check()
        attempt = _CallAttempt(charged_call)
        self._attempts.add(attempt)
        run_task = attempt.run_task = self._spawn(self._run(attempt))
        run_task.add_done_callback(lambda _: self._attempts.discard(attempt))
        try:
            await asyncio.wait([run_task])
        except asyncio.CancelledError:
            attempt.caller_cancelled = True
            if run_task.done():
                self._handle_unclaimed(attempt)
            elif not attempt.sent:
                attempt.withdrawn = True
                run_task.cancel()
            raise
        if run_task.cancelled():
            if attempt.result is not None:
                return attempt.result  # paid; the client closed while the journal was written
            raise closed_before_sent_error("call")
        return run_task.result()

    def defer_cleanup(self, cleanup: Callable[[], Coroutine[Any, Any, None]]) -> DeferredCleanup:
        """Return a cleanup that runs when the client closes, unless it has run before."""

        def start(deferred: DeferredCleanup) -> asyncio.Task[None]:
            self._deferred_cleanups.discard(deferred)
            return self._spawn(cleanup())

        deferred = DeferredCleanup(start)
        self._deferred_cleanups.add(deferred)
        return deferred

    async def reserve(self, kind: str, path: str, body: Mapping[str, Any]) -> Reservation:
        """Reserve the price of a paid call in the client's budget; wait for room if necessary.

        Raises `BudgetExceeded` when no call in flight can make room, and `ClientClosed`.
        """
        reservation = Reservation(self._budgets)
        if not self._budgets:
            return reservation
        quoted: int | None = None
        # The service quotes nothing for uploads; budgets count a fixed price for them.
        if (
            kind != UPLOAD
            and self._fetch_price is not None
            and path not in self._paths_without_price
        ):
            try:
                quoted = await self._fetch_price(path, body)
            except InvalidRequest as error:
                # Invalid inputs are not reported here: the call itself gets the same error.
                logger.debug("no price for %s: %s", path, error)
            if quoted is None:
                self._paths_without_price.add(path)
        await self._budget_queue.reserve(reservation, lambda: [(kind, quoted)])
        return reservation

    async def aclose(self) -> None:
        """Run the deferred cleanups and wait for calls in progress, at most 30 s in all.

        Then cancel what is left.
        """
        self._closed = True
        self._budget_queue.close()
        if self._poller.loop_affinity.loop_is_gone():
            return
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT
        while True:
            # In the loop: a call in progress may add a cleanup when it completes.
            for cleanup in tuple(self._deferred_cleanups):
                cleanup.run()
            if not self._run_tasks:
                return
            remaining_seconds = deadline - asyncio.get_running_loop().time()
            if remaining_seconds <= 0:
                break
            await asyncio.wait(self._run_tasks, timeout=remaining_seconds)
        late = list(self._run_tasks)
        for run_task in late:
            run_task.cancel()
        await asyncio.wait(late)

    # -- inside ----------------------------------------------------------------------------

    def _spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        # An empty context, because the task may outlive the caller's: a copy of the caller's
        # context would keep its values (a request, a session) alive.
        task = asyncio.get_running_loop().create_task(coroutine, context=Context())
        self._run_tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._run_tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller may have been cancelled

    async def _run(self, attempt: _CallAttempt[T]) -> T:
        try:
            attempt.result = await self._send(attempt)
        except StartOutcomeUnknown as error:
            attempt.unknown_outcome = error
            raise
        finally:
            attempt.reservation.retain()  # neither committed nor released: it may have been charged
            # Not in a done callback: the loop may stop before it would run.
            if attempt.caller_cancelled:
                self._handle_unclaimed(attempt)
        return attempt.result

    async def _send(self, attempt: _CallAttempt[T]) -> T:
        call = attempt.call
        counted_kind = UPLOAD if call.is_upload else call.kind
        reservation = attempt.reservation = await self.reserve(counted_kind, call.path, call.body)
        recovery = Recovery(
            kind=call.kind,
            path=call.path,
            name=None,
            mark=None,
            digest=call_digest(call.kind, call.body),
            sent_at=utc_now(),
        )

        def sent() -> None:
            if attempt.withdrawn:
                # The cancellation has been requested but would only arrive after the request
                # was written. This is the last point at which nothing has been sent.
                raise asyncio.CancelledError
            attempt.sent = True
            if self._recorder is not None:
                self._recorder.mark_sent(key)

        def refused() -> None:
            # 429: the service did not accept it, so the call can be withdrawn again.
            attempt.sent = False
            if self._recorder is not None:
                self._recorder.mark_refused(key, recovery.sent_at)
            if attempt.caller_cancelled and attempt.run_task is not None:
                attempt.withdrawn = True
                attempt.run_task.cancel()

        key = attempt.key
        # The service reports no price. As in budgets, an upload has a fixed one.
        price = UPLOAD_COST if call.is_upload and reservation.price is None else reservation.price

        async def before() -> None:
            if self._recorder is not None:
                await self._recorder.record_call_intent(key, recovery, price)

        try:
            response = await self._session.request(
                "POST",
                call.path,
                json=dict(call.body),
                retry_safety=RetrySafety.CHARGED,
                priority=Priority.START if call.priority is None else call.priority,
                timeout=call.timeout,
                before_send=before,
                on_sent=sent,
                on_rate_limited=refused,
            )
            result = call.read_result(response)
        except asyncio.CancelledError as error:
            if attempt.sent:
                why = "the client was closed before the response arrived"
                raise self._report_unknown(call, recovery, why) from error
            await self._discard(key, reservation)
            raise
        except A2EError as error:
            if attempt.sent and may_have_been_accepted(error):
                raise self._report_unknown(call, recovery, str(error)) from error
            await self._discard(key, reservation)
            raise
        except Exception as error:
            # A bug in this package must not report a call that may be charged as not sent.
            if attempt.sent:
                raise self._report_unknown(
                    call, recovery, f"{type(error).__name__}: {error}"
                ) from error
            await self._discard(key, reservation)
            raise
        except BaseException:
            # KeyboardInterrupt, or the loop is closing: awaiting the journal is not possible.
            if self._recorder is not None and not attempt.sent:
                self._recorder.withdraw(key)
            raise
        if result is not None:
            attempt.result = result  # set first: a cancellation below must not lose what was paid
            reservation.commit(counted_kind, _price_of(result))
            if self._recorder is not None:
                if _is_task(result):
                    await self._recorder.record_found_task(result, recovery)
                coins = _price_to_record(result, price)
                await self._recorder.record_call_result(key, _urls_of(result), coins)
            return result
        reason = _refusal_reason(response.data)
        if reason and response.code is not None and response.http_status == 200:
            await self._discard(key, reservation)
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
        raise self._report_unknown(call, recovery, "the service reported success without a result")

    async def _discard(self, key: str, reservation: Reservation) -> None:
        reservation.release()
        if self._recorder is not None:
            await self._recorder.drop_call(key)

    def _handle_unclaimed(self, attempt: _CallAttempt[T]) -> None:
        """Keep or pass on the result of a call whose caller was cancelled."""
        if attempt.unknown_outcome is not None:
            self._unknown_calls.append(attempt.unknown_outcome.recovery)
        elif attempt.result is None:
            return
        elif attempt.call.on_unclaimed is not None:
            attempt.call.on_unclaimed(attempt.result)
        elif attempt.call.keep_unclaimed or isinstance(attempt.result, Output):
            self._keep_unclaimed(attempt.call.kind, attempt.result)

    def _keep_unclaimed(self, kind: str, result: Any) -> None:
        results = self._unclaimed.setdefault(kind, deque(maxlen=MAX_UNCLAIMED_PER_KIND))
        if len(results) == MAX_UNCLAIMED_PER_KIND:
            logger.warning(
                "%d unclaimed results of %s: the oldest is dropped", MAX_UNCLAIMED_PER_KIND, kind
            )
        results.append(result)
        logger.info("kept a paid result of %s whose caller was cancelled", kind)

    def _report_unknown(
        self, charged_call: ChargedCall[Any], recovery: Recovery, reason: str
    ) -> StartOutcomeUnknown:
        logger.warning(
            "the outcome of a call (%s, inputs %s) is unknown; it was not sent again",
            recovery.kind,
            recovery.digest[:12],
        )
        if self._emitter is not None:
            self._emitter.start_lost(recovery)
        return StartOutcomeUnknown(
            f"POST {charged_call.path} was sent, but its outcome is unknown "
            f"({without_charge_advice(reason)}). It may "
            f"have been charged, so it was not sent again. {charged_call.advice}; "
            "a2e.credits.history() shows whether it was charged.",
            recovery=recovery,
        )


def _refusal_reason(data: Any) -> str | None:
    """Return why there is no result, if the response says so."""
    if (reason := failure_text(data)) is not None:
        return reason
    if is_mapping(data) and data.get("success") is False:
        return "the service answered success: false without a reason"
    return None


def _urls_of(value: object) -> tuple[str, ...]:
    """Return the URLs for a call's journal entry: those of its result, an output or a copy."""
    if isinstance(value, Output):
        return (value.url,)
    return (value,) if isinstance(value, str) else ()


def _price_to_record(value: object, price: int | None) -> int | None:
    """Return the price for a call's journal entry; a task has it in an entry of its own."""
    return None if _is_task(value) else price


def _price_of(value: object) -> int | None:
    """Return the price of a call (coins), if its result has one."""
    return value.coins if _is_task(value) else None


def _is_task(value: object) -> TypeGuard[Task[Any]]:
    return isinstance(value, Task)
