"""Charged calls that start no task: each is sent at most once, and its result is kept.

The service has no list of speech, watermarks, streaming rooms and the like, so a lost response
cannot be recovered.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeGuard, TypeVar

from attrs import define, field, frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.clock import utc_now
from a2e_async._core.http.envelope import without_charge_advice
from a2e_async._core.http.loop_affinity import LoopAffinity
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.journal.keys import call_key, generate_key, key_conflict
from a2e_async._core.journal.protocol import UPLOAD, Entry, State
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.journal.rules import is_same_start
from a2e_async._core.submission.attempt import call_digest
from a2e_async._core.submission.budget import UPLOAD_COST, Budget, BudgetQueue, Reservation
from a2e_async._core.submission.paid_request import (
    CLOSE_TIMEOUT,
    PaidExecutor,
    PaidRequest,
    PaidRequests,
    refused_by_service,
)
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import failure_text, is_mapping
from a2e_async.errors import InvalidRequest, StartOutcomeUnknown
from a2e_async.models import Output, Recovery

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.http.call import ApiCall
    from a2e_async._core.http.session import ApiResponse, ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder
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
    key: str | None = None
    """The user's key: the same key is the same call, paid once."""
    restore_result: "Callable[[tuple[str, ...]], T] | None" = None
    """Returns the result of an earlier run from the URLs in the journal; needed with a key."""

    @property
    def counted_kind(self) -> str:
        """The kind of paid call for which budgets reserve its price."""
        return UPLOAD if self.is_upload else self.kind


@define(eq=False, kw_only=True, repr=False)
class CallAttempt(PaidRequest[T]):
    """A paid call in progress. Created by `ChargedCalls.call`; see `PaidRequest`."""

    charged_call: ChargedCall[T]

    @property
    def is_shared(self) -> bool:
        """Whether further callers may join it: those with its key."""
        return self.charged_call.key is not None

    def describe(self, body: Mapping[str, Any]) -> Recovery:
        """Return what identifies the call in the journal and in `StartOutcomeUnknown`."""
        call = self.charged_call
        return Recovery(
            kind=call.kind,
            path=call.path,
            name=None,
            mark=None,
            digest=call_digest(call.kind, body),
            sent_at=utc_now(),
        )

    @property
    def price(self) -> int | None:
        """Its expected price in coins. The service reports none; an upload has a fixed one."""
        reserved = self.reservation.price
        return UPLOAD_COST if self.charged_call.is_upload and reserved is None else reserved

    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry:
        """Return its journal entry in this state."""
        recovery = self.recovery
        assert self.key is not None  # noqa: S101  # generated when the call was made
        assert recovery is not None  # noqa: S101  # set before the intent is recorded
        return Entry(
            key=self.key,
            kind=recovery.kind,
            digest=recovery.digest,
            state=state,
            path=recovery.path,
            sent_at=recovery.sent_at.timestamp(),
            ids=ids,
            coins=coins,
            reserved=self.price,
            own_key=True,
        )


@define(eq=False)
class DeferredCleanup:
    """A cleanup at the service. It runs once, at the latest when the client is closed.

    Created by `ChargedCalls`, which keeps it until it runs.
    """

    _spawn: "Callable[[DeferredCleanup], asyncio.Task[None]]"
    _task: asyncio.Task[None] | None = field(default=None, init=False)

    def run(self) -> asyncio.Task[None]:
        """Start the cleanup if it has not run yet; return its asyncio task."""
        if self._task is None:
            self._task = self._spawn(self)
        return self._task


