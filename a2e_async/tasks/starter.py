"""Starts tasks: joins equal keys, checks the inputs, and keeps tasks that have no caller.

Each start runs in an asyncio task that the client owns. Cancelling ``start()`` before the request
is sent withdraws it. Once it has been sent, the start completes and its task is listed in
`unclaimed`. When the response is lost, the client searches for the task; it does not submit again.
"""

import asyncio
import copy
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from a2e_async.errors import ClientClosed, KeyConflict, StartOutcomeUnknown, seal
from a2e_async.inputs import Media, TaskInput
from a2e_async.models import Record, Recovery
from a2e_async.tasks.book import recovery_of
from a2e_async.tasks.budget import BudgetQueue, held_by
from a2e_async.tasks.flight import Flight, Prepareds, input_digest, new_mark, wire_name
from a2e_async.tasks.hooks import Webhook
from a2e_async.tasks.journal import State
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.places import Places
from a2e_async.tasks.recoverer import Claims, Recoverer
from a2e_async.tasks.sending import MediaDesk, Sender
from a2e_async.tasks.task import Task, TaskServices

if TYPE_CHECKING:
    from a2e_async.models import OutputSource
    from a2e_async.tasks.book import Book
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal import Entry
    from a2e_async.tasks.quotes import AskPrice
    from a2e_async.tasks.telling import Teller
    from a2e_async.transport.session import Session
    from a2e_async.transport.upload import Prepared

R = TypeVar("R", bound=Record)

logger = logging.getLogger("a2e_async.starter")

FINISH_STARTS: Final = 30.0
"""Seconds that closing the client waits for starts in progress."""


