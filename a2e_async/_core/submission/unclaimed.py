"""The tasks without a caller, and the starts with an unknown outcome, of one client."""

import logging
from typing import Any

from a2e_async._core.tasks.task import Task
from a2e_async.models import Recovery

logger = logging.getLogger("a2e_async.submission")


class UnclaimedStarts:
    """The tasks of a client without a caller, and its starts with an unknown outcome.

    Created with the client's `StartRegistry`; filled by it and by its executor; emptied when a
    caller takes a task or finds a start. ``tasks`` are the client's own, by ref: tasks remove
    themselves from it when a caller uses them.
    """

    def __init__(self, tasks: dict[str, Task[Any]]) -> None:
        self._tasks = tasks
        self._unknown: list[Recovery] = []

    def unknown(self) -> tuple[Recovery, ...]:
        """Return the starts whose outcome is unknown, oldest first."""
        return tuple(self._unknown)

    def add_task(self, task: Task[Any]) -> None:
        """Keep a task whose caller was cancelled before it received the handle."""
        ref = task_ref(task)
        self._tasks[ref] = task
        logger.info("%s was started, but its caller was cancelled; see a2e.unclaimed()", ref)

    def add_dropped(self, task: Task[Any]) -> None:
        """Keep a task whose handle was garbage collected before anyone used it."""
        self._tasks[task_ref(task)] = task

    def take_task(self, task: Task[Any]) -> None:
        """Remove a task: a caller has it now."""
        self._tasks.pop(task_ref(task), None)

    def add_unknown(self, recovery: Recovery) -> None:
        """Keep a start whose outcome is unknown."""
        if recovery not in self._unknown:
            self._unknown.append(recovery)

    def take_unknown(self, recovery: Recovery) -> None:
        """Remove a start: its task was found."""
        self._unknown = [one for one in self._unknown if one != recovery]


def task_ref(task: Task[Any]) -> str:
    """Return a task's ref; reading ``task.ref`` would mark the task as claimed."""
    return task.kind.ref(task.ids)
