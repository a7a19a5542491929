"""The deadlines of waiters, and the errors that a wait can end with."""

import copy
import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from a2e_async._core.polling.polled_tasks import PolledTask
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.waiter import Waiter
from a2e_async.errors import A2EError, ResultMissing, TaskGone, TaskTimeout

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task


class OnTaskEnded(Protocol):
    """Called when a remote task has ended (``observed``) or is no longer polled."""

    def __call__(self, kind: TaskKind[..., Any], id: str, *, end_was_observed: bool) -> None: ...


class DeadlineHeap:
    """Waiters ordered by deadline. The waiters are the heap entries themselves, to save memory."""

    def __init__(self) -> None:
        self._heap: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, waiter: Waiter) -> None:
        """Add a waiter that is not in the heap."""
        heapq.heappush(self._heap, waiter)

    def pop_expired(self, now: float) -> Waiter | None:
        """Remove and return a waiter whose deadline has passed, None if there is none."""
        first = self.first()
        if first is None or first.deadline > now:
            return None
        return heapq.heappop(self._heap)

    def first(self) -> Waiter | None:
        """Return the waiter with the earliest deadline."""
        while self._heap and self._heap[0].future.done():
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def drop_resolved(self, waiter_count: int) -> None:
        """Drop resolved waiters once they outnumber the others: each keeps its task alive."""
        if not waiter_count:
            self._heap.clear()
        elif len(self._heap) > 64 and len(self._heap) > 4 * waiter_count:
            self._heap = [waiter for waiter in self._heap if not waiter.future.done()]
            heapq.heapify(self._heap)


def timeout_error(task: "Task[Any]", polled_tasks: Iterable[PolledTask | None]) -> TaskTimeout:
    """Return the error for a wait whose deadline has passed.

    ``polled_tasks`` are those that have not ended.
    """
    if _only_results_missing(task):
        return result_missing_error(task)
    known = (
        f"last status {task.record.raw_status or task.record.status}"
        if task.record
        else "never polled"
    )
    worst = max(
        (w for w in polled_tasks if w is not None), key=lambda w: w.error_count, default=None
    )
    trouble, cause = "", None
    if worst is not None and worst.last_error is not None:
        trouble = (
            f"; the last {worst.error_count} polls failed with {type(worst.last_error).__name__}"
        )
        cause = copy.copy(worst.last_error)
    error = TaskTimeout(
        f"{task.ref} is not finished ({known}, {task.elapsed:.0f} s old{trouble}). "
        "It keeps running and is already paid for: wait again, or later use "
        "a2e.attach(error.ref).",
        task=task,
    )
    error.__cause__ = cause
    return error


def _only_results_missing(task: "Task[Any]") -> bool:
    """Return whether all remote tasks have ended and only their results are missing."""
    return task.record is not None and task.record.done and not task.done


def result_missing_error(task: "Task[Any]") -> ResultMissing:
    """Return the error for a completed task whose result is missing."""
    record = task.record
    assert record is not None  # noqa: S101  # its completed record was seen
    some = (
        f" The results that are available ({len(record.outputs)}) are in error.record."
        if record.outputs
        else ""
    )
    return ResultMissing(
        f"The service reports {task.ref} as completed but without its result, or without all of "
        f"its results.{some} It is already paid for and stays unfinished here: wait again in a "
        "few minutes, or later use a2e.attach(error.ref). If the result stays missing, contact "
        "the service's support.",
        task=task,
        record=record,
    )


def task_gone_error(task: "Task[Any]", polled: PolledTask) -> TaskGone:
    """Return the error for a task that the service does not know."""
    return TaskGone(
        f"The service does not know {polled.kind.ref((polled.id,))}: it was deleted, "
        "has expired, or belongs to another account. If its result was saved, nothing is "
        "lost. Otherwise search for it with list(), or wait again later. The last records "
        "seen are in error.task.parts.",
        task=task,
    )


def poller_crashed_error(error: Exception) -> A2EError:
    """Return the error with which all waits end if the poller itself fails."""
    told = A2EError(
        f"The poller crashed ({type(error).__name__}: {error}). This is a bug in a2e_async; "
        "please report it. The tasks keep running; get each one back with a2e.attach(task.ref)."
    )
    told.__cause__ = error
    return told
