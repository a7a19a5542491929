"""Runs one start: upload, submit at most once, and search for the task if the response is lost."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve

from a2e_async._core.clock import utc_now
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
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
    RawRecord,
    SearchResult,
    seconds_until_absence_counts,
    without_other_starts,
)
from a2e_async._core.submission.recovery_search import (
    KnownTaskIds,
    RecoverySearch,
    unknown_start_error,
)
from a2e_async._core.submission.remaining_tasks import RemainingTasks, recovery_of_remaining
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import (
    StartRefusal,
    read_id,
    read_start_records,
    read_start_response,
)
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import parse_price
from a2e_async._core.webhooks.tokens import WebhookTarget
from a2e_async.errors import BudgetExceeded, InvalidRequest, StartOutcomeUnknown
from a2e_async.models import MediaType, Recovery

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

    ``resend``: submit again once the absence of the task is proved.

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
        remaining_tasks: RemainingTasks,
        output_source: "OutputSource | None",
    ) -> None:
        super().__init__(session, recorder)
        self._output_source = output_source
        self._media_uploader = media_uploader
        self._recovery_search = recovery_search
        self._known_tasks = known_tasks
        self._admission = admission
        self._resend = resend
        self._webhook = webhook
        self._fetch_price = fetch_price
        self._budget_queue = budget_queue
        self._emitter = emitter
        self._remaining_tasks = remaining_tasks

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
                if entry is not None and entry.state >= State.ACCEPTED:
                    return await self._take_task_of(attempt, entry)
                if entry is not None:
                    attempt.continue_from(entry)
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
            rest = recovery_of_remaining(attempt.spec.kind, recovery, entry.ids)
            await self._remaining_tasks.find_later(attempt, rest)
        return self._task_from_entry(attempt, entry)

    async def find_lost_start(self, attempt: StartAttempt) -> Task[Any]:
        """Search for a start without submitting it. Raises `StartOutcomeUnknown`."""
        attempt.sent_earlier = True
        recovery = attempt.recovery
        assert recovery is not None  # noqa: S101  # a search is always for a recovery
        self._known_tasks.mark_lost(recovery, attempt.start_id)
        result = await self._recovery_search.find_by_mark(
            attempt.spec.kind, recovery, attempt.start_id
        )
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
                    prices, final = await self._quote(request.spec.kind, body), True
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
        caller = attempt.spec.services.tenant
        await self._budget_queue.reserve(
            attempt.reservation, get_prices, max_wait=None if caller is None else caller.max_wait
        )

    def _prices_with_uploads(
        self, attempt: StartAttempt, prices: "Sequence[PricedCall]"
    ) -> "list[PricedCall]":
        """Return the prices to reserve for a start and for its uploads that are left."""
        charged_digests = {
            item.digest
            for item in attempt.spec.media.values()
            if not isinstance(item, str) and self._media_uploader.is_upload_charged(item)
        }
        return [*prices, *((UPLOAD, None) for _ in charged_digests)]

    async def _build_body(self, attempt: StartAttempt) -> dict[str, Any]:
        """Upload local files and return the request body."""
        kind = attempt.spec.kind
        urls: dict[tuple[str, int | None], str] = {}
        local = [item for item in attempt.spec.media.values() if not isinstance(item, str)]
        if len(local) > 1:  # do not pay for the first upload if the second file has gone
            await self._media_uploader.check_unchanged(*local)
        # Sequential: a start rarely has two files, and all starts share the connections.
        for input_key, item in attempt.spec.media.items():
            if isinstance(item, str):
                urls[input_key] = item
                continue
            urls[input_key], coins = await self._media_uploader.upload_inspected(
                item, attempt.reservation
            )
            attempt.upload_coins += coins
        body = kind.request_body(attempt.spec.inputs, urls)
        if kind.name_field and attempt.name:
            body[kind.name_field] = attempt.name
        return body

    async def _price_before_uploads(self, attempt: StartAttempt) -> "tuple[list[PricedCall], bool]":
        """Return the prices to reserve before the uploads, and whether they are final.

        They are not final if the service refuses to quote without the files' URLs, or if the
        price may depend on the duration of a local file.
        """
        spec = attempt.spec
        if not attempt.reservation.budgets:
            return [], True
        if attempt.reservation:  # still reserved from an earlier submission of this attempt
            return [(spec.kind.name, attempt.reservation.price)], True
        try:
            prices = await self._quote(spec.kind, body_before_upload(spec.kind, spec.inputs))
        except InvalidRequest:
            if spec.needs_no_upload:
                raise
            return [], False
        return prices, not price_may_depend_on_duration(spec.inputs)

    async def _quote(self, kind: TaskKind[..., Any], body: Mapping[str, Any]) -> "list[PricedCall]":
        """Return the price to reserve for a start with this body."""
        quoted = await self._fetch_price(kind.start.path, body) if self._fetch_price else None
        return [(kind.name, quoted)]

    def _new_call(self, request: StartAttempt, body: Mapping[str, Any]) -> "ApiCall":
        start, webhook_id = request.spec.kind.start, request.webhook_id
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
        self._known_tasks.mark_sent(request.recovery, request.start_id)
        self._admission.mark_sent(request)

    def _on_not_accepted(self, request: StartAttempt) -> None:
        self._known_tasks.mark_resolved(request.start_id)

    async def _discard(self, request: StartAttempt) -> None:
        self._admission.release(request)
        await super()._discard(request)

    async def _read(self, request: StartAttempt, response: "ApiResponse") -> Task[Any]:
        kind, recovery = request.spec.kind, request.recovery
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
        if recovery is not None:
            start = without_other_starts(kind, recovery, start)
        if not start:
            return await self._recover(request, "the response was that to another start")
        return await self._handle_accepted(request, start)

    async def _handle_accepted(
        self, attempt: StartAttempt, records: Sequence[RawRecord], *, was_lost: bool = False
    ) -> Task[Any]:
        kind = attempt.spec.kind
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
            rest = recovery_of_remaining(kind, attempt.recovery, task.ids, task.parts)
            await self._remaining_tasks.find_later(attempt, rest)
        else:
            attempt.result = task = await self._remaining_tasks.find(attempt, task)
        if self._emitter is not None:
            claimed = attempt.waiter_count > 0
            self._emitter.start_accepted(attempt, task, claimed=claimed, found=was_lost)
        return task

    async def _claim_and_record(
        self, attempt: StartAttempt, named_ids: tuple[str, ...], records: Sequence[RawRecord]
    ) -> Task[Any] | None:
        """Claim and journal a start's tasks; return None if all belong to another start."""
        kind = attempt.spec.kind
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

    def _assign_task(
        self, attempt: StartAttempt, ids: tuple[str, ...], records: Sequence[RawRecord]
    ) -> Task[Any]:
        """Make the handle of a start's tasks and store it as the attempt's result."""
        read = read_start_records(attempt.spec.kind, records, self._output_source)
        task = attempt.make_task(ids, read)
        attempt.result = task
        rest = recovery_of_remaining(attempt.spec.kind, attempt.recovery, ids, task.parts)
        self._admission.occupy(attempt, task, 0 if rest is None else rest.expected)
        return task

    def _task_from_entry(self, attempt: StartAttempt, entry: Entry) -> Task[Any]:
        """Return a handle for the task that the key's journal entry holds."""
        task: Task[Any] = Task(
            attempt.spec.services,
            attempt.spec.kind,
            entry.ids,
            meta=attempt.spec.inputs.meta,
            key=attempt.spec.inputs.key,
            webhook_id=entry.hook,
        )
        if entry.state is State.ACCEPTED:
            self._admission.occupy_by_existing(attempt.spec.services.tenant, task)
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
        self._known_tasks.mark_lost(recovery, request.start_id)
        resends = self._resend and not request.owned_by_other_client
        if self._recorder is not None:
            await self._recorder.record_lost(request)
        try:
            result = await self._recovery_search.find_by_mark(
                request.spec.kind, recovery, request.start_id
            )
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
            attempt.spec.kind, recovery, attempt.start_id, allow_clock_error=True
        )

    def report_unknown(
        self, request: StartAttempt, reason: str, result: SearchResult | None = None
    ) -> StartOutcomeUnknown:
        recovery = request.recovery
        assert recovery is not None  # noqa: S101  # set before the request was sent
        self._known_tasks.mark_lost(recovery, request.start_id)
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
        candidates = (
            read_start_records(attempt.spec.kind, result.records, self._output_source)
            if result
            else ()
        )
        return unknown_start_error(attempt.spec.kind, recovery, reason, candidates)
