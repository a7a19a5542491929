"""How a blocking class is made from an async one: with one declaration for each method.

A declaration refers to the async method and takes its parameters, result type and documentation.
Only the classes that are generic over a kind's inputs and record are written out.
"""

import functools
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from a2e_async._blocking.bridge import EventLoopThread
from a2e_async._core.base_errors import hide_frames
from a2e_async._core.handle import NotCopyable
from a2e_async._core.tasks.task import Task
from a2e_async.kinds.jobs import Job
from a2e_async.models import Output, OutputSource, Page, Record, Status

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async.kinds.namespace import TaskNamespace

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class BlockingWrapper(NotCopyable, Generic[T]):
    """A blocking object that wraps an async one."""

    def __init__(self, loop_thread: EventLoopThread, inner: T) -> None:
        self._loop_thread = loop_thread
        self._inner = inner

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"


class BlockingMethod(Generic[P, T]):
    """A method of a `BlockingWrapper`.

    ``call_via(loop_thread, method, …)`` runs the method of the async object.
    """

    def __init__(self, method: Callable[..., Any], call_via: Callable[..., T]) -> None:
        self._method = method
        self._call_via = call_via
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, wrapper: None, owner: type) -> Callable[Concatenate[Any, P], T]: ...

    @overload
    def __get__(self, wrapper: object, owner: type | None = None) -> Callable[P, T]: ...

    def __get__(self, wrapper: object, owner: type | None = None) -> Callable[..., T]:
        if wrapper is None:  # accessed on the class, as documentation tools do

            def unbound(wrapper: object, /, *args: Any, **kwargs: Any) -> T:
                return self.__get__(wrapper)(*args, **kwargs)

            return functools.wraps(self._method)(unbound)
        inner, loop_thread = wrapped_and_loop(wrapper)
        method = getattr(inner, self._name)
        return functools.wraps(method)(functools.partial(self._call_via, loop_thread, method))


