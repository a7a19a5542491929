"""The service itself: a state machine without I/O. Requests and moments in, answers out."""

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

from a2e_async.narrow import is_map

from .account_operations.credits import handle_account, is_account
from .clock import Moment
from .faults import Faults
from .kind_operations.actions import ACTIONS
from .kind_operations.lists import batch_detail, list_records, running_records
from .kinds.input_rules import IMAGE_ENDINGS, ending_of
from .kind_operations.starts import start
from .kinds.registry import KINDS, Kind, body_problems, is_own_machine, media_urls
from .ledger import Charge, InsufficientCoins, Ledger
from .account_operations.registry import HANDLERS, Others
from .api_spec import OBJECT_ID, Operation, Problem, Router, operations, problems, query_problems
from .object_store import Store
from .simulated_task import Duration, Durations, Task

FLAKY: Final = (
    (400, "Invalid record id"),
    (404, "Record not found"),
    (405, "Method not allowed"),
)
"""What a flaky detail call answers, in turn."""


@attrs.frozen(slots=True)
class Answer:
    """What the service answers: the HTTP status and the body, an envelope."""

    status: int
    body: Mapping[str, Any]

    @property
    def data(self) -> Any:
        """The envelope's data; None for a failure."""
        return self.body.get("data")


@attrs.frozen(slots=True)
class Request:
    """One API request, as far as the service looks at it."""

    operation: Operation
    id: str
    query: Mapping[str, str]
    body: Any
    """The decoded JSON body; None when there was none."""

    @property
    def body_id(self) -> object:
        """What the body names as ``_id``; None when it names nothing."""
        return self.body.get("_id") if is_map(self.body) else None


