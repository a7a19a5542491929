"""The state of the simulated service, without I/O: tasks, account, ledger, storage."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from .account_state import AccountState
from .api_messages import SandboxResponse
from .clock import Moment
from .faults import Faults
from .kinds.input_rules import IMAGE_SUFFIXES, url_suffix
from .kinds.kind import SimulatedKind, is_loopback_url, media_urls
from .kinds.registry import KINDS
from .ledger import Charge, InsufficientCoins, Ledger
from .object_store import ObjectStore
from .simulated_task import Duration, Durations, SimulatedTask
from .validation import FieldProblem

_TEXT_FAULTS: Final = frozenset({"error_in_msg"})


@attrs.define(slots=True)
class Service:
    """All state of one sandbox. Not thread-safe: callers hold a lock.

    ``now`` is the present moment in every method; it must never go back.

    Created by the `LockedService`; lives as long as the sandbox.
    """

    random: random.Random
    store: ObjectStore
    faults: Faults
    ledger: Ledger
    speed: float = 1.0
    durations: Durations = attrs.field(factory=dict[str, Duration])
    failure_rate: float = 0.0
    result_life: float = 3 * 86400.0
    """How long a signed result URL works, in service seconds."""

    extensions: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The suffix of a result file's name, by recipe."""

    deliver_webhooks_anywhere: bool = False
    """Whether webhooks are also delivered to other machines."""

    kinds: Mapping[str, SimulatedKind] = KINDS
    """Every kind by its name, those that the user declares included."""

    tasks: dict[str, SimulatedTask] = attrs.field(init=False, factory=dict[str, SimulatedTask])
    calls: Counter[tuple[str, str]] = attrs.field(init=False, factory=Counter[tuple[str, str]])
    """API requests by role and kind."""

    due_webhooks: list[SimulatedTask] = attrs.field(init=False, factory=list[SimulatedTask])
    """Ended tasks whose webhook is due; the webhook sender takes them out."""

    running_webhook_task_count: int = attrs.field(init=False, default=0)
    """The number of running tasks with a webhook that will be delivered."""

    account: AccountState = attrs.field(init=False, factory=AccountState)
    user_id: str = attrs.field(init=False)
    kinds_by_start_path: dict[str, SimulatedKind] = attrs.field(init=False)
    """Every kind by the path of its start operation; declared ones take precedence."""

    listed_tasks: dict[str, dict[str, SimulatedTask]] = attrs.field(init=False)
    """The tasks in the lists, by kind and id, oldest first."""

    running_tasks: dict[str, dict[str, SimulatedTask]] = attrs.field(init=False)
    """The tasks that had not ended when ``process_ended_tasks`` was last called, by kind and id."""

    unlisted_tasks: list[SimulatedTask] = attrs.field(init=False, factory=list[SimulatedTask])
    """Tasks that a ``list_lag`` fault hides from the lists for now."""

    _end_queue: list[tuple[float, int, SimulatedTask]] = attrs.field(
        init=False, factory=list[tuple[float, int, SimulatedTask]]
    )
    """A heap by end time; the number keeps tasks with the same end time comparable."""

    _queue_numbers: itertools.count[int] = attrs.field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        self.listed_tasks = {name: {} for name in self.kinds}
        self.running_tasks = {name: {} for name in self.kinds}
        self.kinds_by_start_path = {kind.start_path: kind for kind in self.kinds.values()}
        self.user_id = f"{self.random.getrandbits(96):024x}"

    def grant_initial_balance(self, now: Moment) -> None:
        """Record the initial balance as the first transaction."""
        self.ledger.grant_initial_balance(self.new_id(now), now.calendar)

    def process_ended_tasks(self, now: Moment) -> None:
        """Process the tasks that ended by now: refunds of failed tasks, due webhooks."""
        while self._end_queue and self._end_queue[0][0] <= now.service_time:
            task = heapq.heappop(self._end_queue)[2]
            kind = task.kind
            self.running_webhook_task_count -= self.has_webhook(task)
            if task.deleted:
                continue
            self.running_tasks[kind.name].pop(task.id, None)
            if task.failure and kind.refund_failed:
                self.ledger.refund(task.id, now.calendar, self.new_id(now))
            if self.has_webhook(task):
                self.due_webhooks.append(task)

    # Responses

    def accept(self, data: Any, status: int = 200) -> SandboxResponse:
        """Return a success with this data."""
        return SandboxResponse(status, {"code": 0, "data": data, "trace_id": self.trace_id()})

    def refuse(
        self,
        status: int,
        message: str,
        errors: Sequence[FieldProblem] = (),
        code: int | None = None,
    ) -> SandboxResponse:
        """Return a failure. A fault puts its text under ``msg`` instead of ``message``."""
        moved = self.faults.take(_TEXT_FAULTS, "", "")
        field = "message" if moved is None else "msg"
        body: dict[str, Any] = {"code": status if code is None else code, field: message}
        if errors:
            body["errors"] = [attrs.asdict(item) for item in errors]
        body["trace_id"] = self.trace_id()
        return SandboxResponse(status, body)

    def deduct(self, charge: Charge, now: Moment) -> SandboxResponse | None:
        """Charge the coins; return the failure response when the balance is too low."""
        try:
            self.ledger.charge(charge, self.new_id(now))
        except InsufficientCoins:
            return self.refuse(400, "insufficient coins", code=4001)
        return None

    def trace_id(self) -> str:
        """Return a new trace id."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def new_id(self, now: Moment) -> str:
        """Return a new record id: 24 hex digits that begin with the time."""
        return f"{int(now.calendar) & 0xFFFFFFFF:08x}{self.random.getrandbits(64):016x}"

    # Tasks

    def add_task(self, task: SimulatedTask) -> None:
        """Store and list a new task."""
        self.tasks[task.id] = task
        self.listed_tasks[task.kind.name][task.id] = task
        self.track_running(task)

    def track_running(self, task: SimulatedTask) -> None:
        """Register a task that starts to run, for the first time or again."""
        self.running_tasks[task.kind.name][task.id] = task
        if math.isfinite(task.duration):
            heapq.heappush(self._end_queue, (task.end_time, next(self._queue_numbers), task))
            self.running_webhook_task_count += self.has_webhook(task)

    def remove_task(self, task: SimulatedTask) -> None:
        """Delete a task. Its entry in the end queue is skipped when it comes up."""
        task.deleted = True
        del self.tasks[task.id]
        self.listed_tasks[task.kind.name].pop(task.id, None)
        self.running_tasks[task.kind.name].pop(task.id, None)

    def drop_expired(self, kind: SimulatedKind, now: Moment) -> None:
        """Remove the records from a kind's list whose results are no longer kept."""
        listed = self.listed_tasks[kind.name]
        oldest = now.service_time - self.result_life * kind.result_life_factor
        while listed and not kind.never_expires:
            first = next(iter(listed.values()))
            if first.created.service_time >= oldest or first.is_running(now):
                break
            del listed[first.id]

    def find_known_task(
        self, kind: SimulatedKind, task_id: str, now: Moment
    ) -> SimulatedTask | None:
        """Return the kind's task with this id; None while a fault hides it from detail."""
        task = self.tasks.get(task_id.lower())
        if task is None or task.kind is not kind or task.unknown_until > now.service_time:
            return None
        return task

    def find_result_task(self, task_id: str, now: Moment) -> SimulatedTask | None:
        """Return the task whose result may be downloaded: completed, with a result."""
        task = self.tasks.get(task_id) or self.account.files.get(task_id)
        return task if task is not None and task.shows_result(now) else None

    def has_webhook(self, task: SimulatedTask) -> bool:
        """Return whether the task has a webhook that will be delivered."""
        url = task.body.get("webhook_url") if task.kind.takes_webhook else None
        return url is not None and (self.deliver_webhooks_anywhere or is_loopback_url(url))

    def render(self, task: SimulatedTask, now: Moment) -> dict[str, Any]:
        """Return the task's record at this moment."""
        if not task.shows_result(now):
            return task.render(now, ())
        if task.kind.output_recipes:
            record = task.render(now, ())
            for index, (name, _) in enumerate(task.kind.output_recipes):
                record[name] = self.sign_result_url(task, now, str(index))
            return record | task.finished_fields()
        count = task.kind.file_count(task.body)
        if count == 1:
            return task.render(now, (self.sign_result_url(task, now),))
        urls = [self.sign_result_url(task, now, str(index)) for index in range(count)]
        return task.render(now, urls)

    def sign_result_url(self, task: SimulatedTask, now: Moment, part: str = "") -> str:
        """Return a newly signed URL of the task's result, or of one of its files."""
        name = f"{task.id}-{part}" if part else task.id
        path = f"{task.kind.name}/{name}{self.extensions.get(task.recipe_of(part), '')}"
        life = self.result_life * task.kind.result_life_factor / self.speed
        return self.store.sign_result(path, math.ceil(now.calendar + life), task.url_generation)

    # Inputs

    def measure_source(
        self, kind: SimulatedKind, body: Mapping[str, Any], now: Moment
    ) -> float | None:
        """Return the length of the first input medium in seconds; None when unknown.

        0 for an image, where the kind takes images as well as videos.
        """
        if self.returns_image(kind, body, now):
            return 0.0
        for _, url in media_urls(kind, body):
            found = self.store.find_by_url(url, now.calendar) if isinstance(url, str) else None
            return found.seconds if found else None
        return None

    def returns_image(self, kind: SimulatedKind, body: Mapping[str, Any], now: Moment) -> bool:
        """Return whether the result is an image because the source is one."""
        url = body.get(kind.media_inputs[0]) if kind.keeps_images else None
        if not isinstance(url, str):
            return False
        found = self.store.find_by_url(url, now.calendar)
        if found is not None and found.content_type.startswith("image/"):
            return True
        return url_suffix(url) in IMAGE_SUFFIXES