class CallExecutor(PaidExecutor["CallAttempt[Any]", Any]):
    """Makes the paid calls of one client that start no task.

    Created by `ChargedCalls`, with which it lives; remembers only which paths have no price.
    """

    def __init__(
        self,
        session: "ApiSession",
        recorder: "JournalRecorder | None",
        *,
        fetch_price: "FetchPrice | None",
        budgets: tuple[Budget, ...],
        budget_queue: BudgetQueue,
        emitter: "EventEmitter | None",
    ) -> None:
        super().__init__(session, recorder)
        self._fetch_price = fetch_price
        self._budgets = budgets
        self._budget_queue = budget_queue
        self._paths_without_price: set[str] = set()
        """Paths for which the service has quoted no price."""
        self._emitter = emitter

    async def run(self, attempt: "CallAttempt[T]") -> T:
        """Send a call at most once and return its result; see `submit`."""
        try:
            result: T = await self.submit(attempt)
            return result
        finally:
            attempt.reservation.retain()  # neither committed nor released: it may be charged

    async def journaled(self, key: str) -> Entry | None:
        """Return the journal's entry of a key; None without a journal."""
        return None if self._recorder is None else await self._recorder.journal.get(key)

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

    async def _prepare(self, request: "CallAttempt[Any]") -> Mapping[str, Any]:
        call = request.charged_call
        request.reservation = await self.reserve(call.counted_kind, call.path, call.body)
        if self._recorder is not None:
            await self._recorder.flush_unwritten()
        return call.body

    def _new_call(self, request: "CallAttempt[Any]", body: Mapping[str, Any]) -> "ApiCall":
        call = request.charged_call
        return self._session.new_call(
            "POST",
            call.path,
            json=dict(body),
            retry_safety=RetrySafety.CHARGED,
            priority=Priority.START if call.priority is None else call.priority,
            timeout=request.timeout,
        )

    async def _read(self, request: "CallAttempt[Any]", response: "ApiResponse") -> Any:
        call = request.charged_call
        result = call.read_result(response)
        if result is not None:
            # Set first: a cancellation below must not lose what was paid for.
            request.result = result
            await self._record(request, result)
            return result
        reason = _refusal_reason(response.data)
        if reason and response.code is not None and response.http_status == 200:
            raise refused_by_service(response, call.path, reason, "The service created nothing.")
        raise self.report_unknown(request, "the service reported success without a result")

    async def _record(self, request: "CallAttempt[Any]", result: Any) -> None:
        call, key, recovery = request.charged_call, request.key, request.recovery
        price = request.price
        request.reservation.commit(call.counted_kind, result.coins if _is_task(result) else None)
        if self._recorder is None or key is None or recovery is None:
            return
        if _is_task(result) and await self._recorder.record_found_task(result, recovery):
            price = None  # the task has it in an entry of its own
        await self._recorder.record_call_result(key, _urls_of(result), price)

    async def _recover(
        self, request: "CallAttempt[Any]", reason: str, cause: BaseException
    ) -> NoReturn:
        raise self.report_unknown(request, reason) from cause

    def report_unknown(self, request: "CallAttempt[Any]", reason: str) -> StartOutcomeUnknown:
        call, recovery = request.charged_call, request.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        logger.warning(
            "the outcome of a call (%s, inputs %s) is unknown; it was not sent again",
            recovery.kind,
            recovery.digest[:12],
        )
        if self._emitter is not None:
            self._emitter.start_lost(recovery)
        return StartOutcomeUnknown(
            f"POST {call.path} was sent, but its outcome is unknown "
            f"({without_charge_advice(reason)}). It may "
            f"have been charged, so it was not sent again. {call.advice}; "
            "a2e.credits.history() shows whether it was charged.",
            recovery=recovery,
        )


