"""The asyncio task that alone uses a journal's connection: groups of steps, leases, news.

What is asked for at one time is one transaction, in two round trips; it is durable
(``synchronous_commit``) before anybody is told.

**When the connection is lost after COMMIT was sent**, nobody knows whether it was carried out.
Each transaction numbers itself in its owner's row: the next connection writes that row first, so
the old transaction is over, and finds there whether it has come about.
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
from a2e_async.contrib.postgres_asked import Asked, Told, Watched
from a2e_async.contrib.postgres_group import Group
from a2e_async.contrib.postgres_link import Connection, Target, passes, prepare, run
from a2e_async.errors import JournalError
from a2e_async.tasks.journal import HEARTBEAT, LEASE, Entry, TakenOver
from a2e_async.tasks.owner import is_dead, new_owner

T = TypeVar("T")

GROUP: Final = 1_000
"""Operations in one transaction at most."""

PATIENCE: Final = 45.0
"""Seconds in which a database that was there may be away: a restart, a failover."""

FIRST_PATIENCE: Final = 5.0
"""The same before it was ever reached: a wrong URL must be told soon."""

STANDSTILL: Final = 20.0
"""Seconds without an end after which one attempt is given up and its connection with it."""

FORGOTTEN: Final = 86_400.0
"""Seconds after which the row of an owner that is gone is cleared away."""


class Worker:
    """Carries out what a journal is asked for. ``clock`` None: the database's own.

    Nothing is opened before the first use. It belongs to the loop it is first used on.
    """

    def __init__(
        self,
        target: Target,
        *,
        clock: Callable[[], float] | None = None,
        host_clock: Callable[[], float] | None = None,
    ) -> None:
        self.target = target
        self._clock: Callable[[], float | None] = clock or _database_clock
        self._host_clock = host_clock
        self._owner: str | None = None
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None
        self._queue: deque[Asked[Any]] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._stirred = False
        """Something has come up since the last turn."""
        self._link: Connection | None = None
        self._reached = False
        self._closed = False
        self._beaten = float("-inf")
        self._groups = 0
        self._committed = 0
        """The last of this owner's groups that the database is known to hold."""
        self._started = float("-inf")
        """When the database was started: the leases of before could not be renewed meanwhile."""
        self._watched: dict[str, Watched] = {}
        self._noted: set[str] = set()
        self._unregistered: set[str] = set()
        self._listeners: list[Callable[[Entry], None]] = []
        self._changed: dict[str, None] = {}
        """Keys of entries that others have changed and the listeners do not know yet."""
        self._holds: dict[str, Callable[[float], None]] = {}
        self._heard_at: float | None = None
        """The database's time up to which the listeners know of everything."""

    @property
    def owner(self) -> str:
        """The name under which entries are owned; unique to this object."""
        self._check()
        if self._owner is None:
            self._owner = new_owner()
        return self._owner

    def ask(
        self,
        key: str = "",
        step: Callable[[Group], T] | None = None,
        query: "Callable[[Connection], Awaitable[T]] | None" = None,
    ) -> "asyncio.Future[T]":
        """Have a step of a group, or else a query, carried out."""
        self._check()
        asked = Asked[T](asyncio.get_running_loop().create_future(), key, step, query)
        self._queue.append(asked)
        self._wake()
        return asked.future

    def watch(self, key: str, told: Told) -> Callable[[], None]:
        """Have ``told`` called when others change an entry; return what ends that."""
        self._check()
        if key not in self._watched:
            self._watched[key] = Watched()
            self._unregistered.add(key)
        watched = self._watched[key]
        watched.told.append(told)
        self._wake()

        def end() -> None:
            if told in watched.told:
                watched.told.remove(told)
            if not watched.told and self._watched.get(key) is watched:
                del self._watched[key]
                self._unregistered.add(key)

        return end

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Have ``told`` called with every entry that others change; return what ends that."""
        self._check()
        self._listeners.append(told)
        self._unregistered.add("")
        self._wake()

        def end() -> None:
            if told in self._listeners:
                self._listeners.remove(told)
                self._unregistered.add("")

        return end

    def on_hold(self, account: str, held: Callable[[float], None]) -> None:
        """Have ``held`` called with the seconds for which another worker's account must wait."""
        self._holds[account] = held

    async def tell(self, link: Connection, keys: list[str]) -> None:
        """Tell the other workers, after the commit, whose entries have changed."""
        await run(link, tables.TELL, (keys, self._owner))
        await run(link, tables.TELL_ALL, (self._owner, keys, self._owner))

    async def aclose(self) -> None:
        """Carry out what was asked for, give up the leases, disconnect. May be called again."""
        self._closed = True
        if self._home is None or self._home[1] != os.getpid():
            return
        if self._runner is not None and self._home[0] is asyncio.get_running_loop():
            self._ring()
            await asyncio.wait([self._runner])

    def _check(self) -> asyncio.AbstractEventLoop | None:
        if self._home is not None and self._home[1] != os.getpid():
            why = "it was used before the process was forked and belongs to the parent"
            raise self.target.unusable(why, "Make a new client in the child.")
        if self._closed:
            raise self.target.unusable("it is closed", "Make a new client.")
        return None if self._home is None else self._home[0]

    def _wake(self) -> None:
        """Have the runner turn to what is new; the first use starts it."""
        loop = asyncio.get_running_loop()
        home = self._check()
        if home is not None and home is not loop and not home.is_closed():
            why = "it belongs to another event loop"
            raise self.target.unusable(why, "Make a new client on this one.")
        if self._runner is None or self._runner.done():
            self._home = loop, os.getpid()
            _ = self.owner
            # An empty context: what the first caller had set must not leak into later work.
            self._runner = loop.create_task(self._run(), context=Context())
        self._ring()

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
                asked.fail(self.target.unusable("its event loop has ended", "Make a new client."))
            self._queue.clear()
            self._cut()

    async def _turn(self, work: list[Asked[Any]]) -> None:
        self._stirred = False
        steps = sorted((asked for asked in work if asked.step), key=lambda asked: asked.key)
        try:
            if steps:
                await self._carry_out(steps)
            if self._unregistered or self._noted or self._changed or self._due():
                # Who waits for nothing does not care that the database is away.
                with suppress(*(() if work else (JournalError,))):
                    await self._patiently(self._look_around, patient=bool(work))
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
        """Wait for work, for the database to say something, or for the next heartbeat."""
        if self._link is not None and (self._watched or self._listeners):
            await self._hear(self._link)  # what came in beside answers makes no noise
        if self._stirred or self._noted or self._changed:
            return
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(HEARTBEAT, self._ring)
        place = None if self._link is None or self._link.closed else self._link.fileno()
        if place is not None:
            loop.add_reader(place, self._ring)
        try:
            await self._alarm
        finally:
            self._alarm = None
            timer.cancel()
            if place is not None:
                loop.remove_reader(place)
        if self._link is not None:
            await self._hear(self._link)

    def _ring(self) -> None:
        self._stirred = True
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    async def _hear(self, link: Connection) -> None:
        """Take in what the database has said by itself."""
        try:
            async for note in link.notifies(timeout=0):
                if note.channel == "a2e_hold":
                    self._hold(note)
                elif note.channel != "a2e_all":
                    self._noted.add(note.payload)
                elif note.payload[:32] != self.owner[-32:]:
                    self._changed[note.payload[32:]] = None
        except psycopg.Error:
            self._cut()  # the next heartbeat makes a new one

    def _hold(self, note: psycopg.Notify) -> None:
        seconds, _, account = note.payload.partition(" ")
        if account in self._holds:
            self._holds[account](float(seconds))

    # -- the connection ------------------------------------------------------------------------

    async def _patiently(
        self, do: "Callable[[Connection], Awaitable[T]]", *, patient: bool = True
    ) -> T:
        """Return what ``do`` returns, with a new connection and again while it cannot be done.

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
                    raise self.target.explain(error) from error
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  # no secret
            pause = min(2 * pause, 1.0)

    async def _connect(self) -> Connection:
        link = await self.target.connect()
        try:
            await prepare(link, self.target)
            await link.execute(f"LISTEN a2e_{self.owner[-32:]}".encode())
            await link.execute("LISTEN a2e_hold")
            started = await run(
                link, "SELECT extract(epoch FROM pg_postmaster_start_time())::float8"
            )
            if self._clock() is None:
                self._started = (await started.fetchall())[0][0]
            heard_at = self._heard_at
            # Waits for the end of whatever the connection before has left under way.
            now = await self._beat(link, self._committed)
            await run(link, "DELETE FROM a2e_owners WHERE until < %s", (now - FORGOTTEN,))
            await run(
                link,
                "DELETE FROM a2e_watches WHERE owner NOT IN (SELECT owner FROM a2e_owners)",
            )
            for key in (*self._watched, *([""] if self._listeners else [])):
                await self._register(link, key)
            if self._listeners and heard_at is not None:
                # What was told while nobody listened here.
                missed = await run(link, tables.SINCE, (heard_at - HEARTBEAT,))
                self._tell_all([tables.to_entry(row) for row in await missed.fetchall()])
        except BaseException:
            await link.close()
            raise
        self._link, self._reached = link, True
        self._noted.update(self._watched)
        return link

    def _cut(self) -> None:
        """Close the connection without a word: nothing of it can be relied on."""
        link, self._link = self._link, None
        if link is not None:
            link.pgconn.finish()

    async def _leave(self) -> None:
        """Give up the lease: others may take this client's entries at once."""
        link = self._link
        if link is None:
            return
        with suppress(psycopg.Error, TimeoutError):  # a lease that cannot be given up expires
            async with asyncio.timeout(STANDSTILL):
                await run(link, "DELETE FROM a2e_watches WHERE owner = %s", (self._owner,))
                await run(link, "DELETE FROM a2e_owners WHERE owner = %s", (self._owner,))
                await link.close()

    # -- leases and news -----------------------------------------------------------------------

    def _time(self) -> float:
        return (self._host_clock or asyncio.get_running_loop().time)()

    def _due(self) -> bool:
        return self._time() - self._beaten >= HEARTBEAT

    async def _beat(self, link: Connection, group: int) -> float:
        """Renew the lease and return the database's time."""
        before = self._time()
        cursor = await run(link, tables.BEAT, (self._owner, self._clock(), LEASE, group))
        ((until, self._committed),) = await cursor.fetchall()
        self._beaten = before
        self._heard_at = float(until) - LEASE
        return self._heard_at

    async def _look_around(self, link: Connection) -> None:
        """Renew the lease, begin and end watching, and tell the watchers what others did."""
        if self._due():
            # Losing the last heartbeat in a crash makes a lease no older than it then is.
            async with link.transaction():
                await link.execute("SET LOCAL synchronous_commit = off")
                await self._beat(link, self._committed)
            self._noted.update(self._watched)  # a notification may have been lost
        keys = set(self._unregistered)
        for key in keys:
            await self._register(link, key)
        self._unregistered -= keys
        keys = (keys | self._noted) & self._watched.keys()
        self._noted.clear()
        changed, self._changed = self._changed, {}
        if keys or changed:
            cursor = await run(link, tables.BY_KEY, ([*keys, *changed],))
            entries = {row[0]: tables.to_entry(row) for row in await cursor.fetchall()}
            for key in keys & self._watched.keys():
                self._watched[key].see(entries.get(key))
            self._tell_all([entries[key] for key in changed if key in entries])

    def _tell_all(self, entries: list[Entry]) -> None:
        for told in tuple(self._listeners):
            for entry in entries:
                told(entry)

    async def _register(self, link: Connection, key: str) -> None:
        if not key:
            await run(link, "LISTEN a2e_all" if self._listeners else "UNLISTEN a2e_all")
        if key in self._watched or (not key and self._listeners):
            query = "INSERT INTO a2e_watches VALUES (%s, %s) ON CONFLICT DO NOTHING"
        else:
            query = "DELETE FROM a2e_watches WHERE key = %s AND owner = %s"
        await run(link, query, (key, self._owner))

    # -- groups --------------------------------------------------------------------------------

    async def _carry_out(self, steps: list[Asked[Any]]) -> None:
        """Carry out steps in one transaction. What one of them raises ends only itself."""
        self._groups += 1
        number = self._groups
        results: list[tuple[Asked[Any], Any]] = []
        group: Group | None = None

        async def attempt(link: Connection) -> None:
            nonlocal group
            if group is not None and self._committed >= number:
                return  # the last attempt's COMMIT was carried out, its answer was lost
            results.clear()
            group = None
            try:
                loaded = await self._load(link, sorted({asked.key for asked in steps}), number)
                for asked in steps:
                    assert asked.step is not None  # noqa: S101  # only steps come here
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
                    return  # what failed came after the commit
                group = None
                if isinstance(error, psycopg.errors.UniqueViolation):
                    raise _Raced from error  # another client has just begun the same key
                raise

        try:
            await self._patiently(attempt)
        except JournalError as error:
            # A value that the database refuses must not hurt its neighbours.
            refused = isinstance(error.__cause__, psycopg.Error) and not passes(error.__cause__)
            if len(steps) > 1 and refused:
                for asked in steps:
                    await self._carry_out([asked])
                return
            for asked in steps:
                asked.fail(error)
            return
        if group is not None:
            self._see(group)
        for asked, result in results:
            if isinstance(result, TakenOver):
                asked.fail(result)
            else:
                asked.tell(result)

    async def _load(self, link: Connection, keys: list[str], number: int) -> Group:
        async with link.pipeline():
            await link.execute("BEGIN")
            before = self._time()
            beat = await run(link, tables.BEAT, (self._owner, self._clock(), LEASE, number))
            locked = await run(link, tables.LOCK, (keys,))
            # A statement of its own: it sees what was committed while the lock was waited for.
            owners = await run(link, tables.OWNERS, (keys,))
        ((until, _),) = await beat.fetchall()
        self._beaten, now = before, float(until) - LEASE
        leases = dict[str, float](await owners.fetchall())

        def alive(owner: str) -> bool:
            if owner not in leases or is_dead(owner):
                return False
            # While the database was away nobody could renew a lease. One that is far ahead is of
            # a clock that was set back.
            graced = now - self._started < LEASE
            return graced or now < leases[owner] <= now + 2 * LEASE

        found = {row[0]: (int(row[-1]), tables.to_entry(row)) for row in await locked.fetchall()}
        return Group(self.owner, now, alive, found)

    async def _write(self, link: Connection, group: Group) -> None:
        async with link.pipeline():
            for seq in group.gone:
                await run(link, tables.DELETE, (seq,))
            for key in group.made:
                await run(link, tables.INSERT, tables.to_row(group.entries[key]))
            for seq, entry in group.changed:
                await run(link, tables.UPDATE, (*tables.to_row(entry), seq))
            for id, key in group.claims:
                await run(link, tables.CLAIM, (id, key))
            await link.execute("COMMIT")
            await self.tell(link, group.touched)

    def _see(self, group: Group) -> None:
        """Tell watchers what others had done before this group; what it did itself they know."""
        for key in self._watched.keys() & {*group.found, *group.entries}:
            watched = self._watched[key]
            if watched.known:
                watched.see(group.found[key][1] if key in group.found else None)
                watched.entry = group.entries.get(key)


class _Raced(psycopg.OperationalError):
    """Another client was faster; look again."""


def _database_clock() -> None:
    """The database's own clock is taken."""
