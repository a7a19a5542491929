"""Wires a client's components together; imported when the first client is created."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import anyio
from attrs import define, evolve

from a2e_async._core.context import RequestContext, RequestKwargs
from a2e_async._core.event_emitter import EventEmitter
from a2e_async._core.files.download import Downloader, FileSession
from a2e_async._core.files.upload import PRESIGN_PATH, Uploader
from a2e_async._core.http.call import check_proxy
from a2e_async._core.http.rate_limit import ConnectionLimiter, RateLimiter
from a2e_async._core.http.retry import RetryPolicy, RetrySafety, may_have_been_accepted
from a2e_async._core.http.session import ApiSession
from a2e_async._core.journal.protocol import UPLOAD, capabilities_of
from a2e_async._core.journal.recorder import JournalRecorder
from a2e_async._core.polling.poller import Poller
from a2e_async._core.submission.budget import (
    UPLOAD_COST,
    Budget,
    BudgetQueue,
    Reservation,
    commit_on_exit,
)
from a2e_async._core.submission.calls import ChargedCalls
from a2e_async._core.submission.file_transfers import FileTransfers, PresignFactory
from a2e_async._core.submission.starts import CLOSE_TIMEOUT, StartRegistry
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task, TaskServices
from a2e_async._core.typeguards import is_mapping
from a2e_async._core.version import __version__
from a2e_async._core.webhooks.receiver import Webhooks
from a2e_async._options import ClientOptions
from a2e_async.errors import A2EError, ClientClosed
from a2e_async.events import Event
from a2e_async.kinds.operations import delete_record, find_record, request_quote
from a2e_async.models import ClientStats, Output, OutputSource, Record

logger = logging.getLogger("a2e_async")

USER_AGENT = f"a2e_async/{__version__}"


@define(kw_only=True, repr=False)
class ClientComponents:
    """The components that clients made by `A2E.with_options` share.

    Created by `build_components`; lives until the last of these clients is closed.
    """

    session: ApiSession
    file_session: FileSession
    uploader: Uploader
    poller: Poller
    start_registry: StartRegistry
    charged_calls: ChargedCalls
    recorder: JournalRecorder | None
    budgets: tuple[Budget, ...]
    """Budgets for everything that the client starts."""
    webhooks: Webhooks
    emitter: EventEmitter | None
    base_context: RequestContext
    """The request context of the client's own components, without user options."""
    closed: bool = False

    def make_context(self, options: ClientOptions) -> RequestContext:
        """Return the request context that namespaces use, with these options."""

        async def delete_one(kind: TaskKind[..., Any], id: str) -> None:
            await delete_record(made, kind, id)

        context = evolve(
            self.base_context,
            tasks=evolve(self.base_context.tasks, delete=delete_one, tenant=options.tenant),
            request_timeout=options.request_timeout,
            start_timeout=options.start_timeout,
            priority=options.priority,
        )
        presign_for = _presign_factory(self.session, context.request_options(), self.recorder)
        made = evolve(context, files=context.files.with_presign(presign_for))
        return made

    def wrap_output_source(self, wrap: Callable[[OutputSource], OutputSource]) -> None:
        """Wrap the source that downloads all outputs created from now on."""
        source = wrap(self.base_context.source)
        self.base_context = evolve(self.base_context, source=source)
        self.poller.output_source = self.start_registry.output_source = source

    def check_open(self) -> None:
        """Raise `ClientClosed` after `aclose`."""
        if self.closed:
            raise ClientClosed("This client is closed. Create a new A2E().")

    def check_loop(self) -> None:
        """Raise `ConfigurationError` outside of the client's event loop; never binds to one."""
        self.poller.loop_affinity.check_without_binding()

    def stats(self, *, unclaimed: int, unknown: int) -> ClientStats:
        """Return what the components are doing."""
        return ClientStats(
            waits=self.poller.count_waits(),
            polled_tasks=len(self.poller),
            poll_interval=self.poller.interval(),
            starts=self.start_registry.in_progress,
            queued_starts=self.start_registry.admission.queued_count,
            unfinished_tasks=self.start_registry.admission.unfinished_count,
            paid_calls=self.charged_calls.in_progress,
            queued_requests=self.session.queued_requests,
            connections=self.session.connections_in_use,
            pause=self.session.remaining_pause(),
            unclaimed=unclaimed,
            unknown=unknown,
        )

    async def aclose(self) -> None:
        """Close all components: paid calls first, then waits and presigns, connections last."""
        self.poller.loop_affinity.loop_is_gone()  # raises on another loop
        again, self.closed = self.closed, True
        try:
            # Shielded from cancellation around the caller: the response of a paid call must be
            # recorded.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 2 * CLOSE_TIMEOUT):
                await asyncio.gather(self.start_registry.aclose(), self.charged_calls.aclose())
        finally:
            with anyio.CancelScope(shield=True):
                await self.poller.aclose()
                await self.webhooks.aclose()
                await self.uploader.aclose()
                await self.session.aclose()
                await self.file_session.aclose()
                try:
                    if self.recorder is not None:
                        await self.recorder.aclose()
                finally:
                    if self.emitter is not None and not again:
                        self.emitter.client_closed()


