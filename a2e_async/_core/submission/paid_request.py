"""The one path of everything that costs: starts of tasks, and paid calls that start none.

    prepare (budget, slot, uploads) → turn (rate limit, connection) → intent in the journal
    → request → result, or refusal, or a lost response

A `PaidRequest` is the state of one of them, a `PaidExecutor` takes it along the path, and
`PaidRequests` runs it in an asyncio task that the client owns: a cancelled caller withdraws what
was not sent; what was sent completes, and its result is kept.
"""

import asyncio
import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

from attrs import define, field

from a2e_async._core.http.loop_affinity import (
    LoopAffinity,
    closed_before_sent_error,
    nothing_sent_error,
)
from a2e_async._core.http.retry import may_have_been_accepted
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.redact import excerpt
from a2e_async._core.submission.budget import Reservation
from a2e_async.errors import (
    A2EError,
    ConfigurationError,
    InvalidRequest,
    StartOutcomeUnknown,
)
from a2e_async.models import Recovery

if TYPE_CHECKING:
    from a2e_async._core.http.call import ApiCall
    from a2e_async._core.http.session import ApiResponse, ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder

T = TypeVar("T")

logger = logging.getLogger("a2e_async.submission")

CLOSE_TIMEOUT: Final = 30.0
"""Seconds that closing the client waits for paid requests in progress."""


@define(eq=False, kw_only=True, repr=False)
class PaidRequest(ABC, Generic[T]):
    """One paid request in progress: its callers, its state, what is known about its outcome.

    Created for a user's call. Changed by the `PaidRequests` and the `PaidExecutor` that work on
    it and, as to its key, by the journal's recorder. Lives until its last caller has the result;
    with a user's key and no journal, as long as the client.
    """

    timeout: float
    """Seconds for each attempt of the request."""
    key: str | None = None
    """Its key in the journal: the user's, or a generated one if the user gave none."""
    key_generated: bool = False
    """The key was generated for the journal; the user gave none."""
    key_acquired: bool = False
    """The journal has reserved the key for this request."""
    owned_by_other_client: bool = False
    """Another client owns the key and lost its response: search for the task, never submit."""
    reservation: Reservation = field(factory=Reservation)
    """What its budgets have reserved for it."""
    recovery: Recovery | None = None
    """What identifies it at the service: set before it is sent, or by an earlier run."""
    api_call: "ApiCall | None" = None
    """Its request, once there is a body to send."""
    sent_earlier: bool = False
    """An earlier process has sent it, or may have."""
    sent_at_loop_time: float | None = None
    """Event loop time (s) just before this process sent it."""
    run_task: "asyncio.Task[T] | None" = None
    waiter_count: int = 0
    """How many callers wait for it."""
    withdrawn: bool = False
    """Its callers are gone, and it was not sent: it will not be."""
    delivered: bool = False
    """A caller has its result."""
    kept: bool = False
    """Its result, or that its outcome is unknown, is kept: no caller was left."""
    result: T | None = None
    """What was paid for, as soon as it is known."""
    unknown_outcome: StartOutcomeUnknown | None = None

    @property
    def sent(self) -> bool:
        """Whether it may have reached the service, which has not refused it by a 429.

        From then on it is never withdrawn.
        """
        return self.sent_earlier or (self.api_call is not None and self.api_call.sent)

    def withdraw(self) -> None:
        """Give up a request that was not sent."""
        self.withdrawn = True
        if self.api_call is not None:
            self.api_call.withdrawn = True
        if self.run_task is not None:
            self.run_task.cancel()

    @property
    def is_shared(self) -> bool:
        """Whether further callers may join it."""
        return False

    @abstractmethod
    def describe(self, body: Mapping[str, Any]) -> Recovery:
        """Return what identifies the request at the service, if it is sent now with this body."""

    @abstractmethod
    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry:
        """Return its journal entry in this state."""


P = TypeVar("P", bound=PaidRequest[Any])


