"""Waits for tasks, their deadlines, and what a caller is told when one ends without a record."""

import asyncio
import copy
import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define

from a2e_async.errors import A2EError, ResultMissing, TaskGone, TaskTimeout
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.watches import Watch

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task


class Ended(Protocol):
    """Told that a remote task has ended (``seen``), or that no look will tell."""

    def __call__(self, kind: TaskKind[..., Any], id: str, *, seen: bool) -> None: ...


@define(eq=False)
class Wait:
    """Somebody waiting for a task. ``future`` gets None when what was waited for is there."""

    task: "Task[Any]"
    future: "asyncio.Future[None]"
    deadline: float
    missing: tuple[str, ...]
    """Ids without a terminal record."""
    change: bool
    """Resolve at the first changed record, not only at the end."""
    quiet: bool = False
    """Nobody's: what it sees is told by `Waits.ended` alone."""
    last: bool = False
    """The deadline is here: the look under way or due is the last."""

    def __lt__(self, other: "Wait") -> bool:
        return self.deadline < other.deadline

    def end(self, error: A2EError | None = None) -> None:
        """Let its caller go on, or raise."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class Deadlines:
    """Waits in the order of their deadlines. The waits themselves are the heap: no entry each."""

    def __init__(self) -> None:
        self._heap: list[Wait] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, wait: Wait) -> None:
        """Take in a wait that is not there."""
        heapq.heappush(self._heap, wait)

    def pop(self, now: float) -> Wait | None:
        """Take out a wait whose deadline has come, None when there is none."""
        first = self.first()
        if first is None or first.deadline > now:
            return None
        return heapq.heappop(self._heap)

    def first(self) -> Wait | None:
        """Return the wait whose deadline comes first."""
        while self._heap and self._heap[0].future.done():
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def tidy(self, waiting: int) -> None:
        """Forget what is over, if that is most: it would keep its task until its deadline."""
        if not waiting:
            self._heap.clear()
        elif len(self._heap) > 64 and len(self._heap) > 4 * waiting:
            self._heap = [wait for wait in self._heap if not wait.future.done()]
            heapq.heapify(self._heap)


def timed_out(task: "Task[Any]", watches: Iterable[Watch | None]) -> TaskTimeout:
    """Return the error of a wait whose deadline has come; ``watches`` are on what is missing."""
    if _only_results_missing(task):
        return result_missing(task)
    known = (
        f"last seen {task.record.raw_status or task.record.status}" if task.record else "never seen"
    )
    worst = max((w for w in watches if w is not None), key=lambda w: w.errors, default=None)
    trouble, cause = "", None
    if worst is not None and worst.error is not None:
        trouble = f"; the last {worst.errors} polls failed with {type(worst.error).__name__}"
        cause = copy.copy(worst.error)
    error = TaskTimeout(
        f"{task.ref} is not finished ({known}, {task.elapsed:.0f} s old{trouble}). "
        "It goes on and is paid for: wait again, or later with a2e.attach(error.ref).",
        task=task,
    )
    error.__cause__ = cause
    return error


def _only_results_missing(task: "Task[Any]") -> bool:
    """Whether all remote tasks have ended and only results of theirs are not there."""
    return task.record is not None and task.record.done and not task.done


def result_missing(task: "Task[Any]") -> ResultMissing:
    """Return the error of a wait for a completed task that shows no result."""
    record = task.record
    assert record is not None  # noqa: S101  # it was seen completed
    some = f" {len(record.outputs)} other results are in error.record." if record.outputs else ""
    return ResultMissing(
        f"The service calls {task.ref} completed but does not show its result, or not all of "
        f"it.{some} It is paid for and stays open: wait for it again in some minutes, or later "
        "with a2e.attach(error.ref); if it stays so, tell the service's support.",
        task=task,
        record=record,
    )


def gone(task: "Task[Any]", watch: Watch) -> TaskGone:
    """Return the error of a wait for what the service does not know."""
    return TaskGone(
        f"The service does not know {watch.kind.ref((watch.id,))}: it was deleted, "
        "has expired, or belongs to another account. If its result was saved, "
        "nothing is lost; else look for it with list(), or wait again later. What was seen of "
        "it is error.task.parts.",
        task=task,
    )


def broken(error: Exception) -> A2EError:
    """Return what all waits are told when the poller itself fails."""
    told = A2EError(
        f"The poller broke ({type(error).__name__}: {error}). This is a fault of a2e_async; "
        "please report it. The tasks go on; a2e.attach(task.ref) brings each back."
    )
    told.__cause__ = error
    return told
