"""`blocking()`: the client for scripts and notebooks."""

import functools
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar

import anyio.to_thread

from a2e_async._blocking.bridge import Bridge
from a2e_async._blocking.faces import (
    BlockingTask,
    BlockingTaskNamespace,
    Face,
    Line,
    OutputFace,
    tells,
    waits,
)
from a2e_async._blocking.namespaces import BlockingFiles, BlockingNamespaces
from a2e_async.client import A2E
from a2e_async.errors import sealed
from a2e_async.models import Record
from a2e_async.tasks.journal import Journal
from a2e_async.tasks.kind import Job
from a2e_async.transport.loops import closed_error

if TYPE_CHECKING:
    from a2e_async.models import Recovery
    from a2e_async.tasks.batch import Outcome
    from a2e_async.tasks.budget import Budget

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
T = TypeVar("T")

_EXHAUSTED: Final = object()


def _derived_client(method: Callable[Concatenate[Any, P], A2E]) -> "Line[P, BlockingA2E]":
    """A method that returns another client of the same parts."""

    def via(
        bridge: Bridge, method: Callable[P, A2E], /, *args: P.args, **kwargs: P.kwargs
    ) -> "BlockingA2E":
        return BlockingA2E(method(*args, **kwargs), bridge)

    return Line(method, via)


class BlockingJournal(Face[Journal]):
    """What a client's journal tells."""

    get = waits(Journal.get)
    find = waits(Journal.find)
    entries = waits(Journal.entries)
    spent = waits(Journal.spent)
    prune = waits(Journal.prune)


class BlockingA2E(BlockingNamespaces):
    """What `blocking` gives: `A2E` with methods that wait. It may be used from any thread.

    Its event loop runs in a thread of its own, from the first call until `close`: at the end of
    the ``with`` block, at the latest when the program ends. Async iterators are plain ones here;
    leaving or dropping one ends it as there. Ctrl-C cancels the call that waits; what it had paid
    for is kept, as after any cancellation.
    """

    def __init__(self, client: A2E, bridge: Bridge) -> None:
        self._inner = client
        self._bridge = bridge

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    def __enter__(self) -> Self:
        if self.closed:
            raise closed_error()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client: starts under way end (at most 30 s), waits get `ClientClosed`."""
        self._bridge.close()

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._bridge.closed

    @property
    def files(self) -> BlockingFiles:
        """Uploads and downloads."""
        return BlockingFiles(self._bridge, self._inner.files)

    @property
    def journal(self) -> BlockingJournal | None:
        """The client's journal, or None."""
        journal = self._inner.journal
        return None if journal is None else BlockingJournal(self._bridge, journal)

    with_options = _derived_client(A2E.with_options)
    for_caller = _derived_client(A2E.for_caller)
    request = waits(A2E.request)
    unknown = tells(A2E.unknown)

    def kind(self, name: str) -> BlockingTaskNamespace[..., Record]:
        """Return the namespace of a kind by its name."""
        self._inner.kind(name)
        namespace: BlockingTaskNamespace[..., Record] = getattr(self, name)
        return namespace

    def attach(self, ref: str) -> BlockingTask[Any]:
        """Return the handle of a task by its ``ref``, in any process, without a request."""
        return BlockingTask(self._bridge, self._inner.attach(ref))

    def recover(self, recovery: "Recovery") -> BlockingTask[Any]:
        """Look again for a start whose answer was lost; see `A2E.recover`."""
        return BlockingTask(self._bridge, self._bridge.call(self._inner.recover, recovery))

    def unclaimed(self) -> tuple[BlockingTask[Any], ...]:
        """Return paid tasks that nobody holds; see `A2E.unclaimed`."""
        tasks = self._bridge.do(self._inner.unclaimed)
        return tuple(BlockingTask(self._bridge, task) for task in tasks)

    def unfinished(self, *, missing: bool = False) -> Iterator[BlockingTask[Any]]:
        """Yield every task of the journal that was begun and is not yet saved.

        Those that the service knows no more only with ``missing``.
        """
        for task in self._bridge.iterate(self._inner.unfinished(missing=missing)):
            yield BlockingTask(self._bridge, task)

    def batch(
        self,
        jobs: Iterable[Job[R]],
        *,
        limit: int = 10,
        retry_failed: int = 0,
        budget: "Budget | int | None" = None,
        download_to: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
    ) -> "Iterator[Outcome[R]]":
        """Run many jobs, as they are completed; see `A2E.batch`. Costs coins.

        ``jobs`` is iterated in a thread of its own, so that it may use this client. Leaving the
        loop stops spending.
        """
        outcomes = self._inner.batch(
            _iterated_in_thread(jobs),
            limit=limit,
            retry_failed=retry_failed,
            budget=budget,
            download_to=download_to,
            dry_run=dry_run,
        )
        return self._bridge.iterate(outcomes)


def _iterated_in_thread(jobs: Iterable[T]) -> Iterable[T] | AsyncIterable[T]:
    given: object = jobs
    if isinstance(given, AsyncIterable | list | tuple) or not isinstance(given, Iterable):
        return jobs  # what waits for nothing, and what the batch itself refuses
    return _ThreadIterator(iter(jobs))


class _ThreadIterator(AsyncIterator[T]):
    """A plain iterator, its items made in a thread that may block."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    async def __anext__(self) -> T:
        item: Any = await anyio.to_thread.run_sync(
            next, self._items, _EXHAUSTED, abandon_on_cancel=True
        )
        if item is _EXHAUSTED:
            raise StopAsyncIteration
        return item  # type: ignore[no-any-return]  # an item or the mark of the end

    async def aclose(self) -> None:
        """Close a generator, unless it is at work on an item that nobody takes any more."""
        close = getattr(self._items, "close", None)
        if close is not None:
            with suppress(ValueError):
                await anyio.to_thread.run_sync(close)


def _with_signature_of(client: Callable[P, A2E]) -> Callable[P, BlockingA2E]:
    @sealed
    @functools.wraps(client, assigned=(), updated=())  # for its parameters alone
    def blocking(*args: P.args, **kwargs: P.kwargs) -> BlockingA2E:
        """Return a client for programs without an event loop: ``with blocking() as a2e: …``.

        It takes what `A2E` takes. Making one does no I/O.
        """
        inner = client(*args, **kwargs)
        bridge = Bridge(inner)
        inner._hand_out(lambda source: OutputFace(bridge, source))  # pyright: ignore[reportPrivateUsage]  # no user's business
        return BlockingA2E(inner, bridge)

    return blocking


blocking = _with_signature_of(A2E)
