"""`A2E`, the client: wires the components and holds the namespaces."""

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Self, TypeVar, overload

from attrs import evolve

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.config import resolve_account
from a2e_async._namespaces import Namespaces
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.batch.batch import Outcome
    from a2e_async._core.http.envelope import ApiResponse
    from a2e_async._core.http.rate_limit import Priority
    from a2e_async._core.http.retry import RetryPolicy
    from a2e_async._core.http.session import ResponseObserver
    from a2e_async._core.journal.protocol import Journal
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.submission.follower import ErrorFilter, Follower, TaskCallback
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async._core.tasks.task import Task
    from a2e_async._core.webhooks.receiver import Webhooks
    from a2e_async.account import files
    from a2e_async.events import Event
    from a2e_async.kinds import namespace as base
    from a2e_async.kinds.jobs import Job
    from a2e_async.models import ClientStats, OutputSource, Record, Recovery

P = ParamSpec("P")
R = TypeVar("R", bound="Record")

logger: Final = logging.getLogger("a2e_async")
logger.addHandler(logging.NullHandler())


_ASYNC_CLIENT: Final = (
    "A2E is an async client: async with A2E() as a2e: … in a coroutine. Without asyncio: with "
    "a2e_async.blocking() as a2e: … In a notebook: a2e = a2e_async.blocking() in one cell, then "
    "record = a2e.dubbing.run(…)."
)

_OPTIONS_BY_MISTAKE: Final = {
    **dict.fromkeys(("key", "apikey", "token", "api_token", "secret"), "api_key"),
    **dict.fromkeys(("url", "host", "api_base", "base"), "base_url"),
    **dict.fromkeys(("max_retries", "retries"), "retry"),
    **dict.fromkeys(("rate_limit", "rps"), "rate"),
    **dict.fromkeys(("concurrency", "limit"), "max_unfinished"),
    "timeout": "request_timeout or start_timeout (seconds for a request; task.wait(timeout=…) "
    "limits the wait for a result)",
}
"""Option names of other clients, and what they are called here."""


def _explain_unknown_options(init: Callable[P, None]) -> Callable[P, None]:
    """Make ``__init__`` say the right name of an option that it does not have."""

    @wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs.keys() - init.__annotations__.keys():
            from difflib import get_close_matches  # rarely needed

            close = get_close_matches(name, init.__annotations__, n=1)
            meant = _OPTIONS_BY_MISTAKE.get(name) or (close[0] if close else None)
            advice = f"Did you mean {meant}?" if meant else "See help(A2E)."
            raise TypeError(f"A2E() has no option {name!r:.60}. {advice}")
        init(*args, **kwargs)

    shown: Any = checked
    shown.__kwdefaults__ = getattr(init, "__kwdefaults__", None)  # as hide_frames does
    return checked


