"""`blocking()`: the client for scripts and notebooks."""

import functools
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Self, TypeVar, overload

import anyio.to_thread

from a2e_async._blocking.bridge import EventLoopThread
from a2e_async._blocking.faces import (
    BlockingMethod,
    BlockingOutputSource,
    BlockingTask,
    BlockingTaskNamespace,
    BlockingWrapper,
    attach_call,
    blocking_call,
    converted_call,
    loop_call,
    start_call,
)
from a2e_async._blocking.namespaces import BlockingFiles, BlockingNamespaces, blocking_namespace
from a2e_async._core.base_errors import hide_frames
from a2e_async._core.http.loop_affinity import closed_error
from a2e_async._core.journal.protocol import Journal
from a2e_async.client import A2E
from a2e_async.kinds.declared import DeclaredNamespace
from a2e_async.kinds.jobs import Job
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.batch.batch import Outcome
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.tasks.kind import TaskKind

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
S = TypeVar("S")
T = TypeVar("T")


class _Exhausted(Enum):
    """Takes the place of an item at the end of an iterator."""

    EXHAUSTED = auto()


def _derived_client(method: Callable[Concatenate[S, P], A2E]) -> "BlockingMethod[P, BlockingA2E]":
    """Declare a method that returns a client which shares the components of this one."""
    return converted_call(method, lambda loop_thread, client: BlockingA2E(client, loop_thread))


class BlockingJournal(BlockingWrapper[Journal]):
    """The blocking form of `Journal`, as far as callers need it."""

    get: Final = blocking_call(Journal.get)
    find: Final = blocking_call(Journal.find)
    entries: Final = blocking_call(Journal.entries)
    spent: Final = blocking_call(Journal.spent)
    prune: Final = blocking_call(Journal.prune)


class BlockingA2E(BlockingNamespaces):
    """The blocking form of `A2E`, made by `blocking`. Usable from any thread.

    Its event loop runs in its own thread, from the first call until `close`: at the end of the
    ``with`` block, at the latest at the end of the program. Async iterators are plain iterators
    here; leaving a loop over one closes it. Ctrl-C cancels the call that is waiting; the client
    keeps what the call has paid for, as after any cancellation.
    """

    def __new__(cls, *given: object, **more: object) -> Self:
        """Refuse calls with the options of a client: `blocking` takes those."""
        if len(given) != 2 or more or not isinstance(given[0], A2E):
            raise TypeError(
                "A BlockingA2E is made by blocking(), which takes what A2E takes: "
                "with a2e_async.blocking() as a2e: …"
            )
        return super().__new__(cls)

    def __init__(  # pyright: ignore[reportInconsistentConstructor]  # __new__ refuses the rest
        self, client: A2E, loop_thread: EventLoopThread
    ) -> None:
        self._inner = client
        self._loop_thread = loop_thread

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    if not TYPE_CHECKING:  # type checkers report `async with blocking()` themselves

        async def __aenter__(self) -> None:
            raise TypeError(
                "The blocking client is used without async: with a2e_async.blocking() as a2e: … "
                "In a coroutine: async with a2e_async.A2E() as a2e: …"
            )

        async def __aexit__(self, *_: object) -> None: ...

    def __enter__(self) -> Self:
        if self.closed:
            raise closed_error()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client: starts in flight finish (at most 30 s), waits raise `ClientClosed`."""
        self._loop_thread.close()

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._loop_thread.closed

    @property
    def files(self) -> BlockingFiles:
        """Uploads and downloads."""
        return BlockingFiles(self._loop_thread, self._inner.files)

    @property
    def journal(self) -> BlockingJournal | None:
        """The client's journal, or None."""
        journal = self._inner.journal
        return None if journal is None else BlockingJournal(self._loop_thread, journal)

    with_options: Final = _derived_client(A2E.with_options)
    for_caller: Final = _derived_client(A2E.for_caller)
    request: Final = blocking_call(A2E.request)
    unknown: Final = loop_call(A2E.unknown)
    stats: Final = loop_call(A2E.stats)
    attach: Final = attach_call(A2E.attach)
    recover: Final = start_call(A2E.recover)

    @overload
    def kind(self, name: str) -> BlockingTaskNamespace[..., Record]: ...

    @overload
    def kind(self, name: "TaskKind[P, R]") -> BlockingTaskNamespace[P, R]: ...

    def kind(self, name: Any) -> BlockingTaskNamespace[..., Any]:
        """Return the namespace of a kind by its name: one of this package, or of your own."""
        inner = self._inner.kind(name)
        if isinstance(inner, DeclaredNamespace):
            return blocking_namespace(self._loop_thread, inner)
        namespace: BlockingTaskNamespace[..., Any] = getattr(self, inner.kind.name)
        return namespace

    def unclaimed(self) -> tuple[BlockingTask[Any], ...]:
        """Return charged tasks whose handles were lost; see `A2E.unclaimed`."""
        tasks = self._loop_thread.run_sync(self._inner.unclaimed)
        return tuple(BlockingTask(self._loop_thread, task) for task in tasks)

    def unfinished(self, *, missing: bool = False) -> Iterator[BlockingTask[Any]]:
        """Yield every task of the journal that was started and whose result is not yet saved.

        Tasks that the service no longer has are included only with ``missing``.
        """
        for task in self._loop_thread.iterate(self._inner.unfinished(missing=missing)):
            yield BlockingTask(self._loop_thread, task)

    def batch(
        self,
        jobs: Iterable[Job[R]],
        *,
        limit: int = 10,
        retry_failed: int = 0,
        budget: "Budget | int | None" = None,
        download_to: str | os.PathLike[str] | None = None,
        name: str | None = None,
        manifest: bool = False,
        dry_run: bool = False,
    ) -> "Iterator[Outcome[R]]":
        """Run many jobs and yield their outcomes as they complete; see `A2E.batch`. Costs coins.

        ``jobs`` is iterated in a separate thread, so that it may use this client. Leaving the
        loop starts no further jobs.
        """
        outcomes = self._inner.batch(
            _iterated_in_thread(jobs),
            limit=limit,
            retry_failed=retry_failed,
            budget=budget,
            download_to=download_to,
            name=name,
            manifest=manifest,
            dry_run=dry_run,
        )
        # Closing the iterator closes the batch, which starts no further jobs.
        return self._loop_thread.iterate(outcomes)


