"""How an async class becomes a blocking one: by one line for each of its methods.

A line names the method, so that its parameters, result and documentation are the method's own.
Only what is generic over a kind's inputs and record is written out, once for all kinds.
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

from a2e_async._blocking.bridge import Bridge
from a2e_async.errors import sealed
from a2e_async.handle import Handle
from a2e_async.models import Output, OutputSource, Page, Record, Status
from a2e_async.tasks.kind import Job
from a2e_async.tasks.task import Task

if TYPE_CHECKING:
    from a2e_async.resources.base import TaskNamespace
    from a2e_async.tasks.kind import TaskKind

P = ParamSpec("P")
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Face(Handle, Generic[T]):
    """Something blocking that stands before something async."""

    def __init__(self, bridge: Bridge, inner: T) -> None:
        self._bridge = bridge
        self._inner = inner

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"


class Line(Generic[P, T]):
    """One method of a face. ``via`` calls the async object's own: ``via(bridge, method, …)``."""

    def __init__(self, method: Callable[..., Any], via: Callable[..., T]) -> None:
        self._method = method
        self._via = via
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, face: None, owner: type) -> Callable[Concatenate[Any, P], T]: ...

    @overload
    def __get__(self, face: object, owner: type | None = None) -> Callable[P, T]: ...

    def __get__(self, face: object, owner: type | None = None) -> Callable[..., T]:
        if face is None:  # asked of the class, as documentation does

            def unbound(face: object, /, *args: Any, **kwargs: Any) -> T:
                return self.__get__(face)(*args, **kwargs)

            return functools.wraps(self._method)(unbound)
        inner, bridge = behind(face)
        method = getattr(inner, self._name)
        return functools.wraps(method)(functools.partial(self._via, bridge, method))


def waits(method: Callable[Concatenate[Any, P], Awaitable[T]]) -> Line[P, T]:
    """A coroutine method, that returns what it awaits."""
    return Line(method, Bridge.call)


def tells(method: Callable[Concatenate[Any, P], T]) -> Line[P, T]:
    """A method without I/O."""
    return Line(method, Bridge.do)