class A2E(Namespaces):
    """A client of one A2E account. ``async with A2E() as a2e: …`` or ``await a2e.aclose()``.

    Creating one does no I/O and needs no running loop; it then belongs to the event loop on which
    it is first used. Use a single client for the whole program: the tasks that one client waits for
    are polled together.

    ``api_key`` and ``base_url`` default to A2E_API_KEY and A2E_BASE_URL. ``account`` (or
    A2E_ACCOUNT) is your own name for the account. A journal identifies the account by this name and
    the host, or else by a digest of the key, which changes with the key.

    ``request_timeout`` and ``start_timeout`` limit a single response (s), never a task.
    ``poll_interval`` is the time between two polls of a task (s). ``rate`` (requests/s, None for no
    limit) and ``burst`` (requests) limit the rate of all requests, ``max_connections`` their number
    in flight. ``retry`` is a `RetryPolicy`. ``mark_names`` appends a unique mark to the names you
    give. ``on_event`` is called with each `a2e_async.events` value. ``language`` selects the
    language of the service's messages. ``trust_env`` takes proxies from the environment, ``proxy``
    sets one.

    ``journal`` is the path of a file (or a `Journal`): every start is recorded in it before it is
    sent. With ``on_unknown="resend_may_pay_twice"`` a start without a response is submitted again
    once its absence from the service's list is proved, 3 minutes after it was lost. ``budget`` is a
    `Budget`, or coins, for everything this client starts. ``max_unfinished`` is the maximum number
    of unfinished remote tasks of this client: further starts wait for a slot (see `for_caller`).

    ``webhook_url`` is the public URL at which `webhooks` is served: starts ask the service to
    report their end there. It requires a secret of yours in A2E_WEBHOOK_SECRET.

    ``kinds`` are kinds of task that this package does not have: a list of `TaskKind`, or the path
    of a TOML file. `kind` returns their namespaces; everything else works with them, too.

    Raises `ConfigurationError`.
    """

    @hide_frames
    @_explain_unknown_options
    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        account: str | None = None,
        request_timeout: float = 60,
        start_timeout: float = 180,
        poll_interval: float = 2,
        rate: float | None = 10,
        burst: int = 10,
        max_connections: int = 64,
        max_unfinished: int | None = None,
        retry: "RetryPolicy | None" = None,
        journal: "str | os.PathLike[str] | Journal | None" = None,
        on_unknown: Literal["raise", "resend_may_pay_twice"] = "raise",
        mark_names: bool = False,
        budget: "Budget | int | None" = None,
        webhook_url: str | None = None,
        on_event: "Callable[[Event], None] | None" = None,
        language: str = "en-US",
        trust_env: bool = True,
        proxy: str | None = None,
        kinds: "Iterable[TaskKind[..., Any]] | str | os.PathLike[str] | None" = None,
    ) -> None:
        # Imported here, because `import a2e_async` must stay fast: aiohttp is only loaded by a
        # client.
        from a2e_async._options import ClientOptions
        from a2e_async._wiring import ClientComponents

        self._options = ClientOptions(
            account=resolve_account(api_key, base_url, name=account),
            request_timeout=request_timeout,
            start_timeout=start_timeout,
            poll_interval=poll_interval,
            rate=rate,
            burst=burst,
            max_connections=max_connections,
            max_unfinished=max_unfinished,
            retry=retry,
            journal=journal,
            on_unknown=on_unknown,
            mark_names=mark_names,
            budget=budget,
            webhook=webhook_url,
            on_event=on_event,
            language=language,
            trust_env=trust_env,
            proxy=proxy,
            kinds=kinds,
        )
        self._components = ClientComponents(self._options)
        self._context = self._components.make_context(self._options)

    def __repr__(self) -> str:
        closed = " closed" if self._components.closed else ""
        return f"<A2E {self._options.account.base_url}{closed}>"

    @property
    def files(self) -> "files.Files":
        """Uploads and downloads."""
        from a2e_async.account.files import Files

        return Files(self._context.files)

    @property
    def webhooks(self) -> "Webhooks":
        """The receiver of webhook events: ``a2e.webhooks.app()``, or ``aiohttp_app()``."""
        return self._components.webhooks

    @property
    def journal(self) -> "Journal | None":
        """The client's journal, or None: its entries, and the coins spent by day and kind."""
        recorder = self._components.recorder
        return None if recorder is None else recorder.journal

    @property
    def closed(self) -> bool:
        """True after `aclose` was called."""
        return self._components.closed

    if not TYPE_CHECKING:  # type checkers report `with A2E()` themselves

        def __enter__(self) -> None:
            raise TypeError(_ASYNC_CLIENT)

        def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> Self:
        self._components.check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client: starts in flight finish (at most 30 s), waits raise `ClientClosed`.

        Tasks keep running at the service. May be called from any asyncio task, and repeatedly.
        """
        await self._components.aclose()

    def with_options(
        self,
        *,
        request_timeout: float | None = None,
        start_timeout: float | None = None,
        priority: "Priority | None" = None,
    ) -> Self:
        """Return a client with other request options; everything else is shared with this one."""
        given = {
            "request_timeout": request_timeout,
            "start_timeout": start_timeout,
            "priority": priority,
        }
        return self._derive(**{name: value for name, value in given.items() if value is not None})

    def for_caller(
        self, caller: str, *, max_unfinished: int | None = None, max_wait: float | None = None
    ) -> Self:
        """Return a client for one of many callers, such as a user of your service.

        Everything is shared with this one, but callers take turns: a thousand starts of one caller
        do not delay a single start of another. ``caller`` is your own name for the caller; it is
        never sent. At most ``max_unfinished`` remote tasks of the caller are unfinished at a time,
        in addition to the cap of `A2E` for all callers. Further starts wait for a slot, at most
        ``max_wait`` seconds (None: no limit; 0: not at all), then raise `TooBusy` with
        ``retry_after``. A start that is cancelled while waiting leaves the queue.

        A task occupies its slot until this client has seen its end. `unclaimed` lists only the
        caller's tasks. Raises `InvalidInput`.
        """
        from a2e_async._core.tasks.tenant import validate_tenant

        tenant = validate_tenant(caller, max_unfinished, max_wait)
        self._context.starter.admission.enable()
        return self._derive(tenant=tenant)

    def _wrap_output_source(self, wrap_source: "Callable[[OutputSource], OutputSource]") -> None:
        """Wrap the source that downloads outputs (for a client that was just created)."""
        self._components.wrap_output_source(wrap_source)

    def _observe_responses(self, observer: "ResponseObserver") -> None:
        """Call ``observer`` with every response of the API (for a client that was just created)."""
        self._components.session.observer = observer

    def _derive(self, **changes: Any) -> Self:
        """Return a client with some other options, which shares the components of this one."""
        twin = object.__new__(type(self))
        twin._components = self._components
        twin._options = evolve(self._options, **changes)
        twin._context = self._components.make_context(twin._options)
        return twin

    @hide_frames
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        charged: bool | None = None,
    ) -> "ApiResponse":
        """Send any API request, for operations that this package has no method for.

        It is sent like all others (key, rate limit, connections, timeouts, errors). The returned
        `ApiResponse` has ``data``, ``http_status``, ``headers``, ``trace_id``, ``code`` and
        ``message``. ``path`` is that of the operation, such as ``/api/v1/userDubbing/allRecords``.

        A POST or PATCH counts as ``charged``: it is never sent again if its response is lost, but
        raises. Its response is also lost if the caller is cancelled. ``charged=False`` states that
        it only reads. Inputs that affect a safety check of the service are refused.

        Raises `InvalidInput` (nothing sent), `ApiError`, `TransportError`, `DecodeError`.
        """
        from a2e_async.account.raw_request import send_raw_request

        response = await send_raw_request(
            self._context, method, path, params=params, json=json, charged=charged
        )
        return self._components.session.redact_key(response)

    def attach(self, ref: str) -> "Task[Any]":
        """Return the handle of a task by its ``ref``, in any process, without a request."""
        from a2e_async._core.tasks.kind import split_ref
        from a2e_async._core.tasks.task import Task

        name, ids = split_ref(ref)
        return Task(self._context.tasks, self._context.kinds.named(name), ids)

    async def recover(self, recovery: "Recovery") -> "Task[Any]":
        """Search again for a start whose response was lost; return its task.

        ``recovery`` comes from `StartOutcomeUnknown` or from `unknown`. The kind's lists are
        searched for up to 30 s; nothing is started. Raises `StartOutcomeUnknown` if the task is not
        found or not certain: ``error.candidates`` are the records that it may be.
        """
        from a2e_async.models import Recovery

        if not isinstance(recovery, Recovery):
            raise InvalidInput(
                "recover() takes a Recovery: error.recovery of StartOutcomeUnknown, or an item of "
                "unknown().",
                field="recovery",
            )
        return await self._context.starter.recover(
            self._context.kinds.named(recovery.kind), recovery, timeout=self._context.start_timeout
        )

    def batch(
        self,
        jobs: "Iterable[Job[R]] | AsyncIterable[Job[R]]",
        *,
        limit: int = 10,
        retry_failed: int = 0,
        budget: "Budget | int | None" = None,
        download_to: str | os.PathLike[str] | None = None,
        name: str | None = None,
        manifest: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator["Outcome[R]"]:
        """Run many jobs: ``async for outcome in a2e.batch(jobs): …``, in order of completion.

        ``jobs`` are created by a namespace's ``job(…)``, or by `Job`, and are consumed one by one.
        At most ``limit`` of them are in progress. ``retry_failed`` is how often a task that failed
        at the service is started again (and charged again). ``budget`` is a `Budget`, or coins, for
        the cost of its jobs in all runs that share the journal. (``jobs`` with a length are read
        once before the first start, to count what they cost in earlier runs; of a generator each
        job is counted when it is consumed.) The failure
        of a job does not affect the others: it is ``outcome.error``.

        Every output is saved into ``download_to``, under ``name`` (see `Task.download`). With
        ``manifest``, ``results.jsonl`` there lists for each task key, kind, ref, coins, seconds
        until its end, and path, bytes and sha256 of its files. Damaged files are fetched again.

        Nothing is started unless the batch is iterated: leaving the loop stops spending. With a
        journal the same batch, run again, skips finished jobs and continues unfinished ones; jobs
        without a ``key`` are identified by their inputs. An error that would hit every job (a
        refused key, no coins left, a failing journal) stops new starts; jobs in progress finish,
        then it is raised. If coins or budget are used up, jobs that an earlier run has started
        finish, too (of ``jobs`` with a length).

        ``dry_run=True`` costs nothing: nothing is uploaded, started, awaited or written.
        ``outcome.plan`` reports what a run would do with each job and what that costs,
        ``outcome.error`` what is wrong with it, or that it would exceed the budget.

        Costs coins. Raises `InvalidInput`, and the error that ended the batch.
        """
        from a2e_async._core.batch.batch import (
            BatchServices,
            JobProcessor,
            JobRunner,
            run_batch,
            validate_batch_options,
        )
        from a2e_async._core.batch.dry_run import DryRunPlanner
        from a2e_async._core.batch.manifest import Manifest
        from a2e_async._core.files.name_template import NameTemplate
        from a2e_async._core.paths import local_path
        from a2e_async._core.submission.budget import as_budget, reservation_for
        from a2e_async.kinds.jobs import resolve_job
        from a2e_async.kinds.operations import request_quote

        validate_batch_options(limit, retry_failed, dry_run)
        context, own = self._context, as_budget(budget)
        reservation = reservation_for(*self._components.budgets, own)
        task_services = self._components.task_services(context, *reservation_for(own).budgets)
        services = BatchServices(
            resolve_job=partial(resolve_job, context.kinds),
            start_job=lambda job: context.starter.start(
                job.kind,
                job.input,
                timeout=context.start_timeout,
                services=task_services,
                budget=own,
            ),
            input_digest=lambda job: context.starter.input_digest(job.kind, job.input),
            input_and_file_digests=lambda job: context.starter.input_and_file_digests(
                job.kind, job.input
            ),
            changed_inputs=lambda job, entry: context.starter.changed_inputs(
                job.kind, job.input, entry
            ),
            fetch_price=lambda path, body: request_quote(context, path, body),
            attach_entry=lambda job, entry: context.starter.attach(job.kind, entry),
            recorder=self._components.recorder,
        )
        directory = None if download_to is None else local_path(download_to, "download_to")
        if directory is None and (name is not None or manifest):
            field = "manifest" if manifest else "name"
            raise InvalidInput(f"{field} needs download_to.", field=field)
        make: Callable[..., JobProcessor] = DryRunPlanner if dry_run else JobRunner
        worker = make(
            services=services,
            retry_failed=retry_failed,
            download_to=directory,
            reservation=reservation,
            name=None if name is None else NameTemplate.parse(name, many_tasks=True),
            manifest=Manifest(directory) if manifest and directory is not None else None,
        )
        return run_batch(worker, jobs, limit=limit)

    async def unfinished(self, *, missing: bool = False) -> AsyncGenerator["Task[Any]"]:
        """Yield every task of the journal that was started and is not saved yet.

        For use after a restart: ``async for task in a2e.unfinished(): …``; wait for each task and
        download it. Starts whose response was lost are searched for first. Those that are not found
        stay in the journal and are listed by `unknown`, as are paid calls without a task (speech
        and similar) whose response was lost: ``a2e journal settle`` closes such an entry by hand.
        Entries that another live process works on, and those of other accounts, are skipped; so
        are, with a warning, those of kinds that this client does not know. A task
        that the service no longer knows is yielded only with ``missing=True``; it stays in the
        journal until it is seen again, settled or pruned. ``task.key`` and ``task.meta`` are those
        of the start. Raises `JournalError`, and `ConfigurationError` without a journal.
        """
        from a2e_async._core.submission.resume import iter_unfinished
        from a2e_async._wiring import no_journal_error

        recorder = self._components.recorder
        if recorder is None:
            raise no_journal_error("unfinished()")
        self._components.check_open()
        found = iter_unfinished(
            recorder,
            self._context.starter,
            self._context.charged,
            self._context.kinds.find,
            missing=missing,
        )
        async with aclosing(found) as tasks:
            async for task in tasks:
                yield task

    def follow_all(
        self,
        *,
        download_to: str | os.PathLike[str] | None = None,
        on_end: "TaskCallback | None" = None,
        on_update: "TaskCallback | None" = None,
        undeliverable: "ErrorFilter" = (),
    ) -> "Follower":
        """Finish every task of the journal from now on; return the follower that does it.

        For web apps, bots and workers. It follows the unfinished tasks of earlier runs, those that
        this client starts and, every two minutes, those that another process left behind. Outputs
        are saved into ``download_to``. Then ``await on_end(task)`` is called, also if the task
        failed (``task.status``). Without ``download_to`` the task is acknowledged when ``on_end``
        returns. Whatever fails is logged and tried again after 1 s, 2 s and so on, at most 5 min.
        If ``on_end`` raises one of ``undeliverable`` (the chat was deleted), that is logged once
        and the task is acknowledged. If the process dies before ``on_end`` returns, the next one
        calls it again, unless the files were saved or the task had failed. ``await
        on_update(task)`` is called for each change; its exceptions are only logged.

        Closing the client ends it: what is being saved or handed over may finish for 10 s, the
        next process does the rest. Call it once, on the client's event loop.

        Raises `InvalidInput`, and `ConfigurationError` without a journal.
        """
        from a2e_async._core.paths import local_path

        if download_to is None and on_end is None:
            raise InvalidInput(
                "follow_all() needs download_to, on_end, or both: without them the results would "
                "be acknowledged and lost."
            )
        return self._components.follow_all(
            download_to=None if download_to is None else local_path(download_to, "download_to"),
            on_end=on_end,
            on_update=on_update,
            undeliverable=undeliverable,
        )

    def unclaimed(self) -> "tuple[Task[Any], ...]":
        """Return paid tasks that no caller holds.

        ``start()`` was cancelled after its request was sent, ``run()`` during its wait, or the
        handle was dropped before the task's end without its ``ref`` being read (as when a sibling
        in a ``gather`` fails). A task leaves this list when a caller waits for it, or starts it
        again by its key. With `for_caller` only the caller's tasks are returned; ``task.caller`` is
        the name.
        """
        caller, tasks = self._options.tenant, self._components.unclaimed()
        if caller is None:
            return tasks
        return tuple(task for task in tasks if task.caller == caller.name)

    def unknown(self) -> "tuple[Recovery, ...]":
        """Return starts that may have been charged and whose callers were cancelled meanwhile.

        Their responses were lost and their tasks not found; `recover` searches again. A caller that
        still waits gets `StartOutcomeUnknown` instead. Other paid calls (speech, watermarks, rooms)
        are listed, too, but cannot be searched for: the service has no list of them.
        """
        return self._components.unknown()

    def stats(self) -> "ClientStats":
        """Return what this client is doing: waits, queues, connections, pauses. No request.

        The counts cover all clients that share its components (`with_options`, `for_caller`), but
        ``unclaimed`` is that of this one. Call it in the event loop of the client: elsewhere it
        raises `ConfigurationError`.
        """
        self._components.check_loop()
        return self._components.stats(unclaimed=len(self.unclaimed()))

    @overload
    def kind(self, name: str) -> "base.TaskNamespace[..., Record]": ...

    @overload
    def kind(self, name: "TaskKind[P, R]") -> "base.TaskNamespace[P, R]": ...

    def kind(self, name: Any) -> "base.TaskNamespace[..., Any]":
        """Return the namespace of a kind by its name: one of this package, or of your own.

        ``name`` may also be the declaration of a kind, `TaskKind`: then type checkers know its
        inputs. Raises `InvalidInput` for a kind that this client does not know.
        """
        kinds, wanted = self._context.kinds, getattr(name, "name", name)
        found = kinds.named(wanted)
        if wanted is not name:
            kinds.check_same(name)
        if wanted in kinds.declared:
            from a2e_async.kinds.declared import DeclaredNamespace

            return DeclaredNamespace(self._context, found)
        namespace: base.TaskNamespace[..., Any] = getattr(self, wanted)
        return namespace
