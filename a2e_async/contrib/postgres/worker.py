"""The asyncio task that owns a journal's connection: transactions, the lease, other users.

Operations that are pending at the same time share one transaction, in two round trips. It is
durable (``synchronous_commit``) before any caller gets its result.

**If the connection is lost after COMMIT was sent**, the outcome is unknown. Each transaction writes
its number into its owner's row. The next connection first writes that row, which waits for the end
of the old transaction, and then reads there whether it was committed.
"""

import asyncio
import logging
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

import psycopg

from a2e_async._core.base_errors import without_frames
from a2e_async._core.journal.lease_owner import is_owner_dead, new_owner_name
from a2e_async._core.journal.protocol import HEARTBEAT_INTERVAL, LEASE_DURATION, LeaseLost
from a2e_async.contrib.postgres import schema as tables
from a2e_async.contrib.postgres.connection import (
    RECONNECT_TIMEOUT,
    REFUSED_TIMEOUT,
    Connection,
    DatabaseTarget,
    execute,
    is_refused,
    is_transient,
    prepare_connection,
)
from a2e_async.contrib.postgres.group_commit import EntryTransaction
from a2e_async.contrib.postgres.notifications import EntryNotifications
from a2e_async.contrib.postgres.requests import ConnectionUser, WorkerRequest
from a2e_async.errors import JournalError

logger: Final = logging.getLogger("a2e_async.journal")

T = TypeVar("T")

MAX_OPERATIONS_PER_TRANSACTION: Final = 1_000
"""Maximum number of operations in one transaction."""

ATTEMPT_TIMEOUT: Final = 20.0
"""Time limit (s) for one attempt; after it the attempt and its connection are abandoned."""

RETRY_PENDING_SECONDS: Final = 1.0
"""Time (s) after which connection users retry pending work that has failed."""

DELETE_OWNER_AFTER: Final = 86_400.0
"""Time (s) after which the row of a dead owner is deleted."""


