"""Wires a client's components together; imported when the first client is created.

A component is created, and its modules are imported, when it is first used: a program that only
reads the balance loads nothing of starts, polls and files.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import cached_property, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from attrs import evolve, frozen

from a2e_async._core.context import RequestContext
from a2e_async._core.http.loop_affinity import LoopAffinity
from a2e_async._core.http.rate_limit import ConnectionLimiter, RateLimiter
from a2e_async._core.http.retry import RetryPolicy
from a2e_async._core.http.session import ApiSession
from a2e_async._core.version import __version__
from a2e_async._options import ClientOptions
from a2e_async.errors import ClientClosed, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.files.download import Downloader, FileSession
    from a2e_async._core.files.upload import Uploader
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.polling.poller import Poller
    from a2e_async._core.submission.budget import Budget, BudgetQueue
    from a2e_async._core.submission.calls import ChargedCalls
    from a2e_async._core.submission.file_transfers import FileTransfers
    from a2e_async._core.submission.follower import ErrorFilter, Follower, TaskCallback
    from a2e_async._core.submission.starts import StartRegistry
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async._core.tasks.kind_registry import KindRegistry
    from a2e_async._core.tasks.task import Task, TaskServices
    from a2e_async._core.tasks.tenant import Tenant
    from a2e_async._core.webhooks.receiver import Webhooks
    from a2e_async.events import Event
    from a2e_async.models import ClientStats, Output, OutputSource, Record, Recovery


C = TypeVar("C")
logger = logging.getLogger("a2e_async")

USER_AGENT = f"a2e_async/{__version__}"


class _Component(Generic[C]):
    """A component of a client, created when it is first used and then kept."""

    def __init__(self, create: "Callable[[Any], C]") -> None:
        self._create = create
        self._name = create.__name__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "ClientComponents", owner: type) -> C: ...

    def __get__(self, client: "ClientComponents | None", owner: type) -> Self | C:
        if client is None:
            return self
        made = vars(client)
        # Webhook receivers and journals may use the client from other threads.
        with client.creation_lock:
            if self._name not in made:
                # From now on the instance attribute is found first: there is no __set__.
                made[self._name] = self._create(client)
        component: C = made[self._name]
        return component


class ClientComponents:
    """The components that clients made by `A2E.with_options` share.

    Created by `A2E` without I/O or a running loop; lives until the last of these clients is closed.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self.creation_lock = RLock()
        self.loop_affinity = LoopAffinity()
        """Also says to components that are created later whether the client is closed."""
        self.budgets: tuple[Budget, ...] = () if options.budget is None else (options.budget,)
        """Budgets for everything that the client starts."""
        self.recorder = _make_recorder(options)
        self._emit = None if options.on_event is None else _never_raising(options.on_event)
        self.emitter = _make_emitter(self._emit)
        self._proxy = options.proxy
        self._unclaimed: dict[str, Task[Any]] = {}
        self._follower: Follower | None = None
        self._wrap_source: Callable[[OutputSource], OutputSource] | None = None
        self._rate_limiter = _make_rate_limiter(options, self._emit or _ignore_event)
        self.session = ApiSession(
            options.account,
            rate_limiter=self._rate_limiter,
            connection_limiter=ConnectionLimiter(options.max_connections),
            policy=options.retry or RetryPolicy(),
            request_timeout=options.request_timeout,
            language=options.language,
            trust_env=options.trust_env,
            proxy=self._proxy,
            emit=self._emit,
            user_agent=USER_AGENT,
        )

    # -- components ------------------------------------------------------------------------

    @_Component
    def kinds(self) -> "KindRegistry":
        """The kinds that the client knows."""
        if self._options.kinds is not None:
            return self._options.kinds
        from a2e_async.kinds.registry import PACKAGED

        return PACKAGED

    @_Component
    def poller(self) -> "Poller":
        """Polls the tasks that have a waiter."""
        from a2e_async._core.journal.protocol import capabilities_of
        from a2e_async._core.polling.poller import Poller

        options, journal = self._options, self._options.journal
        return Poller(
            self.session,
            loop_affinity=self.loop_affinity,
            output_source=self.output_source,
            interval=options.poll_interval,
            poll_rate=options.poll_rate,
            request_timeout=options.request_timeout,
            rate_limiter=self._rate_limiter,
            emitter=self.emitter,
            webhooks=options.webhook is not None,
            journal=journal,
            peers=capabilities_of(journal).peers(options.account.label),
            kinds=self.kinds,
        )

    @_Component
    def file_session(self) -> "FileSession":
        """The HTTP session of uploads and downloads, without credentials."""
        from a2e_async._core.files.download import FileSession

        return FileSession(
            trust_env=self._options.trust_env,
            proxy=self._proxy,
            emit=self._emit,
            user_agent=USER_AGENT,
            closed=self.closed,
        )

    @_Component
    def downloader(self) -> "Downloader":
        """Downloads outputs."""
        from a2e_async._core.files.download import Downloader

        async def renew(output: "Output") -> "Output":
            return await self.files.refetch_output(output)

        if (recorder := self.recorder) is None:
            return Downloader(self.file_session, renew)
        return Downloader(
            self.file_session, renew, recorder.record_saved_file, recorder.was_saved_at
        )

    @_Component
    def output_source(self) -> "OutputSource":
        """The source that outputs are read from: the downloader, or what wraps it."""
        source: OutputSource = self.downloader
        return source if self._wrap_source is None else self._wrap_source(source)

    @_Component
    def uploader(self) -> "Uploader":
        """Uploads inputs."""
        from a2e_async._core.files.upload import Uploader

        return Uploader(self.file_session, records=self.recorder)

    @_Component
    def files(self) -> "FileTransfers":
        """Uploads and downloads, with the client's own options."""
        return self.files_for(self._own_context)

    @_Component
    def budget_queue(self) -> "BudgetQueue":
        """Starts and calls that wait for a budget."""
        from a2e_async._core.submission.budget import BudgetQueue

        queue = BudgetQueue()
        if self.closed:
            queue.close()
        return queue

    @_Component
    def start_registry(self) -> "StartRegistry":
        """Starts tasks."""
        from a2e_async._core.journal.protocol import capabilities_of
        from a2e_async._core.submission.starts import StartRegistry

        options = self._options
        return StartRegistry(
            self.session,
            self.poller,
            self.task_services(self._own_context),
            self.files,
            request_timeout=options.request_timeout,
            # Other clients start jobs of the same account: a name that the user gave does not
            # prove that a task is this client's.
            mark_names=options.mark_names or capabilities_of(options.journal).shared,
            recorder=self.recorder,
            resend=options.on_unknown == "resend_may_pay_twice",
            webhook=options.webhook,
            fetch_price=self._fetch_price,
            budget=options.budget,
            budget_queue=self.budget_queue,
            max_unfinished=options.max_unfinished,
            emitter=self.emitter,
            output_source=self.output_source,
        )

    @_Component
    def charged_calls(self) -> "ChargedCalls":
        """Makes charged calls that start no task."""
        from a2e_async._core.submission.calls import ChargedCalls

        return ChargedCalls(
            self.session,
            self.loop_affinity,
            recorder=self.recorder,
            fetch_price=self._fetch_price,
            budgets=self.budgets,
            budget_queue=self.budget_queue,
            emitter=self.emitter,
        )

    @_Component
    def webhooks(self) -> "Webhooks":
        """Receives webhook events."""
        from a2e_async._core.webhooks.receiver import Webhooks

        return Webhooks(self._options.webhook, self.poller, self.recorder)

    @_Component
    def _fetch_price(self) -> "Callable[..., Coroutine[Any, Any, int | None]]":
        from a2e_async.kinds.operations import request_quote

        return partial(request_quote, self._own_context)

    @cached_property
    def _own_context(self) -> RequestContext:
        """The context of the requests that the components make, without user options."""
        return self.make_context(evolve(self._options, start_timeout=self._options.request_timeout))

    # -- contexts --------------------------------------------------------------------------

    def make_context(self, options: ClientOptions) -> RequestContext:
        """Return the request context that namespaces use, with these options."""
        return RequestContext(
            self,  # pyright: ignore[reportArgumentType]  # it does not see through descriptors here
            request_timeout=options.request_timeout,
            start_timeout=options.start_timeout,
            priority=options.priority,
            tenant=options.tenant,
        )

    def task_services(self, context: RequestContext, *more_budgets: "Budget") -> "TaskServices":
        """Return what the tasks of this context use; ``more_budgets`` count their prices, too."""
        return _ClientTaskServices(
            self, context, self.poller, self._unclaimed, (*more_budgets, *self.budgets)
        )

    def files_for(self, context: RequestContext) -> "FileTransfers":
        """Return uploads and downloads whose upload URLs are requested with these options."""
        from a2e_async._core.submission.file_transfers import FileTransfers
        from a2e_async.kinds.operations import find_record

        async def find_source(name: str, id: str) -> "Record":
            own = self._own_context
            record: Record = await find_record(own, own.kinds.named(name), id)
            return record

        return FileTransfers(
            self.uploader,
            self.downloader,
            find_source,
            self.session,
            context.request_options(),
            self.recorder,
            self.budgets,
            self.budget_queue,
        )

    def wrap_output_source(self, wrap: "Callable[[OutputSource], OutputSource]") -> None:
        """Wrap the source that downloads all outputs, before the first of them is created."""
        self._wrap_source = wrap

    def follow_all(
        self,
        *,
        download_to: "Path | None",
        on_end: "TaskCallback | None",
        on_update: "TaskCallback | None",
        undeliverable: "ErrorFilter",
    ) -> "Follower":
        """Return the one follower of this client, which begins now."""
        from a2e_async._core.submission.follower import Follower
        from a2e_async._core.submission.resume import iter_unfinished

        if (recorder := self.recorder) is None:
            raise no_journal_error("follow_all()")
        self.check_open()
        self.loop_affinity.check()
        if self._follower is not None and not self._follower.closed:
            raise ConfigurationError(
                "This client follows all its tasks already: call follow_all() once per client, or "
                "close the first follower."
            )
        registry = self.start_registry
        follower = self._follower = Follower(
            partial(iter_unfinished, recorder, registry, self.charged_calls, self.kinds.find),
            recorder.find_entry,
            download_to=download_to,
            on_end=on_end,
            on_update=on_update,
            undeliverable=undeliverable,
        )
        registry.on_task = follower.add
        follower.open()
        return follower

    # -- state -----------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True after `aclose` was called."""
        return self.loop_affinity.closed

    def check_open(self) -> None:
        """Raise `ClientClosed` after `aclose`."""
        if self.closed:
            raise ClientClosed("This client is closed. Create a new A2E().")

    def check_loop(self) -> None:
        """Raise `ConfigurationError` outside of the client's event loop; never binds to one."""
        self.loop_affinity.check_without_binding()

    def unclaimed(self) -> "tuple[Task[Any], ...]":
        """Return paid tasks that no caller holds."""
        return tuple(self._unclaimed.values())

    def unknown(self) -> "tuple[Recovery, ...]":
        """Return starts and calls whose outcome is unknown and whose callers were cancelled."""
        calls = self._created("start_registry", "charged_calls")
        return tuple(recovery for one in calls for recovery in one.unknown())

    def stats(self, *, unclaimed: int) -> "ClientStats":
        """Return what the components are doing."""
        from a2e_async.models import ClientStats

        poller: Poller | None = vars(self).get("poller")
        starts: StartRegistry | None = vars(self).get("start_registry")
        calls: ChargedCalls | None = vars(self).get("charged_calls")
        return ClientStats(
            waits=poller.count_waits() if poller else 0,
            polled_tasks=len(poller) if poller is not None else 0,
            poll_interval=self._options.poll_interval if poller is None else poller.interval(),
            starts=starts.in_progress if starts else 0,
            queued_starts=starts.admission.queued_count if starts else 0,
            unfinished_tasks=starts.admission.unfinished_count if starts else 0,
            paid_calls=calls.in_progress if calls else 0,
            queued_requests=self.session.queued_requests,
            connections=self.session.connections_in_use,
            pause=self.session.remaining_pause(),
            unclaimed=unclaimed,
            unknown=len(self.unknown()),
        )

    async def aclose(self) -> None:
        """Close all components: paid calls first, then waits and presigns, connections last."""
        from anyio import CancelScope, current_time

        self.loop_affinity.loop_is_gone()  # raises on another loop
        again, self.loop_affinity.closed = self.closed, True
        for queue in self._created("budget_queue"):
            queue.close()  # also for uploads, which may wait for it without a start
        try:
            if self._follower is not None:
                with CancelScope(shield=True):
                    await self._follower.aclose()
            # Shielded from cancellation around the caller: the response of a paid call must be
            # recorded.
            if paid_calls := self._created("start_registry", "charged_calls"):
                from a2e_async._core.submission.paid_request import CLOSE_TIMEOUT

                deadline = current_time() + 2 * CLOSE_TIMEOUT
                with CancelScope(shield=True, deadline=deadline):
                    await asyncio.gather(*(calls.aclose() for calls in paid_calls))
        finally:
            with CancelScope(shield=True):
                for component in self._created("poller", "webhooks", "uploader"):
                    await component.aclose()
                await self.session.aclose()
                for component in self._created("file_session"):
                    await component.aclose()
                try:
                    if self.recorder is not None:
                        await self.recorder.aclose()
                finally:
                    if self.emitter is not None and not again:
                        self.emitter.client_closed()

    def _created(self, *names: str) -> list[Any]:
        """Return those of these components that have been created."""
        return [vars(self)[name] for name in names if name in vars(self)]


