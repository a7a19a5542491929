"""A journal in one SQLite file: one writer thread, group commit, several processes on one host.

Writes of one moment are committed together: fifty writers wait for one fsync. Between processes
SQLite's own lock decides; who owns which open entry stands in the table of owners, kept alive by
a heartbeat. The clock of the leases is the host's monotonic one, the same in all processes.
Never put the file on a network drive: SQLite's locks do not hold there.
"""

import asyncio
import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar, Unpack

from attrs import define, field

from a2e_async.errors import JournalError
from a2e_async.tasks.journal import HEARTBEAT, Begun, Changes, Entry, Spent, State
from a2e_async.tasks.journal_file import checked, explain, patiently, unusable
from a2e_async.tasks.journal_rows import CHANGEABLE, Value, page_query, to_column, to_row
from a2e_async.tasks.journal_store import Clock, News, Store, Work
from a2e_async.tasks.owner import new_owner

T = TypeVar("T")
V = TypeVar("V")

GROUP: Final = 2_000
"""Operations in one transaction at most."""

WATCH: Final = 0.25
"""Seconds between two looks at what others wrote, while somebody waits for it."""

PRUNED: Final = 5_000
"""Entries pruned in one transaction; others get their turn in between."""

EXIT: Final = 2.0
"""Seconds that the end of the interpreter waits for a journal that was not closed."""


@define(eq=False)
class _Asked(Work[T]):
    """An operation and who waits for it, None for one that only wakes the thread."""

    future: "asyncio.Future[T] | None" = None


@define(eq=False)
class _Watcher:
    """Somebody who wants to hear of a key, on his loop."""

    loop: asyncio.AbstractEventLoop
    told: Callable[[Entry | None], None]
    live: bool = True

    def tell(self, entry: Entry | None) -> None:
        if self.live:
            self.told(entry)


