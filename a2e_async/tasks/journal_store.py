"""The open file of a SQLite journal and what is done in it, by one thread alone.

Operations come in groups: one transaction, one fsync for all of them. Inside it a journal's
rules are kept, see `a2e_async.tasks.journal`.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

from a2e_async.errors import JournalError
from a2e_async.tasks import journal_rows as rows
from a2e_async.tasks.journal import (
    HEARTBEAT,
    LEASE,
    Begun,
    Changes,
    Entry,
    Spent,
    State,
    TakenOver,
)
from a2e_async.tasks.journal_file import (
    connect,
    explain,
    patiently,
    too_new,
    unusable,
    version_of,
    whereabouts,
)
from a2e_async.tasks.journal_rules import same_start, stepped
from a2e_async.tasks.owner import is_dead

T = TypeVar("T")

CHECKPOINT: Final = 4 * 2**20
"""Bytes of the write-ahead log after which it is carried over into the database."""

_OUR_LIMITS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""SQLite's refusals of one operation's values; its other errors concern the whole file."""

News = list[tuple[str, Entry | None]]
"""Keys that others changed, with their entries; None for one that is gone."""


@frozen
class Clock:
    """Where the time comes from: ``wall`` in seconds since 1970, ``host`` the same in all processes
    of this machine, never set back while it runs."""

    wall: Callable[[], float]
    host: Callable[[], float]


@define(eq=False)
class Work(Generic[T]):
    """One operation, and what came of it: ``error`` or else ``value``."""

    do: "Callable[[Store], T]"
    writes: bool
    value: T | None = None
    error: JournalError | None = None


