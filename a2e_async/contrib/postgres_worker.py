"""The asyncio task that owns a journal's connection: transactions, the lease, other users.

Operations that are pending at the same time share one transaction, in two round trips. It is
durable (``synchronous_commit``) before any caller gets its result.

**If the connection is lost after COMMIT was sent**, the outcome is unknown. Each transaction writes
its number into its owner's row. The next connection first writes that row, which waits for the end
of the old transaction, and then reads there whether it was committed.
"""

import asyncio
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, TypeVar

import psycopg

from a2e_async.contrib import postgres_tables as tables
from a2e_async.contrib.postgres_asked import Asked, Rider
from a2e_async.contrib.postgres_group import Group
from a2e_async.contrib.postgres_link import Connection, Target, passes, prepare, run
from a2e_async.contrib.postgres_news import News
from a2e_async.errors import JournalError, without_frames
from a2e_async.tasks.journal import HEARTBEAT, LEASE, TakenOver
from a2e_async.tasks.owner import is_dead, new_owner

T = TypeVar("T")

GROUP: Final = 1_000
"""Maximum number of operations in one transaction."""

PATIENCE: Final = 45.0
"""Time (s) for which a database that was reachable may be away: a restart, a failover."""

FIRST_PATIENCE: Final = 5.0
"""The same before the first connection: a wrong URL must be reported soon."""

STANDSTILL: Final = 20.0
"""Time limit (s) for one attempt; after it the attempt and its connection are abandoned."""

REPAIR: Final = 1.0
"""Time (s) after which connection users retry pending work that has failed."""

FORGOTTEN: Final = 86_400.0
"""Time (s) after which the row of a dead owner is deleted."""


