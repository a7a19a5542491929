"""The writer thread of a SQLite journal: only this thread accesses the file.

Operations submitted while a group runs form the next group, with one transaction and one fsync.
"""

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from attrs import define, field

from a2e_async._core.journal.lease_owner import new_owner_name
from a2e_async._core.journal.protocol import HEARTBEAT_INTERVAL, Entry
from a2e_async._core.journal.sqlite_file import (
    journal_error_from,
    retry_while_locked,
    unusable_journal_error,
)
from a2e_async._core.journal.sqlite_store import (
    AccountScope,
    ChangedEntries,
    JournalClock,
    SqliteStore,
    StoreOperation,
)
from a2e_async.errors import JournalError

T = TypeVar("T")

MAX_GROUP_SIZE: Final = 2_000
"""Maximum number of operations in one transaction."""

WATCH_INTERVAL: Final = 0.25
"""Seconds between two checks for changes by other processes, while there are listeners."""

EXIT_TIMEOUT: Final = 2.0
"""Seconds that the interpreter waits at exit for journals that were not closed."""


@define(eq=False)
class SubmittedOperation(StoreOperation[T]):
    """An operation and the future of its caller; None for one that only wakes the thread."""

    future: "asyncio.Future[T] | None" = None


@define(eq=False)
class KeyListener:
    """A callback for changes of one key, called on the loop of its owner."""

    loop: asyncio.AbstractEventLoop
    callback: Callable[[Entry | None], None]
    active: bool = True

    def notify(self, entry: Entry | None) -> None:
        if self.active:
            self.callback(entry)


