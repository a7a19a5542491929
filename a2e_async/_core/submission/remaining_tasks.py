"""Tasks that the response to a start left out: fewer ids than were ordered.

They are charged like the others, so they are searched for: first while the start waits, then in
the background. Their journal entry is separate from the start's, which may close earlier.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from a2e_async._core.clock import utc_now
from a2e_async._core.http.request_events import context_of_start
from a2e_async._core.journal.keys import remaining_tasks_key, start_key_of_remaining_tasks
from a2e_async._core.submission.attempt import StartAttempt
from a2e_async._core.submission.recovery_match import (
    MIN_AGE_FOR_RESEND,
    SHORT_SCAN_DELAYS,
    seconds_until_absence_counts,
)
from a2e_async._core.submission.recovery_search import (
    KnownTaskIds,
    RecoverySearch,
    list_endpoints,
    unknown_start_error,
)
from a2e_async._core.submission.unclaimed import UnclaimedStarts
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import read_start_records
from a2e_async._core.tasks.task import Task, TaskServices
from a2e_async._core.typeguards import parse_price
from a2e_async.errors import StartOutcomeUnknown
from a2e_async.models import Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.submission.admission import AdmissionControl
    from a2e_async.models import OutputSource

logger = logging.getLogger("a2e_async.submission")


def recovery_of_remaining(
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


class RemainingTasks:
    """Searches for the tasks that the responses to one client's starts left out.

    Created by the `StartRegistry`, with which it lives; changed on the client's event loop only.
    """

    def __init__(
        self,
        recovery_search: RecoverySearch,
        known_tasks: KnownTaskIds,
        admission: "AdmissionControl",
        recorder: "JournalRecorder | None",
        unclaimed: UnclaimedStarts,
        output_source: "OutputSource | None",
    ) -> None:
        self._recovery_search = recovery_search
        self._known_tasks = known_tasks
        self._admission = admission
        self._recorder = recorder
        self._unclaimed = unclaimed
        self._output_source = output_source
        self._search_ids: set[object] = set()
        """The ids of the searches in progress."""
        self.background_searches: set[asyncio.Task[None]] = set()
        """Those searches that continue after their start has returned."""

    def keys_in_progress(self) -> set[str]:
        """Return the journal keys of the searches in progress."""
        return {token for token in self._search_ids if isinstance(token, str)}

    async def find(self, attempt: StartAttempt, task: Task[Any]) -> Task[Any]:
        """Search for tasks that the response left out; return the handle of all.

        After two scans without success the search continues in the background; tasks that it
        finds then are unclaimed.
        """
        recovery = recovery_of_remaining(attempt.spec.kind, attempt.recovery, task.ids, task.parts)
        if recovery is None:
            return task
        self._known_tasks.mark_lost(recovery, attempt.start_id)
        result = await self._recovery_search.find(
            attempt.spec.kind, recovery, attempt.start_id, delays=SHORT_SCAN_DELAYS
        )
        if not result.is_certain:
            await self.find_later(attempt, recovery)
            return task
        self._known_tasks.mark_resolved(attempt.start_id)
        records = read_start_records(attempt.spec.kind, result.records, self._output_source)
        remaining = attempt.make_task(result.ids, records)
        self._admission.occupy_by_existing(attempt.spec.services.tenant, remaining)
        self._admission.release_missing(attempt)
        self._count_found(attempt, remaining)
        if self._recorder is not None:
            await self._recorder.record_accepted(attempt, remaining.ids, remaining.coins)
        if not attempt.waiter_count:
            self._unclaimed.add_task(remaining)  # the start's other tasks are its result
            return task
        return attempt.make_task(task.ids + remaining.ids, task.parts + records)

    async def find_later(self, attempt: StartAttempt, remaining: Recovery | None) -> None:
        """Search for remaining tasks in the background, so that the start can return.

        They are recorded in the journal first, because the start's own entry may close at once.
        """
        if remaining is None:
            return
        key = None if self._recorder is None else attempt.key
        token = object() if key is None else remaining_tasks_key(key, remaining.sent_at)
        if token in self._search_ids:
            self._admission.release_missing(attempt)
            return
        self._known_tasks.mark_resolved(attempt.start_id)
        self._known_tasks.mark_lost(remaining, token)
        self._search_ids.add(token)
        if self._recorder is not None and key is not None:
            entry = None
            try:
                entry = await self._recorder.record_remaining_intent(
                    key, remaining, attempt.spec.inputs.meta
                )
            finally:
                if entry is None:  # found already, or searched for by another client
                    self._known_tasks.mark_resolved(token)
                    self._search_ids.discard(token)
                    self._admission.release_missing(attempt)
            if entry is None:
                return
        search = self._search_until_complete(attempt, remaining, token)
        self._search_in_background(search, remaining)

    async def search(
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
        self._search_ids.add(start_id)
        try:
            self._known_tasks.mark_lost(remaining, start_id)
            result = await self._recovery_search.find_by_mark(kind, remaining, start_id)
        finally:
            self._search_ids.discard(start_id)
        key = start_key_of_remaining_tasks(start_id) if isinstance(start_id, str) else None
        recorder = None if key is None else self._recorder
        if result.is_certain:
            self._known_tasks.mark_resolved(start_id)
            records = read_start_records(kind, result.records, self._output_source)
            now = asyncio.get_running_loop().time()
            task: Task[Any] = Task(services, kind, result.ids, records=records, now=now, meta=meta)
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
            ", ".join(kind.ref((id,)) for id in result.ids) or "?",
        )
        reason = f"its response had {remaining.expected} tasks fewer than were ordered"
        candidates = read_start_records(kind, result.records, self._output_source)
        raise unknown_start_error(kind, remaining, reason, candidates)

    def _search_in_background(self, search: Coroutine[Any, Any, None], remaining: Recovery) -> None:
        """Search for a start's ``remaining`` tasks after it returned, until the client closes."""
        if self._recovery_search.closed:
            search.close()
            self._unclaimed.add_unknown(remaining)
            return
        task = asyncio.get_running_loop().create_task(search, context=context_of_start())
        self.background_searches.add(task)
        task.add_done_callback(self._on_background_search_done)

    def _on_background_search_done(self, task: asyncio.Task[None]) -> None:
        self.background_searches.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StartOutcomeUnknown):
            self._unclaimed.add_unknown(error.recovery)
        elif error is not None:
            logger.error("the search for remaining tasks of a start failed", exc_info=error)

    async def _search_until_complete(
        self, attempt: StartAttempt, remaining: Recovery, start_id: object
    ) -> None:
        spec, meta = attempt.spec, attempt.spec.inputs.meta
        try:
            while True:
                task = await self.search(
                    spec.kind, remaining, start_id, services=spec.services, meta=meta
                )
                if task is None:
                    return
                self._count_found(attempt, task)
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
        finally:
            self._admission.release_missing(attempt)

    def _count_found(self, attempt: StartAttempt, task: Task[Any]) -> None:
        """Count found tasks of a start in its budgets, beyond what is counted already."""
        coins = parse_price(task.coins) or 0
        covered = min(coins, attempt.prepaid)
        attempt.prepaid -= covered
        if coins > covered:
            for budget in attempt.reservation.budgets:
                budget.count_task(coins - covered, attempt.spec.kind.ref(task.ids))
