"""Wires a client's components together; imported when the first client is created."""

import asyncio
import logging
import math
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import anyio
from attrs import define, evolve

from a2e_async import __version__
from a2e_async.config import Account
from a2e_async.errors import ClientClosed, ConfigurationError
from a2e_async.events import Event
from a2e_async.models import Output, OutputSource, Record
from a2e_async.narrow import is_map
from a2e_async.resources.calls import delete, find, quote
from a2e_async.resources.files import FileTransfers, PresignFor
from a2e_async.resources.registry import kind_named
from a2e_async.resources.room import CallOptions, Room
from a2e_async.tasks.book import Book
from a2e_async.tasks.budget import UPLOAD, UPLOAD_COST, Budget, BudgetQueue, Held, spending
from a2e_async.tasks.charged import ChargedCalls
from a2e_async.tasks.crew import Crew
from a2e_async.tasks.fair import Caller
from a2e_async.tasks.hooks import Webhook
from a2e_async.tasks.journal import Journal
from a2e_async.tasks.journal_address import database_address
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.poller import Poller
from a2e_async.tasks.starter import FINISH_STARTS, Starter
from a2e_async.tasks.task import Task, TaskServices
from a2e_async.tasks.telling import Teller
from a2e_async.transport.ratelimit import Gate, Pacer, Priority
from a2e_async.transport.retry import Repeat, RetryPolicy
from a2e_async.transport.session import Session
from a2e_async.transport.transfer import Downloader, FileSession
from a2e_async.transport.upload import PRESIGN_PATH, Uploader
from a2e_async.transport.wire import check_proxy
from a2e_async.webhooks import Webhooks

logger = logging.getLogger("a2e_async")

USER_AGENT = f"a2e_async/{__version__}"


@define(kw_only=True, repr=False)
class Parts:
    """The components that clients made by `A2E.with_options` share.

    Created by `build_components`; lives until the last of these clients is closed.
    """

    account: Account
    session: Session
    file_session: FileSession
    uploader: Uploader
    poller: Poller
    starter: Starter
    charged: ChargedCalls
    book: Book | None
    budgets: tuple[Budget, ...]
    """Budgets for everything that the client starts."""
    webhooks: Webhooks
    teller: Teller | None
    base: Room
    """The request context of the client's own components, without user options."""
    closed: bool = False

    def room(
        self,
        request_timeout: float,
        start_timeout: float,
        priority: Priority | None = None,
        caller: Caller | None = None,
    ) -> Room:
        """Return the request context that namespaces use, with these options."""

        async def delete_one(kind: TaskKind[..., Any], id: str) -> None:
            await delete(made, kind, id)

        room = evolve(
            self.base,
            tasks=evolve(self.base.tasks, delete=delete_one, caller=caller),
            request_timeout=request_timeout,
            start_timeout=start_timeout,
            priority=priority,
        )
        presign_for = _presigner(self.session, room.options(), self.book)
        made = evolve(room, files=room.files.asking(presign_for))
        return made

    def hand_out(self, wrap: Callable[[OutputSource], OutputSource]) -> None:
        """Wrap the source that downloads all outputs created from now on."""
        source = wrap(self.base.source)
        self.base = evolve(self.base, source=source)
        self.poller.source = self.starter.source = source

    def check_open(self) -> None:
        """Raise `ClientClosed` after `aclose`."""
        if self.closed:
            raise ClientClosed("This client is closed. Create a new A2E().")

    async def aclose(self) -> None:
        """Close all components: paid calls first, then waits and presigns, connections last."""
        self.poller.home.outlived()  # raises on another loop, before anything is closed
        again, self.closed = self.closed, True
        try:
            # Shielded from cancellation around the caller: the response of a paid call must be
            # recorded.
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 2 * FINISH_STARTS):
                await asyncio.gather(self.starter.aclose(), self.charged.aclose())
        finally:
            with anyio.CancelScope(shield=True):
                await self.poller.aclose()
                await self.webhooks.aclose()
                await self.uploader.aclose()
                await self.session.aclose()
                await self.file_session.aclose()
                try:
                    if self.book is not None:
                        await self.book.aclose()
                finally:
                    if self.teller is not None and not again:
                        self.teller.closed()


