"""Starts tasks: joins equal keys, checks the inputs, and keeps tasks that have no caller.

Each start runs in an asyncio task that the client owns. Cancelling ``start()`` before the request
is sent withdraws it. Once it has been sent, the start completes and its task is listed in
`unclaimed`. When the response is lost, the client searches for the task; it does not submit again.
"""

# pyright: reportPrivateUsage=false
# The underscore keeps the bookkeeping of a task out of users' completion; the package uses it.

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from a2e_async._core.base_errors import drop_frames
from a2e_async._core.files.open_file import held_files, hold_files
from a2e_async._core.journal.keys import key_conflict
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.schema.inputs import AcceptedMedia, TaskInput
from a2e_async._core.submission.admission import AdmissionControl
from a2e_async._core.submission.attempt import (
    PreparedMedia,
    StartAttempt,
    StartSpec,
    changed_inputs,
    input_digest,
    new_mark,
    outgoing_name,
)
from a2e_async._core.submission.budget import BudgetQueue, reservation_for
from a2e_async._core.submission.executor import MediaUploader, StartExecutor
from a2e_async._core.submission.paid_request import CLOSE_TIMEOUT, PaidRequests
from a2e_async._core.submission.recovery_search import KnownTaskIds, RecoverySearch
from a2e_async._core.submission.remaining_tasks import RemainingTasks
from a2e_async._core.submission.unclaimed import UnclaimedStarts, task_ref
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task, TaskServices
from a2e_async._core.webhooks.tokens import WebhookTarget
from a2e_async.errors import StartOutcomeUnknown
from a2e_async.models import Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.event_emitter import EventEmitter
    from a2e_async._core.files.upload import LocalUpload
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.journal.protocol import Entry
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.polling.poller import Poller
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.submission.quotes import FetchPrice
    from a2e_async.models import OutputSource

R = TypeVar("R", bound=Record)


