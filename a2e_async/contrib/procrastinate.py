"""A job queue on Procrastinate: starts jobs and follows them, on many hosts.

`make_app` returns a Procrastinate app with two tasks. ``a2e.start`` starts a job and follows it
until its files are saved; ``a2e.follow`` does the same for a job that is already started. Workers
are Procrastinate's own: ``procrastinate --app=fleet.app worker``. `make_blueprint` returns the same
tasks for an app of yours, with its own connector.

A queue job may run several times: it is retried after an error, and after its worker died. Its
start is still charged once, because every run uses the same key: the id of the queue job, unless
you give a ``key``. The journal then returns the existing task, or searches for it. Queues that
share a journal need keys of your own, as their job ids overlap.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import procrastinate
import psycopg
from attrs import define, field
from procrastinate import jobs
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException, JobAborted

from a2e_async._core.base_errors import A2EError, hide_frames, without_frames
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.redact import Secret
from a2e_async._core.tasks.kind import split_ref
from a2e_async.client import A2E
from a2e_async.contrib.postgres.connection import (
    RECONNECT_TIMEOUT,
    REFUSED_TIMEOUT,
    DatabaseTarget,
    check_session,
    is_refused,
)
from a2e_async.contrib.postgres.journal import PostgresJournal
from a2e_async.errors import (
    ClientClosed,
    ConfigurationError,
    InvalidInput,
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

logger: Final = logging.getLogger("a2e_async.journal")

DEFAULT_QUEUE: Final = "a2e"
"""The queue of both tasks, unless a job is deferred to another one."""

ARGUMENTS_VERSION: Final = 1
"""The form of the tasks' arguments, ``version``. A later one is left to workers of later code."""

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


class _UnknownJob(A2EError):
    """A job that only a worker of other code can do: it stays in the queue."""


