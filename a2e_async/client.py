"""`A2E`, the client: puts the parts together and holds the namespaces."""

import logging
import math
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from a2e_async.config import clean_webhook_secret, clean_webhook_url, resolve_account
from a2e_async.errors import ConfigurationError, InvalidInput, sealed
from a2e_async.namespaces import Namespaces
from a2e_async.redact import redact

if TYPE_CHECKING:
    from a2e_async.events import Event
    from a2e_async.models import OutputSource, Record, Recovery
    from a2e_async.resources import base, files
    from a2e_async.tasks.batch import Outcome
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal import Journal
    from a2e_async.tasks.kind import Job
    from a2e_async.tasks.task import Task
    from a2e_async.transport.envelope import Answer
    from a2e_async.transport.ratelimit import Priority
    from a2e_async.transport.retry import RetryPolicy
    from a2e_async.webhooks import Webhooks

R = TypeVar("R", bound="Record")

logger = logging.getLogger("a2e_async")
logger.addHandler(logging.NullHandler())

LOOK_SHARE: Final = 0.5
"""Share of the rate that looks at running tasks may take; the rest is for starts."""


class A2E(Namespaces):
    """A client of one A2E account. ``async with A2E() as a2e: …`` or ``await a2e.aclose()``.

    Making one does no I/O and needs no running loop; it then belongs to the loop it is first
    used on. Use one for a whole program: tasks that wait under one client are looked at
    together.

    ``api_key`` and ``base_url`` default to A2E_API_KEY and A2E_BASE_URL. ``account`` (or
    A2E_ACCOUNT) is your own name for the account: a journal knows it by this name and the host,
    and else by a digest of the key, which a new key would change.
    ``request_timeout`` and ``start_timeout`` bound one answer (s), never a task.
    ``poll_interval`` is the time between two looks at a task (s). ``rate`` (requests/s, None
    for no limit) and ``burst`` (requests) pace all calls; ``max_connections`` bounds them.
    ``retry`` is a `RetryPolicy`. ``mark_names`` appends a unique mark to names you give.
    ``on_event`` is called with each `a2e_async.events` value. ``language`` picks that of the
    service's messages. ``trust_env`` takes proxies from the environment, ``proxy`` names one.

    ``journal`` is a file's path (or a `Journal`): every start is in it before its bytes leave.
    ``on_unknown="resend_may_pay_twice"`` sends a start once more whose absence from the
    service's list is proved, 3 minutes after it was lost. ``budget`` is a `Budget`, or coins,
    for everything this client starts. ``max_unfinished`` is how many remote tasks of this client
    may be unfinished at a time: further starts wait for a place (see `for_caller`).

    ``webhook_url`` is where `webhooks` is served: starts ask the service to tell of their end
    there. It needs a secret of yours in A2E_WEBHOOK_SECRET.

    Raises `ConfigurationError`.
    """

    @sealed
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
    ) -> None:
        resolved = resolve_account(api_key, base_url, name=account)
        for name, value in (
            ("request_timeout", request_timeout),
            ("start_timeout", start_timeout),
            ("poll_interval", poll_interval),
            ("burst", burst),
            *((("rate", rate),) if rate is not None else ()),
        ):
            _check_positive(name, value)
        for name, value, wanted, fine in (
            ("burst", burst, "at least 1", burst >= 1),
            (
                "max_connections",
                max_connections,
                "a whole number above 0",
                _is_whole(max_connections) and max_connections > 0,
            ),
            (
                "max_unfinished",
                max_unfinished,
                "a whole number above 0",
                max_unfinished is None or (_is_whole(max_unfinished) and max_unfinished > 0),
            ),
            ("mark_names", mark_names, "True or False", isinstance(mark_names, bool)),
            ("trust_env", trust_env, "True or False", isinstance(trust_env, bool)),
            ("on_event", on_event, "a function", on_event is None or callable(on_event)),
            ("proxy", proxy, "a URL", proxy is None or isinstance(proxy, str)),
        ):
            if not fine:
                raise ConfigurationError(f"{name} must be {wanted}, got {redact(repr(value)):.60}.")
        secret = None
        if webhook_url is not None:
            webhook_url, secret = clean_webhook_url(webhook_url), clean_webhook_secret()
        _check_language(language)
        if on_unknown not in ("raise", "resend_may_pay_twice"):
            raise ConfigurationError(
                f"on_unknown must be 'raise' or 'resend_may_pay_twice', got {on_unknown!r:.60}."
            )

        from a2e_async._parts import build, check_retry, open_journal
        from a2e_async.tasks.budget import as_budget
        from a2e_async.tasks.hooks import Webhook

        check_retry(retry)
        self._parts = build(
            resolved,
            request_timeout=request_timeout,
            poll_interval=poll_interval,
            rate=rate,
            look_rate=None if rate is None else rate * LOOK_SHARE,
            burst=burst,
            max_connections=max_connections,
            retry=retry,
            mark_names=mark_names,
            on_event=on_event,
            language=language,
            trust_env=trust_env,
            proxy=proxy,
            journal=None if journal is None else open_journal(journal),
            resend=on_unknown == "resend_may_pay_twice",
            budget=as_budget(budget),
            max_unfinished=max_unfinished,
            webhook=Webhook(webhook_url, secret) if webhook_url and secret else None,
        )
        self._room = self._parts.room(request_timeout, start_timeout)

    def __repr__(self) -> str:
        return f"<A2E {self._parts.account.base_url}{' closed' if self._parts.closed else ''}>"

    @property
    def files(self) -> "files.Files":
        """Uploads and downloads."""
        return self._room.files.namespace

    @property
    def webhooks(self) -> "Webhooks":
        """The receiver of webhook events: ``a2e.webhooks.app()``, or ``aiohttp_app()``."""
        return self._parts.webhooks

    @property
    def journal(self) -> "Journal | None":
        """The client's journal, or None: its entries, and what was spent by day and kind."""
        book = self._parts.book
        return None if book is None else book.journal

    @property
    def closed(self) -> bool:
        """True once `aclose` was called."""
        return self._parts.closed

    async def __aenter__(self) -> Self:
        self._parts.check_open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client: starts under way end (at most 30 s), pending waits get `ClientClosed`.

        Tasks go on at the service. May be called from any asyncio task, and often.
        """
        await self._parts.aclose()

    def with_options(
        self,
        *,
        request_timeout: float | None = None,
        start_timeout: float | None = None,
        priority: "Priority | None" = None,
    ) -> Self:
        """Return a client with other options for its calls; all else is shared with this one."""
        for name, value in (("request_timeout", request_timeout), ("start_timeout", start_timeout)):
            if value is not None:
                _check_positive(name, value)
        if priority is not None and not isinstance(priority, IntEnum):
            raise ConfigurationError(f"priority must be a Priority, got {priority!r:.60}.")
        room = self._room
        return self._twin(
            room.request_timeout if request_timeout is None else request_timeout,
            room.start_timeout if start_timeout is None else start_timeout,
            room.priority if priority is None else priority,
            room.tasks.caller,
        )

    def for_caller(
        self, caller: str, *, max_unfinished: int | None = None, max_wait: float | None = None
    ) -> Self:
        """Return a client for one of many callers, such as a user of your service.

        All is shared with this one, but callers take turns: one who asks for a thousand starts
        does not keep another one's single start waiting behind them. ``caller`` is your own name
        for whoever it is; it is never sent. At most ``max_unfinished`` remote tasks of the caller
        are unfinished at a time, beside the cap of `A2E` for all; further starts wait for their
        place, at most ``max_wait`` seconds (None: as long as it takes; 0: not at all), then
        raise `TooBusy` with ``retry_after``. Cancelled while it waits, a start leaves the queue.

        A task holds its place until this client has seen its end. `unclaimed` is the caller's
        own. Raises `InvalidInput`.
        """
        from a2e_async.tasks.fair import check_caller

        made = check_caller(caller, max_unfinished, max_wait)
        room = self._room
        room.starter.places.active = True
        return self._twin(room.request_timeout, room.start_timeout, room.priority, made)

    def _hand_out(self, wrap: "Callable[[OutputSource], OutputSource]") -> None:
        """Let outputs be fetched another way (for a client that was just made)."""
        self._parts.hand_out(wrap)
        self._room = self._parts.room(self._room.request_timeout, self._room.start_timeout)

    def _twin(self, *options: Any) -> Self:
        twin = object.__new__(type(self))
        twin._parts = self._parts
        twin._room = self._parts.room(*options)
        return twin

    @sealed
    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        charged: bool | None = None,
    ) -> "Answer":
        """Send any call to the API, for what this package has no method for.

        It takes the same way as all others (key, pace, connections, timeouts, errors); the
        `Answer` has ``data``, ``http_status``, ``headers``, ``trace_id``, ``code`` and
        ``message``. ``path`` is the operation's own, such as ``/api/v1/userDubbing/allRecords``.

        A POST or PATCH counts as ``charged``: its lost answer is raised and never asked for
        again, and is lost, too, when the caller is cancelled. ``charged=False`` says that it only
        reads. Inputs that bear on a safety check of the service are refused.

        Raises `InvalidInput` (nothing sent), `ApiError`, `TransportError`, `DecodeError`.
        """
        from a2e_async.resources.raw import send

        answer = await send(self._room, method, path, params=params, json=json, charged=charged)
        return self._parts.session.without_key(answer)

    def attach(self, ref: str) -> "Task[Any]":
        """Return the handle of a task by its ``ref``, in any process, without a request."""
        from a2e_async.resources.registry import kind_named
        from a2e_async.tasks.kind import split_ref
        from a2e_async.tasks.task import Task

        name, ids = split_ref(ref)
        return Task(self._room.tasks, kind_named(name), ids)

    async def recover(self, recovery: "Recovery") -> "Task[Any]":
        """Look again for a start whose answer was lost; return its task.

        ``recovery`` is that of `StartOutcomeUnknown`, or of `unknown`. The kind's lists are
        searched for up to 30 s; nothing is started. Raises `StartOutcomeUnknown` when it is not
        found, or not for certain: ``error.candidates`` are what it may be.
        """
        from a2e_async.models import Recovery
        from a2e_async.resources.registry import kind_named

        if not isinstance(recovery, Recovery):
            raise InvalidInput("recover takes the recovery of an error.", field="recovery")
        return await self._room.starter.recover(
            kind_named(recovery.kind), recovery, timeout=self._room.start_timeout
        )

    def batch(
        self,
        jobs: "Iterable[Job[R]] | AsyncIterable[Job[R]]",
        *,
        limit: int = 10,
        retry_failed: int = 0,
        budget: "Budget | int | None" = None,
        download_to: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> AsyncGenerator["Outcome[R]"]:
        """Run many jobs: ``async for outcome in a2e.batch(jobs): …``, as they are completed.

        ``jobs`` are made by a namespace's ``job(…)``, or `Job`, and are asked for one by one.
        At most ``limit`` of them are under way; ``retry_failed`` is how often a task that the
        service failed is started anew (and paid anew); ``budget`` is a `Budget`, or coins, for
        what its jobs cost in all runs that share the journal (``jobs`` with a length are read
        once before the first start, to count what they cost before; of a generator each counts
        when it comes); every output is saved into ``download_to``. One job's failure leaves the
        others alone: it is ``outcome.error``.

        Nothing is started unless the batch is iterated: leaving the loop stops spending. With a
        journal the same batch, run again, skips what is done and continues what is open; jobs
        without a ``key`` are told by their inputs. What would meet every start (a refused key,
        no coins left, a journal that fails) ends the batch, after what is under way.

        ``dry_run=True`` spends nothing: nothing is uploaded, started, waited for or written.
        ``outcome.plan`` tells what a run would do with each job and what that costs,
        ``outcome.error`` what is wrong with it, or that it would not fit the budget.

        Costs coins. Raises `InvalidInput`, and what ended the batch.
        """
        from a2e_async._parts import counting
        from a2e_async.paths import local_path
        from a2e_async.resources.calls import quote
        from a2e_async.tasks.batch import Desk, Runner, Worker, check_batch, run_batch
        from a2e_async.tasks.budget import as_budget, held_by
        from a2e_async.tasks.dry_run import Planner

        check_batch(limit, retry_failed, dry_run)
        room, own = self._room, as_budget(budget)
        held = held_by(*self._parts.budgets, own)
        services = counting(room.tasks, held_by(own).budgets)
        desk = Desk(
            start=lambda job: room.starter.start(
                job.kind,
                job.input,
                timeout=room.start_timeout,
                services=services,
                budget=own,
            ),
            digest=lambda job: room.starter.digest(job.kind, job.input),
            look=lambda job: room.starter.look(job.kind, job.input),
            price=lambda path, body: quote(room, path, body),
            attach=lambda job, entry: room.starter.attach(job.kind, entry),
            book=self._parts.book,
        )
        place = None if download_to is None else local_path(download_to, "download_to")
        worker: Worker = Runner(desk=desk, retry_failed=retry_failed, download_to=place, held=held)
        if dry_run:
            worker = Planner(
                desk=desk,
                retry_failed=retry_failed,
                download_to=place,
                held=held,
            )
        return run_batch(worker, jobs, limit=limit)

    async def unfinished(self, *, missing: bool = False) -> AsyncGenerator["Task[Any]"]:
        """Yield every task of the journal that was begun and is not yet saved.

        For who comes back after a restart: ``async for task in a2e.unfinished(): …``; wait for
        it, download it. Starts whose answer was lost are looked for first; those that are not
        found stay in the journal, and are in `unknown`, as are paid calls that start no task
        (speech and the like) whose answer was lost: ``a2e journal settle`` closes such an entry
        by hand. What another living process is at work on is left to it, and what belongs to
        another account is skipped. A task that the service knows no more is given out only with
        ``missing=True``; it stays in the journal until it is seen again, settled or pruned.
        ``task.key`` and ``task.meta`` are what the start was given. Raises `JournalError`, and
        `ConfigurationError` without a journal.
        """
        from a2e_async.resources.registry import kind_named, kind_names
        from a2e_async.tasks.resume import unfinished

        book = self._parts.book
        if book is None:
            raise ConfigurationError("unfinished() needs a journal: A2E(journal='jobs.db').")
        self._parts.check_open()
        names = frozenset(kind_names())
        found = unfinished(
            book,
            self._room.starter,
            self._room.charged,
            lambda name: kind_named(name) if name in names else None,
            missing=missing,
        )
        async with aclosing(found) as tasks:
            async for task in tasks:
                yield task

    def unclaimed(self) -> "tuple[Task[Any], ...]":
        """Return paid tasks that nobody holds.

        ``start()`` was cancelled after it was sent, ``run()`` while it waited, or the handle
        was dropped before its end without anybody reading its ``ref`` (as when a sibling in a
        ``gather`` fails). A task leaves this list when it is waited for, or given to who
        starts it by its key. With `for_caller`, the caller's own: ``task.caller`` is whose.
        """
        caller, tasks = self._room.tasks.caller, self._room.starter.unclaimed()
        if caller is None:
            return tasks
        return tuple(task for task in tasks if task.caller == caller.name)

    def unknown(self) -> "tuple[Recovery, ...]":
        """Return starts that may have been paid and whose callers were cancelled meanwhile.

        The answer to each was lost, and it was not found; `recover` looks again. A caller that
        still waits gets `StartOutcomeUnknown` instead. Other paid calls (speech, watermarks,
        rooms) are here, too; there is no list in which those could be found.
        """
        return (*self._room.starter.unknown(), *self._room.charged.unknown())

    def kind(self, name: str) -> "base.TaskNamespace[..., Record]":
        """Return the namespace of a kind by its name, as text from a file or a command line."""
        from a2e_async.resources.registry import kind_named

        kind_named(name)
        namespace: base.TaskNamespace[..., Record] = getattr(self, name)
        return namespace


def _check_positive(name: str, value: Any) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name} must be a number above 0, got {value!r:.60}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_language(language: Any) -> None:
    if not isinstance(language, str) or not language.replace("-", "").isalnum():
        raise ConfigurationError("language must look like en-US.")
