"""The open file of a SQLite journal and its operations. Used by a single thread.

Operations run in groups with one transaction and one fsync each. They implement the rules of
`a2e_async.tasks.journal`.
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
from a2e_async.tasks.budget import UPLOAD
from a2e_async.tasks.journal import (
    HEARTBEAT,
    LEASE,
    AccountEntries,
    Begun,
    Changes,
    Entry,
    Spent,
    State,
    TakenOver,
    Upload,
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
from a2e_async.tasks.journal_rules import new_ids, same_start, stepped, without
from a2e_async.tasks.owner import is_dead

T = TypeVar("T")

CHECKPOINT: Final = 4 * 2**20
"""Size of the write-ahead log (bytes) at which it is checkpointed into the database."""

_OUR_LIMITS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""Errors of SQLite caused by a single operation's values; its others concern the whole file."""

News = list[tuple[str, Entry | None]]
"""Keys changed by other clients with their entries; None for a deleted entry."""


@frozen
class Clock:
    """The clocks of a journal: ``wall`` in seconds since 1970, ``host`` monotonic seconds.

    ``host`` must be the same in all processes of this machine.
    """

    wall: Callable[[], float]
    host: Callable[[], float]


@define(eq=False)
class Scope:
    """The account whose entries are read and written. The journal object sets it once."""

    account: str | None = None
    """None: all entries are visible, and new entries have no account."""