def build(
    account: Account,
    *,
    request_timeout: float,
    poll_interval: float,
    rate: float | None,
    look_rate: float | None,
    burst: int,
    max_connections: int,
    retry: RetryPolicy | None,
    mark_names: bool,
    on_event: Callable[[Event], None] | None,
    language: str,
    trust_env: bool,
    proxy: str | None,
    journal: Journal | None = None,
    resend: bool = False,
    budget: Budget | None = None,
    max_unfinished: int | None = None,
    webhook: Webhook | None = None,
) -> Parts:
    """Create the components of a new client. No I/O; no running loop is needed."""
    emit = _guarded(on_event) if on_event is not None else None
    teller = None if emit is None else Teller(emit)
    proxy = None if proxy is None else check_proxy(proxy)
    pacer = _pacer(account, rate, burst, journal, emit or _ignore)
    session = Session(
        account,
        pacer=pacer,
        gate=Gate(max_connections),
        policy=retry or RetryPolicy(),
        request_timeout=request_timeout,
        language=language,
        trust_env=trust_env,
        proxy=proxy,
        emit=emit,
        user_agent=USER_AGENT,
    )
    file_session = FileSession(trust_env=trust_env, proxy=proxy, emit=emit, user_agent=USER_AGENT)

    async def look(name: str, id: str) -> Record:
        record: Record = await find(base, kind_named(name), id)
        return record

    async def renew(output: Output) -> Output:
        return await files.refetch(output)

    budgets = () if budget is None else (budget,)
    downloader = Downloader(file_session, renew)
    book = None
    if journal is not None:
        book = Book(journal, account.label, former=account.key_label)
        downloader.saved = book.save
    queue = BudgetQueue()
    presign_for = _presigner(session, {"timeout": request_timeout}, book)
    uploader = Uploader(file_session, presign_for(Held(budgets)), emit=emit, records=book)
    files = FileTransfers(uploader, downloader, look, presign_for, budgets, queue)

    poller = Poller(
        session,
        interval=poll_interval,
        look_rate=look_rate,
        request_timeout=request_timeout,
        held=lambda: pacer.held_for(session.clock()) > 0,
        teller=teller,
        webhooks=webhook is not None,
        watch_all=None if journal is None else journal.watch_all,
        share=pacer.look_share,
        crew=_crew(account, journal),
        kind_named=kind_named,
    )
    poller.source = downloader

    async def delete_one(kind: TaskKind[..., Any], id: str) -> None:
        await delete(base, kind, id)

    async def ask_price(path: str, body: Mapping[str, Any]) -> int | None:
        return await quote(base, path, body)

    services = TaskServices(
        poller=poller,
        claim=lambda task: starter.claim(task),
        dropped=lambda task: starter.dropped(task),
        delete=delete_one,
        finished=_finisher(budgets, None if book is None else book.finish),
        delivered=None if book is None else book.deliver,
    )
    starter = Starter(
        session,
        services,
        files,
        request_timeout=request_timeout,
        # Other clients start jobs of the same account: a name that the user gave does not prove
        # that a task is this client's.
        mark_names=mark_names or getattr(journal, "shared", False),
        book=book,
        resend=resend,
        webhook=webhook,
        quote=ask_price,
        budget=budget,
        queue=queue,
        max_unfinished=max_unfinished,
        teller=teller,
    )
    starter.source = downloader
    charged = ChargedCalls(
        session,
        poller,
        book=book,
        quote=ask_price,
        budgets=budgets,
        queue=queue,
        teller=teller,
    )
    base = Room(
        session=session,
        starter=starter,
        charged=charged,
        tasks=services,
        source=downloader,
        files=files,
        request_timeout=request_timeout,
        start_timeout=request_timeout,
    )
    return Parts(
        account=account,
        session=session,
        file_session=file_session,
        uploader=uploader,
        poller=poller,
        starter=starter,
        charged=charged,
        book=book,
        budgets=budgets,
        webhooks=Webhooks(webhook, poller, book),
        teller=teller,
        base=base,
    )


