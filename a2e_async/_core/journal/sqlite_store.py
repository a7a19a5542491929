"""The open file of a SQLite journal and its operations. Used by a single thread.

Operations run in groups with one transaction and one fsync each. They implement the rules of
`a2e_async._core.journal.protocol`.
"""

import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from attrs import define, evolve, field, frozen

from a2e_async._core.journal import rows
from a2e_async._core.journal.lease_owner import is_owner_dead
from a2e_async._core.journal.protocol import (
    HEARTBEAT_INTERVAL,
    LEASE_DURATION,
    UPLOAD,
    AccountEntries,
    BeginResult,
    Entry,
    EntryChanges,
    LeaseLost,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async._core.journal.rules import apply_step, has_same_inputs, new_ids, without_ids
from a2e_async._core.journal.sqlite_file import (
    file_identities,
    journal_error_from,
    open_database,
    retry_while_locked,
    schema_version,
    too_new_error,
    unusable_journal_error,
)
from a2e_async.errors import JournalError

T = TypeVar("T")

CHECKPOINT_SIZE: Final = 4 * 2**20
"""Size of the write-ahead log (bytes) at which it is checkpointed into the database."""

_OPERATION_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)
"""Errors of SQLite caused by a single operation's values; its others concern the whole file."""

ChangedEntries = list[tuple[str, Entry | None]]
"""Keys changed by other clients with their entries; None for a deleted entry."""


@frozen
class JournalClock:
    """The clocks of a journal: ``wall`` in seconds since 1970, ``host`` monotonic seconds.

    ``host`` must be the same in all processes of this machine.
    """

    wall: Callable[[], float]
    host: Callable[[], float]


@define(eq=False)
class AccountScope:
    """The account whose entries are read and written. The journal object sets it once."""

    account: str | None = None
    """None: all entries are visible, and new entries have no account."""


@define(eq=False)
class StoreOperation(Generic[T]):
    """One operation and its outcome: ``error`` or else ``result``.

    Created by the journal for one call; the writer thread sets the outcome.
    """

    execute: "Callable[[SqliteStore], T]"
    writes: bool
    result: T | None = None
    error: JournalError | None = None


