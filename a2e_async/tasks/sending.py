"""Runs one start: upload, submit at most once, and search for the task if the response is lost."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve

from a2e_async._clock import utc_now
from a2e_async.errors import A2EError, BudgetExceeded, InvalidRequest, StartOutcomeUnknown
from a2e_async.inputs import MediaInput
from a2e_async.models import MediaType, Record, Recovery
from a2e_async.redact import excerpt
from a2e_async.tasks.book import recovery_of
from a2e_async.tasks.budget import UPLOAD
from a2e_async.tasks.flight import Flight, rest_key, start_of_rest
from a2e_async.tasks.hooks import Webhook
from a2e_async.tasks.journal import Entry, State, TakenOver
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.quotes import is_timed, unsent_body
from a2e_async.tasks.recoverer import Claims, Recoverer, listings, unknown_start
from a2e_async.tasks.recovery import (
    FIRST_PAUSES,
    RESEND_AFTER,
    Found,
    Raw,
    carries,
    echo_of,
    wait_for_absence,
)
from a2e_async.tasks.status import Refusal, read_id, read_record, read_start
from a2e_async.tasks.task import Task, TaskServices
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat, could_be_accepted

if TYPE_CHECKING:
    from a2e_async.models import OutputSource
    from a2e_async.tasks.book import Book
    from a2e_async.tasks.budget import BudgetQueue, Held, Need
    from a2e_async.tasks.places import Places
    from a2e_async.tasks.quotes import AskPrice
    from a2e_async.tasks.telling import Teller
    from a2e_async.transport.session import Answer, Session
    from a2e_async.transport.upload import Prepared

logger = logging.getLogger("a2e_async.starter")


class MediaDesk(Protocol):
    """Turns media inputs into URLs. The client's `files` implements it."""

    async def ready(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> "Prepared | str": ...

    async def upload_prepared(
        self, prepared: "Prepared", held: "Held | None" = None
    ) -> tuple[str, int]: ...

    async def check_prepared(self, *prepared: "Prepared") -> None: ...

    def costs(self, prepared: "Prepared") -> bool: ...


class Sender:
    """Submits the starts of one client.

    ``resend``: submit again once the absence of the task is proved. ``on_unclaimed`` receives a
    task without a caller, ``withdraw`` an attempt that can be withdrawn again, and
    ``run_in_background`` a search that continues after its start has returned.
    """

    def __init__(
        self,
        session: "Session",
        desk: MediaDesk,
        recoverer: Recoverer,
        claims: Claims,
        *,
        places: "Places",
        book: "Book | None",
        resend: bool,
        webhook: Webhook | None,
        quote: "AskPrice | None",
        queue: "BudgetQueue",
        teller: "Teller | None",
        keep: Callable[[Task[Any]], None],
        withdraw: Callable[[Flight], None],
        later: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.source: OutputSource | None = None
        self.searching: set[object] = set()
        """The ids of running searches for tasks that a start response left out."""
        self._session = session
        self._desk = desk
        self._recoverer = recoverer
        self._claims = claims
        self._places = places
        self._book = book
        self._resend = resend
        self._webhook = webhook
        self._ask_price = quote
        self._queue = queue
        self._teller = teller
        self._keep = keep
        self._withdraw = withdraw
        self._later = later

    async def carry(self, flight: Flight) -> Task[Any]:
        """Return the task of a start: from its journal entry, by a search, or newly started.

        Raises `StartOutcomeUnknown`, `KeyConflict`, `JournalError`, and what the service and
        the network raise.
        """
        check_key = not self._goes_now(flight)
        while True:
            try:
                return await self._carry(flight, look=check_key)
            except TakenOver:
                # Another start holds the key, or this process was suspended for longer than its
                # lease and another client took the entry. Nothing was sent from here, so the next
                # round waits for the other start's result.
                flight.recovery, check_key = None, True
            except BaseException:
                # What is still reserved may have been charged. It stays reserved until the next
                # start with this key finds out.
                flight.held.keep(flight.reserved_for)
                raise

    def _goes_now(self, flight: Flight) -> bool:
        """Return whether the intent is the next journal write, without any wait before it.

        Then writing the intent also finds out whether the key is free, and reading the entry
        first would only cost time.
        """
        return not (flight.held.budgets or self._places.active) and self._session.is_free()

    async def _carry(self, flight: Flight, *, look: bool) -> Task[Any]:
        if self._book is not None:
            entry = await self._book.reserve(flight, look=look)
            if entry is not None:
                flight.held.stands(entry.key, entry.cost, entry.ref)
                if entry.open:  # a closed entry has a separate one for remaining tasks
                    rest = self._rest_of(flight.kind, recovery_of(entry), entry.ids)
                    await self._find_later(flight, rest)
                return self._standing(flight, entry)
        if flight.recovery is not None:
            flight.sent = True  # by an earlier process: search for it, never withdraw it
            return await self._look(flight, "its process ended before the response arrived")
        return await self._start(flight)

    async def find(self, flight: Flight) -> Task[Any]:
        """Search for a start without submitting it. Raises `StartOutcomeUnknown`."""
        flight.sent = True
        recovery = flight.recovery
        assert recovery is not None  # noqa: S101  # set by whoever asks for a search
        self._claims.lost(flight.kind, recovery, flight.token)
        result = await self._search(flight, recovery)
        if not result.sure:
            raise self._unknown(flight, recovery, "it was not found", result)
        return await self._accepted(flight, result.records, found=True)

    # -- submitting ----------------------------------------------------------------------------

    async def _start(self, flight: Flight) -> Task[Any]:
        try:
            response = await self._request(flight, await self._pay_for(flight))
            return await self._answered(flight, response)
        except asyncio.CancelledError as error:
            if flight.task is not None:
                return flight.task  # accepted; the client closed while the journal was written
            if flight.sent:
                raise self._lose(
                    flight, "the client was closed before the response arrived"
                ) from error
            await self._forget(flight)
            raise
        except StartOutcomeUnknown:
            raise
        except A2EError as error:
            if flight.sent and could_be_accepted(error):
                return await self._look(flight, str(error), error)
            await self._forget(flight)
            raise
        except Exception as error:
            # A bug in this package must not report a start that may be charged as not sent.
            if flight.sent:
                raise self._lose(flight, f"{type(error).__name__}: {error}") from error
            await self._forget(flight)
            raise
        except BaseException:
            # KeyboardInterrupt, or the loop is closing: awaiting the journal is not possible.
            if self._book is not None and not flight.sent:
                self._book.withdraw(flight.key)
            raise

    async def _pay_for(self, flight: Flight) -> dict[str, Any]:
        """Reserve the start's price, wait for its slot, upload its files; return the body.

        Before it waits for a budget it gives back its slot and its reservation. A start that
        holds one resource while it waits for another could deadlock with a second one.
        """
        prices, final = await self._price(flight)
        if prices and not flight.held:
            await self._reserve(flight, lambda: prices)
        while True:
            if self._places.active:
                await self._places.take(flight)
            try:
                body = await self._body(flight)
                if not final:
                    prices, final = await self._true_price(flight, body), True
                    flight.held.reserve(*prices)
            except BudgetExceeded:
                # No room for an upload, or the final price is higher: wait for the budget, this
                # time for the start and all uploads that are left.
                self._places.free(flight)
                await self._reserve(flight, partial(self._needs, flight, prices))
            else:
                flight.held.release(UPLOAD)  # reserved for files that another start uploaded
                return body

    async def _reserve(self, flight: Flight, needs: "Callable[[], Sequence[Need]]") -> None:
        caller = flight.services.caller
        await self._queue.reserve(
            flight.held, needs, max_wait=None if caller is None else caller.max_wait
        )

    def _needs(self, flight: Flight, needs: "Sequence[Need]") -> "list[Need]":
        """Return the prices to reserve for a start and for its uploads that are left."""
        charged_digests = {
            item.digest
            for item in flight.media.values()
            if not isinstance(item, str) and self._desk.costs(item)
        }
        return [*needs, *((UPLOAD, None) for _ in charged_digests)]

    async def _body(self, flight: Flight) -> dict[str, Any]:
        """Upload local files and return the request body."""
        kind = flight.kind
        body = flight.inputs.to_wire(await self._upload(flight))
        if kind.name_wire and flight.name:
            body[kind.name_wire] = flight.name
        return body

    async def _price(self, flight: Flight) -> "tuple[list[Need], bool]":
        """Return the prices to reserve before the uploads, and whether they are final.

        They are not final if the service refuses to quote without the files' URLs, or if the
        price may depend on the duration of a local file.
        """
        if not flight.held.budgets:
            return [], True
        if flight.held:  # still reserved from an earlier submission of this attempt
            return [(flight.kind.name, flight.held.price)], True
        quote = None
        try:
            if self._ask_price:
                path = flight.kind.start_at.path
                quote = await self._ask_price(path, unsent_body(flight.inputs))
        except InvalidRequest:
            if flight.uploaded:
                raise
            return [], False
        return [(flight.kind.name, quote)], not is_timed(flight.inputs)

    async def _true_price(self, flight: Flight, body: Mapping[str, Any]) -> "list[Need]":
        """Return the price to reserve, now that the service can read the media."""
        quoted = await self._ask_price(flight.kind.start_at.path, body) if self._ask_price else None
        return [(flight.kind.name, quoted)]

    async def _request(self, flight: Flight, body: Mapping[str, Any]) -> "Answer":
        def sent() -> None:
            if flight.withdrawn:
                # The cancellation has been requested but would only arrive after the request
                # was written. This is the last point at which nothing has been sent.
                raise asyncio.CancelledError
            assert flight.recovery is not None  # noqa: S101  # set by before()
            flight.sent = True
            self._claims.sent(kind, flight.recovery, flight.token)
            if self._book is not None:
                self._book.sent(flight.key)
            self._places.sent(flight)

        def refused() -> None:
            # 429: the service did not accept it, so the start can be withdrawn again.
            flight.sent = False
            self._claims.settled(flight.token)
            if self._book is not None and flight.recovery is not None:
                self._book.refused(flight.key, flight.recovery.sent_at)
            if not flight.riders:
                self._withdraw(flight)

        async def before() -> None:
            # Set here and not earlier: the recovery search relies on this time, and the request
            # may have waited for the rate limiter for minutes.
            flight.recovery = self._lookout(flight, body)
            if self._book is not None:
                await self._book.intend(flight)
            flight.sent_at = asyncio.get_running_loop().time()

        kind = flight.kind
        asked = self._webhook.inputs(flight.hook) if self._webhook and flight.hook else {}
        return await self._session.request(
            kind.start_at.method,
            kind.start_at.path,
            json={**body, **asked} if asked else body,
            repeat=Repeat.CHARGED,
            priority=Priority.START,
            timeout=flight.timeout,
            before=before,
            on_sent=sent,
            on_refused=refused,
        )

    def _lookout(self, flight: Flight, body: Mapping[str, Any]) -> Recovery:
        """Return what identifies this start in a list, in case the response is lost."""
        kind = flight.kind
        return Recovery(
            kind=kind.name,
            path=kind.start_at.path,
            name=flight.name,
            mark=flight.mark,
            digest=flight.digest,
            sent_at=utc_now(),
            expected=kind.expected(flight.inputs),
            echo=echo_of(body),
        )

    async def _upload(self, flight: Flight) -> dict[tuple[str, int | None], str]:
        urls: dict[tuple[str, int | None], str] = {}
        local = [item for item in flight.media.values() if not isinstance(item, str)]
        if len(local) > 1:  # do not pay for the first upload if the second file has gone
            await self._desk.check_prepared(*local)
        # Sequential: a start rarely has two files, and all starts share the connections.
        for place, item in flight.media.items():
            if isinstance(item, str):
                urls[place] = item
                continue
            urls[place], coins = await self._desk.upload_prepared(item, flight.held)
            flight.upload_coins += coins
        return urls

    async def _answered(self, flight: Flight, answer: "Answer") -> Task[Any]:
        kind = flight.kind
        start = read_start(kind, answer.data)
        if isinstance(start, Refusal) and answer.code is not None and answer.http_status == 200:
            raise InvalidRequest(
                http_status=answer.http_status,
                code=answer.code,
                message=excerpt(start.reason),
                trace_id=answer.trace_id,
                method=kind.start_at.method,
                path=kind.start_at.path,
                advice="The service created no task.",
                from_api=True,
            )
        if start is None or isinstance(start, Refusal):
            return await self._look(flight, "the service reported success without a task")
        return await self._accepted(flight, start)

    async def _accepted(
        self, flight: Flight, rows: Sequence[Raw], *, found: bool = False
    ) -> Task[Any]:
        kind = flight.kind
        named_ids = tuple(dict.fromkeys(id for raw in rows if (id := read_id(raw))))
        task = await self._write_down(flight, named_ids, rows)
        if task is None:
            # A remote task belongs to exactly one start, also in the journal.
            flight.task = None
            self._claims.release(kind, named_ids, flight.token)
            why = f"the service named a task of another start ({named_ids[0]})"
            if found:
                raise self._lose(flight, why)
            return await self._look(flight, why)
        if found:
            rest = self._rest_of(kind, flight.recovery, task.ids, task.parts)
            await self._find_later(flight, rest)
        else:
            task = await self._complete(flight, task)
        claimed = flight.riders > 0
        if not claimed:
            self._keep(task)
        if self._teller is not None:
            self._teller.accepted(flight, task, claimed=claimed, found=found)
        return task

    async def _write_down(
        self, flight: Flight, named: tuple[str, ...], rows: Sequence[Raw]
    ) -> Task[Any] | None:
        """Claim and journal a start's tasks; return None if all belong to another start."""
        kind = flight.kind
        ids = self._claims.claim(kind, named, flight.token)
        if not ids:
            return None
        self._claims.settled(flight.token)
        task = self._take(flight, ids, rows)
        flight.held.settle(kind.name, task.coins, kind.ref(ids))
        if self._book is None:
            return task
        ours = await self._book.accept(flight, ids, task.coins)
        if not ours:
            return None
        return task if len(ours) == len(ids) else self._take(flight, ours, rows)

    def _take(self, flight: Flight, ids: tuple[str, ...], rows: Sequence[Raw]) -> Task[Any]:
        """Make the handle of a start's tasks and store it as the attempt's result."""
        task = self._handle(flight, ids, self._read(flight.kind, rows))
        flight.task = task
        self._places.accepted(flight, task)
        return task

    def _handle(
        self, flight: Flight, ids: tuple[str, ...], records: tuple[Record, ...]
    ) -> Task[Any]:
        return Task(
            flight.services,
            flight.kind,
            ids,
            records=records,
            now=asyncio.get_running_loop().time(),
            meta=flight.inputs.meta,
            key=flight.inputs.key,
            hook=flight.hook,
        )

    # -- responses with fewer tasks than were ordered ------------------------------------------

    async def _complete(self, flight: Flight, task: Task[Any]) -> Task[Any]:
        """Search for tasks that the response left out; return the handle of all.

        After two scans without success the search continues in the background; tasks that it
        finds then are unclaimed.
        """
        recovery = self._rest_of(flight.kind, flight.recovery, task.ids, task.parts)
        if recovery is None:
            return task
        self._claims.lost(flight.kind, recovery, flight.token)
        result = await self._recoverer.find(
            flight.kind, recovery, flight.token, pauses=FIRST_PAUSES
        )
        rows = result.records
        if not result.sure:
            await self._find_later(flight, recovery)
            return task
        self._claims.settled(flight.token)
        ids = tuple(id for raw in rows if (id := read_id(raw)))
        records = self._read(flight.kind, rows)
        remaining = self._handle(flight, ids, records)
        self._places.adopt(flight.services.caller, remaining)
        for budget in flight.held.budgets:
            budget.count(remaining.coins, flight.kind.ref(ids))
        if self._book is not None:
            await self._book.accept(flight, ids, remaining.coins)
        if not flight.riders:
            self._keep(remaining)  # `_handle_accepted` keeps the start's other tasks
            return task
        flight.task = task = self._handle(flight, task.ids + ids, task.parts + records)
        return task

    def _rest_of(
        self,
        kind: TaskKind[..., Any],
        recovery: Recovery | None,
        ids: Sequence[str],
        parts: Sequence[Record] = (),
    ) -> Recovery | None:
        """Return what to search for if a start has fewer tasks than it ordered, else None.

        Nothing is missing if the known records have all outputs: some kinds make one task with
        several outputs.
        """
        if recovery is None or not recovery.name or not listings(kind):
            return None
        missing = recovery.expected - len(ids)
        outputs = sum(len(part.outputs) for part in parts)
        if missing <= 0 or outputs >= recovery.expected:
            return None
        return evolve(recovery, expected=missing)

    def _by_mark(
        self, kind: TaskKind[..., Any], recovery: Recovery, token: object, found: Found
    ) -> Found:
        """Return the tasks with the start's mark, if the search result is not certain.

        A mark is unique, so these tasks belong to the start even if they are too few.
        """
        if found.sure or recovery.mark is None:
            return found
        rows = tuple(raw for raw in found.records if carries(kind, raw, recovery.mark))
        own = self._claims.claim(kind, [id for raw in rows if (id := read_id(raw))], token)
        rows = tuple(raw for raw in rows if read_id(raw) in own)
        return Found(rows, sure=True) if rows else found

    async def _find_later(self, flight: Flight, rest: Recovery | None) -> None:
        """Search for remaining tasks in the background, so that the start can return.

        They are recorded in the journal first, because the start's own entry may close at once.
        """
        if rest is None:
            return
        key = None if self._book is None else flight.key
        token = object() if key is None else rest_key(key)
        if token in self.searching:
            return
        self._claims.settled(flight.token)
        self._claims.lost(flight.kind, rest, token)
        self.searching.add(token)
        if self._book is not None and key is not None:
            entry = None
            try:
                entry = await self._book.intend_rest(key, rest, flight.inputs.meta)
            finally:
                if entry is None:  # found already, or searched for by another client
                    self._claims.settled(token)
                    self.searching.discard(token)
            if entry is None:
                return
        self._later(self._count_rest(flight, rest, token))

    async def _count_rest(self, flight: Flight, rest: Recovery, token: object) -> None:
        services, meta = flight.services, flight.inputs.meta
        task = await self.find_rest(flight.kind, rest, token, services=services, meta=meta)
        if task is not None:
            for budget in flight.held.budgets:
                budget.count(task.coins, flight.kind.ref(task.ids))
            self._keep(task)

    async def find_rest(
        self,
        kind: TaskKind[..., Any],
        rest: Recovery,
        token: object,
        *,
        services: TaskServices,
        meta: Mapping[str, Any] | None,
    ) -> Task[Any] | None:
        """Search for tasks that a start's response left out; return their handle.

        Return None if there are none, as the lists prove or because one record has all outputs.
        With a journal, ``start_id`` is the key of their entry. Raises `StartOutcomeUnknown` if
        they are not found; then the entry stays open and later runs search again.
        """
        self.searching.add(token)
        try:
            self._claims.lost(kind, rest, token)
            result = await self._recoverer.find(kind, rest, token)
            result = self._by_mark(kind, rest, token, result)
        finally:
            self.searching.discard(token)
        key = start_of_rest(token) if isinstance(token, str) else None
        book = None if key is None else self._book
        if result.sure:
            self._claims.settled(token)
            ids = tuple(id for raw in result.records if (id := read_id(raw)))
            records = self._read(kind, result.records)
            now = asyncio.get_running_loop().time()
            task: Task[Any] = Task(services, kind, ids, records=records, now=now, meta=meta)
            self._places.adopt(services.caller, task)
            logger.info("found %s, which the response to its start had left out", task.ref)
            if book is not None and key is not None:
                await book.accept_rest(key, task, rest)
            return task
        if result.absent and not self._recoverer.closed:
            self._claims.settled(token)
            if book is not None and key is not None:
                await book.drop_rest(key)
            return None
        if book is not None and key is not None and not await book.lacks(key):
            self._claims.settled(token)
            return None
        logger.warning(
            "the response to a %s start (name %s) had %d tasks fewer than were ordered, and they "
            "were not found; candidates: %s",
            kind.name,
            rest.name,
            rest.expected,
            ", ".join(kind.ref((id,)) for raw in result.records if (id := read_id(raw))) or "?",
        )
        why = f"its response had {rest.expected} tasks fewer than were ordered"
        raise unknown_start(kind, rest, why, self._read(kind, result.records))

    def _read(self, kind: TaskKind[..., Any], start: Sequence[Raw]) -> tuple[Record, ...]:
        try:
            return tuple(read_record(kind, raw, self.source) for raw in start)
        except Exception:
            # The ids are enough to keep what was paid for. The first poll reads the record again.
            logger.exception("the record in the response to a %s start is unreadable", kind.name)
            return ()

    def _standing(self, flight: Flight, entry: Entry) -> Task[Any]:
        """Return a handle for the task that the key's journal entry holds."""
        task: Task[Any] = Task(
            flight.services,
            flight.kind,
            entry.ids,
            meta=flight.inputs.meta,
            key=flight.inputs.key,
            hook=entry.hook,
        )
        if entry.state is State.ACCEPTED:
            self._places.adopt(flight.services.caller, task)
        flight.task = task
        if self._teller is not None:
            self._teller.resumed(task, flight.number)
        return task

    async def _forget(self, flight: Flight) -> None:
        self._claims.settled(flight.token)
        self._places.free(flight)
        flight.held.release()
        if self._book is not None:
            await self._book.drop(flight)

    # -- lost responses ------------------------------------------------------------------------

    async def _look(
        self, flight: Flight, why: str, cause: BaseException | None = None
    ) -> Task[Any]:
        """Search for a start that may have been accepted; raise if it remains unknown."""
        recovery = flight.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        if cause is not None and recovery.lost_at is None:
            recovery = flight.recovery = evolve(recovery, lost_at=utc_now())
        self._claims.lost(flight.kind, recovery, flight.token)
        resends = self._resend and not flight.foreign
        if self._book is not None:
            await self._book.lose(flight)
        try:
            result = await self._search(flight, recovery)
            if result.absent and resends:
                result = await self._wait_for_absence(flight, recovery)
        except asyncio.CancelledError as error:
            raise self._lose(flight, "the client was closed before it was found") from error
        if result.absent and resends:
            logger.warning(
                "a %s start is proved absent at the service and is submitted again", recovery.kind
            )
            flight.sent, flight.recovery = False, None
            self._claims.settled(flight.token)
            return await self._start(flight)
        if result.sure:
            logger.info("found the task of a %s start whose response was lost", recovery.kind)
            return await self._accepted(flight, result.records, found=True)
        raise self._lose(flight, why, result) from cause

    async def _search(self, flight: Flight, recovery: Recovery) -> Found:
        """Search for a start whose response was lost."""
        result = await self._recoverer.find(flight.kind, recovery, flight.token)
        return self._by_mark(flight.kind, recovery, flight.token, result)

    async def _wait_for_absence(self, flight: Flight, recovery: Recovery) -> Found:
        """Search again once enough time has passed for absence to be a proof.

        Before, a gateway may still hold the request and pass it on, and submitting again would
        charge twice.
        """
        if flight.sent_at is not None:  # sent by this process: its own clock is exact
            since = asyncio.get_running_loop().time() - flight.sent_at
            left = RESEND_AFTER - since
        else:
            age = (utc_now() - recovery.sent_at).total_seconds()
            left = wait_for_absence(age, RESEND_AFTER)
        await asyncio.sleep(max(0.0, left))
        return await self._recoverer.find(flight.kind, recovery, flight.token, far=True)

    def _lose(self, flight: Flight, why: str, found: Found | None = None) -> StartOutcomeUnknown:
        recovery = flight.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        self._claims.lost(flight.kind, recovery, flight.token)
        # Not a user's own name: it may be private, so only the digest of the inputs is logged.
        logger.warning(
            "the outcome of a %s start is unknown (%s); it was not sent again",
            recovery.kind,
            f"name {recovery.mark}" if recovery.mark else f"inputs {recovery.digest[:12]}",
        )
        if self._teller is not None:
            self._teller.lost(recovery, flight.number)
        return self._unknown(flight, recovery, why, found)

    def _unknown(
        self, flight: Flight, recovery: Recovery, why: str, found: Found | None = None
    ) -> StartOutcomeUnknown:
        candidates = self._read(flight.kind, found.records) if found else ()
        return unknown_start(flight.kind, recovery, why, candidates)