def streams(method: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> Line[P, Iterator[T]]:
    """A method that gives an async iterator, as a plain one: dropping it ends it."""

    def via(
        bridge: Bridge, method: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[T]:
        return bridge.iterate(method(*args, **kwargs))

    return Line(method, via)


def opens(
    method: Callable[Concatenate[Any, P], AbstractAsyncContextManager[AsyncIterator[T]]],
) -> Line[P, AbstractContextManager[Iterator[T]]]:
    """A method that gives an async context manager of a stream, as a plain one."""

    def via(
        bridge: Bridge,
        method: Callable[P, AbstractAsyncContextManager[AsyncIterator[T]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AbstractContextManager[Iterator[T]]:
        return bridge.enter_stream(method(*args, **kwargs))

    return Line(method, via)


class OutputFace:
    """Fetches outputs where they are asked for: blocking for users, awaited by the client itself.

    An `Output` is the same to both, for it only hands on what its source gives.
    """

    def __init__(self, bridge: Bridge, source: OutputSource) -> None:
        self._bridge = bridge
        self._source = source

    def save(self, output: Output, path: Path, *, directory: bool | None) -> Any:
        """Write the output; see `Output.save`."""
        return self._run(self._source.save, output, path, directory=directory)

    def read(self, output: Output, max_bytes: int) -> Any:
        """Return the whole output; see `Output.read`."""
        return self._run(self._source.read, output, max_bytes)

    def open(self, output: Output) -> Any:
        """Return a context manager around its chunks; see `Output.open`."""
        opened = self._source.open(output)
        return opened if self._bridge.inside else self._bridge.enter_stream(opened)

    def _run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._bridge.inside:
            return work(*args, **kwargs)
        return self._bridge.call(work, *args, **kwargs)


class BlockingTask(Handle, Generic[R]):
    """A task at the service, as `Task` is, with methods that wait. Usable from any thread."""

    def __init__(self, bridge: Bridge, task: Task[R]) -> None:
        self._bridge = bridge
        self._task = task

    def __repr__(self) -> str:
        return repr(self._task)

    @property
    def ref(self) -> str:
        """All that is needed to come back: ``a2e.attach(ref)``, in any process."""
        return self._task.ref

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its remote tasks."""
        return self._task.ids

    @property
    def key(self) -> str | None:
        """The key that its start was given."""
        return self._task.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """The values that its start was given."""
        return self._task.meta

    @property
    def caller(self) -> str | None:
        """Whose it is, by `for_caller`."""
        return self._task.caller

    @property
    def record(self) -> R | None:
        """What was last seen, None before the first look at an attached task."""
        return self._task.record

    @property
    def parts(self) -> tuple[R, ...]:
        """What was last seen of each of its remote tasks."""
        return self._task.parts

    @property
    def status(self) -> Status | None:
        """Where it stood when last seen."""
        return self._task.status

    @property
    def done(self) -> bool:
        """True when it is known to have ended, well or badly."""
        return self._task.done

    @property
    def coins(self) -> int | None:
        """What it cost, None when the service has not said."""
        return self._task.coins

    @property
    def elapsed(self) -> float:
        """Seconds since it was created."""
        return self._task.elapsed

    def wait(self, *, timeout: float | None = None) -> R:
        """Return the record when the task has ended; see `Task.wait`."""
        return self._bridge.call(self._task.wait, timeout=timeout)

    def updates(self, *, timeout: float | None = None) -> Iterator[R]:
        """Yield what is known, then each change, at last the final record; then end."""
        return self._bridge.iterate(self._task.updates(timeout=timeout))

    def download(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Wait if need be, save every output into ``directory``; return the paths, in order."""
        return self._bridge.call(self._task.download, directory)

    def delete(self) -> None:
        """Delete the task and its results at the service; see `Task.delete`."""
        self._bridge.call(self._task.delete)

    def ack(self) -> None:
        """Note that its result was taken care of; see `Task.ack`."""
        self._bridge.call(self._task.ack)


class BlockingTaskNamespace(Handle, Generic[P, R]):
    """All operations of one kind, as `TaskNamespace` has them."""

    def __init__(self, bridge: Bridge, inner: "TaskNamespace[P, R]") -> None:
        self._bridge = bridge
        self._inner = inner
        for name in ("start", "run", "job", "quote"):
            # With the kind's own parameters and documentation, for help() and editors.
            shown = functools.partial(getattr(self, name))
            vars(self)[name] = functools.wraps(getattr(inner, name))(shown)

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    @property
    def kind(self) -> "TaskKind[P, R]":
        """The kind, as data."""
        return self._inner.kind

    @sealed
    def start(self, *args: P.args, **kwargs: P.kwargs) -> BlockingTask[R]:
        """Start a task; see `TaskNamespace.start`. Costs coins."""
        return self._task(self._bridge.call(self._inner.start, *args, **kwargs))

    @sealed
    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a task and wait for its record; see `TaskNamespace.run`. Costs coins."""
        return self._bridge.call(self._inner.run, *args, **kwargs)

    @sealed
    def job(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Return a start that is checked but not made (for a batch)."""
        return self._inner.job(*args, **kwargs)

    @sealed
    def quote(self, *args: P.args, **kwargs: P.kwargs) -> int | None:
        """Return the coins this start would cost, None where the service cannot tell."""
        return self._bridge.call(self._inner.quote, *args, **kwargs)

    def get(self, id: str) -> R:
        """Return the record of one task as it stands. Raises `NotFound`."""
        return self._bridge.call(self._inner.get, id)

    def get_many(self, ids: Sequence[str]) -> dict[str, R]:
        """Return the records of these tasks by id; who is unknown to the service is missing."""
        return self._bridge.call(self._inner.get_many, ids)

    def list(self, *, page: int = 1, page_size: int = 20, status: str | None = None) -> Page[R]:
        """Return one page of the account's tasks of this kind, newest first."""
        return self._bridge.call(self._inner.list, page=page, page_size=page_size, status=status)

    def processing(self) -> tuple[R, ...]:
        """Return the account's tasks of this kind that are being processed."""
        return self._bridge.call(self._inner.processing)

    def iter(self, *, page_size: int = 100, status: str | None = None) -> Iterator[R]:
        """Yield all of the account's tasks of this kind, newest first, page by page."""
        return self._bridge.iterate(self._inner.iter(page_size=page_size, status=status))

    def delete(self, id: str) -> None:
        """Delete a task and its results; see `TaskNamespace.delete`."""
        self._bridge.call(self._inner.delete, id)

    def attach(self, id: str) -> BlockingTask[R]:
        """Return the handle of a task by its id."""
        return self._task(self._inner.attach(id))

    def _task(self, task: Task[R]) -> BlockingTask[R]:
        return BlockingTask(self._bridge, task)


def behind(face: Any) -> tuple[Any, Bridge]:
    """Return what a face stands before, and the way there."""
    return face._inner, face._bridge