@define(eq=False)
class EntryListener:
    """A callback for changes of all entries, called on the loop of its owner."""

    loop: asyncio.AbstractEventLoop
    callback: Callable[[Entry], None]
    active: bool = True

    def notify(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self.active:
                self.callback(entry)


class _ListenersByKey(dict[str, "tuple[KeyListener, ...]"]):
    """Key listeners by key. While there are entry listeners, every key counts as watched."""

    entry_listeners: tuple[EntryListener, ...] = ()

    def __contains__(self, key: object) -> bool:
        return bool(self.entry_listeners) or super().__contains__(key)

    def __bool__(self) -> bool:
        return bool(self.entry_listeners) or len(self) > 0


@define(eq=False)
class WriterThread:
    """The thread that accesses the file, and its queue of operations.

    It has no reference to the journal object, so that garbage collection of the journal object
    can stop the thread.

    Created by the journal object at the first use. Callers only add to its queue and its listeners;
    everything else is changed by the thread itself, until it is stopped.
    """

    path: Path
    clock: JournalClock
    scope: AccountScope
    owner: str = field(factory=new_owner_name)
    process_id: int = field(factory=os.getpid)
    key_listeners: _ListenersByKey = field(factory=_ListenersByKey)
    _queue: "SimpleQueue[SubmittedOperation[Any] | None]" = field(
        factory=SimpleQueue["SubmittedOperation[Any] | None"]
    )
    _lock: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _stopping: bool = False
    _stop_futures: "list[asyncio.Future[None]] | None" = field(factory=list["asyncio.Future[None]"])
    """Futures that wait for the end of the thread; None after it."""
    _store: SqliteStore | None = None

    # -- on the loops ------------------------------------------------------------------------

    def submit(self, operation: SubmittedOperation[Any]) -> None:
        """Queue an operation; the first one starts the thread."""
        # With the lock: an operation queued after the stop signal would never run.
        with self._lock:
            if self._stopping:
                raise closed_journal_error(self.path)
            if self._thread is None:
                # A daemon, because a blocked file must not keep the interpreter from exiting.
                self._thread = threading.Thread(target=self._run, name="a2e-journal", daemon=True)
                self._thread.start()
                _WRITERS.add(self)
            self._queue.put(operation)

    def stop(self) -> None:
        """Stop the thread after all queued operations have run."""
        if self.process_id != os.getpid():
            return  # the thread does not exist in a forked child
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._queue.put(None)

    async def wait_stopped(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is None:
            return
        with self._lock:
            ended = asyncio.get_running_loop().create_future()
            if self._stop_futures is not None:
                self._stop_futures.append(ended)
            else:
                ended.set_result(None)
        await ended
        self._thread.join()

    def join(self, seconds: float) -> None:
        """Block until the thread has ended, at most for these seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def add_key_listener(self, key: str, listener: KeyListener) -> None:
        """Add a listener for one key; the thread begins to check for changes."""
        with self._lock:
            self.key_listeners[key] = (*self.key_listeners.get(key, ()), listener)

    def remove_key_listener(self, key: str, listener: KeyListener) -> None:
        """Remove a listener for one key; it is not called any more."""
        listener.active = False
        with self._lock:
            remaining = tuple(w for w in self.key_listeners.get(key, ()) if w is not listener)
            if remaining:
                self.key_listeners[key] = remaining
            else:
                self.key_listeners.pop(key, None)

    def add_entry_listener(self, listener: EntryListener) -> None:
        """Add a listener for all entries that other clients change."""
        with self._lock:
            self.key_listeners.entry_listeners = (*self.key_listeners.entry_listeners, listener)

    def remove_entry_listener(self, listener: EntryListener) -> None:
        """Remove a listener for all entries; it is not called any more."""
        listener.active = False
        with self._lock:
            remaining = tuple(
                one for one in self.key_listeners.entry_listeners if one is not listener
            )
            self.key_listeners.entry_listeners = remaining

    # -- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        while self._run_once():
            pass
        if self._store is not None:
            with suppress(Exception):  # a lease that cannot be released expires by itself
                retry_while_locked(self._store.release_lease)
            self._store.close()
        with self._lock:
            waiting, self._stop_futures = self._stop_futures or (), None
        for future in waiting:
            _call_in_loop(future.get_loop(), _resolve_stop_future, future)

    def _run_once(self) -> bool:
        """Wait for operations or the next check; run them; return whether to continue."""
        operations, stopping = self._next_group(
            WATCH_INTERVAL if self.key_listeners else HEARTBEAT_INTERVAL
        )
        changed: ChangedEntries = []
        try:
            if self._store is None and operations:
                self._store = SqliteStore.open(self.path, self.owner, self.clock, self.scope)
            if self._store is not None:
                changed = self._execute(self._store, operations)
        except Exception as error:  # every caller must get a result, or it would wait forever
            for operation in operations:
                operation.error = journal_error_from(self.path, error)
        _resolve_by_loop(operations)
        self._notify_listeners(changed)
        return not stopping

    def _execute(
        self, store: SqliteStore, operations: list[SubmittedOperation[Any]]
    ) -> ChangedEntries:
        if operations or store.heartbeat_due():
            return store.execute_group(operations, self.key_listeners)
        return store.changed_entries(self.key_listeners) if self.key_listeners else []

    def _next_group(self, timeout: float) -> tuple[list[SubmittedOperation[Any]], bool]:
        operations: list[SubmittedOperation[Any]] = []
        try:
            # Wait for the first operation only; take all others that are queued already.
            operation = self._queue.get(timeout=timeout)
            while operation is not None:
                operations.append(operation)
                if len(operations) >= MAX_GROUP_SIZE:
                    return operations, False
                operation = self._queue.get_nowait()
        except Empty:
            return operations, False
        return operations, True

    def _notify_listeners(self, changed_entries: ChangedEntries) -> None:
        for key, entry in changed_entries:
            for key_listener in self.key_listeners.get(key, ()):
                _call_in_loop(key_listener.loop, key_listener.notify, entry)
        listeners = self.key_listeners.entry_listeners
        changed = [entry for _, entry in changed_entries if entry is not None] if listeners else []
        if changed:
            for listener in listeners:
                _call_in_loop(listener.loop, listener.notify, changed)


def closed_journal_error(path: Path) -> JournalError:
    """Return the error for a use after `SqliteJournal.aclose`."""
    return unusable_journal_error(path, "it is closed", "Create a new client.")


_WRITERS: "Final[weakref.WeakSet[WriterThread]]" = weakref.WeakSet()


@atexit.register
def _stop_all_writers() -> None:
    """Stop writers of journals that were not closed, to release their leases at once."""
    writers = [writer for writer in _WRITERS if writer.process_id == os.getpid()]
    for writer in writers:
        writer.stop()
    deadline = time.monotonic() + EXIT_TIMEOUT
    for writer in writers:
        writer.join(max(0.0, deadline - time.monotonic()))


def _resolve_by_loop(operations: Sequence[SubmittedOperation[Any]]) -> None:
    """Resolve the futures of a group, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[SubmittedOperation[Any]]] = {}
    for operation in operations:
        if operation.future is not None:
            by_loop.setdefault(operation.future.get_loop(), []).append(operation)
    for loop, items in by_loop.items():
        _call_in_loop(loop, _resolve_futures, items)


def _resolve_futures(operations: Sequence[SubmittedOperation[Any]]) -> None:
    for operation in operations:
        if operation.future is None or operation.future.done():
            continue  # its caller was cancelled
        if operation.error is not None:
            # A new exception for each caller: one raised in several tasks mixes tracebacks.
            operation.future.set_exception(type(operation.error)(*operation.error.args))
        else:
            operation.future.set_result(operation.result)


def _resolve_stop_future(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any
) -> None:
    with suppress(RuntimeError):  # the loop is closed, so its waiters are gone
        loop.call_soon_threadsafe(function, *args)