@frozen(eq=False)
class _ClientTaskServices:
    """What the tasks of one request context use of its client, see `TaskServices`."""

    _components: ClientComponents
    _context: RequestContext
    poller: "Poller"
    unclaimed: "dict[str, Task[Any]]"
    _budgets: "tuple[Budget, ...]"
    """Those that count the tasks' prices."""

    @property
    def tenant(self) -> "Tenant | None":
        return self._context.tenant

    def on_handle_dropped(self, task: "Task[Any]") -> None:
        self._components.start_registry.on_handle_dropped(task)

    async def delete(self, kind: "TaskKind[..., Any]", id: str) -> None:
        from a2e_async.kinds.operations import delete_record

        await delete_record(self._context, kind, id)

    async def record_end(self, task: "Task[Any]", record: "Record | None") -> None:
        for budget in self._budgets:
            budget.raise_price(task.coins, task.kind.ref(task.ids))
        if (recorder := self._components.recorder) is not None:
            await recorder.record_end(task, record)

    async def record_delivered(self, task: "Task[Any]") -> None:
        if (recorder := self._components.recorder) is not None:
            await recorder.record_acknowledged(task)


def no_journal_error(what: str) -> ConfigurationError:
    """Return the error for a method that needs a journal, on a client without one."""
    return ConfigurationError(
        f"{what} needs a journal: create the client with A2E(journal='jobs.db')."
    )