def build_components(options: ClientOptions) -> ClientComponents:
    """Create the components of a new client. No I/O; no running loop is needed."""
    account, journal, kinds = options.account, options.journal, options.kinds
    capabilities = capabilities_of(journal)
    emit = _never_raising(options.on_event) if options.on_event is not None else None
    emitter = None if emit is None else EventEmitter(emit)
    proxy = None if options.proxy is None else check_proxy(options.proxy)
    rate_limiter = _make_rate_limiter(options, emit or _ignore_event)
    session = ApiSession(
        account,
        rate_limiter=rate_limiter,
        connection_limiter=ConnectionLimiter(options.max_connections),
        policy=options.retry or RetryPolicy(),
        request_timeout=options.request_timeout,
        language=options.language,
        trust_env=options.trust_env,
        proxy=proxy,
        emit=emit,
        user_agent=USER_AGENT,
    )
    file_session = FileSession(
        trust_env=options.trust_env, proxy=proxy, emit=emit, user_agent=USER_AGENT
    )

    async def find_source(name: str, id: str) -> Record:
        record: Record = await find_record(base, kinds.named(name), id)
        return record

    async def renew(output: Output) -> Output:
        return await files.refetch_output(output)

    budgets = () if options.budget is None else (options.budget,)
    downloader = Downloader(file_session, renew)
    recorder = None
    if journal is not None:
        recorder = JournalRecorder(journal, account.label, former_account=account.key_label)
        downloader.on_saved = recorder.record_saved_file
    queue = BudgetQueue()
    presign_for = _presign_factory(session, {"timeout": options.request_timeout}, recorder)
    uploader = Uploader(
        file_session, presign_for(Reservation(budgets)), emit=emit, records=recorder
    )
    files = FileTransfers(uploader, downloader, find_source, presign_for, budgets, queue)

    poller = Poller(
        session,
        interval=options.poll_interval,
        poll_rate=options.poll_rate,
        request_timeout=options.request_timeout,
        is_rate_limited=lambda: rate_limiter.remaining_hold(session.loop_time()) > 0,
        emitter=emitter,
        webhooks=options.webhook is not None,
        listen_to_all=None if journal is None else journal.watch_all,
        rate_share=rate_limiter.poll_share,
        peers=capabilities.peers(account.label),
        kind_named=kinds.named,
    )
    poller.output_source = downloader

    async def delete_one(kind: TaskKind[..., Any], id: str) -> None:
        await delete_record(base, kind, id)

    async def ask_price(path: str, body: Mapping[str, Any]) -> int | None:
        return await request_quote(base, path, body)

    services = TaskServices(
        poller=poller,
        mark_claimed=lambda task: starter.mark_claimed(task),
        on_handle_dropped=lambda task: starter.on_handle_dropped(task),
        delete=delete_one,
        record_end=_end_recorder(budgets, None if recorder is None else recorder.record_end),
        record_delivered=None if recorder is None else recorder.record_acknowledged,
    )
    starter = StartRegistry(
        session,
        poller,
        services,
        files,
        request_timeout=options.request_timeout,
        # Other clients start jobs of the same account: a name that the user gave does not prove
        # that a task is this client's.
        mark_names=options.mark_names or capabilities.shared,
        recorder=recorder,
        resend=options.on_unknown == "resend_may_pay_twice",
        webhook=options.webhook,
        fetch_price=ask_price,
        budget=options.budget,
        budget_queue=queue,
        max_unfinished=options.max_unfinished,
        emitter=emitter,
    )
    starter.output_source = downloader
    charged = ChargedCalls(
        session,
        poller,
        recorder=recorder,
        fetch_price=ask_price,
        budgets=budgets,
        budget_queue=queue,
        emitter=emitter,
    )
    base = RequestContext(
        kinds=kinds,
        session=session,
        starter=starter,
        charged=charged,
        tasks=services,
        source=downloader,
        files=files,
        request_timeout=options.request_timeout,
        start_timeout=options.request_timeout,
    )
    return ClientComponents(
        session=session,
        file_session=file_session,
        uploader=uploader,
        poller=poller,
        start_registry=starter,
        charged_calls=charged,
        recorder=recorder,
        budgets=budgets,
        webhooks=Webhooks(options.webhook, poller, recorder),
        emitter=emitter,
        base_context=base,
    )