def blocking_call(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> BlockingMethod[P, T]:
    """Declare the blocking form of a coroutine method."""
    return BlockingMethod(method, EventLoopThread.run)


def loop_call(method: Callable[Concatenate[Any, P], T]) -> BlockingMethod[P, T]:
    """Declare the blocking form of a method without I/O."""
    return BlockingMethod(method, EventLoopThread.run_sync)


def blocking_iterator(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> BlockingMethod[P, Iterator[T]]:
    """Declare a plain iterator for a method that returns an async iterator."""

    def call_via(
        loop_thread: EventLoopThread,
        method: Callable[P, AsyncIterator[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Iterator[T]:
        return loop_thread.iterate(method(*args, **kwargs))

    return BlockingMethod(method, call_via)


def blocking_context(
    method: Callable[Concatenate[Any, P], AbstractAsyncContextManager[AsyncIterator[T]]],
) -> BlockingMethod[P, AbstractContextManager[Iterator[T]]]:
    """Declare a plain context manager for a method that returns an async one of a stream."""

    def call_via(
        loop_thread: EventLoopThread,
        method: Callable[P, AbstractAsyncContextManager[AsyncIterator[T]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AbstractContextManager[Iterator[T]]:
        return loop_thread.enter_stream(method(*args, **kwargs))

    return BlockingMethod(method, call_via)


class BlockingOutputSource:
    """Fetches outputs: blocking for callers, as coroutines for the client itself.

    `Output` returns unchanged what its source returns, so both use the same class.
    """

    def __init__(self, loop_thread: EventLoopThread, source: OutputSource) -> None:
        self._loop_thread = loop_thread
        self._source = source

    def save(self, output: Output, path: Path, *, directory: bool | None) -> Any:
        """Save the output; see `Output.save`."""
        return self._run(self._source.save, output, path, directory=directory)

    def read(self, output: Output, max_bytes: int) -> Any:
        """Return the whole output; see `Output.read`."""
        return self._run(self._source.read, output, max_bytes)

    def open(self, output: Output) -> Any:
        """Return a context manager around its chunks; see `Output.open`."""
        # The client itself saves outputs on the loop thread, where blocking would deadlock.
        opened = self._source.open(output)
        return (
            opened if self._loop_thread.on_loop_thread else self._loop_thread.enter_stream(opened)
        )

    def _run(self, work: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._loop_thread.on_loop_thread:
            return work(*args, **kwargs)
        return self._loop_thread.run(work, *args, **kwargs)


class BlockingTask(NotCopyable, Generic[R]):
    """The blocking form of `Task`: the handle of a task at the service. Usable from any thread."""

    def __init__(self, loop_thread: EventLoopThread, task: Task[R]) -> None:
        self._loop_thread = loop_thread
        self._task = task

    def __repr__(self) -> str:
        return repr(self._task)

    @property
    def ref(self) -> str:
        """Identifies the task: ``a2e.attach(ref)`` returns its handle in any process."""
        return self._task.ref

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its tasks at the service."""
        return self._task.ids

    @property
    def key(self) -> str | None:
        """The ``key`` given to the start."""
        return self._task.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """The ``meta`` values given to the start."""
        return self._task.meta

    @property
    def caller(self) -> str | None:
        """The name given to `for_caller`, or None."""
        return self._task.caller

    @property
    def record(self) -> R | None:
        """The last known record; None before the first poll of an attached task."""
        return self._task.record

    @property
    def parts(self) -> tuple[R, ...]:
        """The last known record of each of its tasks at the service."""
        return self._task.parts

    @property
    def status(self) -> Status | None:
        """The last known status."""
        return self._task.status

    @property
    def done(self) -> bool:
        """True when it is known to have succeeded or failed."""
        return self._task.done

    @property
    def coins(self) -> int | None:
        """The price in coins; None if the service has not reported it."""
        return self._task.coins

    @property
    def elapsed(self) -> float:
        """Seconds since the task was created."""
        return self._task.elapsed

    def wait(self, *, timeout: float | None = None) -> R:
        """Wait until the task has finished and return its record; see `Task.wait`."""
        return self._loop_thread.run(self._task.wait, timeout=timeout)

    def updates(self, *, timeout: float | None = None) -> Iterator[R]:
        """Yield the last known record, each change, and the final record; see `Task.updates`."""
        return self._loop_thread.iterate(self._task.updates(timeout=timeout))

    def download(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Wait, save every output to ``directory`` and return the paths; see `Task.download`."""
        return self._loop_thread.run(self._task.download, directory)

    def delete(self) -> None:
        """Delete the task and its results at the service; see `Task.delete`."""
        self._loop_thread.run(self._task.delete)

    def ack(self) -> None:
        """Mark the result as delivered in the journal; see `Task.ack`."""
        self._loop_thread.run(self._task.ack)


class BlockingTaskNamespace(NotCopyable, Generic[P, R]):
    """The blocking form of `TaskNamespace`: all operations of one kind."""

    def __init__(self, loop_thread: EventLoopThread, inner: "TaskNamespace[P, R]") -> None:
        self._loop_thread = loop_thread
        self._inner = inner
        for name in ("start", "run", "job", "quote"):
            # With the signature and documentation of the kind, for help() and notebooks.
            shown = functools.partial(getattr(self, name))
            vars(self)[name] = functools.wraps(getattr(inner, name))(shown)

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    @property
    def kind(self) -> "TaskKind[P, R]":
        """The declaration of the kind."""
        return self._inner.kind

    @hide_frames
    def start(self, /, *args: P.args, **kwargs: P.kwargs) -> BlockingTask[R]:
        """Start a task and return its handle; see `TaskNamespace.start`. Costs coins."""
        return self._task(self._loop_thread.run(self._inner.start, *args, **kwargs))

    @hide_frames
    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a task, wait for it and return its record; see `TaskNamespace.run`. Costs coins."""
        return self._loop_thread.run(self._inner.run, *args, **kwargs)

    @hide_frames
    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Check the inputs and return a `Job` for `BlockingA2E.batch`. Nothing is sent."""
        return self._inner.job(*args, **kwargs)

    @hide_frames
    def quote(self, /, *args: P.args, **kwargs: P.kwargs) -> int | None:
        """Return the price of a start in coins, or None if the service gives none."""
        return self._loop_thread.run(self._inner.quote, *args, **kwargs)

    def get(self, id: str) -> R:
        """Return the current record of one task. Raises `NotFound`."""
        return self._loop_thread.run(self._inner.get, id)

    def get_many(self, ids: Sequence[str]) -> dict[str, R]:
        """Return the records of several tasks by id; ids unknown to the service are left out."""
        return self._loop_thread.run(self._inner.get_many, ids)

    def list(self, *, page: int = 1, page_size: int = 20, status: str | None = None) -> Page[R]:
        """Return one page of the account's tasks of this kind, newest first."""
        return self._loop_thread.run(
            self._inner.list, page=page, page_size=page_size, status=status
        )

    def processing(self) -> tuple[R, ...]:
        """Return the account's tasks of this kind that are being processed."""
        return self._loop_thread.run(self._inner.processing)

    def iter(self, *, page_size: int = 100, status: str | None = None) -> Iterator[R]:
        """Yield all of the account's tasks of this kind, newest first, page by page."""
        return self._loop_thread.iterate(self._inner.iter(page_size=page_size, status=status))

    def delete(self, id: str) -> None:
        """Delete a task and its results at the service; see `TaskNamespace.delete`."""
        self._loop_thread.run(self._inner.delete, id)

    def attach(self, id: str) -> BlockingTask[R]:
        """Return the handle of a task by its id, without a request."""
        return self._task(self._inner.attach(id))

    def _task(self, task: Task[R]) -> BlockingTask[R]:
        return BlockingTask(self._loop_thread, task)


def wrapped_and_loop(wrapper: Any) -> tuple[Any, EventLoopThread]:
    """Return the wrapped async object and the event loop thread."""
    return wrapper._inner, wrapper._loop_thread