class JournalWorker:
    """Executes the operations of a journal. ``clock`` None: the database's own clock.

    Nothing is opened before the first use. It belongs to the event loop on which it is first used.
    Its run loop is the only user of the connection.
    """

    def __init__(
        self,
        target: DatabaseTarget,
        *,
        clock: Callable[[], float] | None = None,
        host_clock: Callable[[], float] | None = None,
    ) -> None:
        self.target = target
        self.clock: Callable[[], float | None] = clock or _no_clock_override
        """Returns the time in tests, else None: the database then uses its own clock."""
        self._host_clock = host_clock
        self._owner: str | None = None
        self._loop_and_pid: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._queue: deque[WorkerRequest[Any]] = deque()
        self._run_task: asyncio.Task[None] | None = None
        self._wake_future: asyncio.Future[None] | None = None
        self._turn_requested = False
        """Work has arrived since the last turn."""
        self._connection: Connection | None = None
        self._pending_failed = False
        """Pending work of the connection users failed: retry later, the database may be
        unreachable."""
        self._was_connected = False
        self._waits_for_database = False
        """It was logged that the first connection has failed."""
        self._closed = False
        self._last_heartbeat = float("-inf")
        self._transaction_number = 0
        self._last_committed = 0
        """The last of this owner's transactions that is known to be committed."""
        self._database_started_at = float("-inf")
        """When the database server started: leases could not be renewed while it was down."""
        self.account: str | None = None
        """The account whose entries are read and written; None: all are read, new ones have none.
        """
        self.notifications: EntryNotifications = EntryNotifications(
            lambda: self.name, self.request_turn, lambda: self.account_filter
        )
        self._connection_users: list[ConnectionUser] = [self.notifications]

    @property
    def owner(self) -> str:
        """The name under which entries are owned; unique to this object."""
        self._check_usable()
        return self.name

    @property
    def name(self) -> str:
        """The same, also while the journal closes."""
        if self._owner is None:
            self._owner = new_owner_name()
        return self._owner

    @property
    def account_filter(self) -> tuple[str | None, str | None]:
        """The parameters of `schema.IS_VISIBLE`."""
        return self.account, self.account

    def submit(
        self,
        key: str = "",
        step: Callable[[EntryTransaction], T] | None = None,
        query: "Callable[[Connection], Awaitable[T]] | None" = None,
        *,
        ids: tuple[str, ...] = (),
    ) -> "asyncio.Future[T]":
        """Submit a step of a transaction, or else a query; return the future of its result."""
        self._check_usable()
        request = WorkerRequest[T](
            asyncio.get_running_loop().create_future(), key, ids, step, query
        )
        self._queue.append(request)
        self.request_turn()
        return request.future

    def add_connection_user(self, user: ConnectionUser) -> None:
        """Let another object use the connection between operations."""
        self.request_turn()
        self._connection_users.append(user)

    async def aclose(self) -> None:
        """Finish pending operations, give up the leases, disconnect. May be called again."""
        self._closed = True
        if self._loop_and_pid is None or self._loop_and_pid[1] != os.getpid():
            return
        if self._run_task is not None and self._loop_and_pid[0] is asyncio.get_running_loop():
            self.wake()
            await asyncio.wait([self._run_task])

    def _check_usable(self) -> asyncio.AbstractEventLoop | None:
        if self._loop_and_pid is not None and self._loop_and_pid[1] != os.getpid():
            reason = "it was used before the process was forked and belongs to the parent"
            raise self.target.unusable_error(reason, "Create a new client in the child.")
        if self._closed:
            raise self.target.unusable_error("it is closed", "Create a new client.")
        return None if self._loop_and_pid is None else self._loop_and_pid[0]

    def request_turn(self) -> None:
        """Wake the run loop for new work; the first use starts it."""
        used_loop = self._check_usable()
        loop = asyncio.get_running_loop()
        if used_loop is not None and used_loop is not loop and not used_loop.is_closed():
            reason = "it belongs to another event loop"
            raise self.target.unusable_error(reason, "Create a new client on this one.")
        if self._run_task is None or self._run_task.done():
            self._loop_and_pid = loop, os.getpid()
            _ = self.name
            # An empty context: the first caller's context variables must not leak into later work.
            self._run_task = loop.create_task(self._run(), context=Context())
        self.wake()

    def wake(self) -> None:
        """Wake the run loop, if it runs."""
        self._turn_requested = True
        if self._wake_future is not None and not self._wake_future.done():
            self._wake_future.set_result(None)

    # -- the runner ----------------------------------------------------------------------------

    async def _run(self) -> None:
        work: list[WorkerRequest[Any]] = []
        try:
            while self._queue or not self._closed:
                work = [
                    self._queue.popleft()
                    for _ in range(min(len(self._queue), MAX_OPERATIONS_PER_TRANSACTION))
                ]
                await self._process(work)
                if not self._queue and not self._closed:
                    await self._wait_for_work()
            await self._release_lease()
        finally:
            for request in (*work, *self._queue):
                request.fail(
                    self.target.unusable_error("its event loop has ended", "Create a new client.")
                )
            self._queue.clear()
            self._disconnect()

    async def _process(self, requests: list[WorkerRequest[Any]]) -> None:
        self._turn_requested = False
        steps = sorted(
            (request for request in requests if request.step), key=lambda request: request.key
        )
        try:
            if steps:
                await self._run_transaction(steps)
            if self._heartbeat_due() or any(user.pending for user in self._connection_users):
                self._pending_failed = True
                # If no caller waits, the error is not raised to anyone; the next round retries.
                with suppress(*(() if requests else (JournalError,))):
                    await self._with_reconnect(self._do_maintenance, retry=bool(requests))
                    self._pending_failed = False
        except JournalError as error:
            for request in requests:
                request.fail(error)
            return
        for request in requests:
            if request.query is not None:
                try:
                    request.set_result(await self._with_reconnect(request.query))
                except JournalError as error:
                    request.fail(error)

    async def _wait_for_work(self) -> None:
        """Wait for work, a notification, or the next heartbeat."""
        if self._connection is not None:
            # Notifications that arrived with a result do not make the socket readable again.
            await self._dispatch_notifications(self._connection)
        pending = any(user.pending for user in self._connection_users)
        if self._turn_requested or (pending and not self._pending_failed):
            return
        loop = asyncio.get_running_loop()
        self._wake_future = loop.create_future()
        timer = loop.call_later(RETRY_PENDING_SECONDS if pending else HEARTBEAT_INTERVAL, self.wake)
        fd = (
            None
            if self._connection is None or self._connection.closed
            else self._connection.fileno()
        )
        if fd is not None:
            loop.add_reader(fd, self.wake)
        try:
            await self._wake_future
        finally:
            self._wake_future = None
            timer.cancel()
            if fd is not None:
                loop.remove_reader(fd)
        if self._connection is not None:
            await self._dispatch_notifications(self._connection)

    async def _dispatch_notifications(self, connection: Connection) -> None:
        """Dispatch the notifications that the database has sent."""
        try:
            async for notification in connection.notifies(timeout=0):
                for user in self._connection_users:
                    user.notified(notification)
        except psycopg.Error:
            self._disconnect()  # the next heartbeat makes a new one

    # -- the connection ------------------------------------------------------------------------

    async def _with_reconnect(
        self, operation: "Callable[[Connection], Awaitable[T]]", *, retry: bool = True
    ) -> T:
        """Return the result of ``operation``, reconnecting and retrying until the time limit.

        Raises `JournalError`.
        """
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout(ATTEMPT_TIMEOUT):
                    return await operation(self._connection or await self._connect())
            except (psycopg.Error, OSError, TimeoutError) as error:
                lost = (
                    self._connection is None
                    or self._connection.closed
                    # The driver's list of prepared statements is wrong: a failure in a pipeline
                    # may have kept one of them from the database.
                    or isinstance(error, TimeoutError | psycopg.errors.InvalidSqlStatementName)
                )
                if lost:
                    self._disconnect()
                # Before the first connection nothing can be lost: closing waits for no database.
                gives_up = not retry or (self._closed and not self._was_connected)
                patience = 0.0 if gives_up else RECONNECT_TIMEOUT
                if not self._was_connected and is_refused(error):
                    patience = min(patience, REFUSED_TIMEOUT)
                if not (lost or is_transient(error)) or loop.time() >= started_at + patience:
                    # The driver's frames contain the password.
                    raise self.target.to_journal_error(error) from without_frames(error)
                if not self._was_connected and not self._waits_for_database:
                    self._waits_for_database = True
                    reason = self.target.describe(error)
                    logger.warning(
                        "waiting up to %.0f s for %s (%s)", patience, self.target, reason
                    )
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # no secret
            pause = min(2 * pause, 1.0)

    async def _connect(self) -> Connection:
        connection = await self.target.connect()
        try:
            await prepare_connection(connection, self.target)
            started = await execute(
                connection, "SELECT extract(epoch FROM pg_postmaster_start_time())::float8"
            )
            if self.clock() is None:
                self._database_started_at = (await started.fetchall())[0][0]
            # Waits for the end of a transaction that the previous connection left open.
            now = await self._renew_lease(connection, self._last_committed)
            await execute(
                connection, "DELETE FROM a2e_owners WHERE until < %s", (now - DELETE_OWNER_AFTER,)
            )
            await execute(
                connection,
                "DELETE FROM a2e_watches WHERE owner NOT IN (SELECT owner FROM a2e_owners)",
            )
            for user in self._connection_users:
                await user.connected(connection)
            self.notifications.caught_up_to = now
        except BaseException:
            await connection.close()
            raise
        self._connection, self._was_connected = connection, True
        return connection

    def _disconnect(self) -> None:
        """Close the connection without a protocol exchange: its state is unknown."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()
            for user in self._connection_users:
                user.disconnected()

    async def _release_lease(self) -> None:
        """Give up the lease, so that others can take over this client's entries at once."""
        connection = self._connection
        if connection is None:
            return
        with suppress(psycopg.Error, TimeoutError):  # otherwise the lease expires by itself
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                for user in self._connection_users:
                    await user.closing(connection)
                await execute(connection, "DELETE FROM a2e_owners WHERE owner = %s", (self.name,))
                await connection.close()

    # -- the lease -----------------------------------------------------------------------------

    def time(self) -> float:
        """Return the host's time in seconds."""
        return (self._host_clock or asyncio.get_running_loop().time)()

    def _heartbeat_due(self) -> bool:
        return self.time() - self._last_heartbeat >= HEARTBEAT_INTERVAL

    async def _renew_lease(self, connection: Connection, transaction_number: int) -> float:
        """Renew the lease and return the database's time."""
        before = self.time()
        cursor = await execute(
            connection,
            tables.RENEW_LEASE,
            (self.name, self.clock(), LEASE_DURATION, transaction_number),
        )
        ((until, self._last_committed),) = await cursor.fetchall()
        self._last_heartbeat = before
        return float(until) - LEASE_DURATION

    async def _do_maintenance(self, connection: Connection) -> None:
        """Renew the lease if it is due, and let the connection users do their pending work."""
        heartbeat = self._heartbeat_due()
        if heartbeat:
            # No fsync is needed: a lease whose last heartbeat is lost in a crash only expires
            # earlier.
            async with connection.transaction():
                await connection.execute("SET LOCAL synchronous_commit = off")
                self.notifications.caught_up_to = await self._renew_lease(
                    connection, self._last_committed
                )
        for user in self._connection_users:
            if heartbeat or user.pending:
                await user.run_pending(connection, heartbeat=heartbeat)

    # -- transactions --------------------------------------------------------------------------

    async def _run_transaction(self, steps: list[WorkerRequest[Any]]) -> None:
        """Execute steps in one transaction. An error raised by a step affects only its caller."""
        self._transaction_number += 1
        number = self._transaction_number
        results: list[tuple[WorkerRequest[Any], Any]] = []
        group: EntryTransaction | None = None

        async def attempt(connection: Connection) -> None:
            nonlocal group
            if group is not None and self._last_committed >= number:
                return  # the last attempt was committed, but its response was lost
            results.clear()
            group = None
            try:
                loaded = await self._load(connection, steps, number)
                for request in steps:
                    assert request.step is not None  # noqa: S101  # only steps come here
                    if request.key in loaded.unreadable_keys:
                        results.append((request, self._unreadable_error(request.key)))
                        continue
                    try:
                        results.append((request, request.step(loaded)))
                    except LeaseLost as error:
                        results.append((request, error))
                group = loaded
                await self._write(connection, loaded)
            except psycopg.Error as error:
                if connection.closed:
                    raise
                await connection.execute("ROLLBACK")
                await self._renew_lease(connection, self._last_committed)
                if self._last_committed >= number:
                    return  # the failure came after the commit
                group = None
                if isinstance(error, psycopg.errors.UniqueViolation):
                    raise _LostRace from error  # another client has just inserted the same key
                raise

        try:
            await self._with_reconnect(attempt)
        except JournalError as error:
            # A value that the database refuses must not fail the other operations.
            refused = isinstance(error.__cause__, psycopg.Error) and not is_transient(
                error.__cause__
            )
            if len(steps) > 1 and refused:
                for request in steps:
                    await self._run_transaction([request])
                return
            for request in steps:
                request.fail(error)
            return
        if group is not None:
            self.notifications.notify_local(group)
        for request, result in results:
            if isinstance(result, JournalError):
                request.fail(result)
            else:
                request.set_result(result)

    def _unreadable_error(self, key: str) -> JournalError:
        reason = f"its entry for key {key!r} cannot be decoded"
        return self.target.unusable_error(reason, "Check that row of a2e_jobs.")

    async def _load(
        self, connection: Connection, steps: list[WorkerRequest[Any]], number: int
    ) -> EntryTransaction:
        keys = sorted({request.key for request in steps})
        ids = sorted({id for request in steps for id in request.ids})
        async with connection.pipeline():
            await connection.execute("BEGIN")
            heartbeat = await execute(
                connection, tables.RENEW_LEASE, (self.name, self.clock(), LEASE_DURATION, number)
            )
            locked = await execute(connection, tables.LOCK_ENTRIES, (keys, *self.account_filter))
            holders = await execute(connection, tables.SELECT_CLAIMS, (ids,)) if ids else None
            # A separate statement: it also sees what was committed while it waited for the lock.
            owners = await execute(connection, tables.SELECT_LEASES, (keys,))
        ((until, _),) = await heartbeat.fetchall()
        # Does not count as a heartbeat: a client that writes all the time must do maintenance, too.
        now = float(until) - LEASE_DURATION
        leases = dict[str, float](await owners.fetchall())

        def alive(owner: str) -> bool:
            if owner not in leases or is_owner_dead(owner):
                return False
            # No lease could be renewed while the database was down. A lease far in the future was
            # written before the database's clock was set back.
            in_grace_period = now - self._database_started_at < LEASE_DURATION
            return in_grace_period or now < leases[owner] <= now + 2 * LEASE_DURATION

        rows = {row[0]: row for row in await locked.fetchall()}
        entries = {entry.key: entry for entry in tables.to_entries(rows.values())}
        return EntryTransaction(
            self.name,
            self.account,
            now,
            alive,
            stored={key: (int(rows[key][-1]), entry) for key, entry in entries.items()},
            claimed_tasks=set() if holders is None else set(await holders.fetchall()),
            unreadable_keys=rows.keys() - entries.keys(),
        )

    async def _write(self, connection: Connection, transaction: EntryTransaction) -> None:
        async with connection.pipeline():
            for seq in transaction.deleted_rows:
                await execute(connection, tables.DELETE_ENTRY, (seq,))
            for key in transaction.new_keys:
                await execute(
                    connection, tables.INSERT_ENTRY, tables.to_row(transaction.entries[key])
                )
            for seq, entry in transaction.updated_entries:
                await execute(connection, tables.UPDATE_ENTRY, (*tables.to_row(entry), seq))
            for move in transaction.claims_with_new_account:
                await execute(connection, tables.MOVE_CLAIMS, move)
            for claim in transaction.new_claims:
                await execute(connection, tables.INSERT_CLAIM, claim)
            await connection.execute("COMMIT")
            await self.notifications.notify_peers(connection, transaction.changed_keys)


class _LostRace(psycopg.OperationalError):
    """Another client was faster; read again."""


def _no_clock_override() -> None:
    """Return None: the database uses its own clock."""
