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

from a2e_async.errors import JournalError
from a2e_async.tasks.journal import HEARTBEAT, Entry
from a2e_async.tasks.journal_file import explain, patiently, unusable
from a2e_async.tasks.journal_store import Clock, News, Scope, Store, Work
from a2e_async.tasks.owner import new_owner

T = TypeVar("T")

GROUP: Final = 2_000
"""Maximum number of operations in one transaction."""

WATCH: Final = 0.25
"""Seconds between two checks for changes by other processes, while there are listeners."""

EXIT: Final = 2.0
"""Seconds that the interpreter waits at exit for journals that were not closed."""


@define(eq=False)
class Asked(Work[T]):
    """An operation and the future of its caller; None for one that only wakes the thread."""

    future: "asyncio.Future[T] | None" = None


@define(eq=False)
class Watcher:
    """A callback for changes of one key, called on the loop of its owner."""

    loop: asyncio.AbstractEventLoop
    told: Callable[[Entry | None], None]
    live: bool = True

    def tell(self, entry: Entry | None) -> None:
        if self.live:
            self.told(entry)


@define(eq=False)
class Listener:
    """A callback for changes of all entries, called on the loop of its owner."""

    loop: asyncio.AbstractEventLoop
    told: Callable[[Entry], None]
    live: bool = True

    def tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self.live:
                self.told(entry)


class _Watched(dict[str, "tuple[Watcher, ...]"]):
    """Key listeners by key. While there are entry listeners, every key counts as watched."""

    listeners: tuple[Listener, ...] = ()

    def __contains__(self, key: object) -> bool:
        return bool(self.listeners) or super().__contains__(key)

    def __bool__(self) -> bool:
        return bool(self.listeners) or len(self) > 0