class Worker:
    """Executes the operations of a journal. ``clock`` None: the database's own clock.

    Nothing is opened before the first use. It belongs to the event loop on which it is first used.
    Its run loop is the only user of the connection.
    """

    def __init__(
        self,
        target: Target,
        *,
        clock: Callable[[], float] | None = None,
        host_clock: Callable[[], float] | None = None,
    ) -> None:
        self.target = target
        self.clock: Callable[[], float | None] = clock or _database_clock
        """Returns the time in tests, else None: the database then uses its own clock."""
        self._host_clock = host_clock
        self._owner: str | None = None
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._queue: deque[Asked[Any]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._stirred = False
        """Work has arrived since the last turn."""
        self._link: Connection | None = None
        self._failing = False
        """Pending work of the connection users failed: retry later, the database may be
        unreachable."""
        self._reached = False
        self._closed = False
        self._beaten = float("-inf")
        self._groups = 0
        self._committed = 0
        """The last of this owner's transactions that is known to be committed."""
        self._started = float("-inf")
        """When the database server started: leases could not be renewed while it was down."""
        self.account: str | None = None
        """The account whose entries are read and written; None: all are read, new ones have none.
        """
        self.news = News(lambda: self.name, self.stir, lambda: self.mine)
        self._riders: list[Rider] = [self.news]

    @property
    def owner(self) -> str:
        """The name under which entries are owned; unique to this object."""
        self._check()
        return self.name

    @property
    def name(self) -> str:
        """The same, also while the journal closes."""
        if self._owner is None:
            self._owner = new_owner()
        return self._owner

    @property
    def mine(self) -> tuple[str | None, str | None]:
        """The parameters of `postgres_tables.IS_VISIBLE`."""
        return self.account, self.account

    def ask(
        self,
        key: str = "",
        step: Callable[[Group], T] | None = None,
        query: "Callable[[Connection], Awaitable[T]] | None" = None,
        *,
        ids: tuple[str, ...] = (),
    ) -> "asyncio.Future[T]":
        """Submit a step of a transaction, or else a query; return the future of its result."""
        self._check()
        asked = Asked[T](asyncio.get_running_loop().create_future(), key, ids, step, query)
        self._queue.append(asked)
        self.stir()
        return asked.future

    def ride(self, rider: Rider) -> None:
        """Let another object use the connection between operations."""
        self.stir()
        self._riders.append(rider)

    async def aclose(self) -> None:
        """Finish pending operations, give up the leases, disconnect. May be called again."""
        self._closed = True
        if self._home is None or self._home[1] != os.getpid():
            return
        if self._runner is not None and self._home[0] is asyncio.get_running_loop():
            self.ring()
            await asyncio.wait([self._runner])

    def _check(self) -> asyncio.AbstractEventLoop | None:
        if self._home is not None and self._home[1] != os.getpid():
            why = "it was used before the process was forked and belongs to the parent"
            raise self.target.unusable(why, "Create a new client in the child.")
        if self._closed:
            raise self.target.unusable("it is closed", "Create a new client.")
        return None if self._home is None else self._home[0]

    def stir(self) -> None:
        """Wake the run loop for new work; the first use starts it."""
        home = self._check()
        loop = asyncio.get_running_loop()
        if home is not None and home is not loop and not home.is_closed():
            why = "it belongs to another event loop"
            raise self.target.unusable(why, "Create a new client on this one.")
        if self._runner is None or self._runner.done():
            self._home = loop, os.getpid()
            _ = self.name
            # An empty context: the first caller's context variables must not leak into later work.
            self._runner = loop.create_task(self._run(), context=Context())
        self.ring()

    def ring(self) -> None:
        """Wake the run loop, if it runs."""
        self._stirred = True
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    # -- the runner ----------------------------------------------------------------------------

    async def _run(self) -> None:
        work: list[Asked[Any]] = []
        try:
            while self._queue or not self._closed:
                work = [self._queue.popleft() for _ in range(min(len(self._queue), GROUP))]
                await self._turn(work)
                if not self._queue and not self._closed:
                    await self._rest()
            await self._leave()
        finally:
            for asked in (*work, *self._queue):
                asked.fail(self.target.unusable("its event loop has ended", "Create a new client."))
            self._queue.clear()
            self._cut()

    async def _turn(self, work: list[Asked[Any]]) -> None:
        self._stirred = False
        steps = sorted((asked for asked in work if asked.step), key=lambda asked: asked.key)
        try:
            if steps:
                await self._carry_out(steps)
            if self._due() or any(user.pending for user in self._riders):
                self._failing = True
                # Without callers that wait, nobody needs to know that the database is unreachable.
                with suppress(*(() if work else (JournalError,))):
                    await self._patiently(self._look_around, patient=bool(work))
                    self._failing = False
        except JournalError as error:
            for asked in work:
                asked.fail(error)
            return
        for asked in work:
            if asked.query is not None:
                try:
                    asked.tell(await self._patiently(asked.query))
                except JournalError as error:
                    asked.fail(error)

    async def _rest(self) -> None:
        """Wait for work, a notification, or the next heartbeat."""
        if self._link is not None:
            # Notifications that arrived with a result do not make the socket readable again.
            await self._hear(self._link)
        pending = any(user.pending for user in self._riders)
        if self._stirred or (pending and not self._failing):
            return
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(REPAIR if pending else HEARTBEAT, self.ring)
        place = None if self._link is None or self._link.closed else self._link.fileno()
        if place is not None:
            loop.add_reader(place, self.ring)
        try:
            await self._alarm
        finally:
            self._alarm = None
            timer.cancel()
            if place is not None:
                loop.remove_reader(place)
        if self._link is not None:
            await self._hear(self._link)

    async def _hear(self, link: Connection) -> None:
        """Dispatch the notifications that the database has sent."""
        try:
            async for notification in link.notifies(timeout=0):
                for user in self._riders:
                    user.heard(notification)
        except psycopg.Error:
            self._cut()  # the next heartbeat makes a new one

    # -- the connection ------------------------------------------------------------------------

    async def _patiently(
        self, do: "Callable[[Connection], Awaitable[T]]", *, patient: bool = True
    ) -> T:
        """Return the result of ``operation``, reconnecting and retrying until the time limit.

        Raises `JournalError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (PATIENCE if self._reached else FIRST_PATIENCE) * patient
        pause = 0.05
        while True:
            try:
                async with asyncio.timeout(STANDSTILL):
                    return await do(self._link or await self._connect())
            except (psycopg.Error, OSError, TimeoutError) as error:
                lost = self._link is None or self._link.closed or isinstance(error, TimeoutError)
                if lost:
                    self._cut()
                if not (lost or passes(error)) or loop.time() >= deadline:
                    # The driver's frames contain the password.
                    raise self.target.explain(error) from without_frames(error)
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # no secret
            pause = min(2 * pause, 1.0)

    async def _connect(self) -> Connection:
        connection = await self.target.connect()
        try:
            await prepare(connection, self.target)
            started = await run(
                connection, "SELECT extract(epoch FROM pg_postmaster_start_time())::float8"
            )
            if self.clock() is None:
                self._started = (await started.fetchall())[0][0]
            # Waits for the end of a transaction that the previous connection left open.
            now = await self._beat(connection, self._committed)
            await run(connection, "DELETE FROM a2e_owners WHERE until < %s", (now - FORGOTTEN,))
            await run(
                connection,
                "DELETE FROM a2e_watches WHERE owner NOT IN (SELECT owner FROM a2e_owners)",
            )
            for user in self._riders:
                await user.connected(connection)
            self.news.heard_at = now
        except BaseException:
            await connection.close()
            raise
        self._link, self._reached = connection, True
        return connection

    def _cut(self) -> None:
        """Close the connection without a protocol exchange: its state is unknown."""
        connection, self._link = self._link, None
        if connection is not None:
            connection.pgconn.finish()
            for user in self._riders:
                user.lost()

    async def _leave(self) -> None:
        """Give up the lease, so that others can take over this client's entries at once."""
        connection = self._link
        if connection is None:
            return
        with suppress(psycopg.Error, TimeoutError):  # otherwise the lease expires by itself
            async with asyncio.timeout(STANDSTILL):
                for user in self._riders:
                    await user.leave(connection)
                await run(connection, "DELETE FROM a2e_owners WHERE owner = %s", (self.name,))
                await connection.close()

    # -- the lease -----------------------------------------------------------------------------

    def time(self) -> float:
        """Return the host's time in seconds."""
        return (self._host_clock or asyncio.get_running_loop().time)()

    def _due(self) -> bool:
        return self.time() - self._beaten >= HEARTBEAT

    async def _beat(self, link: Connection, group: int) -> float:
        """Renew the lease and return the database's time."""
        before = self.time()
        cursor = await run(link, tables.BEAT, (self.name, self.clock(), LEASE, group))
        ((until, self._committed),) = await cursor.fetchall()
        self._beaten = before
        return float(until) - LEASE

    async def _look_around(self, link: Connection) -> None:
        """Renew the lease if it is due, and let the connection users do their pending work."""
        heartbeat = self._due()
        if heartbeat:
            # No fsync is needed: a lease whose last heartbeat is lost in a crash only expires
            # earlier.
            async with link.transaction():
                await link.execute("SET LOCAL synchronous_commit = off")
                self.news.heard_at = await self._beat(link, self._committed)
        for user in self._riders:
            if heartbeat or user.pending:
                await user.turn(link, beat=heartbeat)

    # -- transactions --------------------------------------------------------------------------

    async def _carry_out(self, steps: list[Asked[Any]]) -> None:
        """Execute steps in one transaction. An error raised by a step affects only its caller."""
        self._groups += 1
        number = self._groups
        results: list[tuple[Asked[Any], Any]] = []
        group: Group | None = None

        async def attempt(link: Connection) -> None:
            nonlocal group
            if group is not None and self._committed >= number:
                return  # the last attempt was committed, but its response was lost
            results.clear()
            group = None
            try:
                loaded = await self._load(link, steps, number)
                for asked in steps:
                    assert asked.step is not None  # noqa: S101  # only steps come here
                    if asked.key in loaded.broken:
                        results.append((asked, self._unreadable(asked.key)))
                        continue
                    try:
                        results.append((asked, asked.step(loaded)))
                    except TakenOver as error:
                        results.append((asked, error))
                group = loaded
                await self._write(link, loaded)
            except psycopg.Error as error:
                if link.closed:
                    raise
                await link.execute("ROLLBACK")
                await self._beat(link, self._committed)
                if self._committed >= number:
                    return  # the failure came after the commit
                group = None
                if isinstance(error, psycopg.errors.UniqueViolation):
                    raise _Raced from error  # another client has just inserted the same key
                raise

        try:
            await self._patiently(attempt)
        except JournalError as error:
            # A value that the database refuses must not fail the other operations.
            refused = isinstance(error.__cause__, psycopg.Error) and not passes(error.__cause__)
            if len(steps) > 1 and refused:
                for asked in steps:
                    await self._carry_out([asked])
                return
            for asked in steps:
                asked.fail(error)
            return
        if group is not None:
            self.news.see(group)
        for asked, result in results:
            if isinstance(result, JournalError):
                asked.fail(result)
            else:
                asked.tell(result)

    def _unreadable(self, key: str) -> JournalError:
        reason = f"its entry for key {key!r} cannot be decoded"
        return self.target.unusable(reason, "Check that row of a2e_jobs.")

    async def _load(self, link: Connection, steps: list[Asked[Any]], number: int) -> Group:
        keys = sorted({asked.key for asked in steps})
        ids = sorted({id for asked in steps for id in asked.ids})
        async with link.pipeline():
            await link.execute("BEGIN")
            heartbeat = await run(link, tables.BEAT, (self.name, self.clock(), LEASE, number))
            locked = await run(link, tables.LOCK, (keys, *self.mine))
            holders = await run(link, tables.HELD, (ids,)) if ids else None
            # A separate statement: it also sees what was committed while it waited for the lock.
            owners = await run(link, tables.OWNERS, (keys,))
        ((until, _),) = await heartbeat.fetchall()
        # Does not count as a heartbeat: a client that writes all the time must do maintenance, too.
        now = float(until) - LEASE
        leases = dict[str, float](await owners.fetchall())

        def alive(owner: str) -> bool:
            if owner not in leases or is_dead(owner):
                return False
            # No lease could be renewed while the database was down. A lease far in the future was
            # written before the database's clock was set back.
            graced = now - self._started < LEASE
            return graced or now < leases[owner] <= now + 2 * LEASE

        rows = {row[0]: row for row in await locked.fetchall()}
        entries = {entry.key: entry for entry in tables.to_entries(rows.values())}
        return Group(
            self.name,
            self.account,
            now,
            alive,
            found={key: (int(rows[key][-1]), entry) for key, entry in entries.items()},
            held=set() if holders is None else set(await holders.fetchall()),
            broken=rows.keys() - entries.keys(),
        )

    async def _write(self, link: Connection, group: Group) -> None:
        async with link.pipeline():
            for seq in group.gone:
                await run(link, tables.DELETE, (seq,))
            for key in group.made:
                await run(link, tables.INSERT, tables.to_row(group.entries[key]))
            for seq, entry in group.changed:
                await run(link, tables.UPDATE, (*tables.to_row(entry), seq))
            for move in group.moved:
                await run(link, tables.MOVE_CLAIMS, move)
            for claim in group.claims:
                await run(link, tables.CLAIM, claim)
            await link.execute("COMMIT")
            await self.news.tell(link, group.touched)


class _Raced(psycopg.OperationalError):
    """Another client was faster; read again."""


def _database_clock() -> None:
    """Return None: the database uses its own clock."""