@attrs.define(slots=True)
class Service:
    """All state of one sandbox. Not thread-safe by itself: callers hold a lock.

    ``now`` in every method is the present moment; it must never go back.
    """

    random: random.Random
    store: Store
    faults: Faults
    ledger: Ledger
    speed: float = 1.0
    durations: Durations = attrs.field(factory=dict[str, Duration])
    failure_rate: float = 0.0
    result_life: float = 3 * 86400.0
    extensions: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The ending of a result file's name, by recipe."""

    hooks_anywhere: bool = False
    """Whether webhooks go to other machines, too."""

    tasks: dict[str, Task] = attrs.field(init=False, factory=dict[str, Task])
    calls: Counter[tuple[str, str]] = attrs.field(init=False, factory=Counter[tuple[str, str]])
    finished_hooks: list[Task] = attrs.field(init=False, factory=list[Task])
    """Ended tasks whose webhook is due; the shell takes them out."""

    open_hooks: int = attrs.field(init=False, default=0)
    """How many running tasks have a webhook that the shell will deliver."""

    others: Others = attrs.field(init=False, factory=Others)
    user_id: str = attrs.field(init=False)
    router: Router = attrs.field(init=False)
    listed: dict[str, dict[str, Task]] = attrs.field(init=False)
    """What the lists show, by kind and id, oldest first."""

    running: dict[str, dict[str, Task]] = attrs.field(init=False)
    """What has not ended, as of the last settling."""

    lagging: list[Task] = attrs.field(init=False, factory=list[Task])
    """What the lists do not show yet."""

    _details: Counter[str] = attrs.field(init=False, factory=Counter[str])
    _ends: list[tuple[float, int, Task]] = attrs.field(
        init=False, factory=list[tuple[float, int, Task]]
    )
    _order: itertools.count[int] = attrs.field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        self.router = Router.of(
            item
            for item in operations()
            if item.kind in KINDS or is_account(item) or (item.method, item.path) in HANDLERS
        )
        self.listed = {name: {} for name in KINDS}
        self.running = {name: {} for name in KINDS}
        self.user_id = f"{self.random.getrandbits(96):024x}"

    def open(self, now: Moment) -> None:
        """Writes the first grant into the history."""
        self.ledger.open(self.new_id(now), now.calendar)

    def handle(self, request: Request, now: Moment) -> Answer:
        """Carries one request out and returns its answer."""
        self.settle(now)
        operation = request.operation
        handler = HANDLERS.get((operation.method, operation.path))
        if handler is not None:
            return handler(self, request, now)
        if not operation.kind:
            return handle_account(self, request, now)
        kind = KINDS[operation.kind]
        action = ACTIONS.get((operation.method, operation.path))
        if operation.role in {"start", "batch_detail"} or operation.body_schema:
            wrong = list(problems(operation.body_schema or {"type": "object"}, request.body))
            if not wrong and operation.role == "start" and action is None:
                wrong = list(body_problems(kind, request.body))
            if wrong:
                return self.refuse(400, "Invalid parameters", wrong)
        if action is not None:
            return action(self, kind, request, now)
        if operation.role == "start":
            return start(self, kind, request.body, operation.path, now)
        if operation.role == "batch_detail":
            return batch_detail(self, kind, request.body["ids"], now)
        if operation.role == "list":
            return list_records(self, kind, request, now)
        if operation.role == "list_processing":
            return running_records(self, kind, now)
        return self._one(kind, request, now)

    def settle(self, now: Moment) -> None:
        """Brings the books up to the moment: refunds of failed tasks, webhooks that are due."""
        while self._ends and self._ends[0][0] <= now.work:
            task = heapq.heappop(self._ends)[2]
            kind = task.kind
            self.open_hooks -= self.hooked(task)
            if task.deleted:
                continue
            self.running[kind.name].pop(task.id, None)
            if task.failure and kind.refund_failed:
                self.ledger.refund(task.id, now.calendar, self.new_id(now))
            if self.hooked(task):
                self.finished_hooks.append(task)

    def hooked(self, task: Task) -> bool:
        """Whether the task has a webhook that is delivered."""
        url = task.body.get("webhook_url") if task.kind.webhook else None
        return url is not None and (self.hooks_anywhere or is_own_machine(url))

    def expire(self, kind: Kind, now: Moment) -> None:
        """Drops the records of a kind from its lists whose results are no longer kept."""
        listed, oldest = self.listed[kind.name], now.work - self.result_life * kind.life
        while listed and not kind.lasting:
            first = next(iter(listed.values()))
            if first.created.work >= oldest or first.is_running(now):
                break
            del listed[first.id]

    def add(self, task: Task) -> None:
        """Takes a new task in."""
        self.tasks[task.id] = task
        self.listed[task.kind.name][task.id] = task
        self.resume(task)

    def resume(self, task: Task) -> None:
        """Takes a task in that runs from now on, for the first time or again."""
        self.running[task.kind.name][task.id] = task
        if math.isfinite(task.duration):
            heapq.heappush(self._ends, (task.ends, next(self._order), task))
            self.open_hooks += self.hooked(task)

    def result_task(self, task_id: str, now: Moment) -> Task | None:
        """Returns the task whose result may be downloaded: completed, with a result."""
        task = self.tasks.get(task_id) or self.others.files.get(task_id)
        return task if task is not None and task.shows_result(now) else None

    def sign(self, task: Task, now: Moment, part: str = "") -> str:
        """Returns a freshly signed URL of the task's result, or of one part of it."""
        name = f"{task.id}-{part}" if part else task.id
        path = f"{task.kind.name}/{name}{self.extensions.get(task.recipe, '')}"
        expires = math.ceil(now.calendar + self.result_life * task.kind.life / self.speed)
        return self.store.sign_result(path, expires, task.generation)

    def render(self, task: Task, now: Moment) -> dict[str, Any]:
        """Returns the task's record at this moment."""
        if not task.shows_result(now):
            return task.render(now, ())
        count = task.kind.files(task.body)
        if count == 1:
            return task.render(now, (self.sign(task, now),))
        return task.render(now, [self.sign(task, now, str(index)) for index in range(count)])

    # Answers

    def accept(self, data: Any, status: int = 200) -> Answer:
        """Returns a success."""
        return Answer(status, {"code": 0, "data": data, "trace_id": self.trace_id()})

    def refuse(
        self, status: int, message: str, errors: Sequence[Problem] = (), code: int | None = None
    ) -> Answer:
        """Returns a failure; the text is under ``message`` or ``msg``, as it comes."""
        word = "message" if errors or self.random.random() < 0.5 else "msg"
        body: dict[str, Any] = {"code": status if code is None else code, word: message}
        if errors:
            body["errors"] = [attrs.asdict(item) for item in errors]
        body["trace_id"] = self.trace_id()
        return Answer(status, body)

    def trace_id(self) -> str:
        """Returns a new trace id."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def new_id(self, now: Moment) -> str:
        """Returns a new record id, 24 hex digits that begin with the time."""
        return f"{int(now.calendar) & 0xFFFFFFFF:08x}{self.random.getrandbits(64):016x}"

    def pay(self, charge: Charge, now: Moment) -> Answer | None:
        """Takes the coins; returns a refusal when there are too few."""
        try:
            self.ledger.charge(charge, self.new_id(now))
        except InsufficientCoins:
            return self.refuse(400, "insufficient coins", code=4001)
        return None

    # Tasks

    def source_seconds(self, kind: Kind, body: Mapping[str, Any], now: Moment) -> float | None:
        """Returns the length of the first medium sent, when it is here and could be read.

        0 for an image, where the kind takes images as well as videos.
        """
        if self.follows_image(kind, body, now):
            return 0.0
        for _, url in media_urls(kind, body):
            found = self.store.find(url, now.calendar) if isinstance(url, str) else None
            return found.seconds if found else None
        return None

    def follows_image(self, kind: Kind, body: Mapping[str, Any], now: Moment) -> bool:
        """Returns whether the result is an image because the source is one."""
        url = body.get(kind.media_inputs[0]) if kind.follows else None
        if not isinstance(url, str):
            return False
        found = self.store.find(url, now.calendar)
        if found is not None and found.content_type.startswith("image/"):
            return True
        return ending_of(url) in IMAGE_ENDINGS

    def known(self, kind: Kind, task_id: str, now: Moment) -> Task | None:
        """Returns the kind's task with this id, unless detail calls do not know it."""
        task = self.tasks.get(task_id.lower())
        if task is None or task.kind is not kind or task.unknown_until > now.work:
            return None
        return task

    def _one(self, kind: Kind, request: Request, now: Moment) -> Answer:
        role, task_id = request.operation.role, request.id
        is_detail = role == "detail"
        if is_detail and kind.detail_by:
            _, wrong = query_problems(request.operation, request.query)
            if wrong:
                return self.refuse(400, "Invalid parameters", wrong)
            task_id = request.query[kind.detail_by]
        elif not task_id:
            task_id = str(request.body_id)
        if is_detail and (refusal := self._flaw(kind)) is not None:
            return refusal
        if not OBJECT_ID.fullmatch(task_id):
            problem = Problem("_id", "must be an id of 24 hex digits")
            return self.refuse(400, "Invalid parameters", [problem])
        task = self.known(kind, task_id, now)
        if is_detail and kind.detail_list:
            return self.accept([self.render(task, now)] if task else [])
        if task is None:
            if is_detail and kind.unknown_is_null:
                return self.accept(None)
            return self.refuse(404, "Record not found")
        if is_detail:
            return self.accept(self.render(task, now))
        if role == "delete":
            return self._delete(task, now)
        if request.operation.method == "PUT":
            task.record = {**task.record, kind.name_field: request.body["name"]}
            return self.accept(self.render(task, now))
        task.marks.add(request.operation.action)
        return self.accept({"_id": task.id})

    def _flaw(self, kind: Kind) -> Answer | None:
        """Returns the refusal that a flaky detail path answers now and then."""
        if not kind.flaky_detail:
            return None
        self._details[kind.name] += 1
        turn, rest = divmod(self._details[kind.name], kind.flaky_detail)
        return None if rest else self.refuse(*FLAKY[(turn - 1) % len(FLAKY)])

    def _delete(self, task: Task, now: Moment) -> Answer:
        if task.is_running(now):
            if not task.is_initialized(now):
                return self.refuse(400, "The task is being processed and cannot be deleted")
            if task.kind.refund_deleted:
                self.ledger.refund(task.id, now.calendar, self.new_id(now))
        task.deleted = True
        del self.tasks[task.id]
        self.listed[task.kind.name].pop(task.id, None)
        self.running[task.kind.name].pop(task.id, None)
        return self.accept({"_id": task.id})