@define(eq=False)
class Writer:
    """The thread that accesses the file, and its queue of operations.

    It has no reference to the journal object, so that garbage collection of the journal object
    can stop the thread.
    """

    path: Path
    clock: Clock
    scope: Scope
    owner: str = field(factory=new_owner)
    process: int = field(factory=os.getpid)
    watchers: _Watched = field(factory=_Watched)
    _queue: "SimpleQueue[Asked[Any] | None]" = field(factory=SimpleQueue["Asked[Any] | None"])
    _lock: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _stopping: bool = False
    _ended: "list[asyncio.Future[None]] | None" = field(factory=list["asyncio.Future[None]"])
    """Futures that wait for the end of the thread; None after it."""
    _store: Store | None = None

    # -- on the loops ------------------------------------------------------------------------

    def submit(self, work: Asked[Any]) -> None:
        """Queue an operation; the first one starts the thread."""
        # With the lock: an operation queued after the stop signal would never run.
        with self._lock:
            if self._stopping:
                raise closed(self.path)
            if self._thread is None:
                # A daemon, because a blocked file must not keep the interpreter from exiting.
                self._thread = threading.Thread(target=self._run, name="a2e-journal", daemon=True)
                self._thread.start()
                _WRITERS.add(self)
            self._queue.put(work)

    def stop(self) -> None:
        """Stop the thread after all queued operations have run."""
        if self.process != os.getpid():
            return  # the thread does not exist in a forked child
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._queue.put(None)

    async def stopped(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is None:
            return
        with self._lock:
            ended = asyncio.get_running_loop().create_future()
            if self._ended is not None:
                self._ended.append(ended)
            else:
                ended.set_result(None)
        await ended
        self._thread.join()

    def join(self, seconds: float) -> None:
        """Block until the thread has ended, at most for these seconds."""
        if self._thread is not None:
            self._thread.join(seconds)

    def watch(self, key: str, watcher: Watcher) -> None:
        """Add a listener for one key; the thread begins to check for changes."""
        with self._lock:
            self.watchers[key] = (*self.watchers.get(key, ()), watcher)

    def unwatch(self, key: str, watcher: Watcher) -> None:
        """Remove a listener for one key; it is not called any more."""
        watcher.live = False
        with self._lock:
            remaining = tuple(w for w in self.watchers.get(key, ()) if w is not watcher)
            if remaining:
                self.watchers[key] = remaining
            else:
                self.watchers.pop(key, None)

    def listen(self, listener: Listener) -> None:
        """Add a listener for all entries that other clients change."""
        with self._lock:
            self.watchers.listeners = (*self.watchers.listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Remove a listener for all entries; it is not called any more."""
        listener.live = False
        with self._lock:
            remaining = tuple(one for one in self.watchers.listeners if one is not listener)
            self.watchers.listeners = remaining

    # -- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        while self._turn():
            pass
        if self._store is not None:
            with suppress(Exception):  # a lease that cannot be released expires by itself
                patiently(self._store.leave)
            self._store.close()
        with self._lock:
            waiting, self._ended = self._ended or (), None
        for future in waiting:
            _call(future.get_loop(), _end, future)

    def _turn(self) -> bool:
        """Wait for operations or the next check; run them; return whether to continue."""
        operations, stopping = self._next(WATCH if self.watchers else HEARTBEAT)
        changed: News = []
        try:
            if self._store is None and operations:
                self._store = Store.open(self.path, self.owner, self.clock, self.scope)
            if self._store is not None:
                changed = self._carry_out(self._store, operations)
        except Exception as error:  # every caller must get a result, or it would wait forever
            for operation in operations:
                operation.error = explain(self.path, error)
        _tell(operations)
        self._spread(changed)
        return not stopping

    def _carry_out(self, store: Store, work: list[Asked[Any]]) -> News:
        if work or store.due():
            return store.group(work, self.watchers)
        return store.news(self.watchers) if self.watchers else []

    def _next(self, wait: float) -> tuple[list[Asked[Any]], bool]:
        operations: list[Asked[Any]] = []
        try:
            # Wait for the first operation only; take all others that are queued already.
            operation = self._queue.get(timeout=wait)
            while operation is not None:
                operations.append(operation)
                if len(operations) >= GROUP:
                    return operations, False
                operation = self._queue.get_nowait()
        except Empty:
            return operations, False
        return operations, True

    def _spread(self, news: News) -> None:
        for key, entry in news:
            for key_listener in self.watchers.get(key, ()):
                _call(key_listener.loop, key_listener.tell, entry)
        listeners = self.watchers.listeners
        changed = [entry for _, entry in news if entry is not None] if listeners else []
        if changed:
            for listener in listeners:
                _call(listener.loop, listener.tell, changed)


def closed(path: Path) -> JournalError:
    """Return the error for a use after `SqliteJournal.aclose`."""
    return unusable(path, "it is closed", "Create a new client.")


_WRITERS: "Final[weakref.WeakSet[Writer]]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stop writers of journals that were not closed, to release their leases at once."""
    writers = [writer for writer in _WRITERS if writer.process == os.getpid()]
    for writer in writers:
        writer.stop()
    deadline = time.monotonic() + EXIT
    for writer in writers:
        writer.join(max(0.0, deadline - time.monotonic()))


def _tell(work: Sequence[Asked[Any]]) -> None:
    """Resolve the futures of a group, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Asked[Any]]] = {}
    for operation in work:
        if operation.future is not None:
            by_loop.setdefault(operation.future.get_loop(), []).append(operation)
    for loop, items in by_loop.items():
        _call(loop, _resolve, items)


def _resolve(work: Sequence[Asked[Any]]) -> None:
    for operation in work:
        if operation.future is None or operation.future.done():
            continue  # its caller was cancelled
        if operation.error is not None:
            # A new exception for each caller: one raised in several tasks mixes tracebacks.
            operation.future.set_exception(type(operation.error)(*operation.error.args))
        else:
            operation.future.set_result(operation.value)


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, do: Callable[..., None], *args: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed, so its waiters are gone
        loop.call_soon_threadsafe(do, *args)
