"""A journal in one SQLite file: one writer thread, group commit, several processes on one host.

Concurrent writes are committed together: fifty writers wait for one fsync. Processes are
serialised by SQLite's lock. Leases are stored in the table ``owners`` and renewed by a heartbeat;
they use the host's monotonic clock, which all processes share. Never put the file on a network
drive: SQLite's locks do not work there.
"""

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeVar, Unpack

from a2e_async._core.journal.protocol import (
    AccountEntries,
    BeginResult,
    Entry,
    EntryChanges,
    JournalCapabilities,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async._core.journal.rows import (
    CHANGEABLE_FIELDS,
    ColumnValue,
    page_query,
    prune_query,
    to_column_value,
    to_row,
)
from a2e_async._core.journal.rules import check_account_binding, with_valid_prices
from a2e_async._core.journal.sqlite_file import check_journal_path, unusable_journal_error
from a2e_async._core.journal.sqlite_store import AccountScope, JournalClock, SqliteStore
from a2e_async._core.journal.sqlite_writer import (
    EntryListener,
    KeyListener,
    SubmittedOperation,
    WriterThread,
    closed_journal_error,
)

T = TypeVar("T")
V = TypeVar("V")

PRUNE_BATCH_SIZE: Final = 5_000
"""How many entries are pruned in one transaction; other operations can run in between."""


class SqliteJournal(JournalCapabilities):
    """A `Journal` in the file ``path``, created at the first use with mode 0600.

    ``clock`` returns seconds since 1970. ``host_clock`` returns the seconds for leases and must be
    the same in all processes of the machine. The file is opened, and a thread started, at the
    first use. Without `aclose` both end when the object is garbage collected or the interpreter
    exits. After a fork, every method raises `JournalError` in the child: create a new journal.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        host_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path: Path = check_journal_path(path)
        self._clock = JournalClock(clock, host_clock)
        self._account_scope = AccountScope()
        self._writer_thread: WriterThread | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<SqliteJournal {self.path.name}>"

    @property
    def owner(self) -> str:
        """The name under which this object owns entries; unique."""
        return self._running_writer().owner

    def bind(self, account: str) -> None:
        """Bind the journal to an account: from now on only its entries are read and written.

        Raises `ConfigurationError` if the journal is bound to another account.
        """
        self._account_scope.account = check_account_binding(self._account_scope.account, account)

    async def open(self) -> None:
        """Open the file. Raises `JournalError` if it is not a journal or has a later version."""
        await self._submit(lambda store: None, writes=False)

    async def aclose(self) -> None:
        """Complete submitted operations, release the lease and close the file. Idempotent."""
        self._closed = True
        writer = self._writer_thread
        if writer is not None and writer.process_id == os.getpid():
            writer.stop()
            await writer.wait_stopped()

    async def begin(self, entry: Entry) -> BeginResult:
        """Write a new entry, or return the one that exists under its key."""
        entry = with_valid_prices(entry)
        row = self._to_storable(to_row, entry)
        return await self._submit(lambda store: store.begin(entry, row))

    async def advance(self, key: str, state: State, **values: Unpack[EntryChanges]) -> Entry | None:
        """Advance an entry's state (never back), set fields, and return it.

        A ``state`` up to `State.INTENT` raises `LeaseLost` if the entry is not this client's or is
        accepted already; then nothing may be sent. A later state is a fact: any client may write
        it. Return None if there is no entry. ``ids`` are added to the existing ones, except those
        that another entry holds.
        """
        if unknown := values.keys() - CHANGEABLE_FIELDS:
            raise TypeError(f"advance() cannot set {', '.join(sorted(unknown))}")
        columns = self._to_storable(_to_columns, values)
        return await self._submit(lambda store: store.advance(key, state, values, columns))

    async def drop(self, key: str) -> bool:
        """Delete this client's entry of a refused or withdrawn start; return whether it was."""
        return await self._submit(lambda store: store.drop(key))

    def withdraw(self, key: str, sent_at: float) -> None:
        """Submit the deletion of an entry whose start was not sent, and return at once.

        For the end of an event loop, when no coroutine can run any more. Nothing happens if the
        entry belongs to a later attempt, with another ``sent_at`` (seconds since 1970).
        """

        def drop(store: SqliteStore) -> None:
            entry = store.get(key)
            if entry is not None and entry.sent_at == sent_at:
                store.drop(key)

        self._running_writer().submit(SubmittedOperation(drop, writes=True))

    async def acquire(self, key: str) -> bool:
        """Acquire an open entry whose owner is gone; return whether it is this client's now."""
        return await self._submit(lambda store: store.acquire(key))

    async def get(self, key: str) -> Entry | None:
        """Return the entry with a key."""
        return await self._submit(lambda store: store.get(key), writes=False)

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds this remote task."""
        return await self._submit(lambda store: store.find(kind, id), writes=False)

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        """Return a page of entries in the order of creation, and ``after`` of the next page.

        ``after`` is 0 on the last page.
        """
        if limit < 1:
            raise ValueError("limit must be at least 1")
        query = page_query(None if states is None else tuple(sorted(states)), open_only)
        return await self._submit(lambda store: store.entries(query, after, limit), writes=False)

    def watch(self, key: str, callback: Callable[[Entry | None], None]) -> Callable[[], None]:
        """Call ``callback`` on this loop when another client changes the entry.

        Return a function that stops it. The callback is called within about 0.3 s, with None if
        the entry is gone. To miss nothing, call `watch` before `get`.
        """
        writer = self._running_writer()
        listener = KeyListener(asyncio.get_running_loop(), callback)
        writer.add_key_listener(key, listener)
        # Wakes the thread, which otherwise would check for changes only at its next heartbeat.
        writer.submit(SubmittedOperation(lambda store: None, writes=False))
        return lambda: writer.remove_key_listener(key, listener)

    def watch_all(self, callback: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``callback`` on this loop with each entry that another client changes.

        Return a function that stops it. The callback is called within about 0.3 s.
        """
        writer = self._running_writer()
        listener = EntryListener(asyncio.get_running_loop(), callback)
        writer.add_entry_listener(listener)
        writer.submit(SubmittedOperation(lambda store: None, writes=False))
        return lambda: writer.remove_entry_listener(listener)

    async def record_event(self, webhook_id: str) -> Entry | None:
        """Record a webhook event for the start with this webhook id; return its entry."""
        return await self._submit(lambda store: store.record_event(webhook_id))

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        """Delete closed entries last changed before ``before``; return how many.

        With ``missing`` also delete those missing since before that time (seconds since 1970).
        """
        query = prune_query(tuple(sorted(states)), missing)

        def prune_batch(start: int) -> "asyncio.Future[tuple[int, int]]":
            return self._submit(lambda store: store.prune(query, before, start, PRUNE_BATCH_SIZE))

        pruned, after = await prune_batch(0)
        while after:
            more, after = await prune_batch(after)
            pruned += more
        return pruned

    async def spent(self) -> Sequence[SpendSummary]:
        """Return the coins spent and reserved, sorted by day (UTC) and kind."""
        return await self._submit(lambda store: store.spent(), writes=False)

    async def find_upload(self, digest: str, content_type: str) -> UploadedInput | None:
        """Return an earlier upload of the same content that is still valid, if any."""
        return await self._submit(
            lambda store: store.find_upload(digest, content_type), writes=False
        )

    async def save_upload(self, upload: UploadedInput) -> None:
        """Store an upload, so that the same content need not be uploaded again."""
        await self._submit(lambda store: store.save_upload(upload))

    async def record_upload_cost(self, coins: int, *, reserved: int = 0) -> None:
        """Add the price of an upload, charged or reserved (coins), to `spent`."""
        await self._submit(lambda store: store.record_upload_cost(coins, reserved))

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return how many entries each account has, including accounts not bound here."""
        return await self._submit(lambda store: store.accounts(open_only=open_only), writes=False)

    async def adopt_account(self, former_account: str) -> int:
        """Move the entries of another account to this client's account; return how many."""
        return await self._submit(lambda store: store.adopt_account(former_account))

    def _running_writer(self) -> WriterThread:
        if self._closed:
            raise closed_journal_error(self.path)
        if self._writer_thread is None:
            self._writer_thread = WriterThread(self.path, self._clock, self._account_scope)
            # Not at exit: the writer's own exit handler runs earlier and waits for the thread.
            weakref.finalize(self, self._writer_thread.stop).atexit = False
        if self._writer_thread.process_id != os.getpid():
            reason = "it was opened before the process was forked and belongs to the parent"
            raise unusable_journal_error(
                self.path, reason, "Create a new client in the child process."
            )
        return self._writer_thread

    def _submit(
        self, execute: Callable[[SqliteStore], T], *, writes: bool = True
    ) -> "asyncio.Future[T]":
        # Not a coroutine: the operation is submitted now, even if the caller is cancelled before
        # it awaits the result.
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._running_writer().submit(SubmittedOperation(execute, writes, future=future))
        return future

    def _to_storable(self, convert: Callable[[V], T], value: V) -> T:
        try:
            return convert(value)
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"it cannot store these values ({type(error).__name__}: {error})"
            raise unusable_journal_error(self.path, reason, "Give plain JSON values.") from error


def _to_columns(values: EntryChanges) -> dict[str, ColumnValue]:
    return {name: to_column_value(name, value) for name, value in values.items()}