Finish = Callable[[Task[Any], Record | None], Coroutine[Any, Any, None]]


def _finisher(budgets: tuple[Budget, ...], finish: Finish | None) -> Finish | None:
    """Return a function that reports a task's end to the budgets (its price) and to the journal."""
    if not budgets:
        return finish

    async def finished(task: Task[Any], record: Record | None) -> None:
        Held(budgets).correct(task.coins, task.kind.ref(task.ids))
        if finish is not None:
            await finish(task, record)

    return finished


def counting(services: TaskServices, budgets: tuple[Budget, ...]) -> TaskServices:
    """Return services whose tasks also report their final price to these budgets."""
    return evolve(services, finished=_finisher(budgets, services.finished))


@define(eq=False)
class _Presigner:
    """Requests upload URLs for one caller, whose budget pays for them."""

    session: Session
    options: CallOptions
    held: Held
    book: Book | None
    coins: int = 0
    """Total cost of its requests so far."""

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        paid = self.held.upload()
        coins = UPLOAD_COST if paid.price is None else paid.price
        # A charged request: if its response is lost it is not sent again.
        with spending(paid, UPLOAD) as (sent, refused):
            answer = await self.session.request(
                "POST",
                PRESIGN_PATH,
                json=dict(body),
                repeat=Repeat.CHARGED,
                on_sent=sent,
                on_refused=refused,
                **self.options,
            )
        self.coins += coins
        if self.book is not None:
            await self.book.pay_upload(coins)
        return answer.data if is_map(answer.data) else {}


def _presigner(session: Session, options: CallOptions, book: Book | None) -> PresignFor:
    """Return a function that creates presigners with these request options."""

    def presign_for(held: Held) -> _Presigner:
        return _Presigner(session, options, held, book)

    return presign_for


def _pacer(
    account: Account,
    rate: float | None,
    burst: int,
    journal: Journal | None,
    tell: Callable[[Event], None],
) -> Pacer:
    """Return the client's rate limiter, or that of the whole account from a shared journal."""
    limiter: Callable[..., Pacer] | None = getattr(journal, "limiter", None)
    if limiter is None or rate is None or math.isinf(rate):
        return Pacer(rate, burst)
    return limiter(rate, burst, account.label, tell)


def _crew(account: Account, journal: Journal | None) -> Crew | None:
    """Return the group of clients of the account, if the journal offers one."""
    crew: Callable[[str], Crew] | None = getattr(journal, "crew", None)
    return None if crew is None else crew(account.label)


def open_journal(journal: Any) -> Journal:
    """Return the journal that `A2E` was given as a path, an address or an object. Connects nowhere.

    A text that is a database address is never taken for a path. Raises `ConfigurationError`.
    """
    if isinstance(journal, str) and (database := database_address(journal)) is not None:
        try:
            from a2e_async.contrib.postgres import PostgresJournal
        except ImportError as error:
            raise ConfigurationError(
                "A journal in PostgreSQL needs psycopg: pip install 'a2e-async[postgres]'."
            ) from error
        return PostgresJournal(database)
    if isinstance(journal, str | os.PathLike):
        from a2e_async.tasks.journal_sqlite import SqliteJournal

        return SqliteJournal(os.fspath(journal))
    if all(hasattr(journal, name) for name in ("bind", "begin", "advance", "watch_all")):
        made: Journal = journal
        return made
    raise ConfigurationError(f"journal must be a path or a Journal, not {type(journal).__name__}.")


def check_retry(retry: object) -> None:
    """Raise `ConfigurationError` unless ``retry`` is a policy or None."""
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry must be a RetryPolicy, got {retry!r:.60}.")


def _ignore(_: Event) -> None:
    """The emitter of a client without ``on_event``."""


def _guarded(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        try:
            on_event(event)
        except Exception:
            logger.exception("on_event raised an exception; the client continues")

    return emit


__all__ = ["Parts", "Priority", "build", "check_retry"]
