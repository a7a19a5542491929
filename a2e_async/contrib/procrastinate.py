"""A queue of jobs on Procrastinate: who started what and who follows it, on many hosts.

`make_app` gives a Procrastinate app with two tasks. ``a2e.start`` starts a job and follows it to
its saved files; ``a2e.follow`` does the rest for a job that is started already. Workers are
Procrastinate's own: ``procrastinate --app=fleet.app worker``.

A job of the queue may run many times: it is retried after an error, and after its worker died.
Its start is still paid once, as every run starts under the same key, the queue job's own id
unless a ``key`` is given: the journal gives back the task, or looks for it. Queues that share a
journal need keys of your own, as their ids are the same.
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

from a2e_async.client import A2E
from a2e_async.contrib.postgres import PostgresJournal
from a2e_async.contrib.postgres_link import Target
from a2e_async.errors import (
    ClientClosed,
    ConfigurationError,
    JournalError,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
    TaskTimeout,
    TransferError,
    TransportError,
    sealed,
)
from a2e_async.models import Record
from a2e_async.redact import Secret
from a2e_async.tasks.journal import Entry, State

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task

QUEUE: Final = "a2e"
"""The queue of both tasks, unless another one is given where a job is deferred."""

PAUSE_MOST: Final = 300.0
"""Seconds between two tries of a job at most."""

LOST_PAUSE: Final = 3600.0
"""The same for a start that stays unknown: it is looked for, and nothing hangs on the minute."""

LOST_FOR: Final = timedelta(days=1)
"""Time since it was sent after which a start that stays unknown is the end of its job."""

GRACE: Final = 5.0
"""Seconds that a worker which is told to end leaves to its jobs; they go on in other workers."""

CONCURRENCY: Final = 500
"""Jobs of one worker at a time: nearly all of them only wait."""

_PASSING: Final = (
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

Done = Callable[["Task[Any]", Record], Awaitable[None]]


@define
class Again(procrastinate.BaseRetryStrategy):
    """Tries a job again after what may be over by itself, for ever; every other error is its end.

    What the service has refused or failed is not tried again: it would only cost again. A start
    that stays unknown is looked for during a day, then its job fails.
    """

    def get_retry_decision(
        self, *, exception: BaseException, job: jobs.Job
    ) -> procrastinate.RetryDecision | None:
        """Return when to try again, None for never."""
        if isinstance(exception, JobAborted | ClientClosed):
            # The worker is told to end: another one goes on at once.
            return procrastinate.RetryDecision(retry_in={"seconds": 0})
        if not isinstance(exception, _PASSING):
            return None
        most = PAUSE_MOST
        if isinstance(exception, StartOutcomeUnknown):
            most = LOST_PAUSE
            if datetime.now(UTC) - exception.recovery.sent_at > LOST_FOR:
                return None
        pause = min(most, 2.0 ** min(job.attempts, 12))
        return procrastinate.RetryDecision(retry_in={"seconds": int(pause)})


class _Connector(procrastinate.PsycopgConnector):
    """Closes the client before the pool: its leases go over to other workers at once."""

    def __init__(self, close: Callable[[], Awaitable[None]], **pool: Any) -> None:
        super().__init__(**pool)  # pyright: ignore[reportUnknownMemberType]  # untyped in part there
        self._close = close

    async def close_async(self) -> None:
        """Close the client, then the pool."""
        try:
            await self._close()
        finally:
            await super().close_async()


@sealed
def make_app(
    url: str,
    *,
    client: Callable[[], A2E] | None = None,
    download_to: str | Path | None = None,
    on_done: Done | None = None,
    dead_after: float = 30,
    sweep: str = "* * * * *",
) -> procrastinate.App:
    """Return a Procrastinate app whose queue is in the PostgreSQL database ``url``.

    Each worker makes one `A2E` by ``client``, with its journal in the same database if none is
    given. Results are saved into ``download_to`` if that is given, each once; then ``on_done`` is
    called with the task and its record. It is called again if its worker dies meanwhile.

    A worker without a heartbeat for ``dead_after`` seconds counts as dead. Its jobs are given to
    others by a periodic task at the times of ``sweep`` (cron; a sixth field counts seconds).

    ``url`` is what `PostgresJournal` takes. Raises `ConfigurationError`, also in the first job when
    the client has no journal.
    """
    if not dead_after > 0:
        raise ConfigurationError(f"dead_after must be seconds above 0, got {dead_after!r:.60}.")
    target = Target(url)
    held: list[A2E] = []
    journal = Secret(url, "[database]")

    def a2e() -> A2E:
        # Made by the first job, on the worker's loop; one for all of its jobs.
        if not held:
            made = (
                client() if client is not None else A2E(journal=PostgresJournal(journal.reveal()))
            )
            if made.journal is None:
                raise ConfigurationError("The client of a queue needs a journal.")
            held.append(made)
        return held[0]

    async def close() -> None:
        while held:
            await held.pop().aclose()

    app = procrastinate.App(
        connector=_Connector(close, conninfo=target.conninfo()),
        worker_defaults={
            "concurrency": CONCURRENCY,
            "update_heartbeat_interval": dead_after / 3,
            "stalled_worker_timeout": dead_after,
            "shutdown_graceful_timeout": GRACE,
        },
    )

    async def finish(task: "Task[Any]") -> str:
        record = await task.wait()
        if download_to is not None and record.outputs and not await _saved(a2e(), task):
            await task.download(download_to)
        if on_done is not None:
            await on_done(task, record)
        if download_to is None:
            await task.ack()
        return task.ref

    @app.task(name="a2e.start", queue=QUEUE, retry=Again(), pass_context=True)
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
        with _Aborts():
            return await finish(await a2e().kind(kind).start(**inputs, key=own, meta=meta))

    @app.task(name="a2e.follow", queue=QUEUE, retry=Again())
    async def follow(*, ref: str) -> str:
        """Follow a job that is started, save its files; return its ref."""
        with _Aborts():
            task = a2e().attach(ref)
            entry = await _entry(a2e(), task)
            if entry is not None and task.meta is None:
                task.meta = entry.meta
            return await finish(task)

    # As Procrastinate's documentation has it: jobs of workers that are gone are tried again.
    @app.periodic(cron=sweep)
    @app.task(name="a2e.sweep", queue=QUEUE, queueing_lock="a2e.sweep", pass_context=True)
    async def give_over(context: procrastinate.JobContext, timestamp: int) -> None:
        """Give the jobs of dead workers to others."""
        manager = context.app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=dead_after):
            with suppress(ConnectorException):  # another sweep, of just now, was first
                if job.task_name == give_over.name:
                    # Nobody needs it any more: this one has come.
                    await manager.finish_job(job, status=jobs.Status.ABORTED, delete_job=True)
                elif job.task_name in (start.name, follow.name):
                    await manager.retry_job(job)

    return app


class _Aborts:
    """Ends a cancelled job in Procrastinate's way, which tries again only after a shutdown."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            raise JobAborted from error


async def _saved(a2e: A2E, task: "Task[Any]") -> bool:
    """Whether an earlier run has saved the files of a task."""
    entry = await _entry(a2e, task)
    return entry is not None and entry.state is State.SAVED and bool(entry.paths)


async def _entry(a2e: A2E, task: "Task[Any]") -> Entry | None:
    journal = a2e.journal
    return None if journal is None else await journal.find(task.kind.name, task.ids[0])
