"""A caller that waits for a task."""

import asyncio
from typing import TYPE_CHECKING, Any

from attrs import define

from a2e_async.errors import A2EError

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task


@define(eq=False)
class Waiter:
    """A caller that waits for a task. ``future`` is resolved with None when the wait is over.

    Created by the `Poller`; only it and its registry change it, until the future is resolved or the
    caller has left.
    """

    task: "Task[Any]"
    future: "asyncio.Future[None]"
    deadline: float
    any_change: bool
    """Resolve at the first changed record, not only at the end."""
    internal: bool = False
    """Internal observer; reports only through `WaiterRegistry.on_task_ended`."""
    event_number: int | None = None
    """The number of its `WaitStarted`; None without a listener."""
    last_poll: bool = False
    """The deadline has passed: the poll in flight, or the one due now, is the last."""

    def __lt__(self, other: "Waiter") -> bool:
        return self.deadline < other.deadline

    def resolve(self, error: A2EError | None = None) -> None:
        """Resolve the waiter's future, with ``error`` if given, unless it is resolved already."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)
