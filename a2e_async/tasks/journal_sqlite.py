"""A journal in one SQLite file: one writer thread, group commit, several processes on one host.

Writes of one moment are committed together: fifty writers wait for one fsync. Between processes
SQLite's own lock decides; who owns which open entry stands in the table of owners, kept alive by
a heartbeat. The clock of the leases is the host's monotonic one, the same in all processes.
Never put the file on a network drive: SQLite's locks do not hold there.
"""

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar, Unpack

from a2e_async.tasks.journal import (
    AccountEntries,
    Begun,
    Changes,
    Entry,
    Spent,
    State,
    Upload,
)
from a2e_async.tasks.journal_file import checked, unusable
from a2e_async.tasks.journal_rows import (
    CHANGEABLE,
    Value,
    page_query,
    prune_query,
    to_column,
    to_row,
)
from a2e_async.tasks.journal_rules import bound, priced
from a2e_async.tasks.journal_store import Clock, Scope, Store
from a2e_async.tasks.journal_writer import Asked, Listener, Watcher, Writer, closed

T = TypeVar("T")
V = TypeVar("V")

PRUNED: Final = 5_000
"""Entries pruned in one transaction; others get their turn in between."""


class SqliteJournal:
    """A `Journal` in the file ``path``, made when it is first used, with mode 0600.

    ``clock`` gives seconds since 1970; ``host_clock`` gives the seconds of the leases and must
    be the same in all processes of the machine. Nothing is opened and no thread runs before the
    first use; without `aclose` both end when the object is dropped or the interpreter ends. In a
    child of the process that used it every method raises `JournalError`: make a new one there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
        host_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = checked(path)
        self._clock = Clock(clock, host_clock)
        self._scope = Scope()
        self._writer: Writer | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<SqliteJournal {self.path.name}>"

    @property
    def owner(self) -> str:
        """The name under which this client owns entries; unique to this object."""
        return self._at_work().owner

    def bind(self, account: str) -> None:
        """Serve this account alone from now on: see and write no other one's entries.

        Raises `ConfigurationError` when it is bound to another one.
        """
        self._scope.account = bound(self._scope.account, account)

    async def open(self) -> None:
        """Open the file. Raises `JournalError` when it is no journal, or of a later version."""
        await self._do(lambda store: None, writes=False)

    async def aclose(self) -> None:
        """Carry out what was asked for, give up the leases, close the file. May be called again."""
        self._closed = True
        writer = self._writer
        if writer is not None and writer.process == os.getpid():
            writer.stop()
            await writer.stopped()

    async def begin(self, entry: Entry) -> Begun:
        """Write a new entry, or return what its key stands for already."""
        entry = priced(entry)
        row = self._held(to_row, entry)
        return await self._do(lambda store: store.begin(entry, row))

    async def advance(self, key: str, state: State, **values: Unpack[Changes]) -> Entry | None:
        """Bring an entry forward (never back), set fields, and return it.

        A ``state`` up to `State.INTENT` raises `TakenOver` when the entry is not this client's or
        is accepted already: nothing may be sent. Any later one is a fact and is written whoever
        tells it; None when the entry is not there. ``ids`` are added to those that are there,
        except those that another entry holds.
        """
        if unknown := values.keys() - CHANGEABLE:
            raise TypeError(f"advance() cannot set {', '.join(sorted(unknown))}")
        columns = self._held(_columns, values)
        return await self._do(lambda store: store.advance(key, state, values, columns))

    async def drop(self, key: str) -> bool:
        """Forget an entry of this client of which nothing is at the service; tell whether."""
        return await self._do(lambda store: store.drop(key))

    def withdraw(self, key: str, sent_at: float) -> None:
        """Drop an entry of this client whose start was not sent; return before it is done.

        For when the event loop ends before a coroutine could: nothing happens if the entry is of
        another attempt than that of ``sent_at`` (seconds since 1970).
        """

        def drop(store: Store) -> None:
            entry = store.get(key)
            if entry is not None and entry.sent_at == sent_at:
                store.drop(key)

        self._at_work().submit(Asked(drop, writes=True))

    async def take(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is gone; tell whether it is ours."""
        return await self._do(lambda store: store.take(key))

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return await self._do(lambda store: store.get(key), writes=False)

    async def find(self, kind: str, id: str) -> Entry | None:
        """Return the entry that holds this remote task (the first that claimed it)."""
        return await self._do(lambda store: store.find(kind, id), writes=False)

    async def entries(
        self,
        *,
        states: Collection[State] | None = None,
        open_only: bool = False,
        after: int = 0,
        limit: int = 1000,
    ) -> tuple[Sequence[Entry], int]:
        """Return entries in the order they began, and the place to go on after (0 at the end)."""
        if limit < 1:
            raise ValueError("limit must be at least 1")
        query = page_query(None if states is None else tuple(sorted(states)), open_only)
        return await self._do(lambda store: store.entries(query, after, limit), writes=False)

    def watch(self, key: str, told: Callable[[Entry | None], None]) -> Callable[[], None]:
        """Call ``told`` on this loop when others change the entry; return what ends that.

        It is told within about 0.3 s; None: the entry is gone. Watch first, then `get`.
        """
        writer = self._at_work()
        watcher = Watcher(asyncio.get_running_loop(), told)
        writer.watch(key, watcher)
        # Wakes the thread, which else would look around only after its next heartbeat.
        writer.submit(Asked(lambda store: None, writes=False))
        return lambda: writer.unwatch(key, watcher)

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``told`` on this loop with each entry that others change; return what ends that.

        It is told within about 0.3 s.
        """
        writer = self._at_work()
        listener = Listener(asyncio.get_running_loop(), told)
        writer.listen(listener)
        writer.submit(Asked(lambda store: None, writes=False))
        return lambda: writer.unlisten(listener)

    async def heard(self, hook: str) -> Entry | None:
        """Note that a webhook event came for the start of this hook; return its entry."""
        return await self._do(lambda store: store.heard(hook))

    async def prune(
        self,
        before: float,
        *,
        states: Collection[State] = (State.FINISHED, State.SAVED),
        missing: bool = False,
    ) -> int:
        """Forget closed entries last changed before ``before``; return how many.

        With ``missing`` also those that are missing since before then.
        """
        query = prune_query(tuple(sorted(states)), missing)

        def some(start: int) -> "asyncio.Future[tuple[int, int]]":
            return self._do(lambda store: store.prune(query, before, start, PRUNED))

        pruned, after = await some(0)
        while after:
            more, after = await some(after)
            pruned += more
        return pruned

    async def spent(self) -> Sequence[Spent]:
        """Return coins spent and reserved by day (UTC) and kind, in that order."""
        return await self._do(lambda store: store.spent(), writes=False)

    async def uploaded(self, digest: str, content_type: str) -> Upload | None:
        """Return where a content was uploaded to, if it can still be read there."""
        return await self._do(lambda store: store.uploaded(digest, content_type), writes=False)

    async def keep_upload(self, upload: Upload) -> None:
        """Keep where a content was uploaded to."""
        await self._do(lambda store: store.keep_upload(upload))

    async def pay_upload(self, coins: int) -> None:
        """Count in `spent` what was paid to upload a file."""
        await self._do(lambda store: store.pay_upload(coins))

    async def accounts(self, *, open_only: bool = False) -> Sequence[AccountEntries]:
        """Return how many entries each account has, also those that this client does not see."""
        return await self._do(lambda store: store.accounts(open_only=open_only), writes=False)

    async def adopt(self, former: str) -> int:
        """Give the entries of another account to this client's; return how many."""
        return await self._do(lambda store: store.adopt(former))

    def _at_work(self) -> Writer:
        if self._closed:
            raise closed(self.path)
        if self._writer is None:
            self._writer = Writer(self.path, self._clock, self._scope)
            # Its own end of the interpreter comes before that of `finalize`, and waits.
            weakref.finalize(self, self._writer.stop).atexit = False
        if self._writer.process != os.getpid():
            why = "it was used before the process was forked and belongs to the parent"
            raise unusable(self.path, why, "Make a new client in the child.")
        return self._writer

    def _do(self, do: Callable[[Store], T], *, writes: bool = True) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._at_work().submit(Asked(do, writes, future=future))
        return future

    def _held(self, write: Callable[[V], T], value: V) -> T:
        try:
            return write(value)
        except (TypeError, ValueError, RecursionError) as error:
            why = f"it cannot hold these values ({type(error).__name__}: {error})"
            raise unusable(self.path, why, "Give plain JSON values.") from error


def _columns(values: Changes) -> dict[str, Value]:
    return {name: to_column(name, value) for name, value in values.items()}