class StartRegistry(PaidRequests[StartAttempt, Task[Any]]):
    """Starts tasks of any kind for one client.

    Created once per client, which closes it; changed on the client's event loop only.
    """

    noun: ClassVar[Literal["start", "call"]] = "start"

    def __init__(
        self,
        session: "ApiSession",
        poller: "Poller",
        services: TaskServices,
        media_uploader: MediaUploader,
        *,
        request_timeout: float,
        mark_names: bool,
        recorder: "JournalRecorder | None" = None,
        resend: bool = False,
        webhook: WebhookTarget | None = None,
        fetch_price: "FetchPrice | None" = None,
        budget: "Budget | None" = None,
        budget_queue: "BudgetQueue | None" = None,
        max_unfinished: int | None = None,
        emitter: "EventEmitter | None" = None,
        output_source: "OutputSource | None" = None,
    ) -> None:
        super().__init__(poller.loop_affinity)
        self._poller = poller
        self._services = services
        self._media_uploader = media_uploader
        self._mark_names = mark_names
        self._recorder = recorder
        self._budget = budget
        self._budget_queue = budget_queue or BudgetQueue()
        self._emitter = emitter
        self.admission: AdmissionControl = AdmissionControl(poller, services, max_unfinished)
        self._webhook = webhook
        self._known_tasks = KnownTaskIds(recorder)
        self._recovery_search = RecoverySearch(
            session, request_timeout=request_timeout, known_tasks=self._known_tasks
        )
        self._unclaimed = UnclaimedStarts(services.unclaimed)
        self._remaining_tasks = RemainingTasks(
            self._recovery_search,
            self._known_tasks,
            self.admission,
            recorder,
            self._unclaimed,
            output_source,
        )
        self._executor = StartExecutor(
            session,
            media_uploader,
            self._recovery_search,
            self._known_tasks,
            admission=self.admission,
            recorder=recorder,
            resend=resend,
            webhook=webhook,
            fetch_price=fetch_price,
            budget_queue=self._budget_queue,
            emitter=emitter,
            remaining_tasks=self._remaining_tasks,
            output_source=output_source,
        )
        self._attempts_by_key: dict[str, StartAttempt] = {}
        self.on_task: Callable[[Task[Any]], None] | None = None
        """Called with the task of each start, new or from the journal; set by the client."""

    @property
    def in_progress(self) -> int:
        """How many starts and searches for lost starts are in progress."""
        return len(self._run_tasks) + len(self._remaining_tasks.background_searches)

    def unknown(self) -> tuple[Recovery, ...]:
        """Return starts whose outcome is unknown and whose callers were cancelled."""
        return self._unclaimed.unknown()

    def on_handle_dropped(self, task: Task[Any]) -> None:
        """Keep a task whose handle was garbage collected before anyone used it."""
        if not self._closed:
            self._unclaimed.add_dropped(task)

    def add_unclaimed(self, task: Task[Any]) -> None:
        """Keep a task whose caller was cancelled before it received the handle."""
        self._unclaimed.add_task(task)

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
            attempt = await self._find_or_create_attempt(kind, inputs, timeout, services, budget)
            return await self._deliver(attempt)
        except BaseException as error:
            # Frames below this one hold signed media URLs, request bodies and webhook tokens.
            # Reporters that print local variables must not see them.
            drop_frames(error)
            raise

    async def _find_or_create_attempt(
        self,
        kind: TaskKind[..., Any],
        inputs: TaskInput,
        timeout: float,
        services: TaskServices | None,
        budget: "Budget | None",
    ) -> StartAttempt:
        """Return the attempt in progress under the same key, or a new one."""
        self._check_usable()
        own = new_mark()
        name, mark = outgoing_name(kind, inputs.name, own, mark_names=self._mark_names)
        open_files = inputs.open_files()
        with held_files(open_files):
            media = await self._prepare_media(inputs)
            # Hashing large files takes a while: the client may have been closed since.
            self._check_usable()
            digest = input_digest(kind, inputs, media)
            attempt = self._attempt_for_key(inputs.key, digest)
            if attempt is not None:
                return attempt
            attempt = StartAttempt(
                spec=StartSpec(
                    kind=kind,
                    inputs=inputs,
                    media=media,
                    digest=digest,
                    services=services or self._services,
                    open_files=open_files,
                ),
                name=name,
                mark=mark,
                timeout=timeout,
                webhook_id=own if self._webhook is not None and kind.accepts_webhook else None,
                key=inputs.key,
                reservation=reservation_for(self._budget, budget),
            )
            if attempt.webhook_id is not None:
                self._poller.wakeups.listen()
            hold_files(open_files)  # the attempt releases them
        return attempt

    async def recover(
        self, kind: "TaskKind[..., R]", recovery: Recovery, *, timeout: float
    ) -> "Task[R]":
        """Search for a start whose response was lost.

        Return its task, or raise as `start` does.
        """
        self._check_usable()
        attempt = StartAttempt(
            spec=self._search_spec(kind, TaskInput(), recovery.digest),
            name=recovery.name,
            mark=recovery.mark,
            timeout=timeout,
            recovery=recovery,
            anonymous_id=self._known_tasks.start_id_of(recovery) or object(),
        )
        if self._recorder is not None:
            await self._recorder.restore_key(attempt)
        task = await self._deliver(attempt)
        self._count_found(attempt, task)
        self._unclaimed.take_unknown(recovery)
        return task

    async def has_key(self, key: str) -> bool:
        """Return whether a paid request has this journal key, in this client or in the journal."""
        if key in self._attempts_by_key:
            return True
        entry = await self._recorder.journal.get(key) if self._recorder else None
        return entry is not None and entry.state > State.RESERVED

    async def input_digest(self, kind: TaskKind[..., Any], inputs: TaskInput) -> str:
        """Return the digest of a start's inputs; local files are hashed. No network access."""
        digest, _ = await self.input_and_file_digests(kind, inputs)
        return digest

    async def input_and_file_digests(
        self, kind: TaskKind[..., Any], inputs: TaskInput
    ) -> tuple[str, frozenset[str]]:
        """Return that digest, and the content digests of the local files. No network access."""
        media = await self._prepare_media(inputs)
        local = frozenset(item.digest for item in media.values() if not isinstance(item, str))
        return input_digest(kind, inputs, media), local

    async def changed_inputs(
        self, kind: TaskKind[..., Any], inputs: TaskInput, entry: "Entry"
    ) -> tuple[str, ...]:
        """Return the names of the inputs that differ from those of an entry. No network access."""
        return changed_inputs(kind, inputs, await self._prepare_media(inputs), entry)

    # -- resuming from the journal -------------------------------------------------------------

    def keys_in_progress(self) -> set[str]:
        """Return the keys of the entries in use by this client: its starts and searches."""
        return self._remaining_tasks.keys_in_progress() | super().keys_in_progress()

    async def resume(self, kind: TaskKind[..., Any], entry: "Entry") -> Task[Any]:
        """Search for a start whose process died; return its task, or raise."""
        # Two searches for the same mark would treat each other as competing starts, and neither
        # would accept the task.
        if (running_attempt := self._find_attempt(entry.key)) is not None:
            return await self._deliver(running_attempt)
        inputs = TaskInput(meta=entry.meta, key=None if entry.own_key else entry.key)
        attempt = StartAttempt(
            spec=self._search_spec(kind, inputs, entry.digest),
            name=entry.name,
            mark=entry.mark,
            timeout=0,
            webhook_id=entry.hook,
            key=entry.key,
            key_generated=entry.own_key,
            recovery=recovery_from_entry(entry),
        )
        if not entry.own_key:
            self._attempts_by_key[entry.key] = attempt
        try:
            task = await self._deliver(attempt)
        except StartOutcomeUnknown as error:
            self._unclaimed.add_unknown(error.recovery)
            raise
        self._count_found(attempt, task)
        return task

    async def find_remaining_tasks(
        self, kind: TaskKind[..., Any], entry: "Entry"
    ) -> Task[Any] | None:
        """Search for the tasks that a start response left out, by their journal entry.

        Return None if none are missing. Raises `StartOutcomeUnknown` if they are not found.
        """
        try:
            return await self._remaining_tasks.search(
                kind,
                recovery_from_entry(entry),
                entry.key,
                services=self._services,
                meta=entry.meta,
            )
        except StartOutcomeUnknown as error:
            self._unclaimed.add_unknown(error.recovery)
            raise

    def attach(self, kind: TaskKind[..., Any], entry: "Entry") -> Task[Any]:
        """Return a handle for the task of a journal entry."""
        key = None if entry.own_key else entry.key
        task: Task[Any] = Task(
            self._services, kind, entry.ids, meta=entry.meta, key=key, webhook_id=entry.hook
        )
        self._known_tasks.claim(kind, task.ids, entry.key)
        if entry.state is State.ACCEPTED:
            self.admission.occupy_by_existing(None, task)
        if self._emitter is not None:
            self._emitter.task_resumed(task)
        return task

    async def aclose(self) -> None:
        """Wait for starts in progress (at most 30 s), then cancel them and log that.

        First wait, at most as long, for searches for tasks that a start response left out. They
        are paid for, and only another start with the same key would search for them again.
        """
        self._closed = True
        if self._loop_affinity.loop_is_gone():
            return
        self.admission.close()
        self._budget_queue.close()
        searches = self._remaining_tasks.background_searches
        if searches:
            await asyncio.wait(searches, timeout=CLOSE_TIMEOUT)
        await self._recovery_search.aclose()
        await self._finish(CLOSE_TIMEOUT, searches)

    def _search_spec(self, kind: TaskKind[..., Any], inputs: TaskInput, digest: str) -> StartSpec:
        """Return what a start is whose task is only searched for."""
        return StartSpec(
            kind=kind,
            inputs=inputs,
            media={},
            digest=digest,
            services=self._services,
            search_only=True,
        )

    # -- before anything is charged ----------------------------------------------------------

    async def _prepare_media(self, inputs: TaskInput) -> PreparedMedia:
        """Return each media input as a URL or as a checked, hashed local file. No network."""
        prepared: dict[tuple[str, int | None], LocalUpload | str] = {}
        for f, index, value in inputs.media():
            prepared[f.name, index] = await self._media_uploader.resolve(
                value, f.find_metadata(AcceptedMedia).types, f.name
            )
        return prepared

    def _attempt_for_key(self, key: str | None, digest: str) -> StartAttempt | None:
        """Return the attempt with this key, or None. Raises `KeyConflict` for other inputs."""
        attempt = None if key is None else self._find_attempt(key)
        if attempt is None or key is None:
            return None
        if attempt.spec.digest != digest:
            raise key_conflict(key, attempt.result.ref if attempt.result else None)
        return attempt

    # -- running an attempt --------------------------------------------------------------------

    def _execute(self, request: StartAttempt) -> Coroutine[Any, Any, Task[Any]]:
        if request.spec.search_only:
            return self._executor.find_lost_start(request)
        return self._executor.run(request)

    def _on_launch(self, request: StartAttempt, context: Context) -> None:
        if request.spec.search_only:
            return
        if self._emitter is not None:
            self._emitter.start_requested(request, request.spec.kind.name, context)
        if request.spec.inputs.key is not None:
            self._attempts_by_key[request.spec.inputs.key] = request

    async def _deliver(self, attempt: StartAttempt) -> Task[Any]:
        """Wait for an attempt; return its task, which its caller has from now on."""
        task = await self._join(attempt)
        if not attempt.is_shared:
            attempt.run_task = attempt.result = None  # nothing else keeps the handle alive
        self._unclaimed.take_task(task)
        task._unclaimed_on_gc = True
        return task

    def _report_unknown(self, request: StartAttempt, reason: str) -> StartOutcomeUnknown:
        return self._executor.report_unknown(request, reason)

    def _keep(self, request: StartAttempt) -> None:
        if request.result is not None:
            self._unclaimed.add_task(request.result)
        elif request.unknown_outcome is not None:
            self._unclaimed.add_unknown(request.unknown_outcome.recovery)

    def _on_done(
        self, request: StartAttempt, error: BaseException | None, *, cancelled: bool
    ) -> None:
        self.admission.release(request)
        if request.result is not None and self.on_task is not None:
            self.on_task(request.result)
        failed = cancelled or (error is not None and request.unknown_outcome is None)
        if self._emitter is not None and failed:
            self._emitter.not_started(request, request.spec.kind.name, error)
        request.drop_inputs()
        request.sent_earlier, request.api_call = request.sent, None  # which has the encoded body
        # A key must keep pointing to its task, and to a start that may have been charged. The
        # journal remembers that; without a journal the attempt has to stay here.
        nothing_known = request.result is None and request.unknown_outcome is None
        key = request.spec.inputs.key
        if key is not None and (self._recorder is not None or nothing_known):
            self._release_key(request, key)

    def _find_attempt(self, key: str) -> StartAttempt | None:
        attempt = self._attempts_by_key.get(key)
        return None if attempt is None or attempt.withdrawn else attempt

    def _release_key(self, attempt: StartAttempt, key: str) -> None:
        if self._attempts_by_key.get(key) is attempt:
            del self._attempts_by_key[key]

    def _count_found(self, attempt: StartAttempt, task: Task[Any]) -> None:
        """Count a found start, if the client's budget still reserves its price."""
        name = attempt.reservation_key
        if name is not None:
            reservation_for(self._budget).count_found(name, task.coins, task_ref(task))