@define(eq=False)
class Work(Generic[T]):
    """One operation and its outcome: ``error`` or else ``result``."""

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
    scope: Scope
    db: sqlite3.Connection
    real: str
    """The path with all links resolved."""
    place: tuple[tuple[int, int], ...] = ()
    """Device and inode of the open files, to notice when they are removed or replaced."""
    _now: float = 0.0
    _change: int = 0
    _drops: int = 0
    _beaten: float = float("-inf")
    _data_version: int | None = None
    _told: tuple[int, int] | None = None
    """The change and drop counters already reported to listeners; None without listeners."""
    _gone: set[str] = field(factory=set[str])
    """Watched keys already reported as deleted."""
    _checkpoint_at: int = CHECKPOINT

    @classmethod
    def open(cls, path: Path, owner: str, clock: Clock, scope: Scope) -> "Store":
        """Open the file and acquire the lease. Raises as `open_database` does."""
        store = cls(path, owner, clock, scope, connect(path), os.path.realpath(path))
        try:
            store.group([])
            store.place, _ = whereabouts(store.real)
        except BaseException:
            store.db.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the last process to do so removes the write-ahead log."""
        self.db.close()

    # -- transactions ------------------------------------------------------------------------

    def group(self, work: Sequence[Work[Any]], watched: Collection[str] = ()) -> News:
        """Run operations in one transaction; return changes of watched keys by other clients.

        Without operations, renew the lease. An error caused by a single operation is stored in
        that operation. An error of the whole file is raised, and then nothing was written.
        """
        self._stay()
        writes = not work or any(operation.writes for operation in work)
        changed: News = []
        if not writes and self.due():
            with suppress(sqlite3.Error):  # renewing may fail: reading needs no lease
                changed = self._attempt([], True, watched)
        try:
            return changed + patiently(lambda: self._attempt(work, writes, watched))
        except (sqlite3.Error, JournalError) as error:
            if not isinstance(error, _OUR_LIMITS):
                raise
            cause: Exception = error
        except Exception as error:  # a user's value may raise anything when it is converted
            cause = error
        if len(work) == 1:
            work[0].error = explain(self.path, cause)
            return changed
        # The transaction was rolled back. Run the operations one by one, so that only the one
        # that caused the error fails.
        for operation in work:
            try:
                changed += self.group([operation], watched)
            except (sqlite3.Error, OSError, JournalError) as error:
                operation.error = explain(self.path, error)
        return changed

    def news(self, watched: Collection[str]) -> News:
        """Return changes of watched keys by other clients; fast if the file is unchanged."""
        if self._told is not None:
            (version,) = self.db.execute("PRAGMA data_version").fetchone()
            if version == self._data_version:
                return []
            self._data_version = version
        self._stay()
        return patiently(lambda: self._attempt((), False, watched))

    def _attempt(self, work: Sequence[Work[Any]], writes: bool, watched: Collection[str]) -> News:
        db = self.db
        # IMMEDIATE waits for the write lock here. A read transaction that is upgraded later fails
        # at once if another process has written meanwhile.
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            self._now = self.clock.wall()
            self._change, self._drops = counters_before = self._counters()
            changed = self._news(watched) if watched else []
            last_heartbeat = self._beaten
            if writes:
                # A later version of this package may have migrated the open file.
                if (version := version_of(db)) != rows.VERSION:
                    raise too_new(self.path, version)
                if not work or self.due():
                    last_heartbeat = self._beat()
            for operation in work:
                operation.error = None
                try:
                    operation.value = operation.do(self)
                except TakenOver as error:  # raised before anything was written
                    operation.error = error
            if (self._change, self._drops) != counters_before:
                db.execute("UPDATE counters SET change = ?, drops = ?", (self._change, self._drops))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        # Only after the commit: a rolled back transaction has renewed and reported nothing.
        self._told = (self._change, self._drops) if watched else None
        self._beaten = last_heartbeat
        return changed

    def _counters(self) -> tuple[int, int]:
        change, drops = self.db.execute("SELECT change, drops FROM counters").fetchone()
        return int(change), int(drops)

    def _news(self, watched: Collection[str]) -> News:
        if self._told is None:
            self._gone.clear()
            return []  # the listeners are new: only later changes are reported
        changed_entries: News = []
        change, drops = self._told
        if change < self._change:
            changed = self.db.execute(rows.CHANGED, (change, *self._mine))
            seen = rows.to_entries(row for row in changed if row[0] in watched)
            changed_entries += [(entry.key, entry) for entry in seen]
            self._gone.difference_update(key for key, _ in changed_entries)
        if drops < self._drops:
            gone = {key for key in list(watched) if self._row(key) is None}
            changed_entries += [(key, None) for key in gone - self._gone]
            self._gone = gone
        return changed_entries

    def _stay(self) -> None:
        """Raise `JournalError` if the files at the path are no longer the open ones.

        Everything written to a removed file would be lost.
        """
        if not self.place:
            return
        try:
            file_ids, log_size = whereabouts(self.real)
        except OSError:
            file_ids, log_size = (), 0
        if file_ids != self.place:
            advice = "Restore the files, or create a new client to begin a new journal."
            raise unusable(self.path, "its files were removed or replaced", advice)
        if log_size >= self._checkpoint_at:
            self._checkpoint(log_size)

    def _checkpoint(self, log: int) -> None:
        """Checkpoint the write-ahead log and truncate it.

        SQLite's automatic checkpoint at a commit lets other processes commit meanwhile, which
        versions before 3.51.3 handle wrongly in very rare cases. TRUNCATE holds the write lock.
        """
        with suppress(sqlite3.OperationalError):  # a real problem will show at the next commit
            (busy, _, _) = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # While another process reads the log, let it grow instead of waiting at each commit.
            self._checkpoint_at = (log if busy else 0) + CHECKPOINT

    # -- leases --------------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether it is time for a heartbeat."""
        return self.clock.host() - self._beaten >= HEARTBEAT

    def _beat(self) -> float:
        now = self.clock.host()
        self.db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?)", (self.owner, now + LEASE))
        if self._beaten == float("-inf"):
            # The monotonic clock restarts at boot, so leases of an earlier boot seem to end far
            # in the future.
            expired = "DELETE FROM owners WHERE until NOT BETWEEN ? AND ?"
            self.db.execute(expired, (now, now + LEASE + 1))
        return now

    def leave(self) -> None:
        """Release the lease, so that other clients can acquire this client's entries at once."""
        self.db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))

    def _alive(self, owner: str | None) -> bool:
        row = self.db.execute("SELECT until FROM owners WHERE owner = ?", (owner,)).fetchone()
        return row is not None and row[0] > self.clock.host() and not is_dead(owner or "")

    # -- operations ----------------------------------------------------------------------------

    def begin(self, entry: Entry, row: tuple[rows.Value, ...]) -> Begun:
        """Write ``entry``, with column values ``row``, or return the one under its key."""
        if held_ids := self._held(entry.kind, entry.ids, self._account):
            entry = without(entry, held_ids)
            row = rows.to_row(entry)
        seq = self._change + 1
        own_values = (self._account, self.owner, self._now, self._now)
        values = (seq, seq, *row[:-4], *own_values, entry.key, *self._mine)
        if self.db.execute(rows.INSERT, values).rowcount:
            self._change = seq
            account, owner, created_at, updated_at = own_values
            entry = evolve(
                entry, account=account, owner=owner, created_at=created_at, updated_at=updated_at
            )
            self._claim(entry, entry.ids, seq)
            return Begun(entry, mine=True, new=True)
        existing, _ = self._sure(entry.key)
        if (
            not same_start(existing, entry)
            or existing.state > State.INTENT
            or not self.take(entry.key)
        ):
            return Begun(existing, mine=False, new=False)
        return Begun(self._sure(entry.key)[0], mine=True, new=False)

    def advance(
        self, key: str, state: State, values: Changes, columns: dict[str, rows.Value]
    ) -> Entry | None:
        """Advance an entry and set ``values``, whose column values are ``columns``."""
        entry, seq = self._found(key)
        held_ids: Collection[str] = ()
        if entry is not None:
            held_ids = self._held(entry.kind, new_ids(entry, values), entry.account)
        step = stepped(
            entry, self.owner, state, values, self._now, account=self.scope.account, held=held_ids
        )
        if entry is None or step is None:
            return None
        after, new = step
        derived = ("ids", "coins", "reserved", "state", "account", "updated_at")
        columns = columns | {name: rows.to_column(name, getattr(after, name)) for name in derived}
        if after.account != entry.account:
            moved = [(after.account, entry.kind, id, seq) for id in entry.ids]
            query = "UPDATE tasks SET account = ? WHERE (kind, id, seq) = (?, ?, ?)"
            self.db.executemany(query, moved)
        self._claim(after, new, seq)
        self._update(seq, columns)
        return after

    def drop(self, key: str) -> bool:
        """Delete an entry of this client that is not accepted."""
        query = "DELETE FROM jobs WHERE key = ? AND owner = ? AND state < ?"
        dropped = self.db.execute(query, (key, self.owner, int(State.ACCEPTED))).rowcount
        self._drops += dropped
        return bool(dropped)

    def take(self, key: str) -> bool:
        """Acquire an open entry whose owner is gone; return whether it is this client's now."""
        entry, seq = self._found(key)
        if entry is None or not entry.open:
            return False
        if entry.owner != self.owner:
            if self._alive(entry.owner):
                return False
            self._update(seq, {"owner": self.owner, "updated_at": self._now})
        return True

    def get(self, key: str) -> Entry | None:
        """Return the entry with a key."""
        return self._found(key)[0]

    def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds a remote task."""
        row = self.db.execute(rows.BY_TASK, (kind, id, *self._mine)).fetchone()
        return None if row is None else rows.to_entry(row)

    def heard(self, hook: str) -> Entry | None:
        """Record a webhook event for the start with this webhook id; return its entry."""
        row = self.db.execute(rows.BY_HOOK, (hook, *self._mine)).fetchone()
        if row is None:
            return None
        entry = rows.to_entry(row)
        if not entry.open:
            return entry
        self._update(row[-1], {"event_at": self._now, "updated_at": self._now})
        return evolve(entry, event_at=self._now, updated_at=self._now)

    def entries(self, query: str, after: int, limit: int) -> tuple[list[Entry], int]:
        """Return a page of `page_query`, and the last ``seq``, 0 at the end."""
        found = self.db.execute(query, (after, *self._mine, limit)).fetchall()
        return rows.to_entries(found), found[-1][-1] if len(found) == limit else 0

    def prune(self, query: str, before: float, after: int, limit: int) -> tuple[int, int]:
        """Delete entries of `prune_query`; return how many, and the last ``seq``, 0 at the end."""
        found = self.db.execute(query, (after, before, before, *self._mine, limit)).fetchall()
        for seq, kind, ids in found:
            self.db.execute(rows.KEEP_SUM, (seq,))  # first: it reads the row
            self.db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
            claimed = [(kind, id, seq) for id in ids.split("+")] if ids else []
            self.db.executemany("DELETE FROM tasks WHERE (kind, id, seq) = (?, ?, ?)", claimed)
        self._drops += len(found)
        return len(found), found[-1][0] if len(found) == limit else 0

    def spent(self) -> list[Spent]:
        """Return the cost by day and kind."""
        return [
            Spent(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for day, kind, coins, reserved, starts in self.db.execute(rows.SUMS, self._mine)
        ]

    def uploaded(self, digest: str, content_type: str) -> Upload | None:
        """Return a valid upload of this content, if any."""
        values = (*self._mine, digest, content_type, self._now)
        row = self.db.execute(rows.UPLOADED, values).fetchone()
        if row is None:
            return None
        return Upload(digest=digest, content_type=content_type, url=row[0], until=row[1])

    def keep_upload(self, upload: Upload) -> None:
        """Store an upload and delete expired ones."""
        self.db.execute("DELETE FROM uploads WHERE until <= ?", (self._now,))
        self.db.execute(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)",
            (self._account, upload.digest, upload.content_type, upload.url, upload.until),
        )

    def pay_upload(self, coins: int) -> None:
        """Add the price of an upload (coins) to the sums."""
        self.db.execute(rows.ADD_SUM, (self._account, self._now, UPLOAD, coins))

    def accounts(self, *, open_only: bool) -> list[AccountEntries]:
        """Return how many entries each account has."""
        found = self.db.execute(rows.accounts_query(open_only))
        return [AccountEntries(account=row[0], entries=row[1], open=row[2]) for row in found]

    def adopt(self, former: str) -> int:
        """Move the entries of another account to this one; return how many."""
        account = self._account
        if former == account:
            return 0
        entries, tasks, uploads, clear_uploads = rows.ADOPT
        adopted = self.db.execute(entries, (account, former, account, account)).rowcount
        self.db.execute(tasks, (account, former, account))
        add, clear = rows.MOVE_SUMS
        for move, remove in ((uploads, clear_uploads), (add, clear)):
            self.db.execute(move, (account, former))
            self.db.execute(remove, (former,))
        return adopted

    @property
    def _account(self) -> str:
        return self.scope.account or ""

    @property
    def _mine(self) -> tuple[str | None, str | None]:
        """The parameters of `rows.IS_VISIBLE`."""
        return self.scope.account, self.scope.account

    def _row(self, key: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(rows.BY_KEY, (key, *self._mine)).fetchone()
        return row

    def _found(self, key: str) -> tuple[Entry | None, int]:
        """Return the entry with a key and its ``seq``."""
        row = self._row(key)
        return (None, 0) if row is None else (rows.to_entry(row), row[-1])

    def _sure(self, key: str) -> tuple[Entry, int]:
        """Return an existing entry with a key and its ``seq``."""
        entry, seq = self._found(key)
        assert entry is not None  # noqa: S101  # it was read in this transaction
        return entry, seq

    def _update(self, seq: int, columns: dict[str, rows.Value]) -> None:
        self._change += 1
        columns["change"] = self._change
        self.db.execute(rows.update_query(tuple(columns)), (*columns.values(), seq))

    def _held(self, kind: str, ids: Sequence[str], account: str) -> list[str]:
        """Return which of these tasks other entries hold."""
        query, account_params = rows.HOLDER, (account, account)
        return [id for id in ids if self.db.execute(query, (kind, id, *account_params)).fetchone()]

    def _claim(self, entry: Entry, ids: Sequence[str], seq: int) -> None:
        if ids:
            query = "INSERT INTO tasks VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            claims = [(entry.kind, id, entry.account, seq) for id in ids]
            self.db.executemany(query, claims)