_TRANSIENT_ERRORS: Final = (
    ClientClosed,
    JournalError,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
    TaskTimeout,
    TransferError,
    TransportError,
    _UnknownJob,
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


@define(eq=False)
class _SharedClient:
    """The client of all running jobs of a worker: the first one makes it, the last one closes it.

    So it is closed on its own event loop, before the connections of the app and whatever ends the
    worker; other workers can take over its leases at once. Owned by a blueprint.
    """

    _make: Callable[[], A2E]
    _client: A2E | None = field(default=None, init=False)
    _users: int = field(default=0, init=False)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[A2E]:
        """Return the client for one job. Raises `ConfigurationError` if it has no journal."""
        if self._client is None:
            made = self._make()
            if made.journal is None:
                raise ConfigurationError(
                    "The client of a queue needs a journal: without one a retried job would be "
                    "charged again. Create it with A2E(journal=…)."
                )
            self._client = made
        client = self._client
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1
            if not self._users:
                self._client = None
                await client.aclose()


def make_blueprint(
    client: Callable[[], A2E],
    *,
    download_to: str | Path | None = None,
    on_done: OnDone | None = None,
    dead_after: float = 30,
    sweep: str = "* * * * *",
) -> procrastinate.Blueprint:
    """Return the tasks ``start``, ``follow`` and ``sweep``, to be added to an app of yours.

    ``app.add_tasks_from(make_blueprint(…), namespace="a2e")`` names them ``a2e:start`` and so on.
    The other arguments are those of `make_app`; ``client`` is called in the worker, for the first
    of its running jobs. The app's connector needs sessions of its own, like the journal. A worker
    of the app must send heartbeats more often than every ``dead_after`` seconds.

    Raises `ConfigurationError`; for a client without a journal it is raised in the first job.
    """
    blueprint = procrastinate.Blueprint()
    _add_tasks(blueprint, "", client, download_to, on_done, dead_after, sweep)
    return blueprint


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

    Each worker creates an `A2E` with ``client``; by default its journal is in the same database.
    It is shared by the worker's running jobs. If ``download_to`` is given, each result is saved
    there once. Then ``on_done`` is called with the task and its record; it is called again if the
    worker dies before it returns. With neither, the task stays unfinished in the journal.

    A worker without a heartbeat for ``dead_after`` seconds counts as dead. A periodic task gives
    its jobs to other workers, at the times of ``sweep`` (a cron expression; a sixth field means
    seconds).

    ``url`` is the same as for `PostgresJournal`. Opening the app waits up to 45 s for the database,
    then raises Procrastinate's ``ConnectorException``; so it does at once behind a pooler that does
    not keep sessions. Raises `ConfigurationError`; for a client without a journal it is raised in
    the first job.
    """
    target = DatabaseTarget(url, used_as="queue")
    journal = Secret(url, "[database]")
    app = procrastinate.App(
        connector=_Connector(target),
        worker_defaults={
            "concurrency": WORKER_CONCURRENCY,
            "update_heartbeat_interval": dead_after / 3,
            "stalled_worker_timeout": dead_after,
            "shutdown_graceful_timeout": SHUTDOWN_GRACE_SECONDS,
        },
    )
    make_client = client or (lambda: A2E(journal=PostgresJournal(journal.reveal())))
    _add_tasks(app, "a2e.", make_client, download_to, on_done, dead_after, sweep)
    return app


async def apply_schema(app: procrastinate.App) -> bool:
    """Create Procrastinate's tables, unless the database has them; return whether it did.

    ``app`` must be open. May be repeated, and run by several hosts at once. The tables of an
    earlier version of Procrastinate are not changed: apply its migrations.
    """
    if await app.check_connection_async():
        return False
    try:
        await app.schema_manager.apply_schema_async()
    except ConnectorException:
        if await app.check_connection_async():
            return False  # another host was faster
        raise
    return True


class _Connector(procrastinate.PsycopgConnector):
    """Waits for a database that starts later. The password is only where it connects."""

    def __init__(self, target: DatabaseTarget) -> None:
        class Connection(psycopg.AsyncConnection[Any]):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> "Connection":
                try:
                    return await super().connect(target.conninfo(), **options)
                except psycopg.Error as error:
                    raise without_frames(error) from None  # they contain the password

        super().__init__(conninfo="", connection_class=Connection)  # pyright: ignore[reportUnknownMemberType]  # partly untyped
        self._target = target

    async def open_async(self, pool: Any = None) -> None:
        """Open the pool, once the database can be used."""
        if pool is None:
            await _wait_for_database(self._target)
        await super().open_async(pool)

    def get_sync_connector(self) -> BaseConnector:
        """Return the connector of an app that is not open, for synchronous calls."""
        if self._async_pool is None and self._sync_connector is None:
            self._sync_connector = procrastinate.SyncPsycopgConnector(
                conninfo=self._target.conninfo()
            )
        return super().get_sync_connector()


@hide_frames
async def _wait_for_database(target: DatabaseTarget) -> None:
    """Wait up to 45 s for the database; raise `ConnectorException` if it cannot be used."""
    loop = asyncio.get_running_loop()
    started_at, was_logged = loop.time(), False
    while True:
        try:
            async with await target.connect() as connection:
                return await check_session(connection, target)
        except JournalError as error:
            raise ConnectorException(str(error)) from None
        except (psycopg.Error, OSError) as error:
            patience = REFUSED_TIMEOUT if is_refused(error) else RECONNECT_TIMEOUT
            if loop.time() >= started_at + patience:
                raise ConnectorException(str(target.to_journal_error(error))) from None
            if not was_logged:
                reason = target.describe(error)
                logger.warning("waiting up to %.0f s for %s (%s)", patience, target, reason)
                was_logged = True
        await asyncio.sleep(0.5)


def _add_tasks(
    to: procrastinate.Blueprint,
    prefix: str,
    make_client: Callable[[], A2E],
    download_to: str | Path | None,
    on_done: OnDone | None,
    dead_after: float,
    sweep: str,
) -> None:
    """Declare the tasks in an app or a blueprint."""
    if not dead_after > 0:
        raise ConfigurationError(
            f"dead_after must be a number of seconds above 0, got {dead_after!r:.60}."
        )
    client = _SharedClient(make_client)

    async def finish(a2e: A2E, task: "Task[Any]") -> str:
        try:
            record = await task.wait()
        except TaskFailed as failed:
            if download_to is None or not failed.record.outputs or await _is_saved(a2e, task):
                raise
            await task.download(download_to)  # saves the good outputs and raises `TaskFailed`
            raise
        if download_to is not None and record.outputs and not await _is_saved(a2e, task):
            await task.download(download_to)
        if on_done is not None:
            await on_done(task, record)
            if download_to is None:
                await task.ack()
        return task.ref

    @to.task(
        name=f"{prefix}start", queue=DEFAULT_QUEUE, retry=RetryTransientErrors(), pass_context=True
    )
    async def start(
        context: procrastinate.JobContext,
        /,
        *,
        kind: str = "",
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
        version: int = ARGUMENTS_VERSION,
        **others: Any,
    ) -> str:
        """Start a job of a kind, follow it, save its files; return its ref."""
        required = {"kind": kind, "inputs": inputs}
        _check_arguments(version, others, required, takes="kind, inputs, key, meta")
        own = key if key is not None else f"procrastinate:{context.job.id}"
        with _AbortOnCancel():
            async with client.use() as a2e:
                return await finish(
                    a2e, await a2e.kind(kind).start(**(inputs or {}), key=own, meta=meta)
                )

    @to.task(name=f"{prefix}follow", queue=DEFAULT_QUEUE, retry=RetryTransientErrors())
    async def follow(*, ref: str = "", version: int = ARGUMENTS_VERSION, **others: Any) -> str:
        """Follow a job that is already started, save its files; return its ref."""
        _check_arguments(version, others, {"ref": ref}, takes="ref")
        with _AbortOnCancel():
            async with client.use() as a2e:
                task = _attach(a2e, ref)
                entry = await _find_entry(a2e, task)
                if entry is not None and task.meta is None:
                    task.meta = entry.meta
                return await finish(a2e, task)

    # The sweep that Procrastinate's documentation recommends: retry the jobs of dead workers.
    @to.periodic(cron=sweep)
    @to.task(
        name=f"{prefix}sweep",
        queue=DEFAULT_QUEUE,
        queueing_lock="a2e.sweep",
        pass_context=True,
    )
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


def _check_arguments(
    version: int, others: Mapping[str, Any], required: Mapping[str, Any], *, takes: str
) -> None:
    """Check the arguments of a job, whose later form may lack those that are required here."""
    if version > ARGUMENTS_VERSION:
        raise _UnknownJob(
            f"This job has arguments of version {version}, this worker knows up to "
            f"{ARGUMENTS_VERSION}: update a2e-async. Until then the job stays in the queue."
        )
    if others:
        raise InvalidInput(f"A job of this task takes {takes}; not {', '.join(sorted(others))}.")
    if missing := [name for name, value in required.items() if value in (None, "")]:
        raise InvalidInput(f"A job of this task takes {takes}; {missing[0]} is missing.")


def _attach(a2e: A2E, ref: str) -> "Task[Any]":
    """Return the task of a job. It is paid: a kind that this worker lacks must not end the job."""
    name, _ = split_ref(ref)
    try:
        a2e.kind(name)
    except InvalidInput as error:
        raise _UnknownJob(f"{error} Until a worker knows it, the job stays in the queue.") from None
    return a2e.attach(ref)


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
