"""The namespace of a kind that the user declares: ``a2e.kind("short_film")``."""

from a2e_async._core.tasks.kind import P, R
from a2e_async._core.tasks.task import Task
from a2e_async.kinds.actions import start_task_action
from a2e_async.kinds.namespace import RenamableNamespace


class DeclaredNamespace(RenamableNamespace[P, R]):
    """All operations of a kind of the user's own; those that it does not declare raise."""

    def __repr__(self) -> str:
        return f"<{self.kind.label}>"

    async def retry(self, id: str) -> Task[R]:
        """Restart a failed task and return the task to wait for. Costs coins.

        ``POST`` of the kind's ``retry`` operation. Raises `InvalidInput` for kinds without it.
        """
        return await start_task_action(self._context, self.kind, self.kind.retry, "retry", id)