class PaidExecutor(ABC, Generic[P, T]):
    """Takes the paid requests of one client along their path."""

    def __init__(self, session: "ApiSession", recorder: "JournalRecorder | None") -> None:
        self._session = session
        self._recorder = recorder

    async def submit(self, request: P) -> T:
        """Send a request, at most once, and return its result.

        What was not sent, or was refused, is undone before its error is raised; the response of
        what may have been accepted is recovered, if that is possible. `PaidRequests` judges what
        is raised while ``request.sent`` is true.
        """
        try:
            body = await self._prepare(request)
            return await self._read(request, await self._send(request, body))
        except asyncio.CancelledError:
            if not request.sent:
                await self._discard(request)
            raise
        except StartOutcomeUnknown:
            raise
        except A2EError as error:
            if request.result is not None:
                raise
            if request.sent and may_have_been_accepted(error):
                return await self._recover(request, str(error), error)
            await self._discard(request)
            raise
        except Exception:
            if not request.sent:
                await self._discard(request)
            raise
        except BaseException:
            # KeyboardInterrupt, or the loop is closing: awaiting the journal is not possible.
            if self._recorder is not None:
                self._recorder.withdraw(request.key, request)
            raise
        finally:
            if self._recorder is not None and request.sent:
                self._recorder.end_intent(request)

    async def _send(self, request: P, body: Mapping[str, Any]) -> "ApiResponse":
        """Return the response; send again only what was not delivered or was refused by a 429."""
        call = request.api_call = self._new_call(request, body)
        call.withdrawn = request.withdrawn
        while True:
            async with self._session.turn(call) as turn:
                # Not earlier: a search relies on this time, and the turn may have taken minutes.
                request.recovery = request.describe(body)
                if self._recorder is not None:
                    await self._recorder.record_intent(request)
                await self._check_whole_journal(request)
                request.sent_at_loop_time = self._session.loop_time()
                self._on_turn(request)
                response = await turn.send()
            if response is not None:
                return response
            self._on_not_accepted(request)
            if not request.waiter_count:
                request.withdrawn = True
                raise asyncio.CancelledError  # no caller waits for it any more

    async def _check_whole_journal(self, request: P) -> None:
        """Raise `BudgetExceeded` if all that the journal has exceeds a budget for all of it.

        Only now, as other processes do the same: of two intents that exceed it together, the one
        that was recorded later is seen by its own check beside the other.
        """
        budgets = [one for one in request.reservation.budgets if one.whole_journal]
        if not budgets:
            return
        if self._recorder is None:
            raise ConfigurationError(
                "Budget(whole_journal=True) needs a client with a journal: A2E(journal=…)."
            )
        days = await self._recorder.journal.spent()
        spent, reserved = sum(day.coins for day in days), sum(day.reserved for day in days)
        assert request.recovery is not None  # noqa: S101  # set before
        for budget in budgets:
            budget.check_whole_journal(
                request.recovery.kind, request.reservation.price or 0, spent, reserved
            )

    async def _discard(self, request: P) -> None:
        """Undo what was done for a request that the service has not accepted."""
        request.api_call, request.sent_earlier = None, False  # nothing of it is there
        self._on_not_accepted(request)
        request.reservation.release()
        if self._recorder is not None:
            await self._recorder.drop_start(request)

    @abstractmethod
    async def _prepare(self, request: P) -> Mapping[str, Any]:
        """Reserve its price, upload its files; return the body that describes it."""

    @abstractmethod
    def _new_call(self, request: P, body: Mapping[str, Any]) -> "ApiCall":
        """Return the API call that sends it."""

    def _on_turn(self, request: P) -> None:
        """Note that it is about to be sent."""

    def _on_not_accepted(self, request: P) -> None:
        """Note that nothing of it is at the service."""

    @abstractmethod
    async def _read(self, request: P, response: "ApiResponse") -> T:
        """Set and return the result in a response. Raises if there is none."""

    @abstractmethod
    async def _recover(self, request: P, reason: str, cause: A2EError) -> T:
        """Return the result of a request whose response was lost, or raise."""

    @abstractmethod
    def report_unknown(self, request: P, reason: str) -> StartOutcomeUnknown:
        """Report that a request may have been charged; return the error to raise."""