@define(eq=False)
class SqliteStore:
    """One connection to the file. Use `SqliteStore.open`.

    Created, used and closed by the `WriterThread` alone.
    """

    path: Path
    owner: str
    clock: JournalClock
    scope: AccountScope
    db: sqlite3.Connection
    real_path: str
    """The path with all links resolved."""
    file_ids: tuple[tuple[int, int], ...] = ()
    """Device and inode of the open files, to notice when they are removed or replaced."""
    _now: float = 0.0
    _last_change: int = 0
    _drop_count: int = 0
    _last_heartbeat: float = float("-inf")
    _data_version: int | None = None
    _reported_up_to: tuple[int, int] | None = None
    """The change and drop counters already reported to listeners; None without listeners."""
    _reported_gone: set[str] = field(factory=set[str])
    """Watched keys already reported as deleted."""
    _checkpoint_at: int = CHECKPOINT_SIZE

    @classmethod
    def open(
        cls, path: Path, owner: str, clock: JournalClock, scope: AccountScope
    ) -> "SqliteStore":
        """Open the file and acquire the lease. Raises as `open_database` does."""
        store = cls(path, owner, clock, scope, open_database(path), os.path.realpath(path))
        try:
            store.execute_group([])
            store.file_ids, _ = file_identities(store.real_path)
        except BaseException:
            store.db.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; the last process to do so removes the write-ahead log."""
        self.db.close()

    # -- transactions ------------------------------------------------------------------------

    def execute_group(
        self, operations: Sequence[StoreOperation[Any]], watched_keys: Collection[str] = ()
    ) -> ChangedEntries:
        """Run operations in one transaction; return changes of watched keys by other clients.

        Without operations, renew the lease. An error caused by a single operation is stored in
        that operation. An error of the whole file is raised, and then nothing was written.
        """
        self._check_files_unchanged()
        writes = not operations or any(operation.writes for operation in operations)
        changed: ChangedEntries = []
        if not writes and self.heartbeat_due():
            with suppress(sqlite3.Error):  # renewing may fail: reading needs no lease
                changed = self._run_transaction([], True, watched_keys)
        try:
            return changed + retry_while_locked(
                lambda: self._run_transaction(operations, writes, watched_keys)
            )
        except (sqlite3.Error, JournalError) as error:
            if not isinstance(error, _OPERATION_ERRORS):
                raise
            cause: Exception = error
        except Exception as error:  # a user's value may raise anything when it is converted
            cause = error
        if len(operations) == 1:
            operations[0].error = journal_error_from(self.path, cause)
            return changed
        # The transaction was rolled back. Run the operations one by one, so that only the one
        # that caused the error fails.
        for operation in operations:
            try:
                changed += self.execute_group([operation], watched_keys)
            except (sqlite3.Error, OSError, JournalError) as error:
                operation.error = journal_error_from(self.path, error)
        return changed

    def changed_entries(self, watched_keys: Collection[str]) -> ChangedEntries:
        """Return changes of watched keys by other clients; fast if the file is unchanged."""
        if self._reported_up_to is not None:
            (version,) = self.db.execute("PRAGMA data_version").fetchone()
            if version == self._data_version:
                return []
            self._data_version = version
        self._check_files_unchanged()
        return retry_while_locked(lambda: self._run_transaction((), False, watched_keys))

    def _run_transaction(
        self, operations: Sequence[StoreOperation[Any]], writes: bool, watched_keys: Collection[str]
    ) -> ChangedEntries:
        db = self.db
        # IMMEDIATE waits for the write lock here. A read transaction that is upgraded later fails
        # at once if another process has written meanwhile.
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            self._now = self.clock.wall()
            self._last_change, self._drop_count = counters_before = self._read_counters()
            changed = self._collect_changed_entries(watched_keys) if watched_keys else []
            last_heartbeat = self._last_heartbeat
            if writes:
                # A later version of this package may have migrated the open file.
                if (version := schema_version(db)) != rows.SCHEMA_VERSION:
                    raise too_new_error(self.path, version)
                if not operations or self.heartbeat_due():
                    last_heartbeat = self._renew_lease()
            for operation in operations:
                operation.error = None
                try:
                    operation.result = operation.execute(self)
                except LeaseLost as error:  # raised before anything was written
                    operation.error = error
            if (self._last_change, self._drop_count) != counters_before:
                db.execute(
                    "UPDATE counters SET change = ?, drops = ?",
                    (self._last_change, self._drop_count),
                )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        # Only after the commit: a rolled back transaction has renewed and reported nothing.
        self._reported_up_to = (self._last_change, self._drop_count) if watched_keys else None
        self._last_heartbeat = last_heartbeat
        return changed

    def _read_counters(self) -> tuple[int, int]:
        change, drops = self.db.execute("SELECT change, drops FROM counters").fetchone()
        return int(change), int(drops)

    def _collect_changed_entries(self, watched_keys: Collection[str]) -> ChangedEntries:
        if self._reported_up_to is None:
            self._reported_gone.clear()
            return []  # the listeners are new: only later changes are reported
        changed_entries: ChangedEntries = []
        change, drops = self._reported_up_to
        if change < self._last_change:
            changed = self.db.execute(rows.SELECT_CHANGED, (change, *self._visibility_params))
            seen = rows.to_entries(row for row in changed if row[0] in watched_keys)
            changed_entries += [(entry.key, entry) for entry in seen]
            self._reported_gone.difference_update(key for key, _ in changed_entries)
        if drops < self._drop_count:
            gone = {key for key in list(watched_keys) if self._select_row(key) is None}
            changed_entries += [(key, None) for key in gone - self._reported_gone]
            self._reported_gone = gone
        return changed_entries

    def _check_files_unchanged(self) -> None:
        """Raise `JournalError` if the files at the path are no longer the open ones.

        Everything written to a removed file would be lost.
        """
        if not self.file_ids:
            return
        try:
            file_ids, log_size = file_identities(self.real_path)
        except OSError:
            file_ids, log_size = (), 0
        if file_ids != self.file_ids:
            advice = "Restore the files, or create a new client to begin a new journal."
            raise unusable_journal_error(self.path, "its files were removed or replaced", advice)
        if log_size >= self._checkpoint_at:
            self._checkpoint(log_size)

    def _checkpoint(self, log_size: int) -> None:
        """Checkpoint the write-ahead log and truncate it.

        SQLite's automatic checkpoint at a commit lets other processes commit meanwhile, which
        versions before 3.51.3 handle wrongly in very rare cases. TRUNCATE holds the write lock.
        """
        with suppress(sqlite3.OperationalError):  # a real problem will show at the next commit
            (busy, _, _) = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # While another process reads the log, let it grow instead of waiting at each commit.
            self._checkpoint_at = (log_size if busy else 0) + CHECKPOINT_SIZE

    # -- leases --------------------------------------------------------------------------------

    def heartbeat_due(self) -> bool:
        """Whether it is time for a heartbeat."""
        return self.clock.host() - self._last_heartbeat >= HEARTBEAT_INTERVAL

    def _renew_lease(self) -> float:
        now = self.clock.host()
        self.db.execute(
            "INSERT OR REPLACE INTO owners VALUES (?, ?)", (self.owner, now + LEASE_DURATION)
        )
        if self._last_heartbeat == float("-inf"):
            # The monotonic clock restarts at boot, so leases of an earlier boot seem to end far
            # in the future.
            expired = "DELETE FROM owners WHERE until NOT BETWEEN ? AND ?"
            self.db.execute(expired, (now, now + LEASE_DURATION + 1))
        return now

    def release_lease(self) -> None:
        """Release the lease, so that other clients can acquire this client's entries at once."""
        self.db.execute("DELETE FROM owners WHERE owner = ?", (self.owner,))

    def _owner_is_alive(self, owner: str | None) -> bool:
        row = self.db.execute("SELECT until FROM owners WHERE owner = ?", (owner,)).fetchone()
        return row is not None and row[0] > self.clock.host() and not is_owner_dead(owner or "")

    # -- operations ----------------------------------------------------------------------------

    def begin(self, entry: Entry, row: tuple[rows.ColumnValue, ...]) -> BeginResult:
        """Write ``entry``, with column values ``row``, or return the one under its key."""
        if held_ids := self._ids_held_by_others(entry.kind, entry.ids, self._account):
            entry = without_ids(entry, held_ids)
            row = rows.to_row(entry)
        seq = self._last_change + 1
        own_values = (self._account, self.owner, self._now, self._now)
        values = (seq, seq, *row[:-4], *own_values, entry.key, *self._visibility_params)
        if self.db.execute(rows.INSERT_ENTRY, values).rowcount:
            self._last_change = seq
            account, owner, created_at, updated_at = own_values
            entry = evolve(
                entry, account=account, owner=owner, created_at=created_at, updated_at=updated_at
            )
            self._insert_task_ids(entry, entry.ids, seq)
            return BeginResult(entry, is_owner=True, created=True)
        existing, _ = self._existing_with_seq(entry.key)
        if (
            not has_same_inputs(existing, entry)
            or existing.state > State.INTENT
            or not self.acquire(entry.key)
        ):
            return BeginResult(existing, is_owner=False, created=False)
        return BeginResult(self._existing_with_seq(entry.key)[0], is_owner=True, created=False)

    def advance(
        self, key: str, state: State, values: EntryChanges, columns: dict[str, rows.ColumnValue]
    ) -> Entry | None:
        """Advance an entry and set ``values``, whose column values are ``columns``."""
        entry, seq = self._find_with_seq(key)
        held_ids: Collection[str] = ()
        if entry is not None:
            held_ids = self._ids_held_by_others(entry.kind, new_ids(entry, values), entry.account)
        step = apply_step(
            entry,
            self.owner,
            state,
            values,
            self._now,
            account=self.scope.account,
            held_ids=held_ids,
        )
        if entry is None or step is None:
            return None
        after, new = step
        derived = ("ids", "coins", "reserved", "state", "account", "updated_at")
        columns = columns | {
            name: rows.to_column_value(name, getattr(after, name)) for name in derived
        }
        if after.account != entry.account:
            moved = [(after.account, entry.kind, id, seq) for id in entry.ids]
            query = "UPDATE tasks SET account = ? WHERE (kind, id, seq) = (?, ?, ?)"
            self.db.executemany(query, moved)
        self._insert_task_ids(after, new, seq)
        self._update_columns(seq, columns)
        return after

    def drop(self, key: str) -> bool:
        """Delete an entry of this client and account that is not accepted."""
        parameters = (key, self.owner, int(State.ACCEPTED), *self._visibility_params)
        dropped = self.db.execute(rows.DELETE_UNACCEPTED, parameters).rowcount
        self._drop_count += dropped
        return bool(dropped)

    def acquire(self, key: str) -> bool:
        """Acquire an open entry whose owner is gone; return whether it is this client's now."""
        entry, seq = self._find_with_seq(key)
        if entry is None or not entry.open:
            return False
        if entry.owner != self.owner:
            if self._owner_is_alive(entry.owner):
                return False
            self._update_columns(seq, {"owner": self.owner, "updated_at": self._now})
        return True

    def get(self, key: str) -> Entry | None:
        """Return the entry with a key."""
        return self._find_with_seq(key)[0]

    def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds a remote task."""
        row = self.db.execute(rows.SELECT_BY_TASK, (kind, id, *self._visibility_params)).fetchone()
        return None if row is None else rows.to_entry(row)

    def record_event(self, webhook_id: str) -> Entry | None:
        """Record a webhook event for the start with this webhook id; return its entry."""
        row = self.db.execute(
            rows.SELECT_BY_WEBHOOK_ID, (webhook_id, *self._visibility_params)
        ).fetchone()
        if row is None:
            return None
        entry = rows.to_entry(row)
        if not entry.open:
            return entry
        self._update_columns(row[-1], {"event_at": self._now, "updated_at": self._now})
        return evolve(entry, event_at=self._now, updated_at=self._now)

    def entries(self, query: str, after: int, limit: int) -> tuple[list[Entry], int]:
        """Return a page of `page_query`, and the last ``seq``, 0 at the end."""
        found = self.db.execute(query, (after, *self._visibility_params, limit)).fetchall()
        return rows.to_entries(found), found[-1][-1] if len(found) == limit else 0

    def prune(self, query: str, before: float, after: int, limit: int) -> tuple[int, int]:
        """Delete entries of `prune_query`; return how many, and the last ``seq``, 0 at the end."""
        found = self.db.execute(
            query, (after, before, before, *self._visibility_params, limit)
        ).fetchall()
        for seq, kind, ids in found:
            self.db.execute(rows.KEEP_PRUNED_COST, (seq,))  # first: it reads the row
            self.db.execute("DELETE FROM jobs WHERE seq = ?", (seq,))
            claimed = [(kind, id, seq) for id in ids.split("+")] if ids else []
            self.db.executemany("DELETE FROM tasks WHERE (kind, id, seq) = (?, ?, ?)", claimed)
        self._drop_count += len(found)
        return len(found), found[-1][0] if len(found) == limit else 0

    def spent(self) -> list[SpendSummary]:
        """Return the cost by day and kind."""
        return [
            SpendSummary(day=day, kind=kind, coins=coins, reserved=reserved, starts=starts)
            for day, kind, coins, reserved, starts in self.db.execute(
                rows.SELECT_SPENT, self._visibility_params
            )
        ]

    def find_upload(self, digest: str, content_type: str) -> UploadedInput | None:
        """Return a valid upload of this content, if any."""
        values = (*self._visibility_params, digest, content_type, self._now)
        row = self.db.execute(rows.SELECT_UPLOAD, values).fetchone()
        if row is None:
            return None
        return UploadedInput(
            digest=digest, content_type=content_type, url=row[0], valid_until=row[1]
        )

    def save_upload(self, upload: UploadedInput) -> None:
        """Store an upload and delete expired ones."""
        self.db.execute("DELETE FROM uploads WHERE until <= ?", (self._now,))
        self.db.execute(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?)",
            (self._account, upload.digest, upload.content_type, upload.url, upload.valid_until),
        )

    def record_upload_cost(self, coins: int, reserved: int) -> None:
        """Add the price of an upload, charged or reserved (coins), to the sums."""
        values = (self._account, self._now, UPLOAD, coins, reserved)
        self.db.execute(rows.ADD_UPLOAD_COST, values)

    def accounts(self, *, open_only: bool) -> list[AccountEntries]:
        """Return how many entries each account has."""
        found = self.db.execute(rows.accounts_query(open_only))
        return [AccountEntries(account=row[0], entries=row[1], open=row[2]) for row in found]

    def adopt_account(self, former_account: str) -> int:
        """Move the entries of another account to this one; return how many."""
        account = self._account
        if former_account == account:
            return 0
        entries, tasks, uploads, clear_uploads = rows.ADOPT_ACCOUNT
        adopted = self.db.execute(entries, (account, former_account, account, account)).rowcount
        self.db.execute(tasks, (account, former_account, account))
        add, clear = rows.MOVE_PRUNED_COSTS
        for move, remove in ((uploads, clear_uploads), (add, clear)):
            self.db.execute(move, (account, former_account))
            self.db.execute(remove, (former_account,))
        return adopted

    @property
    def _account(self) -> str:
        return self.scope.account or ""

    @property
    def _visibility_params(self) -> tuple[str | None, str | None]:
        """The parameters of `rows.IS_VISIBLE`."""
        return self.scope.account, self.scope.account

    def _select_row(self, key: str) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.db.execute(
            rows.SELECT_BY_KEY, (key, *self._visibility_params)
        ).fetchone()
        return row

    def _find_with_seq(self, key: str) -> tuple[Entry | None, int]:
        """Return the entry with a key and its ``seq``."""
        row = self._select_row(key)
        return (None, 0) if row is None else (rows.to_entry(row), row[-1])

    def _existing_with_seq(self, key: str) -> tuple[Entry, int]:
        """Return an existing entry with a key and its ``seq``."""
        entry, seq = self._find_with_seq(key)
        assert entry is not None  # noqa: S101  # it was read in this transaction
        return entry, seq

    def _update_columns(self, seq: int, columns: dict[str, rows.ColumnValue]) -> None:
        self._last_change += 1
        columns["change"] = self._last_change
        self.db.execute(rows.update_query(tuple(columns)), (*columns.values(), seq))

    def _ids_held_by_others(self, kind: str, ids: Sequence[str], account: str) -> list[str]:
        """Return which of these tasks other entries hold."""
        query, account_params = rows.SELECT_TASK_HOLDER, (account, account)
        return [id for id in ids if self.db.execute(query, (kind, id, *account_params)).fetchone()]

    def _insert_task_ids(self, entry: Entry, ids: Sequence[str], seq: int) -> None:
        if ids:
            query = "INSERT INTO tasks VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            claims = [(entry.kind, id, entry.account, seq) for id in ids]
            self.db.executemany(query, claims)
