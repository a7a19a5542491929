"""How a blocking class is made from an async one: with one declaration for each method.

A declaration refers to the async method and takes its parameters, result type and documentation.
In a class that is generic over a kind's inputs and record, it refers to the async class with the
same parameters (``Task[R].wait``), so that type checkers know both.
"""

import functools
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from a2e_async._blocking.bridge import EventLoopThread
from a2e_async._core.base_errors import hide_frames
from a2e_async._core.handle import NotCopyable
from a2e_async._core.tasks.task import Task
from a2e_async.kinds.namespace import TaskNamespace
from a2e_async.models import Output, OutputSource, Record, Status

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
S = TypeVar("S")
T = TypeVar("T")
V = TypeVar("V")


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


def blocking_call(method: Callable[Concatenate[S, P], Awaitable[T]]) -> BlockingMethod[P, T]:
    """Declare the blocking form of a coroutine method."""
    return BlockingMethod(method, EventLoopThread.run)


def loop_call(method: Callable[Concatenate[S, P], T]) -> BlockingMethod[P, T]:
    """Declare the blocking form of a method without I/O."""
    return BlockingMethod(method, EventLoopThread.run_sync)


def converted_call(
    method: Callable[Concatenate[S, P], V], convert: Callable[[EventLoopThread, V], T]
) -> BlockingMethod[P, T]:
    """Declare a method without I/O whose result is replaced by its blocking form."""

    @hide_frames
    def call_via(
        loop_thread: EventLoopThread, method: Callable[P, V], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return convert(loop_thread, method(*args, **kwargs))

    return BlockingMethod(method, call_via)


def blocking_iterator(
    method: Callable[Concatenate[S, P], AsyncIterator[T]],
) -> BlockingMethod[P, Iterator[T]]:
    """Declare a plain iterator for a method that returns an async iterator."""
    return converted_call(method, EventLoopThread.iterate)


def blocking_context(
    method: Callable[Concatenate[S, P], AbstractAsyncContextManager[AsyncIterator[T]]],
) -> BlockingMethod[P, AbstractContextManager[Iterator[T]]]:
    """Declare a plain context manager for a method that returns an async one of a stream."""
    return converted_call(method, EventLoopThread.enter_stream)


class BlockingOutputSource:
    """Fetches outputs: blocking for callers, as coroutines for the client itself.

    `Output` returns unchanged what its source returns, so both use the same class.
    """

    def __init__(self, loop_thread: EventLoopThread, source: OutputSource) -> None:
        self._loop_thread = loop_thread
        self._source = source

    def save(
        self, output: Output, path: Path, *, directory: bool | None, stem: str | None = None
    ) -> Any:
        """Save the output; see `Output.save`."""
        return self._run(self._source.save, output, path, directory=directory, stem=stem)

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


class BlockingTask(BlockingWrapper[Task[R]]):
    """The blocking form of `Task`: the handle of a task at the service. Usable from any thread."""

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def ref(self) -> str:
        """Identifies the task: ``a2e.attach(ref)`` returns its handle in any process."""
        return self._inner.ref

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its tasks at the service."""
        return self._inner.ids

    @property
    def key(self) -> str | None:
        """The ``key`` given to the start."""
        return self._inner.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """The ``meta`` values given to the start."""
        return self._inner.meta

    @property
    def caller(self) -> str | None:
        """The name given to `for_caller`, or None."""
        return self._inner.caller

    @property
    def record(self) -> R | None:
        """The last known record; None before the first poll of an attached task."""
        return self._inner.record

    @property
    def parts(self) -> tuple[R, ...]:
        """The last known record of each of its tasks at the service."""
        return self._inner.parts

    @property
    def status(self) -> Status | None:
        """The last known status."""
        return self._inner.status

    @property
    def done(self) -> bool:
        """True when it is known to have succeeded or failed."""
        return self._inner.done

    @property
    def coins(self) -> int | None:
        """The price in coins; None if the service has not reported it."""
        return self._inner.coins

    @property
    def elapsed(self) -> float:
        """Seconds since the task was created."""
        return self._inner.elapsed

    wait: Final = blocking_call(Task[R].wait)
    updates: Final = blocking_iterator(Task[R].updates)
    download: Final = blocking_call(Task[R].download)
    delete: Final = blocking_call(Task[R].delete)
    ack: Final = blocking_call(Task[R].ack)


def attach_call(
    method: Callable[Concatenate[S, P], Task[R]],
) -> BlockingMethod[P, BlockingTask[R]]:
    """Declare the blocking form of a method without I/O that returns the handle of a task."""
    return converted_call(method, BlockingTask[R])


def start_call(
    method: Callable[Concatenate[S, P], Awaitable[Task[R]]],
) -> BlockingMethod[P, BlockingTask[R]]:
    """Declare the blocking form of a coroutine method that returns the handle of a task."""

    @hide_frames
    def call_via(
        loop_thread: EventLoopThread,
        method: Callable[P, Awaitable[Task[R]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> BlockingTask[R]:
        return BlockingTask(loop_thread, loop_thread.run(method, *args, **kwargs))

    return BlockingMethod(method, call_via)


def _unchanged(_: EventLoopThread, result: T) -> T:
    return result


class BlockingTaskNamespace(BlockingWrapper["TaskNamespace[P, R]"], Generic[P, R]):
    """The blocking form of `TaskNamespace`: all operations of one kind."""

    @property
    def kind(self) -> "TaskKind[P, R]":
        """The declaration of the kind."""
        return self._inner.kind

    # Without Final: the generated classes override these four with the signatures of their kinds.
    start = start_call(TaskNamespace[P, R].start)
    run = blocking_call(TaskNamespace[P, R].run)
    job = converted_call(TaskNamespace[P, R].job, _unchanged)
    quote = blocking_call(TaskNamespace[P, R].quote)
    get: Final = blocking_call(TaskNamespace[P, R].get)
    get_many: Final = blocking_call(TaskNamespace[P, R].get_many)
    list: Final = blocking_call(TaskNamespace[P, R].list)
    processing: Final = blocking_call(TaskNamespace[P, R].processing)
    iter: Final = blocking_iterator(TaskNamespace[P, R].iter)
    delete: Final = blocking_call(TaskNamespace[P, R].delete)
    attach: Final = attach_call(TaskNamespace[P, R].attach)


def wrapped_and_loop(wrapper: Any) -> tuple[Any, EventLoopThread]:
    """Return the wrapped async object and the event loop thread."""
    return wrapper._inner, wrapper._loop_thread