class ChargedCalls(PaidRequests["CallAttempt[Any]", Any]):
    """The paid calls of one client that start no task, and what they have left for later.

    Created once per client, which closes it; changed on the client's event loop only.
    """

    def __init__(
        self,
        session: "ApiSession",
        loop_affinity: LoopAffinity,
        *,
        recorder: "JournalRecorder | None" = None,
        fetch_price: "FetchPrice | None" = None,
        budgets: tuple[Budget, ...] = (),
        budget_queue: BudgetQueue | None = None,
        emitter: "EventEmitter | None" = None,
    ) -> None:
        super().__init__(loop_affinity)
        self._has_listener = emitter is not None
        self._budget_queue = budget_queue or BudgetQueue()
        self._executor = CallExecutor(
            session,
            recorder,
            fetch_price=fetch_price,
            budgets=budgets,
            budget_queue=self._budget_queue,
            emitter=emitter,
        )
        self._deferred_cleanups: set[DeferredCleanup] = set()
        self._unclaimed: dict[str, deque[Any]] = {}
        self._unknown_calls: deque[Recovery] = deque(maxlen=MAX_UNCLAIMED_PER_KIND)
        self._attempts_by_key: dict[str, CallAttempt[Any]] = {}
        """Calls with a user's key, by journal key, while the client lives."""

    def _new_context(self) -> Context:
        # A listener finds there what the call is part of: the caller's trace, or a start.
        return copy_context() if self._has_listener else super()._new_context()

    @property
    def in_progress(self) -> int:
        """How many calls are in progress."""
        return len(self._requests)

    def unclaimed(self, kind: str) -> tuple[Any, ...]:
        """Return paid results of this kind whose callers were cancelled, oldest first."""
        return tuple(self._unclaimed.get(kind, ()))

    def unknown(self) -> tuple[Recovery, ...]:
        """Return calls whose outcome is unknown and whose callers were cancelled."""
        return tuple(self._unknown_calls)

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
        closed before the call was sent. With a key, the result of the call that has it is
        returned; raises `KeyConflict` if that has other inputs, and `StartOutcomeUnknown` if its
        outcome is not known, or another process is making it.
        """
        self._check_usable()
        attempt = CallAttempt(
            charged_call=charged_call,
            timeout=charged_call.timeout,
            key=generate_key("call") if charged_call.key is None else call_key(charged_call.key),
            key_generated=charged_call.key is None,
        )
        result: T = await (
            self._join(attempt) if charged_call.key is None else self._call_once(attempt)
        )
        return result

    async def _call_once(self, attempt: "CallAttempt[T]") -> T:
        """Return the result of the call that has the key, or make it."""
        call, key = attempt.charged_call, attempt.key
        assert key is not None  # noqa: S101  # the user's
        known = self._attempts_by_key.get(key)
        if known is not None and known.withdrawn and known.run_task is not None:
            # It is still in the journal, where it would be taken for a call that was sent.
            await asyncio.wait([known.run_task])
            known = self._attempts_by_key.get(key)
        if known is None:
            if (entry := await self._executor.journaled(key)) is not None:
                return self._restored(attempt, entry)
            known = self._attempts_by_key.setdefault(key, attempt)  # another caller may be first
        if _digest(known.charged_call) != _digest(call):
            raise key_conflict(call.key or "", None)
        try:
            result: T = await self._join(known)
        except BaseException:
            if known.run_task is None or known.run_task.done():  # an eager task may be done already
                self._release_unpaid_key(known)
            raise
        return result

    def _restored(self, attempt: "CallAttempt[T]", entry: "Entry") -> T:
        """Return the result of a journaled call. Raises if it has none, or has other inputs."""
        call = attempt.charged_call
        if (entry.kind, entry.digest) != (call.kind, _digest(call)):
            raise key_conflict(call.key or "", None)
        if entry.urls and call.restore_result is not None:
            return call.restore_result(entry.urls)
        attempt.recovery = recovery_from_entry(entry)
        raise self._executor.report_unknown(
            attempt, "another run made it under this key, and its response is not in the journal"
        )

    async def reserve(self, kind: str, path: str, body: Mapping[str, Any]) -> Reservation:
        """Reserve the price of a paid call that ends with its caller; see `CallExecutor`."""
        return await self._executor.reserve(kind, path, body)

    def defer_cleanup(self, cleanup: Callable[[], Coroutine[Any, Any, None]]) -> DeferredCleanup:
        """Return a cleanup that runs when the client closes, unless it has run before."""

        def start(deferred: DeferredCleanup) -> asyncio.Task[None]:
            self._deferred_cleanups.discard(deferred)
            return self._spawn(cleanup())

        deferred = DeferredCleanup(start)
        self._deferred_cleanups.add(deferred)
        return deferred

    async def aclose(self) -> None:
        """Run the deferred cleanups and wait for calls in progress, at most 30 s in all.

        Then cancel what is left.
        """
        self._closed = True
        self._budget_queue.close()
        if self._loop_affinity.loop_is_gone():
            return
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT
        while True:
            # In the loop: a call in progress may add a cleanup when it completes.
            for cleanup in tuple(self._deferred_cleanups):
                cleanup.run()
            remaining_seconds = deadline - asyncio.get_running_loop().time()
            if not self._run_tasks or remaining_seconds <= 0:
                break
            await asyncio.wait(self._run_tasks, timeout=remaining_seconds)
        await self._finish(timeout=0)

    # -- inside ----------------------------------------------------------------------------

    def _execute(self, request: "CallAttempt[T]") -> Coroutine[Any, Any, T]:
        return self._executor.run(request)

    def _on_done(
        self, request: "CallAttempt[Any]", error: BaseException | None, *, cancelled: bool
    ) -> None:
        self._release_unpaid_key(request)

    def _release_unpaid_key(self, request: "CallAttempt[Any]") -> None:
        """Let a later call use the key of one that has ended without being paid."""
        key = request.key or ""
        unpaid = request.result is None and not request.sent
        if unpaid and self._attempts_by_key.get(key) is request:
            del self._attempts_by_key[key]

    def _report_unknown(self, request: "CallAttempt[Any]", reason: str) -> StartOutcomeUnknown:
        return self._executor.report_unknown(request, reason)

    def _keep(self, request: "CallAttempt[Any]") -> None:
        """Keep or pass on the result of a call whose caller was cancelled."""
        call = request.charged_call
        if request.unknown_outcome is not None:
            self._unknown_calls.append(request.unknown_outcome.recovery)
        elif call.on_unclaimed is not None:
            call.on_unclaimed(request.result)
        elif call.keep_unclaimed or isinstance(request.result, Output):
            self._keep_unclaimed(call.kind, request.result)

    def _keep_unclaimed(self, kind: str, result: Any) -> None:
        results = self._unclaimed.setdefault(kind, deque(maxlen=MAX_UNCLAIMED_PER_KIND))
        if len(results) == MAX_UNCLAIMED_PER_KIND:
            logger.warning(
                "%d unclaimed results of %s: the oldest is dropped", MAX_UNCLAIMED_PER_KIND, kind
            )
        results.append(result)
        logger.info("kept a paid result of %s whose caller was cancelled", kind)


def _digest(call: ChargedCall[Any]) -> str:
    return call_digest(call.kind, call.body)


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


def _is_task(value: object) -> TypeGuard[Task[Any]]:
    return isinstance(value, Task)
