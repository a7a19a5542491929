"""A job queue on Procrastinate: starts jobs and follows them, on many hosts.

`make_app` returns a Procrastinate app with two tasks. ``a2e.start`` starts a job and follows it
until its files are saved; ``a2e.follow`` does the same for a job that is already started. Workers
are Procrastinate's own: ``procrastinate --app=fleet.app worker``.

A queue job may run several times: it is retried after an error, and after its worker died. Its
start is still charged once, because every run uses the same key: the id of the queue job, unless
you give a ``key``. The journal then returns the existing task, or searches for it. Queues that
share a journal need keys of your own, as their job ids overlap.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import procrastinate
from attrs import define
from procrastinate import jobs
from procrastinate.exceptions import ConnectorException, JobAborted

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.redact import Secret
from a2e_async.client import A2E
from a2e_async.contrib.postgres.connection import DatabaseTarget
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.errors import (
    ClientClosed,
    ConfigurationError,
    JournalError,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
    TaskFailed,
    TaskTimeout,
    TransferError,
    TransportError,
)
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task

DEFAULT_QUEUE: Final = "a2e"
"""The queue of both tasks, unless a job is deferred to another one."""

MAX_RETRY_DELAY: Final = 300.0
"""Maximum delay between two attempts of a job (s)."""

MAX_UNKNOWN_START_RETRY_DELAY: Final = 3600.0
"""The same limit (s) for an unknown start: it is only searched for, which is not urgent."""

UNKNOWN_START_TIMEOUT: Final = timedelta(days=1)
"""Age of an unknown start at which its job fails."""

SHUTDOWN_GRACE_SECONDS: Final = 5.0
"""Time that a stopping worker gives its jobs (s); other workers continue them."""

WORKER_CONCURRENCY: Final = 500
"""Concurrent jobs per worker: nearly all of them only wait."""

_TRANSIENT_ERRORS: Final = (
    ClientClosed,
    JournalError,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
    TaskTimeout,
    TransferError,
    TransportError,
    OSError,
)

OnDone = Callable[["Task[Any]", Record], Awaitable[None]]


@define
class RetryTransientErrors(procrastinate.BaseRetryStrategy):
    """Retries a job without limit after a transient error; any other error fails the job.

    What the service refused or failed is not retried: that would only be charged again. An unknown
    start is searched for during a day, then its job fails.
    """

    def get_retry_decision(
        self, *, exception: BaseException, job: jobs.Job
    ) -> procrastinate.RetryDecision | None:
        """Return when to retry, None for never."""
        if isinstance(exception, JobAborted | ClientClosed):
            # The worker is stopping: another one continues at once.
            return procrastinate.RetryDecision(retry_in={"seconds": 0})
        if not isinstance(exception, _TRANSIENT_ERRORS):
            return None
        most = MAX_RETRY_DELAY
        if isinstance(exception, StartOutcomeUnknown):
            most = MAX_UNKNOWN_START_RETRY_DELAY
            if datetime.now(UTC) - exception.recovery.sent_at > UNKNOWN_START_TIMEOUT:
                return None
        # The exponent is capped: jobs are retried without limit.
        pause = min(most, 2.0 ** min(job.attempts, 12))
        return procrastinate.RetryDecision(retry_in={"seconds": int(pause)})


class _ClosingConnector(procrastinate.PsycopgConnector):
    """Closes the client before the pool, so that other workers can take over its leases at once."""

    def __init__(self, close: Callable[[], Awaitable[None]], **pool: Any) -> None:
        super().__init__(**pool)  # pyright: ignore[reportUnknownMemberType]  # partly untyped
        self._close_client = close

    async def close_async(self) -> None:
        """Close the client, then the pool."""
        try:
            await self._close_client()
        finally:
            await super().close_async()


@hide_frames
def make_app(
    url: str,
    *,
    client: Callable[[], A2E] | None = None,
    download_to: str | Path | None = None,
    on_done: OnDone | None = None,
    dead_after: float = 30,
    sweep: str = "* * * * *",
) -> procrastinate.App:
    """Return a Procrastinate app whose queue is in the PostgreSQL database ``url``.

    Each worker creates one `A2E` with ``client``; by default its journal is in the same database.
    If ``download_to`` is given, each result is saved there once. Then ``on_done`` is called with
    the task and its record; it is called again if the worker dies before it returns.

    A worker without a heartbeat for ``dead_after`` seconds counts as dead. A periodic task gives
    its jobs to other workers, at the times of ``sweep`` (a cron expression; a sixth field means
    seconds).

    ``url`` is the same as for `PostgresJournal`. Raises `ConfigurationError`; if the client has no
    journal it is raised in the first job.
    """
    if not dead_after > 0:
        raise ConfigurationError(
            f"dead_after must be a number of seconds above 0, got {dead_after!r:.60}."
        )
    target = DatabaseTarget(url)
    clients: list[A2E] = []
    journal = Secret(url, "[database]")

    def a2e() -> A2E:
        # Created by the first job, on the worker's loop; shared by all of its jobs.
        if not clients:
            made = (
                client() if client is not None else A2E(journal=PostgresJournal(journal.reveal()))
            )
            if made.journal is None:
                raise ConfigurationError(
                    "The client of a queue needs a journal: without one a retried job would be "
                    "charged again. Create it with A2E(journal=…)."
                )
            clients.append(made)
        return clients[0]

    async def close() -> None:
        while clients:
            await clients.pop().aclose()

    app = procrastinate.App(
        connector=_ClosingConnector(close, conninfo=target.conninfo()),
        worker_defaults={
            "concurrency": WORKER_CONCURRENCY,
            "update_heartbeat_interval": dead_after / 3,
            "stalled_worker_timeout": dead_after,
            "shutdown_graceful_timeout": SHUTDOWN_GRACE_SECONDS,
        },
    )

    async def finish(task: "Task[Any]") -> str:
        try:
            record = await task.wait()
        except TaskFailed as failed:
            if download_to is None or not failed.record.outputs or await _is_saved(a2e(), task):
                raise
            await task.download(download_to)  # saves the good outputs and raises `TaskFailed`
            raise
        if download_to is not None and record.outputs and not await _is_saved(a2e(), task):
            await task.download(download_to)
        if on_done is not None:
            await on_done(task, record)
        if download_to is None:
            await task.ack()
        return task.ref

    @app.task(
        name="a2e.start", queue=DEFAULT_QUEUE, retry=RetryTransientErrors(), pass_context=True
    )
    async def start(
        context: procrastinate.JobContext,
        *,
        kind: str,
        inputs: Mapping[str, Any],
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a job of a kind, follow it, save its files; return its ref."""
        own = key if key is not None else f"procrastinate:{context.job.id}"
        with _AbortOnCancel():
            return await finish(await a2e().kind(kind).start(**inputs, key=own, meta=meta))

    @app.task(name="a2e.follow", queue=DEFAULT_QUEUE, retry=RetryTransientErrors())
    async def follow(*, ref: str) -> str:
        """Follow a job that is already started, save its files; return its ref."""
        with _AbortOnCancel():
            task = a2e().attach(ref)
            entry = await _find_entry(a2e(), task)
            if entry is not None and task.meta is None:
                task.meta = entry.meta
            return await finish(task)

    # The sweep that Procrastinate's documentation recommends: retry the jobs of dead workers.
    @app.periodic(cron=sweep)
    @app.task(name="a2e.sweep", queue=DEFAULT_QUEUE, queueing_lock="a2e.sweep", pass_context=True)
    async def give_over(context: procrastinate.JobContext, timestamp: int) -> None:
        """Give the jobs of dead workers to others."""
        manager = context.app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=dead_after):
            with suppress(ConnectorException):  # a concurrent sweep was faster
                if job.task_name == give_over.name:
                    # A stalled sweep is obsolete: this one does its work.
                    await manager.finish_job(job, status=jobs.Status.ABORTED, delete_job=True)
                elif job.task_name in (start.name, follow.name):
                    await manager.retry_job(job)

    return app


class _AbortOnCancel:
    """Aborts a cancelled job in Procrastinate's way, which retries it only after a shutdown."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            raise JobAborted from error


async def _is_saved(a2e: A2E, task: "Task[Any]") -> bool:
    """Return whether an earlier run saved the task's files."""
    entry = await _find_entry(a2e, task)
    return entry is not None and entry.state is State.SAVED and bool(entry.paths)


async def _find_entry(a2e: A2E, task: "Task[Any]") -> Entry | None:
    journal = a2e.journal
    return None if journal is None else await journal.find(task.kind.name, task.ids[0])