def _make_recorder(options: ClientOptions) -> "JournalRecorder | None":
    if options.journal is None:
        return None
    from a2e_async._core.journal.recorder import JournalRecorder

    account = options.account
    return JournalRecorder(options.journal, account.label, former_account=account.key_label)


def _make_emitter(emit: "Callable[[Event], None] | None") -> "EventEmitter | None":
    if emit is None:
        return None
    from a2e_async._core.event_emitter import EventEmitter

    return EventEmitter(emit)


def _make_rate_limiter(options: ClientOptions, emit: "Callable[[Event], None]") -> RateLimiter:
    """Return the client's rate limiter, or that of the whole account from a shared journal."""
    rate, burst = options.rate, options.burst
    if rate is None or options.journal is None:
        return RateLimiter(rate, burst)
    from a2e_async._core.journal.protocol import capabilities_of

    shared = capabilities_of(options.journal).limiter(rate, burst, options.account.label, emit)
    # Not `or`: a limiter in which no request waits is false.
    return RateLimiter(rate, burst) if shared is None else shared


def _ignore_event(_: "Event") -> None:
    """The emitter of a client without ``on_event``."""


def _never_raising(on_event: "Callable[[Event], None]") -> "Callable[[Event], None]":
    def emit(event: "Event") -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("on_event raised an exception; the client continues")

    return emit