@define(eq=False)
class _Listener:
    """Somebody who wants to hear of every entry, on his loop."""

    loop: asyncio.AbstractEventLoop
    told: Callable[[Entry], None]
    live: bool = True

    def tell(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self.live:
                self.told(entry)


class _Watched(dict[str, "tuple[_Watcher, ...]"]):
    """Watchers by key. While anybody listens to all, every key counts as watched."""

    listeners: tuple[_Listener, ...] = ()

    def __contains__(self, key: object) -> bool:
        return bool(self.listeners) or super().__contains__(key)

    def __bool__(self) -> bool:
        return bool(self.listeners) or len(self) > 0


@define(eq=False)
class _Writer:
    """The thread that alone touches the file, and the queue that leads to it.

    It knows nothing of the journal object, so that one can be dropped and end it.
    """

    path: Path
    clock: Clock
    owner: str = field(factory=new_owner)
    process: int = field(factory=os.getpid)
    watchers: _Watched = field(factory=_Watched)
    _queue: "SimpleQueue[_Asked[Any] | None]" = field(factory=SimpleQueue["_Asked[Any] | None"])
    _lock: threading.Lock = field(factory=threading.Lock)
    _thread: threading.Thread | None = None
    _stopping: bool = False
    _ended: "list[asyncio.Future[None]] | None" = field(factory=list["asyncio.Future[None]"])
    """Who waits for the end; None after it."""
    _store: Store | None = None

    # -- on the loops ------------------------------------------------------------------------

    def submit(self, work: _Asked[Any]) -> None:
        """Hand an operation over; the first one starts the thread."""
        with self._lock:
            if self._stopping:
                raise closed(self.path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="a2e-journal", daemon=True)
                self._thread.start()
                _WRITERS.add(self)
            self._queue.put(work)

    def stop(self) -> None:
        """End the thread when all that was handed over is carried out."""
        if self.process != os.getpid():
            return
        with self._lock:
            if not self._stopping:
                self._stopping = True
                self._queue.put(None)

    async def stopped(self) -> None:
        """Return when the thread is at its end."""
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
        """Wait for the thread's end."""
        if self._thread is not None:
            self._thread.join(seconds)

    def watch(self, key: str, watcher: _Watcher) -> None:
        """Add a watcher; the thread begins to look around."""
        with self._lock:
            self.watchers[key] = (*self.watchers.get(key, ()), watcher)

    def unwatch(self, key: str, watcher: _Watcher) -> None:
        """Take a watcher away; it hears nothing more."""
        watcher.live = False
        with self._lock:
            left = tuple(w for w in self.watchers.get(key, ()) if w is not watcher)
            if left:
                self.watchers[key] = left
            else:
                self.watchers.pop(key, None)

    def listen(self, listener: _Listener) -> None:
        """Add somebody who hears of all that others change."""
        with self._lock:
            self.watchers.listeners = (*self.watchers.listeners, listener)

    def unlisten(self, listener: _Listener) -> None:
        """Take him away; he hears nothing more."""
        listener.live = False
        with self._lock:
            left = tuple(one for one in self.watchers.listeners if one is not listener)
            self.watchers.listeners = left

    # -- in the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        while self._turn():
            pass
        if self._store is not None:
            with suppress(Exception):  # a lease that cannot be given up expires
                patiently(self._store.leave)
            self._store.close()
        with self._lock:
            waiting, self._ended = self._ended or (), None
        for future in waiting:
            _call(future.get_loop(), _end, future)

    def _turn(self) -> bool:
        """Wait for work or for the time to look around; return whether to go on."""
        work, stopping = self._next(WATCH if self.watchers else HEARTBEAT)
        news: News = []
        try:
            if self._store is None and work:
                self._store = Store.open(self.path, self.owner, self.clock)
            if self._store is not None:
                news = self._carry_out(self._store, work)
        except Exception as error:  # whoever waits must hear of it
            for item in work:
                item.error = explain(self.path, error)
        _tell(work)
        self._spread(news)
        return not stopping

    def _carry_out(self, store: Store, work: list[_Asked[Any]]) -> News:
        if work or store.due():
            return store.group(work, self.watchers)
        return store.news(self.watchers) if self.watchers else []

    def _next(self, wait: float) -> tuple[list[_Asked[Any]], bool]:
        work: list[_Asked[Any]] = []
        try:
            item = self._queue.get(timeout=wait)
            while item is not None:
                work.append(item)
                if len(work) >= GROUP:
                    return work, False
                item = self._queue.get_nowait()
        except Empty:
            return work, False
        return work, True

    def _spread(self, news: News) -> None:
        for key, entry in news:
            for watcher in self.watchers.get(key, ()):
                _call(watcher.loop, watcher.tell, entry)
        listeners = self.watchers.listeners
        changed = [entry for _, entry in news if entry is not None] if listeners else []
        if changed:
            for listener in listeners:
                _call(listener.loop, listener.tell, changed)


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
        self._writer: _Writer | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<SqliteJournal {self.path.name}>"

    @property
    def owner(self) -> str:
        """The name under which this client owns entries; unique to this object."""
        return self._at_work().owner

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
        row = self._held(to_row, entry)
        return await self._do(lambda store: store.begin(entry, row))

    async def advance(self, key: str, state: State, **values: Unpack[Changes]) -> Entry | None:
        """Bring an entry forward (never back), set fields, and return it.

        A ``state`` up to `State.INTENT` raises `TakenOver` when the entry is not this client's or
        is accepted already: nothing may be sent. Any later one is a fact and is written whoever
        tells it; None when the entry is not there. ``ids`` are added to those that are there.
        """
        if unknown := values.keys() - CHANGEABLE:
            raise TypeError(f"advance() cannot set {', '.join(sorted(unknown))}")
        columns = self._held(_columns, values)
        return await self._do(lambda store: store.advance(key, state, values, columns))

    async def drop(self, key: str) -> bool:
        """Forget an entry of this client of which nothing is at the service; tell whether."""
        return await self._do(lambda store: store.drop(key))

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
        watcher = _Watcher(asyncio.get_running_loop(), told)
        writer.watch(key, watcher)
        # Wakes the thread, which else would look around only after its next heartbeat.
        writer.submit(_Asked(lambda store: None, writes=False))
        return lambda: writer.unwatch(key, watcher)

    def watch_all(self, told: Callable[[Entry], None]) -> Callable[[], None]:
        """Call ``told`` on this loop with each entry that others change; return what ends that.

        It is told within about 0.3 s.
        """
        writer = self._at_work()
        listener = _Listener(asyncio.get_running_loop(), told)
        writer.listen(listener)
        writer.submit(_Asked(lambda store: None, writes=False))
        return lambda: writer.unlisten(listener)

    async def heard(self, hook: str) -> Entry | None:
        """Note that a webhook event came for the start of this hook; return its entry."""
        return await self._do(lambda store: store.heard(hook))

    async def prune(
        self, before: float, *, states: Collection[State] = (State.FINISHED, State.SAVED)
    ) -> int:
        """Forget closed entries last changed before ``before``; return how many."""
        among = tuple(sorted(states))

        def some(start: int) -> "asyncio.Future[tuple[int, int]]":
            return self._do(lambda store: store.prune(before, among, start, PRUNED))

        pruned, after = await some(0)
        while after:
            more, after = await some(after)
            pruned += more
        return pruned

    async def spent(self) -> Sequence[Spent]:
        """Return coins spent and reserved by day (UTC) and kind, in that order."""
        return await self._do(lambda store: store.spent(), writes=False)

    def _at_work(self) -> _Writer:
        if self._closed:
            raise closed(self.path)
        if self._writer is None:
            self._writer = _Writer(self.path, self._clock)
            # Its own end of the interpreter comes before that of `finalize`, and waits.
            weakref.finalize(self, self._writer.stop).atexit = False
        if self._writer.process != os.getpid():
            why = "it was used before the process was forked and belongs to the parent"
            raise unusable(self.path, why, "Make a new client in the child.")
        return self._writer

    def _do(self, do: Callable[[Store], T], *, writes: bool = True) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._at_work().submit(_Asked(do, writes, future=future))
        return future

    def _held(self, write: Callable[[V], T], value: V) -> T:
        try:
            return write(value)
        except (TypeError, ValueError, RecursionError) as error:
            why = f"it cannot hold these values ({type(error).__name__}: {error})"
            raise unusable(self.path, why, "Give plain JSON values.") from error


def closed(path: Path) -> JournalError:
    """Return the error of a use after `SqliteJournal.aclose`."""
    return unusable(path, "it is closed", "Make a new client.")


_WRITERS: "Final[weakref.WeakSet[_Writer]]" = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """End journals that nobody closed, so that their leases do not have to expire."""
    writers = [writer for writer in _WRITERS if writer.process == os.getpid()]
    for writer in writers:
        writer.stop()
    deadline = time.monotonic() + EXIT
    for writer in writers:
        writer.join(max(0.0, deadline - time.monotonic()))


def _columns(values: Changes) -> dict[str, Value]:
    return {name: to_column(name, value) for name, value in values.items()}


def _tell(work: Sequence[_Asked[Any]]) -> None:
    """Give results to those who wait, in one step for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Asked[Any]]] = {}
    for item in work:
        if item.future is not None:
            by_loop.setdefault(item.future.get_loop(), []).append(item)
    for loop, items in by_loop.items():
        _call(loop, _resolve, items)


def _resolve(work: Sequence[_Asked[Any]]) -> None:
    for item in work:
        if item.future is None or item.future.done():
            continue  # its caller was cancelled
        if item.error is not None:
            # Each caller gets his own: raising one in several tasks would mix their tracebacks.
            item.future.set_exception(type(item.error)(*item.error.args))
        else:
            item.future.set_result(item.value)


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, do: Callable[..., None], *args: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(do, *args)