@define(eq=False)
class Store:
    """One connection to the file. Use `Store.open`."""

    path: Path
    owner: str
    clock: Clock
    db: sqlite3.Connection
    real: str
    """The path without links."""
    place: tuple[tuple[int, int], ...] = ()
    """Tells the open files from others that may stand in their place."""
    _now: float = 0.0
    _change: int = 0
    _drops: int = 0
    _beaten: float = float("-inf")
    _data_version: int | None = None
    _told: tuple[int, int] | None = None
    """Change and drops up to which the watchers know; None while nobody watches."""
    _gone: set[str] = field(factory=set[str])
    """Watched keys that the watchers know to be gone."""
    _checkpoint_at: int = CHECKPOINT

    @classmethod
    def open(cls, path: Path, owner: str, clock: Clock) -> "Store":
        """Open the file and take up the lease. Raises as `connect` does."""
        store = cls(path, owner, clock, connect(path), os.path.realpath(path))
        try:
            store.group([])
            store.place, _ = whereabouts(store.real)
        except BaseException:
            store.db.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the last one to do so clears the write-ahead log away."""
        self.db.close()

    # -- transactions ------------------------------------------------------------------------

    def group(self, work: Sequence[Work[Any]], watched: Collection[str] = ()) -> News:
        """Carry out operations in one transaction; return what others did to ``watched`` keys.

        No operations: renew the lease. What one of them raises ends only itself; an error of
        the whole file is raised, and then nothing was done.
        """
        self._stay()
        writes = not work or any(item.writes for item in work)
        news: News = []
        if not writes and self.due():
            with suppress(sqlite3.Error):  # reading needs no lease
                news = self._attempt([], True, watched)
        try:
            return news + patiently(lambda: self._attempt(work, writes, watched))
        except (sqlite3.Error, JournalError) as error:
            if not isinstance(error, _OUR_LIMITS):
                raise
            problem: Exception = error
        except Exception as error:  # whatever a value of the user's brought about
            problem = error
        if len(work) == 1:
            work[0].error = explain(self.path, problem)
            return news
        for item in work:
            try:
                news += self.group([item], watched)
            except (sqlite3.Error, OSError, JournalError) as error:
                item.error = explain(self.path, error)
        return news

    def news(self, watched: Collection[str]) -> News:
        """Return what others did to ``watched`` keys; quick when the file has not changed."""
        if self._told is not None:
            (version,) = self.db.execute("PRAGMA data_version").fetchone()
            if version == self._data_version:
                return []
            self._data_version = version
        self._stay()
        return patiently(lambda: self._attempt((), False, watched))

    def _attempt(self, work: Sequence[Work[Any]], writes: bool, watched: Collection[str]) -> News:
        db = self.db
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            self._now = self.clock.wall()
            self._change, self._drops = before = self._counters()
            news = self._news(watched) if watched else []
            beaten = self._beaten
            if writes:
                if (version := version_of(db)) != rows.VERSION:
                    raise too_new(self.path, version)
                if not work or self.due():
                    beaten = self._beat()
            for item in work:
                item.error = None
                try:
                    item.value = item.do(self)
                except TakenOver as error:  # raised before anything was written
                    item.error = error
            if (self._change, self._drops) != before:
                db.execute("UPDATE counters SET change = ?, drops = ?", (self._change, self._drops))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._told = (self._change, self._drops) if watched else None
        self._beaten = beaten
        return news

    def _counters(self) -> tuple[int, int]:
        change, drops = self.db.execute("SELECT change, drops FROM counters").fetchone()
        return int(change), int(drops)

    def _news(self, watched: Collection[str]) -> News:
        if self._told is None:
            self._gone.clear()
            return []
        news: News = []
        change, drops = self._told
        if change < self._change:
            changed = self.db.execute(rows.CHANGED, (change,))
            news += [(row[0], rows.to_entry(row)) for row in changed if row[0] in watched]
            self._gone.difference_update(key for key, _ in news)
        if drops < self._drops:
            gone = {key for key in list(watched) if self.get(key) is None}
            news += [(key, None) for key in gone - self._gone]
            self._gone = gone
        return news

    def _stay(self) -> None:
        """Raise `JournalError` when the open files are no longer those under the path.

        Whatever were written then would be lost with them.
        """
        if not self.place:
            return
        try:
            place, log = whereabouts(self.real)
        except OSError:
            place, log = (), 0
        if place != self.place:
            advice = "Put them back, or begin a new journal with a new client."
            raise unusable(self.path, "its files were removed or replaced", advice)
        if log >= self._checkpoint_at:
            self._checkpoint(log)

    def _checkpoint(self, log: int) -> None:
        """Carry the write-ahead log over into the database and cut it.

        SQLite's own way to do it at a commit lets others commit meanwhile, which versions before
        3.51.3 can, very rarely, get wrong; this way holds the lock for writing.
        """
        with suppress(sqlite3.OperationalError):  # the next commit finds out what is wrong
            (busy, _, _) = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # Somebody still reads the log: not to wait for him at each commit, let it grow a bit.
            self._checkpoint_at = (log if busy else 0) + CHECKPOINT

    # -- leases --------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether it is time for a heartbeat."""
        return self.clock.host() - self._beaten >= HEARTBEAT

    def _beat(self) -> float:
        now = self.clock.host()
        self.db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?)", (self.owner, now + LEASE))
        if self._beaten == float("-inf"):
            # A lease further ahead than any can be is from before the machine was last started.
            expired = "DELETE FROM owners WHERE until NOT BETWEEN ? AND ?"
            self.db.execute(expired, (now, now + LEASE + 1))
        return now

    def leave(self) -> None:
        """Give up the lease: others may take this client's entries at once."""
        self.db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))

    def _alive(self, owner: str | None) -> bool:
        row = self.db.execute("SELECT until FROM owners WHERE owner = ?", (owner,)).fetchone()
        return row is not None and row[0] > self.clock.host() and not is_dead(owner or "")

    # -- operations ----------------------------------------------------------------------------

    def begin(self, entry: Entry, row: tuple[rows.Value, ...]) -> Begun:
        """Write ``entry``, whose columns are ``row``, or return what its key stands for."""
        self._change += 1
        ours = (self.owner, self._now, self._now)
        made = self.db.execute(rows.INSERT, (self._change, self._change, *row[:-3], *ours))
        if made.rowcount:
            self._claim(entry.kind, entry.ids, self._change)
            owner, created_at, updated_at = ours
            entry = evolve(entry, owner=owner, created_at=created_at, updated_at=updated_at)
            return Begun(entry, mine=True, new=True)
        self._change -= 1
        found = self._sure(entry.key)
        if not same_start(found, entry) or found.state > State.INTENT or not self.take(entry.key):
            return Begun(found, mine=False, new=False)
        return Begun(self._sure(entry.key), mine=True, new=False)

    def advance(
        self, key: str, state: State, values: Changes, columns: dict[str, rows.Value]
    ) -> Entry | None:
        """Bring an entry forward and set ``values``, which are ``columns`` in the table."""
        step = stepped(self.get(key), self.owner, state, values, self._now)
        if step is None:
            return None
        entry, new = step
        follows = ("ids", "coins", "state", "updated_at")
        columns = columns | {name: rows.to_column(name, getattr(entry, name)) for name in follows}
        if new:
            (seq,) = self.db.execute("SELECT seq FROM jobs WHERE key = ?", (key,)).fetchone()
            self._claim(entry.kind, new, seq)
        self._update(key, columns)
        return entry

    def drop(self, key: str) -> bool:
        """Forget an entry of this client that was not accepted."""
        query = "DELETE FROM jobs WHERE key = ? AND owner = ? AND state < ?"
        dropped = self.db.execute(query, (key, self.owner, int(State.ACCEPTED))).rowcount
        self._drops += dropped
        return bool(dropped)

    def take(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is gone."""
        entry = self.get(key)
        if entry is None or not entry.open:
            return False
        if entry.owner != self.owner:
            if self._alive(entry.owner):
                return False
            self._update(key, {"owner": self.owner, "updated_at": self._now})
        return True

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        row = self.db.execute(rows.BY_KEY, (key,)).fetchone()
        return None if row is None else rows.to_entry(row)

    def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry of a remote task."""
        row = self.db.execute(rows.BY_TASK, (kind, id)).fetchone()
        return None if row is None else rows.to_entry(row)

    def heard(self, hook: str) -> Entry | None:
        """Note an event of the start of this hook; return its entry."""
        row = self.db.execute(rows.BY_HOOK, (hook,)).fetchone()
        entry = None if row is None else rows.to_entry(row)
        if entry is None or not entry.open:
            return entry
        self._update(entry.key, {"event_at": self._now, "updated_at": self._now})
        return evolve(entry, event_at=self._now, updated_at=self._now)

    def entries(self, query: str, after: int, limit: int) -> tuple[list[Entry], int]:
        """Return a page of `page_query`, and the place to go on after."""
        found = self.db.execute(query, (after, limit)).fetchall()
        return [rows.to_entry(row) for row in found], found[-1][-1] if len(found) == limit else 0

    def prune(
        self, before: float, states: tuple[State, ...], after: int, limit: int
    ) -> tuple[int, int]:
        """Forget closed entries from ``after`` on; return how many, and the place to go on."""
        among = ", ".join(str(int(state)) for state in states)
        found = self.db.execute(
            f"SELECT seq, kind, ids FROM jobs WHERE seq > ? AND updated_at < ? "  # noqa: S608  # numbers
            f"AND state IN ({among}) AND NOT ({rows.OPEN}) ORDER BY seq LIMIT ?",
            (after, before, limit),
        ).fetchall()
        for seq, kind, ids in found:
            self.db.execute(rows.KEEP_SUM, (seq,))
            self.db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
            claimed = [(kind, id, seq) for id in ids.split("+")] if ids else []
            self.db.executemany("DELETE FROM tasks WHERE (kind, id, seq) = (?, ?, ?)", claimed)
        self._drops += len(found)
        return len(found), found[-1][0] if len(found) == limit else 0

    def spent(self) -> list[Spent]:
        """Return sums of money by day and kind."""
        return [
            Spent(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for day, kind, coins, reserved, starts in self.db.execute(rows.SUMS)
        ]

    def _sure(self, key: str) -> Entry:
        """Return the entry of a key that is there."""
        return rows.to_entry(self.db.execute(rows.BY_KEY, (key,)).fetchone())

    def _update(self, key: str, columns: dict[str, rows.Value]) -> None:
        self._change += 1
        columns["change"] = self._change
        self.db.execute(rows.update_query(tuple(columns)), (*columns.values(), key))

    def _claim(self, kind: str, ids: Sequence[str], seq: int) -> None:
        if ids:
            query = "INSERT INTO tasks VALUES (?, ?, ?) ON CONFLICT (kind, id) DO NOTHING"
            self.db.executemany(query, [(kind, id, seq) for id in ids])