def _iterated_in_thread(jobs: Iterable[T]) -> Iterable[T] | AsyncIterable[T]:
    given: object = jobs
    if isinstance(given, AsyncIterable | list | tuple) or not isinstance(given, Iterable):
        return jobs  # iterating these never blocks, or the batch itself rejects them
    return _ThreadIterator(iter(jobs))


class _ThreadIterator(AsyncIterator[T]):
    """An async iterator over a plain one, whose items are made in a worker thread."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    async def __anext__(self) -> T:
        item = await anyio.to_thread.run_sync(self._next, abandon_on_cancel=True)
        if item is _Exhausted.EXHAUSTED:
            raise StopAsyncIteration
        return item

    def _next(self) -> T | _Exhausted:
        # A future cannot raise the StopIteration of the iterator.
        return next(self._items, _Exhausted.EXHAUSTED)

    async def aclose(self) -> None:
        """Close a generator, unless an abandoned worker thread is still running it."""
        close = getattr(self._items, "close", None)
        if close is not None:
            with suppress(ValueError):
                await anyio.to_thread.run_sync(close)


def _with_signature_of(client: Callable[P, A2E]) -> Callable[P, BlockingA2E]:
    @hide_frames
    @functools.wraps(client, assigned=(), updated=())  # copies only the signature
    def blocking(*args: P.args, **kwargs: P.kwargs) -> BlockingA2E:
        """Return a client for programs without an event loop: ``with blocking() as a2e: …``.

        It takes what `A2E` takes. Making one does no I/O.
        """
        inner = client(*args, **kwargs)
        loop_thread = EventLoopThread(inner)
        inner._wrap_output_source(lambda source: BlockingOutputSource(loop_thread, source))  # pyright: ignore[reportPrivateUsage]  # internal hook of the two clients
        return BlockingA2E(inner, loop_thread)

    return blocking


blocking: Final = _with_signature_of(A2E)