RecordEnd = Callable[[Task[Any], Record | None], Coroutine[Any, Any, None]]


def _end_recorder(budgets: tuple[Budget, ...], record_end: RecordEnd | None) -> RecordEnd | None:
    """Return a function that reports a task's end to the budgets (its price) and to the journal."""
    if not budgets:
        return record_end

    async def finished(task: Task[Any], record: Record | None) -> None:
        Reservation(budgets).raise_price(task.coins, task.kind.ref(task.ids))
        if record_end is not None:
            await record_end(task, record)

    return finished


def with_budgets(services: TaskServices, budgets: tuple[Budget, ...]) -> TaskServices:
    """Return services whose tasks also report their final price to these budgets."""
    return evolve(services, record_end=_end_recorder(budgets, services.record_end))


@define(eq=False)
class _PresignCall:
    """Requests upload URLs for one caller, whose budget pays for them."""

    session: ApiSession
    options: RequestKwargs
    reservation: Reservation
    recorder: JournalRecorder | None
    coins: int = 0
    """Total cost of its requests so far."""

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        paid = self.reservation.split_upload()
        coins = UPLOAD_COST if paid.price is None else paid.price
        was_sent = False
        try:
            # A charged request: if its response is lost it is not sent again.
            with commit_on_exit(paid, UPLOAD) as (sent, refused):

                def on_sent() -> None:
                    nonlocal was_sent
                    was_sent = True
                    sent()

                def on_rate_limited() -> None:
                    nonlocal was_sent
                    was_sent = False
                    refused()

                response = await self.session.request(
                    "POST",
                    PRESIGN_PATH,
                    json=dict(body),
                    retry_safety=RetrySafety.CHARGED,
                    on_sent=on_sent,
                    on_rate_limited=on_rate_limited,
                    **self.options,
                )
        except (Exception, asyncio.CancelledError) as error:
            refused_by_api = isinstance(error, A2EError) and not may_have_been_accepted(error)
            if self.recorder is not None and was_sent and not refused_by_api:
                await self.recorder.record_upload_cost(coins, is_certain=False)
            raise
        self.coins += coins
        if self.recorder is not None:
            await self.recorder.record_upload_cost(coins)
        return response.data if is_mapping(response.data) else {}


def _presign_factory(
    session: ApiSession, options: RequestKwargs, recorder: JournalRecorder | None
) -> PresignFactory:
    """Return a function that creates presigners with these request options."""

    def presign_for(reservation: Reservation) -> _PresignCall:
        return _PresignCall(session, options, reservation, recorder)

    return presign_for


def _make_rate_limiter(options: ClientOptions, emit: Callable[[Event], None]) -> RateLimiter:
    """Return the client's rate limiter, or that of the whole account from a shared journal."""
    rate, burst = options.rate, options.burst
    shared = None
    if rate is not None:
        shared = capabilities_of(options.journal).limiter(rate, burst, options.account.label, emit)
    return shared or RateLimiter(rate, burst)


def _ignore_event(_: Event) -> None:
    """The emitter of a client without ``on_event``."""


def _never_raising(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("on_event raised an exception; the client continues")

    return emit


__all__ = ["ClientComponents", "build_components"]
