"""The service itself: a state machine without I/O. Requests and moments in, answers out."""

from __future__ import annotations

import heapq
import math
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from .account import handle_account, is_account
from .clock import Moment, iso
from .faults import TASK_FAULTS, Faults
from .kinds import KINDS, UNKNOWN_SECONDS, Kind, body_problems
from .ledger import Charge, InsufficientCoins, Ledger
from .prompts import extend_prompt
from .spec import OBJECT_ID, Operation, Problem, Router, operations, problems, query_problems
from .storage import Store, result_id
from .tasks import Duration, Durations, Failure, Task, draw_duration, first_record

BATCH_LIMIT: Final = 200
"""Most ids one batchDetail call may ask for."""


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

    collect_hooks: bool = False
    """Whether ended tasks with a webhook are kept for the shell to deliver."""

    tasks: dict[str, Task] = attrs.field(init=False, factory=dict[str, Task])
    calls: Counter[tuple[str, str]] = attrs.field(init=False, factory=Counter[tuple[str, str]])
    finished_hooks: list[Task] = attrs.field(init=False, factory=list[Task])
    """Ended tasks whose webhook is due; the shell takes them out."""

    user_id: str = attrs.field(init=False)
    router: Router = attrs.field(init=False)
    _listed: dict[str, dict[str, Task]] = attrs.field(init=False)
    _running: dict[str, dict[str, Task]] = attrs.field(init=False)
    _ends: list[tuple[float, int, Task]] = attrs.field(
        init=False, factory=list[tuple[float, int, Task]]
    )
    _lagging: list[Task] = attrs.field(init=False, factory=list[Task])
    _record_fields: dict[str, tuple[str, ...]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        served = [item for item in operations() if not item.kind or item.kind in KINDS]
        self.router = Router.of(item for item in served if item.kind or is_account(item))
        self._record_fields = {
            item.kind: item.record_fields for item in served if item.role == "start"
        }
        self._listed = {name: {} for name in KINDS}
        self._running = {name: {} for name in KINDS}
        self.user_id = f"{self.random.getrandbits(96):024x}"

    def open(self, now: Moment) -> None:
        """Writes the first grant into the history."""
        self.ledger.open(self.new_id(now), now.calendar)

    def handle(self, request: Request, now: Moment) -> Answer:
        """Carries one request out and returns its answer."""
        self.settle(now)
        operation = request.operation
        if not operation.kind:
            return handle_account(self, request, now)
        kind = KINDS[operation.kind]
        if operation.role in {"start", "batch_detail"} or operation.body_schema:
            wrong = self._body_problems(request)
            if wrong:
                return self.refuse(400, "Invalid parameters", wrong)
        if operation.role == "start":
            return self._start(kind, request.body, now)
        if operation.role == "batch_detail":
            return self._batch_detail(kind, request.body["ids"], now)
        if operation.role == "list":
            return self._list(kind, request, now)
        if operation.role == "list_processing":
            rows = self._visible(reversed(self._running[kind.name].values()), now)
            return self.accept([self._render(task, now) for task in rows])
        if operation.role == "query":
            return self.accept(self._query(kind, operation.action))
        if not request.id:
            return self.accept(extend_prompt(request.body))
        return self._one(kind, request, now)

    def settle(self, now: Moment) -> None:
        """Brings the books up to the moment: refunds of failed tasks, expired list rows."""
        while self._ends and self._ends[0][0] <= now.work:
            task = heapq.heappop(self._ends)[2]
            if task.deleted:
                continue
            self._running[task.kind.name].pop(task.id, None)
            if task.failure and task.kind.refund_failed:
                self.ledger.refund(task.id, now.calendar, self.new_id(now))
            if self.collect_hooks and "webhook_url" in task.body:
                self.finished_hooks.append(task)
        oldest = now.work - self.result_life
        for listed in self._listed.values():
            while listed:
                first = next(iter(listed.values()))
                if first.created.work >= oldest or first.is_running(now):
                    break
                del listed[first.id]

    def result_task(self, task_id: str, now: Moment) -> Task | None:
        """Returns the task whose result may be downloaded: completed, with a result."""
        task = self.tasks.get(task_id)
        if task is None or task.is_running(now) or task.failure or not task.has_result:
            return None
        return task

    def sign(self, task: Task, now: Moment) -> str:
        """Returns a freshly signed URL of the task's result."""
        name = f"{task.kind.name}/{task.id}{self.extensions.get(task.kind.recipe, '')}"
        expires = math.ceil(now.calendar + self.result_life / self.speed)
        return self.store.sign_result(name, expires, task.generation)

    def render(self, task: Task, now: Moment) -> dict[str, Any]:
        """Returns the task's record at this moment."""
        return self._render(task, now)

    # Answers

    def accept(self, data: Any) -> Answer:
        """Returns a success."""
        return Answer(200, {"code": 0, "data": data, "trace_id": self.trace_id()})

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

    # Operations

    def _body_problems(self, request: Request) -> list[Problem]:
        schema = request.operation.body_schema or {"type": "object"}
        wrong = list(problems(schema, request.body))
        if not wrong and request.operation.role == "start":
            wrong = list(body_problems(KINDS[request.operation.kind], request.body))
        return wrong

    def _start(self, kind: Kind, body: Mapping[str, Any], now: Moment) -> Answer:
        seconds = self.source_seconds(kind, body, now)
        count, coins = kind.count(body), kind.price(body, seconds)
        ids = tuple(self.new_id(now) for _ in range(count))
        charge = Charge(kind.name, ids, coins * count, now.calendar, kind.start_path, dict(body))
        if (refusal := self.pay(charge, now)) is not None:
            return refusal
        records = [self._new_task(kind, task_id, charge, coins, now) for task_id in ids]
        return self.accept(records if count > 1 else records[0])

    def _new_task(
        self, kind: Kind, task_id: str, charge: Charge, coins: int, now: Moment
    ) -> dict[str, Any]:
        body = charge.body
        created = iso(now.calendar)
        known: dict[str, Any] = {
            "_id": task_id,
            "user_id": self.user_id,
            "coins": coins,
            "createdAt": created,
            "updatedAt": created,
            kind.status_field: "initialized",
            kind.failure_field: "",
            kind.code_field: "",
            kind.result_field: "",
        }
        if kind.length_field:
            seconds = self.source_seconds(kind, body, now)
            seconds = UNKNOWN_SECONDS if seconds is None else seconds
            known[kind.length_field] = max(1, round(seconds))
        task = Task(
            task_id,
            kind,
            body,
            first_record(kind, self._record_fields[kind.name], body, known),
            now,
            draw_duration(kind, self.durations, self.random),
            self.speed,
            failure=self._planned_failure(kind, body, now),
            sic=self.random.random() < 0.5,
        )
        self._apply_faults(task, now)
        self.tasks[task_id] = task
        self._listed[kind.name][task_id] = task
        self._running[kind.name][task_id] = task
        if math.isfinite(task.duration):
            heapq.heappush(self._ends, (task.ends, len(self.tasks), task))
        return self._render(task, now)

    def _planned_failure(self, kind: Kind, body: Mapping[str, Any], now: Moment) -> Failure | None:
        for name in kind.media_inputs:
            if name in body and not self._is_fetchable(body[name], now):
                return Failure(f"{name} could not be downloaded", "404")
        if self.random.random() < self.failure_rate:
            return Failure("generation failed, please try again", "500")
        return None

    def _is_fetchable(self, url: str, now: Moment) -> bool:
        """An input in the sandbox's own storage must be there; others are taken as given."""
        if not self.store.is_own(url):
            return True
        if self.store.find(url, now.calendar) is not None:
            return True
        return "/results/" in url and self.result_task(result_id(url), now) is not None

    def _apply_faults(self, task: Task, now: Moment) -> None:
        for name in sorted(TASK_FAULTS):
            fault = self.faults.take(frozenset({name}), "start", task.kind.name)
            if fault is None:
                continue
            values = fault.values
            if name == "stuck":
                task.duration = math.inf
            elif name == "fail":
                task.failure = Failure(values["message"], values["code"])
            elif name == "odd_status":
                task.odd_word = values["word"]
            elif name == "no_result":
                task.has_result = False
            elif name == "not_found_after_start":
                task.unknown_until = now.work + values["seconds"]
            else:
                task.unlisted_until = now.work + values["seconds"]
                self._lagging.append(task)

    def source_seconds(self, kind: Kind, body: Mapping[str, Any], now: Moment) -> float | None:
        """Returns the length of the first media input, when it is here and could be read."""
        url = body.get(kind.media_inputs[0]) if kind.media_inputs else None
        found = self.store.find(url, now.calendar) if isinstance(url, str) else None
        return found.seconds if found else None

    def _batch_detail(self, kind: Kind, ids: Sequence[str], now: Moment) -> Answer:
        if len(ids) > BATCH_LIMIT:
            wrong = Problem("ids", f"must have at most {BATCH_LIMIT} items")
            return self.refuse(400, "Invalid parameters", [wrong])
        for index, item in enumerate(ids):
            if not OBJECT_ID.fullmatch(item):
                problem = Problem(f"ids[{index}]", "must be an id of 24 hex digits")
                return self.refuse(400, "Invalid parameters", [problem])
        found = [
            task
            for item in dict.fromkeys(ids)
            if (task := self._known(kind, item, now)) is not None
        ]
        self.random.shuffle(found)
        return self.accept([self._render(task, now) for task in found])

    def _list(self, kind: Kind, request: Request, now: Moment) -> Answer:
        values, wrong = query_problems(request.operation, request.query)
        page, size = values.get("pageNum", 1), values.get("pageSize", 10)
        if not wrong and size < 1:
            wrong = [Problem("pageSize", "must be at least 1")]
        if wrong:
            return self.refuse(400, "Invalid parameters", wrong)
        listed = self._listed[kind.name]
        count = len(listed) - self._hidden(kind, now)
        rows = self._page(self._visible(reversed(listed.values()), now), page, size)
        records = [self._render(task, now) for task in rows]
        if kind.bare_list and not values:
            return self.accept(records)
        return self.accept({"rows": records, "count": count})

    @staticmethod
    def _page(rows: Iterable[Task], page: int, size: int) -> list[Task]:
        first, last = (page - 1) * size, page * size
        return [task for index, task in zip(range(last), rows, strict=False) if index >= first]

    def _visible(self, tasks: Iterable[Task], now: Moment) -> Iterable[Task]:
        if not self._lagging:
            return tasks
        return (task for task in tasks if task.unlisted_until <= now.work)

    def _hidden(self, kind: Kind, now: Moment) -> int:
        self._lagging = [
            task for task in self._lagging if task.unlisted_until > now.work and not task.deleted
        ]
        return sum(task.kind is kind for task in self._lagging)

    def _query(self, kind: Kind, action: str) -> dict[str, Any]:
        if action == "avgProcessingTime":
            return {"avgProcessingTime": round(kind.median)}
        return {"level": 0}

    def _one(self, kind: Kind, request: Request, now: Moment) -> Answer:
        role = request.operation.role
        if not OBJECT_ID.fullmatch(request.id):
            problem = Problem("_id", "must be an id of 24 hex digits")
            return self.refuse(400, "Invalid parameters", [problem])
        task = self._known(kind, request.id, now)
        if task is None:
            if role == "detail" and kind.unknown_is_null:
                return self.accept(None)
            return self.refuse(404, "Record not found")
        if role == "detail":
            return self.accept(self._render(task, now))
        if role == "delete":
            return self._delete(task, now)
        task.marks.add(request.operation.action)
        return self.accept({"_id": task.id})

    def _known(self, kind: Kind, task_id: str, now: Moment) -> Task | None:
        task = self.tasks.get(task_id.lower())
        if task is None or task.kind is not kind or task.unknown_until > now.work:
            return None
        return task

    def _delete(self, task: Task, now: Moment) -> Answer:
        if task.is_running(now):
            if not task.is_initialized(now):
                return self.refuse(400, "The task is being processed and cannot be deleted")
            if task.kind.refund_deleted:
                self.ledger.refund(task.id, now.calendar, self.new_id(now))
        task.deleted = True
        del self.tasks[task.id]
        self._listed[task.kind.name].pop(task.id, None)
        self._running[task.kind.name].pop(task.id, None)
        return self.accept({"_id": task.id})

    def _render(self, task: Task, now: Moment) -> dict[str, Any]:
        url = "" if task.failure or task.is_running(now) else self.sign(task, now)
        return task.render(now, url)