class PaidRequests(ABC, Generic[P, T]):
    """Runs the paid requests of one client, each in an asyncio task that the client owns.

    A cancelled caller withdraws a request that was not sent. What was sent completes, and its
    result is kept. Created when the client first needs it, and closed with the client.
    """

    noun: ClassVar[Literal["start", "call"]] = "call"
    """What errors call a request."""

    def __init__(self, loop_affinity: LoopAffinity) -> None:
        self._loop_affinity = loop_affinity
        self._requests: set[P] = set()
        """The requests in progress."""
        self._run_tasks: set[asyncio.Task[Any]] = set()
        self._closed = loop_affinity.closed

    def keys_in_progress(self) -> set[str]:
        """Return the journal keys of the requests in progress in this client."""
        return {request.key for request in self._requests if request.key is not None}

    @abstractmethod
    def _execute(self, request: P) -> Coroutine[Any, Any, T]:
        """Return the coroutine that returns the result of a request."""

    @abstractmethod
    def _report_unknown(self, request: P, reason: str) -> StartOutcomeUnknown:
        """Report that a request may have been charged; return the error to raise."""

    @abstractmethod
    def _keep(self, request: P) -> None:
        """Keep the result of a request without a caller, or that its outcome is unknown."""

    def _new_context(self) -> Context:
        """Return the context of a request's task."""
        # An empty context, because the task may outlive the caller's: a copy of the caller's
        # context would keep its values (a request, a session) alive.
        return Context()

    def _on_launch(self, request: P, context: Context) -> None:
        """Called before a request's task, which runs in ``context``, is created."""

    def _on_done(self, request: P, error: BaseException | None, *, cancelled: bool) -> None:
        """Called when a request has ended."""

    def _check_usable(self) -> None:
        """Raise `ClientClosed`, or `ConfigurationError` on another event loop."""
        if self._closed:
            raise nothing_sent_error()
        self._loop_affinity.check()

    async def _join(self, request: P) -> T:
        """Wait for a request as one of its callers; it begins with the first of them."""
        request.waiter_count += 1
        run_task = request.run_task or self._launch(request)
        try:
            if not run_task.done():
                # Not `await run_task`: cancelling one caller must not cancel the request.
                await asyncio.wait([run_task])
        except asyncio.CancelledError:
            request.waiter_count -= 1
            if not request.waiter_count and not request.delivered:
                if run_task.done():
                    self._keep_once(request)
                elif not request.sent and request.result is None:
                    request.withdraw()
            raise
        request.waiter_count -= 1
        request.delivered = True
        if run_task.cancelled():
            raise closed_before_sent_error(self.noun)
        if request.unknown_outcome is not None and request.is_shared:
            # Each caller raises a copy: one exception raised several times mixes tracebacks.
            own_copy = copy.copy(request.unknown_outcome)
            raise own_copy from request.unknown_outcome.__cause__
        return run_task.result()

    async def _finish(self, timeout: float, more: Collection["asyncio.Task[Any]"] = ()) -> None:
        """Wait for the requests in progress, and for ``more``, at most ``timeout`` seconds.

        Then cancel them.
        """
        if not (run_tasks := {*self._run_tasks, *more}):
            return
        _, late = await asyncio.wait(run_tasks, timeout=timeout)
        for run_task in late:
            run_task.cancel()
        if late:
            await asyncio.wait(late)

    def _launch(self, request: P) -> "asyncio.Task[T]":
        self._requests.add(request)
        context = self._new_context()
        self._on_launch(request, context)
        # With an eager task factory it runs here, up to its first await, so everything that the
        # coroutine uses is set before.
        run_task = request.run_task = self._spawn(self._run(request), context)
        run_task.add_done_callback(partial(self._on_run_done, request))
        return run_task

    def _spawn(
        self, work: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work, context=context or Context())
        self._run_tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: "asyncio.Task[Any]") -> None:
        self._run_tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller may have been cancelled

    async def _run(self, request: P) -> T:
        try:
            request.result = await self._execute(request)
        except StartOutcomeUnknown as error:
            request.unknown_outcome = error
            raise
        except (Exception, asyncio.CancelledError) as error:
            result: T | None = request.result
            was_cancelled = isinstance(error, asyncio.CancelledError)
            if result is not None:
                if not was_cancelled:  # else the client was closed while it was recorded
                    logger.exception("the result of a paid request is kept despite a failure")
                return result
            if not request.sent:
                raise
            # Whatever failed, also a bug in this package: it may have been charged.
            reason = (
                "the client was closed before its result was known"
                if was_cancelled
                else f"{type(error).__name__}: {error}"
            )
            request.unknown_outcome = self._report_unknown(request, reason)
            raise request.unknown_outcome from error
        finally:
            # Not in a done callback: the loop may stop before it would run.
            if not request.waiter_count and not request.delivered:
                self._keep_once(request)
        return request.result

    def _keep_once(self, request: P) -> None:
        known = request.result is not None or request.unknown_outcome is not None
        if known and not request.kept:
            request.kept = True
            self._keep(request)

    def _on_run_done(self, request: P, run_task: "asyncio.Task[T]") -> None:
        self._requests.discard(request)
        cancelled = run_task.cancelled()
        self._on_done(request, None if cancelled else run_task.exception(), cancelled=cancelled)


def refused_by_service(
    response: "ApiResponse", path: str, reason: str, advice: str, method: str = "POST"
) -> InvalidRequest:
    """Return the error for a refusal that came with HTTP 200, as a failure message."""
    return InvalidRequest(
        http_status=response.http_status,
        code=response.code,
        message=excerpt(reason),
        trace_id=response.trace_id,
        method=method,
        path=path,
        advice=advice,
        from_api=True,
    )