class Starter:
    """Starts tasks of any kind for one client."""

    def __init__(
        self,
        session: "Session",
        services: TaskServices,
        desk: MediaDesk,
        *,
        request_timeout: float,
        mark_names: bool,
        book: "Book | None" = None,
        resend: bool = False,
        webhook: Webhook | None = None,
        quote: "AskPrice | None" = None,
        budget: "Budget | None" = None,
        queue: "BudgetQueue | None" = None,
        max_unfinished: int | None = None,
        teller: "Teller | None" = None,
        mark: Callable[[], str] = new_mark,
    ) -> None:
        self._services = services
        self._desk = desk
        self._mark_names = mark_names
        self._mark = mark
        self._book = book
        self._budget = budget
        self._queue = queue or BudgetQueue()
        self._teller = teller
        self.places = Places(services, max_unfinished)
        self._webhook = webhook
        self._claims = Claims(book)
        self._recoverer = Recoverer(session, request_timeout=request_timeout, claims=self._claims)
        self._sender = Sender(
            session,
            desk,
            self._recoverer,
            self._claims,
            places=self.places,
            book=book,
            resend=resend,
            webhook=webhook,
            quote=quote,
            queue=self._queue,
            teller=teller,
            keep=self.keep,
            withdraw=self._withdraw,
            later=self._search_later,
        )
        self._searching: set[asyncio.Task[None]] = set()
        """Running searches for tasks that a start response left out."""
        self._carrying: set[asyncio.Task[Task[Any]]] = set()
        self._flying: set[Flight] = set()
        self._unclaimed: dict[str, Task[Any]] = {}
        self._lost: list[Recovery] = []
        self._keys: dict[str, Flight] = {}
        self._closed = False

    @property
    def source(self) -> "OutputSource | None":
        """The source that downloads outputs of tasks which were finished at their start."""
        return self._sender.source

    @source.setter
    def source(self, source: "OutputSource") -> None:
        self._sender.source = source

    def unclaimed(self) -> tuple[Task[Any], ...]:
        """Return paid tasks without a caller: it was cancelled, or dropped the handle unused."""
        return tuple(self._unclaimed.values())

    def unknown(self) -> tuple[Recovery, ...]:
        """Return starts whose outcome is unknown and whose callers were cancelled."""
        return tuple(self._lost)

    def dropped(self, task: Task[Any]) -> None:
        """Keep a task whose handle was garbage collected before anyone used it."""
        if not self._closed:
            self._unclaimed[_ref(task)] = task

    def claim(self, task: Task[Any]) -> None:
        """Remove a task from the unclaimed ones: a caller has it now."""
        self._unclaimed.pop(_ref(task), None)

    def keep(self, task: Task[Any]) -> None:
        """Keep a task whose caller was cancelled before it received the handle."""
        self._unclaimed[_ref(task)] = task
        logger.info("%s was started, but its caller was cancelled; see a2e.unclaimed()", _ref(task))

    async def start(
        self,
        kind: "TaskKind[..., R]",
        inputs: TaskInput,
        *,
        timeout: float,
        services: TaskServices | None = None,
        budget: "Budget | None" = None,
    ) -> "Task[R]":
        """Start a task and return its handle.

        ``timeout`` (s) limits the start request, not the task. ``services`` replace the client's
        own for this handle. ``budget`` counts this start in addition to the client's budget.

        Raises `InvalidInput` before anything is spent, `StartOutcomeUnknown` when the response
        was lost and the task could not be found, and `ApiError` when the service refused.
        """
        try:
            attempt = await self._take_off(kind, inputs, timeout, services, budget)
            return await self._ride(attempt)
        except BaseException as error:
            # Frames below this one hold signed media URLs, request bodies and webhook tokens.
            # Reporters that print local variables must not see them.
            seal(error)
            raise

    async def _take_off(
        self,
        kind: TaskKind[..., Any],
        inputs: TaskInput,
        timeout: float,
        services: TaskServices | None,
        budget: "Budget | None",
    ) -> Flight:
        """Return the attempt in progress under the same key, or a new one."""
        self._check_open()
        self._services.poller.home.check()
        own = self._mark()
        name, mark = wire_name(kind, inputs.name, own, mark_names=self._mark_names)
        media = await self._prepare(inputs)
        # Hashing large files takes a while: the client may have been closed since.
        self._check_open()
        digest = input_digest(kind, inputs, media)
        attempt = self._under_key(inputs.key, digest)
        if attempt is None:
            attempt = Flight(
                kind=kind,
                inputs=inputs,
                media=media,
                digest=digest,
                name=name,
                mark=mark,
                services=services or self._services,
                timeout=timeout,
                hook=own if self._webhook is not None and kind.webhook else None,
                key=inputs.key,
                held=held_by(self._budget, budget),
            )
            if attempt.hook is not None:
                self._services.poller.news.listen()
        return attempt

    async def recover(
        self, kind: "TaskKind[..., R]", recovery: Recovery, *, timeout: float
    ) -> "Task[R]":
        """Search for a start whose response was lost.

        Return its task, or raise as `start` does.
        """
        self._check_open()
        self._services.poller.home.check()
        attempt = Flight(
            kind=kind,
            inputs=TaskInput(),
            media={},
            digest=recovery.digest,
            name=recovery.name,
            mark=recovery.mark,
            services=self._services,
            timeout=timeout,
            recovery=recovery,
            nameless=self._claims.token_of(recovery) or object(),
        )
        if self._book is not None:
            await self._book.know(attempt)
        task = await self._find(attempt)
        self._found(attempt, task)
        self._lost = [one for one in self._lost if one != recovery]
        return task

    async def digest(self, kind: TaskKind[..., Any], inputs: TaskInput) -> str:
        """Return the digest of a start's inputs; local files are hashed. No network access."""
        digest, _ = await self.look(kind, inputs)
        return digest

    async def look(self, kind: TaskKind[..., Any], inputs: TaskInput) -> tuple[str, frozenset[str]]:
        """Return that digest, and the content digests of the local files. No network access."""
        media = await self._prepare(inputs)
        local = frozenset(item.digest for item in media.values() if not isinstance(item, str))
        return input_digest(kind, inputs, media), local

    # -- resuming from the journal -------------------------------------------------------------

    def busy(self) -> set[str]:
        """Return the keys of the entries in use by this client: its starts and searches."""
        searched = {token for token in self._sender.searching if isinstance(token, str)}
        return searched | {attempt.key for attempt in self._flying if attempt.key is not None}

    async def resume(self, kind: TaskKind[..., Any], entry: "Entry") -> Task[Any]:
        """Search for a start whose process died; return its task, or raise."""
        # Two searches for the same mark would treat each other as competing starts, and neither
        # would accept the task.
        if (running_attempt := self._keys.get(entry.key)) is not None:
            return await self._ride(running_attempt)
        attempt = Flight(
            kind=kind,
            inputs=TaskInput(meta=entry.meta, key=None if entry.own_key else entry.key),
            media={},
            digest=entry.digest,
            name=entry.name,
            mark=entry.mark,
            services=self._services,
            timeout=0,
            hook=entry.hook,
            key=entry.key,
            own_key=entry.own_key,
            recovery=recovery_of(entry),
        )
        if not entry.own_key:
            self._keys[entry.key] = attempt
        try:
            task = await self._find(attempt)
        except StartOutcomeUnknown as error:
            self._note_lost(error.recovery)
            raise
        self._found(attempt, task)
        return task

    async def rest(self, kind: TaskKind[..., Any], entry: "Entry") -> Task[Any] | None:
        """Search for the tasks that a start response left out, by their journal entry.

        Return None if none are missing. Raises `StartOutcomeUnknown` if they are not found.
        """
        try:
            return await self._sender.find_rest(
                kind, recovery_of(entry), entry.key, services=self._services, meta=entry.meta
            )
        except StartOutcomeUnknown as error:
            self._note_lost(error.recovery)
            raise

    def attach(self, kind: TaskKind[..., Any], entry: "Entry") -> Task[Any]:
        """Return a handle for the task of a journal entry."""
        key = None if entry.own_key else entry.key
        task: Task[Any] = Task(
            self._services, kind, entry.ids, meta=entry.meta, key=key, hook=entry.hook
        )
        self._claims.claim(kind, task.ids, entry.key)
        if entry.state is State.ACCEPTED:
            self.places.adopt(None, task)
        if self._teller is not None:
            self._teller.resumed(task)
        return task

    async def aclose(self) -> None:
        """Wait for starts in progress (at most 30 s), then cancel them and log that.

        First wait, at most as long, for searches for tasks that a start response left out. They
        are paid for, and only another start with the same key would search for them again.
        """
        self._closed = True
        if self._services.poller.home.outlived():
            return
        self.places.close()
        self._queue.close()
        if self._searching:
            await asyncio.wait(self._searching, timeout=FINISH_STARTS)
        await self._recoverer.aclose()
        run_tasks = [*self._carrying, *self._searching]
        if not run_tasks:
            return
        _, late = await asyncio.wait(run_tasks, timeout=FINISH_STARTS)
        for run_task in late:
            run_task.cancel()
        if late:
            await asyncio.wait(late)

    # -- before anything is charged ----------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("The client is closed; nothing was sent. Create a new A2E().")

    async def _prepare(self, inputs: TaskInput) -> Prepareds:
        """Return each media input as a URL or as a checked, hashed local file. No network."""
        prepared: dict[tuple[str, int | None], Prepared | str] = {}
        for f, place, value in inputs.media():
            prepared[f.name, place] = await self._desk.ready(value, f.note(Media).types, f.name)
        return prepared

    def _under_key(self, key: str | None, digest: str) -> Flight | None:
        """Return the attempt with this key, or None. Raises `KeyConflict` for other inputs."""
        attempt = self._keys.get(key) if key is not None else None
        if attempt is None or key is None:
            return None
        if attempt.digest != digest:
            raise KeyConflict(
                f"key {key!r:.60} was used before with other inputs. "
                "Use another key, or the same inputs.",
                key=key,
                ref=attempt.task.ref if attempt.task else None,
            )
        return attempt

    # -- running an attempt --------------------------------------------------------------------

    async def _find(self, flight: Flight) -> Task[Any]:
        return await self._ride(flight, search=True)

    def _launch(self, flight: Flight, *, search: bool) -> None:
        """Submit a start, or only search for it, in an asyncio task that the client owns."""
        # An empty context, because the task may outlive the caller's: a copy of the caller's
        # context would keep its values (a request, a session) alive.
        context = Context()
        self._flying.add(flight)
        if search:
            work = self._sender.find(flight)
        else:
            if self._teller is not None:
                self._teller.asked(flight, context)
            if flight.inputs.key is not None:
                self._keys[flight.inputs.key] = flight
            work = self._sender.carry(flight)
        # With an eager task factory it runs here, up to its first await, so everything that the
        # coroutine uses must be set before.
        run_task = flight.carry = asyncio.get_running_loop().create_task(work, context=context)
        self._carrying.add(run_task)
        run_task.add_done_callback(partial(self._carried, flight, flight.inputs.key))

    def _found(self, flight: Flight, task: Task[Any]) -> None:
        """Count a found start, if the client's budget still reserves its price."""
        name = flight.reserved_for
        if name is not None:
            held_by(self._budget).found(name, task.coins, _ref(task))

    def _search_later(self, search: Coroutine[Any, Any, None]) -> None:
        """Continue a search after its start has returned, until the client is closed."""
        if self._closed:
            search.close()
            return
        task = asyncio.get_running_loop().create_task(search, context=Context())
        self._searching.add(task)
        task.add_done_callback(self._searched)

    def _searched(self, task: asyncio.Task[None]) -> None:
        self._searching.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StartOutcomeUnknown):
            self._note_lost(error.recovery)
        elif error is not None:
            logger.error("the search for remaining tasks of a start failed", exc_info=error)

    def _note_lost(self, recovery: Recovery) -> None:
        if recovery not in self._lost:
            self._lost.append(recovery)

    async def _ride(self, flight: Flight, *, search: bool = False) -> Task[Any]:
        """Wait for an attempt. When the last waiter is cancelled, withdraw it if possible."""
        key = flight.inputs.key
        flight.riders += 1
        if flight.carry is None:
            self._launch(flight, search=search)
        assert flight.carry is not None  # noqa: S101  # launched by its first caller
        try:
            if not flight.carry.done():
                # Not `await carry`: cancelling one waiter must not cancel the start itself.
                await asyncio.wait([flight.carry])
        except asyncio.CancelledError:
            flight.riders -= 1
            if not flight.riders and not flight.delivered:
                self._abandon(flight)
            raise
        flight.riders -= 1
        flight.delivered = True
        if flight.carry.cancelled():
            raise ClientClosed(
                "The client was closed before the start was sent; nothing was charged."
            )
        if flight.lost is not None and key is not None:
            # Each waiter raises a copy: one exception raised several times mixes tracebacks.
            own_copy = copy.copy(flight.lost)
            raise own_copy from flight.lost.__cause__
        task = flight.carry.result()
        if key is None:
            # A pooled connection keeps the context of the request that opened it, and through it
            # this attempt. Without this the task would live as long as the connection.
            flight.carry = flight.task = None
        self.claim(task)
        task.loose = True
        return task

    def _abandon(self, flight: Flight) -> None:
        if flight.task is not None:
            self.keep(flight.task)
        elif flight.lost is not None:
            self._lost.append(flight.lost.recovery)
        elif not flight.sent:
            self._withdraw(flight)

    def _withdraw(self, flight: Flight) -> None:
        assert flight.carry is not None  # noqa: S101  # set by its first waiter
        flight.withdrawn = True
        flight.carry.cancel()
        self._free(flight, flight.inputs.key)

    def _carried(self, flight: Flight, key: str | None, carry: "asyncio.Task[Task[Any]]") -> None:
        self._carrying.discard(carry)
        self._flying.discard(flight)
        self.places.free(flight)
        error = None if carry.cancelled() else carry.exception()
        if isinstance(error, StartOutcomeUnknown):
            flight.lost = error
            if not flight.riders:
                self._lost.append(error.recovery)
        elif self._teller is not None and (error is not None or carry.cancelled()):
            self._teller.not_started(flight, error)
        flight.forget_inputs()
        # A key must keep pointing to its task, and to a start that may have been charged. The
        # journal remembers that; without a journal the attempt has to stay here.
        if self._book is not None or (flight.task is None and flight.lost is None):
            self._free(flight, key)

    def _free(self, flight: Flight, key: str | None) -> None:
        if key is not None and self._keys.get(key) is flight:
            del self._keys[key]


def _ref(task: Task[Any]) -> str:
    """Return a task's ref; reading ``task.ref`` would mark the task as claimed."""
    return task.kind.ref(task.ids)
