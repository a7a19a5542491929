"""Runs one start: upload, submit at most once, and search for the task if the response is lost."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve

from a2e_async._core.clock import utc_now
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.journal.keys import remaining_tasks_key, start_key_of_remaining_tasks
from a2e_async._core.journal.protocol import UPLOAD, Entry, LeaseLost, State
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.schema.inputs import MediaInput
from a2e_async._core.submission.attempt import StartAttempt
from a2e_async._core.submission.paid_request import PaidExecutor, refused_by_service
from a2e_async._core.submission.quotes import (
    FetchPrice,
    body_before_upload,
    price_may_depend_on_duration,
)
from a2e_async._core.submission.recovery_match import (
    MIN_AGE_FOR_RESEND,
    SHORT_SCAN_DELAYS,
    RawRecord,
    SearchResult,
    has_mark,
    seconds_until_absence_counts,
    without_other_starts,
)
from a2e_async._core.submission.recovery_search import (
    KnownTaskIds,
    RecoverySearch,
    list_endpoints,
    unknown_start_error,
)
from a2e_async._core.submission.unclaimed import UnclaimedStarts
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import StartRefusal, read_id, read_record, read_start_response
from a2e_async._core.tasks.task import Task, TaskServices
from a2e_async._core.typeguards import parse_price
from a2e_async._core.webhooks.tokens import WebhookTarget
from a2e_async.errors import BudgetExceeded, InvalidRequest, StartOutcomeUnknown
from a2e_async.models import MediaType, Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.files.upload import LocalUpload
    from a2e_async._core.http.call import ApiCall
    from a2e_async._core.http.session import ApiResponse, ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.submission.admission import AdmissionControl
    from a2e_async._core.submission.budget import BudgetQueue, PricedCall, Reservation
    from a2e_async.models import OutputSource

logger = logging.getLogger("a2e_async.submission")


class MediaUploader(Protocol):
    """Turns media inputs into URLs. The client's `files` implements it."""

    async def resolve(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> "LocalUpload | str": ...

    async def upload_inspected(
        self, prepared: "LocalUpload", reservation: "Reservation | None" = None
    ) -> tuple[str, int]: ...

    async def check_unchanged(self, *prepared: "LocalUpload") -> None: ...

    def is_upload_charged(self, prepared: "LocalUpload") -> bool: ...


class StartExecutor(PaidExecutor[StartAttempt, Task[Any]]):
    """Submits the starts of one client, and searches for those whose response was lost.

    ``resend``: submit again once the absence of the task is proved. ``unclaimed`` keeps tasks
    that no caller gets.

    Created by the `StartRegistry`, with which it lives; changed on the client's event loop only.
    """

    def __init__(
        self,
        session: "ApiSession",
        media_uploader: MediaUploader,
        recovery_search: RecoverySearch,
        known_tasks: KnownTaskIds,
        *,
        admission: "AdmissionControl",
        recorder: "JournalRecorder | None",
        resend: bool,
        webhook: WebhookTarget | None,
        fetch_price: FetchPrice | None,
        budget_queue: "BudgetQueue",
        emitter: "EventEmitter | None",
        unclaimed: UnclaimedStarts,
        output_source: "OutputSource | None",
    ) -> None:
        super().__init__(session, recorder)
        self._output_source = output_source
        self.remaining_searches: set[object] = set()
        """The ids of running searches for tasks that a start response left out."""
        self.background_searches: set[asyncio.Task[None]] = set()
        """Those searches that continue after their start has returned."""
        self._media_uploader = media_uploader
        self._recovery_search = recovery_search
        self._known_tasks = known_tasks
        self._admission = admission
        self._resend = resend
        self._webhook = webhook
        self._fetch_price = fetch_price
        self._budget_queue = budget_queue
        self._emitter = emitter
        self._unclaimed = unclaimed

    async def run(self, attempt: StartAttempt) -> Task[Any]:
        """Return the task of a start: from its journal entry, by a search, or newly started.

        Raises `StartOutcomeUnknown`, `KeyConflict`, `JournalError`, and what the service and
        the network raise.
        """
        check_key = self._recorder is not None and not self._can_send_at_once(attempt)
        while True:
            try:
                entry = None
                if self._recorder is not None:
                    entry = await self._recorder.reserve_key(attempt, check_first=check_key)
                if entry is not None:
                    return await self._take_task_of(attempt, entry)
                if attempt.recovery is not None:
                    attempt.sent_earlier = True  # search for it, never withdraw it
                    reason = "its process ended before the response arrived"
                    return await self._recover(attempt, reason)
                return await self.submit(attempt)
            except LeaseLost:
                # Another start holds the key, or this process was suspended for longer than its
                # lease and another client took the entry. Nothing was sent from here, so the next
                # round waits for the other start's result.
                attempt.recovery, check_key = None, True
                attempt.sent_at_loop_time = None
            except BaseException:
                # What is still reserved may have been charged. It stays reserved until the next
                # start with this key finds out.
                attempt.reservation.retain(attempt.reservation_key)
                raise

    def _can_send_at_once(self, attempt: StartAttempt) -> bool:
        """Return whether the intent is the next journal write, without any wait before it.

        Then writing the intent also finds out whether the key is free, and reading the entry
        first would only cost time.
        """
        return (
            not (attempt.reservation.budgets or self._admission.enabled)
            and self._session.can_start_now()
        )

    async def _take_task_of(self, attempt: StartAttempt, entry: Entry) -> Task[Any]:
        """Return the task that a key has already, by its journal entry."""
        attempt.reservation.count_existing(entry.key, entry.cost, entry.ref)
        if entry.open:  # a closed entry has a separate one for remaining tasks
            recovery = recovery_from_entry(entry)
            rest = self._recovery_of_remaining(attempt.kind, recovery, entry.ids)
            await self._search_remaining_later(attempt, rest)
        return self._task_from_entry(attempt, entry)

    async def find_lost_start(self, attempt: StartAttempt) -> Task[Any]:
        """Search for a start without submitting it. Raises `StartOutcomeUnknown`."""
        attempt.sent_earlier = True
        recovery = attempt.recovery
        assert recovery is not None  # noqa: S101  # a search is always for a recovery
        self._known_tasks.mark_lost(attempt.kind, recovery, attempt.start_id)
        result = await self._search_lists(attempt, recovery)
        if not result.is_certain:
            raise self._unknown_start_error(attempt, recovery, "it was not found", result)
        return await self._handle_accepted(attempt, result.records, was_lost=True)

    # -- submitting ----------------------------------------------------------------------------

    async def _prepare(self, request: StartAttempt) -> dict[str, Any]:
        """Reserve the start's price, wait for its slot, upload its files; return the body.

        Before it waits for a budget it gives back its slot and its reservation. A start that
        holds one resource while it waits for another could deadlock with a second one.
        """
        prices, final = await self._price_before_uploads(request)
        if prices and not request.reservation:
            await self._reserve_prices(request, lambda: prices)
        while True:
            if self._admission.enabled:
                await self._admission.acquire(request)
            try:
                body = await self._build_body(request)
                if not final:
                    prices, final = await self._price_after_uploads(request, body), True
                    request.reservation.reserve(*prices)
            except BudgetExceeded:
                # No room for an upload, or the final price is higher: wait for the budget, this
                # time for the start and all uploads that are left.
                self._admission.release(request)
                await self._reserve_prices(
                    request, partial(self._prices_with_uploads, request, prices)
                )
            else:
                request.reservation.release(UPLOAD)  # of files that another start has uploaded
                return body

    async def _reserve_prices(
        self, attempt: StartAttempt, get_prices: "Callable[[], Sequence[PricedCall]]"
    ) -> None:
        caller = attempt.services.tenant
        await self._budget_queue.reserve(
            attempt.reservation, get_prices, max_wait=None if caller is None else caller.max_wait
        )

    def _prices_with_uploads(
        self, attempt: StartAttempt, prices: "Sequence[PricedCall]"
    ) -> "list[PricedCall]":
        """Return the prices to reserve for a start and for its uploads that are left."""
        charged_digests = {
            item.digest
            for item in attempt.media.values()
            if not isinstance(item, str) and self._media_uploader.is_upload_charged(item)
        }
        return [*prices, *((UPLOAD, None) for _ in charged_digests)]

    async def _build_body(self, attempt: StartAttempt) -> dict[str, Any]:
        """Upload local files and return the request body."""
        kind = attempt.kind
        urls: dict[tuple[str, int | None], str] = {}
        local = [item for item in attempt.media.values() if not isinstance(item, str)]
        if len(local) > 1:  # do not pay for the first upload if the second file has gone
            await self._media_uploader.check_unchanged(*local)
        # Sequential: a start rarely has two files, and all starts share the connections.
        for input_key, item in attempt.media.items():
            if isinstance(item, str):
                urls[input_key] = item
                continue
            urls[input_key], coins = await self._media_uploader.upload_inspected(
                item, attempt.reservation
            )
            attempt.upload_coins += coins
        body = kind.request_body(attempt.inputs, urls)
        if kind.name_field and attempt.name:
            body[kind.name_field] = attempt.name
        return body

    async def _price_before_uploads(self, attempt: StartAttempt) -> "tuple[list[PricedCall], bool]":
        """Return the prices to reserve before the uploads, and whether they are final.

        They are not final if the service refuses to quote without the files' URLs, or if the
        price may depend on the duration of a local file.
        """
        if not attempt.reservation.budgets:
            return [], True
        if attempt.reservation:  # still reserved from an earlier submission of this attempt
            return [(attempt.kind.name, attempt.reservation.price)], True
        quote = None
        try:
            if self._fetch_price:
                path = attempt.kind.start.path
                quote = await self._fetch_price(
                    path, body_before_upload(attempt.kind, attempt.inputs)
                )
        except InvalidRequest:
            if attempt.needs_no_upload:
                raise
            return [], False
        return [(attempt.kind.name, quote)], not price_may_depend_on_duration(attempt.inputs)

    async def _price_after_uploads(
        self, attempt: StartAttempt, body: Mapping[str, Any]
    ) -> "list[PricedCall]":
        """Return the price to reserve, now that the service can read the media."""
        quoted = (
            await self._fetch_price(attempt.kind.start.path, body) if self._fetch_price else None
        )
        return [(attempt.kind.name, quoted)]

    def _new_call(self, request: StartAttempt, body: Mapping[str, Any]) -> "ApiCall":
        start, webhook_id = request.kind.start, request.webhook_id
        if self._webhook is not None and webhook_id:
            body = {**body, **self._webhook.inputs(webhook_id)}
        return self._session.new_call(
            start.method,
            start.path,
            json=body,
            retry_safety=RetrySafety.CHARGED,
            priority=Priority.START,
            timeout=request.timeout,
        )

    def _on_turn(self, request: StartAttempt) -> None:
        assert request.recovery is not None  # noqa: S101  # set at the beginning of the turn
        self._known_tasks.mark_sent(request.kind, request.recovery, request.start_id)
        self._admission.mark_sent(request)

    def _on_not_accepted(self, request: StartAttempt) -> None:
        self._known_tasks.mark_resolved(request.start_id)

    async def _discard(self, request: StartAttempt) -> None:
        self._admission.release(request)
        await super()._discard(request)

    async def _read(self, request: StartAttempt, response: "ApiResponse") -> Task[Any]:
        kind, recovery = request.kind, request.recovery
        start = read_start_response(kind, response.data)
        if (
            isinstance(start, StartRefusal)
            and response.code is not None
            and response.http_status == 200
        ):
            advice = "The service created no task."
            raise refused_by_service(
                response, kind.start.path, start.reason, advice, kind.start.method
            )
        if start is None or isinstance(start, StartRefusal):
            return await self._recover(request, "the service reported success without a task")
        if recovery is not None and len(start) > recovery.expected:
            start = without_other_starts(kind, recovery.mark, start)
        return await self._handle_accepted(request, start)

    async def _handle_accepted(
        self, attempt: StartAttempt, records: Sequence[RawRecord], *, was_lost: bool = False
    ) -> Task[Any]:
        kind = attempt.kind
        named_ids = tuple(dict.fromkeys(id for raw in records if (id := read_id(raw))))
        task = await self._claim_and_record(attempt, named_ids, records)
        if task is None:
            # A remote task belongs to exactly one start, also in the journal.
            attempt.result = None
            self._admission.release_missing(attempt)
            self._known_tasks.release(kind, named_ids, attempt.start_id)
            reason = f"the service named a task of another start ({named_ids[0]})"
            if was_lost:
                raise self.report_unknown(attempt, reason)
            return await self._recover(attempt, reason)
        if was_lost:
            rest = self._recovery_of_remaining(kind, attempt.recovery, task.ids, task.parts)
            await self._search_remaining_later(attempt, rest)
        else:
            task = await self._find_remaining(attempt, task)
        if self._emitter is not None:
            claimed = attempt.waiter_count > 0
            self._emitter.start_accepted(attempt, task, claimed=claimed, found=was_lost)
        return task

    async def _claim_and_record(
        self, attempt: StartAttempt, named_ids: tuple[str, ...], records: Sequence[RawRecord]
    ) -> Task[Any] | None:
        """Claim and journal a start's tasks; return None if all belong to another start."""
        kind = attempt.kind
        ids = self._known_tasks.claim(kind, named_ids, attempt.start_id)
        if not ids:
            return None
        self._known_tasks.mark_resolved(attempt.start_id)
        task = self._assign_task(attempt, ids, records)
        attempt.reservation.commit(kind.name, self._price_to_count(attempt, task), kind.ref(ids))
        if self._recorder is None:
            return task
        own_ids = await self._recorder.record_accepted(attempt, ids, task.coins)
        if not own_ids:
            return None
        return task if len(own_ids) == len(ids) else self._assign_task(attempt, own_ids, records)

    def _price_to_count(self, attempt: StartAttempt, task: Task[Any]) -> int | None:
        """Return the coins that budgets count for a start, with tasks that are not named yet.

        A response names the price of its own tasks alone. What was reserved is the price of all
        of them, and the others are charged as well.
        """
        named, reserved = parse_price(task.coins), attempt.reservation.price
        recovery = attempt.recovery
        if recovery is None or len(task.ids) >= recovery.expected or reserved is None:
            return named
        attempt.prepaid = max(0, reserved - (named or 0))
        return max(reserved, named or 0)

    def _count_remaining(self, attempt: StartAttempt, task: Task[Any]) -> None:
        """Count found tasks of a start in its budgets, beyond what is counted already."""
        coins = parse_price(task.coins) or 0
        covered = min(coins, attempt.prepaid)
        attempt.prepaid -= covered
        if coins > covered:
            for budget in attempt.reservation.budgets:
                budget.count_task(coins - covered, attempt.kind.ref(task.ids))

    def _assign_task(
        self, attempt: StartAttempt, ids: tuple[str, ...], records: Sequence[RawRecord]
    ) -> Task[Any]:
        """Make the handle of a start's tasks and store it as the attempt's result."""
        task = self._make_task(attempt, ids, self._decode_records(attempt.kind, records))
        attempt.result = task
        rest = self._recovery_of_remaining(attempt.kind, attempt.recovery, ids, task.parts)
        self._admission.occupy(attempt, task, 0 if rest is None else rest.expected)
        return task

    def _make_task(
        self, attempt: StartAttempt, ids: tuple[str, ...], records: tuple[Record, ...]
    ) -> Task[Any]:
        return Task(
            attempt.services,
            attempt.kind,
            ids,
            records=records,
            now=asyncio.get_running_loop().time(),
            meta=attempt.inputs.meta,
            key=attempt.inputs.key,
            webhook_id=attempt.webhook_id,
        )

    # -- responses with fewer tasks than were ordered ------------------------------------------

    async def _find_remaining(self, attempt: StartAttempt, task: Task[Any]) -> Task[Any]:
        """Search for tasks that the response left out; return the handle of all.

        After two scans without success the search continues in the background; tasks that it
        finds then are unclaimed.
        """
        recovery = self._recovery_of_remaining(attempt.kind, attempt.recovery, task.ids, task.parts)
        if recovery is None:
            return task
        self._known_tasks.mark_lost(attempt.kind, recovery, attempt.start_id)
        result = await self._recovery_search.find(
            attempt.kind, recovery, attempt.start_id, delays=SHORT_SCAN_DELAYS
        )
        rows = result.records
        if not result.is_certain:
            await self._search_remaining_later(attempt, recovery)
            return task
        self._known_tasks.mark_resolved(attempt.start_id)
        ids = tuple(id for raw in rows if (id := read_id(raw)))
        records = self._decode_records(attempt.kind, rows)
        remaining = self._make_task(attempt, ids, records)
        self._admission.occupy_by_existing(attempt.services.tenant, remaining)
        self._admission.release_missing(attempt)
        self._count_remaining(attempt, remaining)
        if self._recorder is not None:
            await self._recorder.record_accepted(attempt, ids, remaining.coins)
        if not attempt.waiter_count:
            self._unclaimed.add_task(remaining)  # the start's other tasks are its result
            return task
        attempt.result = task = self._make_task(attempt, task.ids + ids, task.parts + records)
        return task

    def _recovery_of_remaining(
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
        missing = 0 if recovery is None else recovery.expected - len(ids)
        if recovery is None or missing <= 0:
            return None
        if not recovery.name or not list_endpoints(kind):
            return None
        if sum(len(part.outputs) for part in parts) >= recovery.expected:
            return None
        return evolve(recovery, expected=missing)

    def _match_by_mark(
        self, kind: TaskKind[..., Any], recovery: Recovery, start_id: object, result: SearchResult
    ) -> SearchResult:
        """Return the tasks with the start's mark, if the search result is not certain.

        A mark is unique, so these tasks belong to the start even if they are too few.
        """
        if result.is_certain or recovery.mark is None:
            return result
        rows = tuple(raw for raw in result.records if has_mark(kind, raw, recovery.mark))
        own = self._known_tasks.claim(kind, [id for raw in rows if (id := read_id(raw))], start_id)
        rows = tuple(raw for raw in rows if read_id(raw) in own)
        return SearchResult(rows, is_certain=True) if rows else result

    async def _search_remaining_later(
        self, attempt: StartAttempt, remaining: Recovery | None
    ) -> None:
        """Search for remaining tasks in the background, so that the start can return.

        They are recorded in the journal first, because the start's own entry may close at once.
        """
        if remaining is None:
            return
        key = None if self._recorder is None else attempt.key
        token = object() if key is None else remaining_tasks_key(key, remaining.sent_at)
        if token in self.remaining_searches:
            self._admission.release_missing(attempt)
            return
        self._known_tasks.mark_resolved(attempt.start_id)
        self._known_tasks.mark_lost(attempt.kind, remaining, token)
        self.remaining_searches.add(token)
        if self._recorder is not None and key is not None:
            entry = None
            try:
                entry = await self._recorder.record_remaining_intent(
                    key, remaining, attempt.inputs.meta
                )
            finally:
                if entry is None:  # found already, or searched for by another client
                    self._known_tasks.mark_resolved(token)
                    self.remaining_searches.discard(token)
                    self._admission.release_missing(attempt)
            if entry is None:
                return
        search = self._search_and_count_remaining(attempt, remaining, token)
        self._search_in_background(search, remaining)

    def _search_in_background(self, search: Coroutine[Any, Any, None], remaining: Recovery) -> None:
        """Search for a start's ``remaining`` tasks after it returned, until the client closes."""
        if self._recovery_search.closed:
            search.close()
            self._unclaimed.add_unknown(remaining)
            return
        task = asyncio.get_running_loop().create_task(search, context=Context())
        self.background_searches.add(task)
        task.add_done_callback(self._on_background_search_done)

    def _on_background_search_done(self, task: asyncio.Task[None]) -> None:
        self.background_searches.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StartOutcomeUnknown):
            self._unclaimed.add_unknown(error.recovery)
        elif error is not None:
            logger.error("the search for remaining tasks of a start failed", exc_info=error)

    async def _search_and_count_remaining(
        self, attempt: StartAttempt, remaining: Recovery, start_id: object
    ) -> None:
        try:
            await self._search_remaining(attempt, remaining, start_id)
        finally:
            self._admission.release_missing(attempt)

    async def _search_remaining(
        self, attempt: StartAttempt, remaining: Recovery, start_id: object
    ) -> None:
        services, meta = attempt.services, attempt.inputs.meta
        while True:
            task = await self.find_remaining_tasks(
                attempt.kind, remaining, start_id, services=services, meta=meta
            )
            if task is None:
                return
            self._count_remaining(attempt, task)
            self._admission.release_missing(attempt, len(task.ids))
            self._unclaimed.add_task(task)
            missing = remaining.expected - len(task.ids)
            if missing <= 0:
                return
            # A list may show the tasks one after the other.
            remaining = evolve(remaining, expected=missing)
            if self._recorder is None or not isinstance(start_id, str):
                continue
            if await self._recorder.record_remaining_intent(start_id, remaining, meta) is None:
                return
            start_id = remaining_tasks_key(start_id, remaining.sent_at)

    async def find_remaining_tasks(
        self,
        kind: TaskKind[..., Any],
        remaining: Recovery,
        start_id: object,
        *,
        services: TaskServices,
        meta: Mapping[str, Any] | None,
    ) -> Task[Any] | None:
        """Search for tasks that a start's response left out; return their handle.

        Return None if there are none, as the lists prove or because one record has all outputs.
        With a journal, ``start_id`` is the key of their entry. Raises `StartOutcomeUnknown` if
        they are not found; then the entry stays open and later runs search again.
        """
        self.remaining_searches.add(start_id)
        try:
            self._known_tasks.mark_lost(kind, remaining, start_id)
            result = await self._recovery_search.find(kind, remaining, start_id)
            result = self._match_by_mark(kind, remaining, start_id, result)
        finally:
            self.remaining_searches.discard(start_id)
        key = start_key_of_remaining_tasks(start_id) if isinstance(start_id, str) else None
        recorder = None if key is None else self._recorder
        if result.is_certain:
            self._known_tasks.mark_resolved(start_id)
            ids = tuple(id for raw in result.records if (id := read_id(raw)))
            records = self._decode_records(kind, result.records)
            now = asyncio.get_running_loop().time()
            task: Task[Any] = Task(services, kind, ids, records=records, now=now, meta=meta)
            self._admission.occupy_by_existing(services.tenant, task)
            logger.info("found %s, which the response to its start had left out", task.ref)
            if recorder is not None and key is not None:
                await recorder.record_remaining_accepted(key, task, remaining)
            return task
        age = (utc_now() - remaining.sent_at).total_seconds()
        # A list may lag, as for a start that is to be submitted again: until then absence proves
        # nothing, and the entry stays for later runs.
        old_enough = seconds_until_absence_counts(age, MIN_AGE_FOR_RESEND) <= 0
        if result.is_absent and old_enough and not self._recovery_search.closed:
            self._known_tasks.mark_resolved(start_id)
            if recorder is not None and key is not None:
                await recorder.drop_remaining(key, remaining.sent_at)
            return None
        if recorder is not None and key is not None and not await recorder.is_incomplete(key):
            self._known_tasks.mark_resolved(start_id)
            return None
        logger.warning(
            "the response to a %s start (name %s) had %d tasks fewer than were ordered, and they "
            "were not found; candidates: %s",
            kind.name,
            remaining.name,
            remaining.expected,
            ", ".join(kind.ref((id,)) for raw in result.records if (id := read_id(raw))) or "?",
        )
        reason = f"its response had {remaining.expected} tasks fewer than were ordered"
        raise unknown_start_error(
            kind, remaining, reason, self._decode_records(kind, result.records)
        )

    def _decode_records(
        self, kind: TaskKind[..., Any], raw_records: Sequence[RawRecord]
    ) -> tuple[Record, ...]:
        try:
            return tuple(read_record(kind, raw, self._output_source) for raw in raw_records)
        except Exception:
            # The ids are enough to keep what was paid for. The first poll reads the record again.
            logger.exception("the record in the response to a %s start is unreadable", kind.name)
            return ()

    def _task_from_entry(self, attempt: StartAttempt, entry: Entry) -> Task[Any]:
        """Return a handle for the task that the key's journal entry holds."""
        task: Task[Any] = Task(
            attempt.services,
            attempt.kind,
            entry.ids,
            meta=attempt.inputs.meta,
            key=attempt.inputs.key,
            webhook_id=entry.hook,
        )
        if entry.state is State.ACCEPTED:
            self._admission.occupy_by_existing(attempt.services.tenant, task)
        attempt.result = task
        if self._emitter is not None:
            self._emitter.task_resumed(task, attempt.event_number)
        return task

    # -- lost responses ------------------------------------------------------------------------

    async def _recover(
        self, request: StartAttempt, reason: str, cause: BaseException | None = None
    ) -> Task[Any]:
        """Search for a start that may have been accepted; raise if it remains unknown."""
        recovery = request.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        if cause is not None and recovery.lost_at is None:
            recovery = request.recovery = evolve(recovery, lost_at=utc_now())
        self._known_tasks.mark_lost(request.kind, recovery, request.start_id)
        resends = self._resend and not request.owned_by_other_client
        if self._recorder is not None:
            await self._recorder.record_lost(request)
        try:
            result = await self._search_lists(request, recovery)
            if result.is_absent and resends:
                result = await self._confirm_absence(request, recovery)
        except asyncio.CancelledError as error:
            raise self.report_unknown(
                request, "the client was closed before it was found"
            ) from error
        if result.is_absent and resends:
            logger.warning(
                "a %s start is proved absent at the service and is submitted again", recovery.kind
            )
            request.sent_earlier, request.api_call, request.recovery = False, None, None
            self._known_tasks.mark_resolved(request.start_id)
            return await self.submit(request)
        if result.is_certain:
            logger.info("found the task of a %s start whose response was lost", recovery.kind)
            return await self._handle_accepted(request, result.records, was_lost=True)
        raise self.report_unknown(request, reason, result) from cause

    async def _search_lists(self, attempt: StartAttempt, recovery: Recovery) -> SearchResult:
        """Search for a start whose response was lost."""
        result = await self._recovery_search.find(attempt.kind, recovery, attempt.start_id)
        return self._match_by_mark(attempt.kind, recovery, attempt.start_id, result)

    async def _confirm_absence(self, attempt: StartAttempt, recovery: Recovery) -> SearchResult:
        """Search again once enough time has passed for absence to be a proof.

        Before, a gateway may still hold the request and pass it on, and submitting again would
        charge twice.
        """
        if attempt.sent_at_loop_time is not None:  # sent by this process: its own clock is exact
            since = asyncio.get_running_loop().time() - attempt.sent_at_loop_time
            remaining_seconds = MIN_AGE_FOR_RESEND - since
        else:
            age = (utc_now() - recovery.sent_at).total_seconds()
            remaining_seconds = seconds_until_absence_counts(age, MIN_AGE_FOR_RESEND)
        await asyncio.sleep(max(0.0, remaining_seconds))
        return await self._recovery_search.find(
            attempt.kind, recovery, attempt.start_id, allow_clock_error=True
        )

    def report_unknown(
        self, request: StartAttempt, reason: str, result: SearchResult | None = None
    ) -> StartOutcomeUnknown:
        recovery = request.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        self._known_tasks.mark_lost(request.kind, recovery, request.start_id)
        # Not a user's own name: it may be private, so only the digest of the inputs is logged.
        logger.warning(
            "the outcome of a %s start is unknown (%s); it was not sent again",
            recovery.kind,
            f"name {recovery.mark}" if recovery.mark else f"inputs {recovery.digest[:12]}",
        )
        if self._emitter is not None:
            self._emitter.start_lost(recovery, request.event_number)
        return self._unknown_start_error(request, recovery, reason, result)

    def _unknown_start_error(
        self,
        attempt: StartAttempt,
        recovery: Recovery,
        reason: str,
        result: SearchResult | None = None,
    ) -> StartOutcomeUnknown:
        candidates = self._decode_records(attempt.kind, result.records) if result else ()
        return unknown_start_error(attempt.kind, recovery, reason, candidates)
