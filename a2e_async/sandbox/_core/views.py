"""Read-only views of a running sandbox: its tasks and its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .clock import Moment
from .ledger import Charge
from .locked_service import LockedService
from .simulated_task import SimulatedTask


@attrs.frozen(slots=True)
class TaskView:
    """A task as it was when the view was taken."""

    id: str
    kind: str
    status: str
    """The status word, as the record shows it."""

    created_at: float
    """Seconds since 1970."""

    ends_at: float
    """Seconds since 1970; ``inf`` for a stuck task."""

    body: Mapping[str, Any]
    """The body of the start request."""

    marks: frozenset[str]
    """Which of markShared, markDownloaded and markCopied were called."""


@attrs.define(slots=True)
class LedgerView:
    """The charges, as of each access. Thread-safe."""

    _locked: LockedService

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge in order, each with the coins refunded of it."""
        with self._locked.updated_service() as service:
            return tuple(service.ledger.charges)

    @property
    def balance(self) -> int:
        """The coins left."""
        with self._locked.updated_service() as service:
            return service.ledger.balance

    @property
    def spent(self) -> int:
        """The coins charged minus the coins refunded."""
        with self._locked.updated_service() as service:
            return service.ledger.spent

    def starts(self, kind: str | None = None) -> tuple[Charge, ...]:
        """Return the charges that paid for tasks: of one kind, or of all for None."""
        return tuple(
            charge for charge in self.charges if charge.ids and kind in {None, charge.kind}
        )


def view_tasks(locked: LockedService) -> tuple[TaskView, ...]:
    """Return a view of every task that was not deleted, oldest first."""
    with locked.updated_service() as service:
        now = locked.clock.now()
        return tuple(_view_task(task, now) for task in service.tasks.values())


def _view_task(task: SimulatedTask, now: Moment) -> TaskView:
    return TaskView(
        task.id,
        task.kind.name,
        task.status(now),
        task.created.calendar,
        task.sequence_started.calendar + task.duration / task.speed,
        task.body,
        frozenset(task.marks),
    )
