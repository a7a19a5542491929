"""The service behind its lock, with clock, files and records of what storage saw."""

from __future__ import annotations

import hashlib
import random
import secrets
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from .clock import Moment, ServiceClock
from .faults import Faults
from .kind_operations.actions import LARGER
from .kinds.registry import media_urls
from .ledger import Charge, Ledger
from .results.maker import EXTENSIONS, STAND_IN_SECONDS, Order, ResultFile, ResultMaker, Wanted, choose
from .service import Answer, Request, Service
from .object_store import Store, StoredObject, result_id, result_part
from .simulated_task import Durations, Task

LONGEST_RESULT: Final = 60.0
"""No result lasts longer than this, in seconds."""


@attrs.frozen(slots=True)
class Leak:
    """A request that carried an Authorization header to storage. The token is not kept."""

    method: str
    path: str
    at: float
    """Seconds since 1970."""


@attrs.frozen(slots=True)
class TaskView:
    """One task as it is at the moment of asking."""

    id: str
    kind: str
    status: str
    """The status word, as the record shows it."""

    created_at: float
    """Seconds since 1970."""

    ends_at: float
    """Seconds since 1970; ``inf`` for a stuck task."""

    body: Mapping[str, Any]
    marks: frozenset[str]
    """Which of markShared, markDownloaded, markCopied were called."""


@attrs.define(slots=True)
class LedgerView:
    """What was charged, as of each reading. Thread-safe."""

    _engine: Engine

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Every charge in order, with what was refunded of it."""
        with self._engine.settled() as service:
            return tuple(service.ledger.charges)

    @property
    def balance(self) -> int:
        """Coins left."""
        with self._engine.settled() as service:
            return service.ledger.balance

    @property
    def spent(self) -> int:
        """Coins charged, less those refunded."""
        with self._engine.settled() as service:
            return service.ledger.spent

    def starts(self, kind: str | None = None) -> tuple[Charge, ...]:
        """Returns the charges that paid for tasks, of one kind or of all."""
        return tuple(
            charge for charge in self.charges if charge.ids and kind in {None, charge.kind}
        )


@attrs.define(slots=True)
class Engine:
    """Everything of a sandbox but its two web servers. Thread-safe."""

    lock: threading.RLock
    clock: ServiceClock
    service: Service
    faults: Faults
    maker: ResultMaker
    leaks: list[Leak] = attrs.field(init=False, factory=list[Leak])
    transfers: Counter[str] = attrs.field(init=False, factory=Counter[str])
    """Requests to storage by role: upload, result, cdn."""

    _directory: tempfile.TemporaryDirectory[str] | None = attrs.field(init=False, default=None)

    @classmethod
    def make(
        cls,
        *,
        source: Callable[[], float],
        speed: float,
        epoch: float,
        seed: int | None,
        balance: int,
        durations: Durations | None,
        failure_rate: float,
        result_life: float,
        make_results: Wanted,
        webhooks: bool,
    ) -> Engine:
        """Returns a new engine; it takes no resources before ``open``."""
        lock = threading.RLock()
        faults = Faults(lock)
        made_with = choose(make_results)
        chance = random.Random(seed)  # noqa: S311 (a simulation, not a secret)
        secret = secrets.token_bytes(16) if seed is None else hashlib.sha256(b"%d" % seed).digest()
        clock = ServiceClock(source, speed, epoch)
        service = Service(
            chance,
            Store(secret),
            faults,
            Ledger(balance),
            speed=speed,
            durations=durations or {},
            failure_rate=failure_rate,
            result_life=result_life,
            extensions=EXTENSIONS[made_with],
            hooks_anywhere=webhooks,
        )
        service.open(clock.now())
        return cls(lock, clock, service, faults, ResultMaker(made_with))

    def open(self) -> None:
        """Makes the directory that uploads and results go into."""
        self._directory = tempfile.TemporaryDirectory(prefix="a2e-sandbox-")
        self.maker.directory = Path(self._directory.name)

    def settled(self) -> _Settled:
        """Returns a context in which the service is locked and up to date."""
        return _Settled(self)

    def now(self) -> Moment:
        """Returns the present moment. Hold the lock, so that time never goes back for others."""
        return self.clock.now()

    def handle(self, request: Request) -> Answer:
        """Carries one API request out."""
        with self.lock:
            return self.service.handle(request, self.clock.now())

    def advance(self, seconds: float) -> None:
        """Moves the service forward by so many service seconds."""
        with self.lock:
            self.clock.advance(seconds)
            self.service.settle(self.clock.now())

    def views(self) -> tuple[TaskView, ...]:
        """Returns all tasks that were not deleted, oldest first."""
        with self.settled() as service:
            now = self.clock.now()
            return tuple(self._view(task, now) for task in service.tasks.values())

    def store_upload(self, key: str, stored: StoredObject) -> None:
        """Puts an uploaded file under its key."""
        with self.lock:
            self.service.store.objects[key] = stored

    def order(self, task: Task, part: str = "") -> Order:
        """Returns what a file of the task is made of. Needs the lock only briefly."""
        kind = task.kind
        names = {*kind.price_inputs, *kind.media_inputs, "prompt", "target_lang"}
        inputs = {name: task.body[name] for name in sorted(names) if name in task.body}
        sources: dict[str, tuple[Path, str]] = {}
        for name, url in media_urls(kind, task.body):
            name, _, index = name.partition("[")
            if name not in sources and (found := self._source(task, url)) is not None:
                sources[name] = found
                if not index:
                    inputs[name] = "own"
        return Order(
            task.recipe,
            inputs,
            sources,
            variant=self._variant(task, part),
            seconds=self._seconds(task),
            sound=kind.sound,
            is_large=part == LARGER,
        )

    def make_result(self, task: Task, part: str = "") -> ResultFile:
        """Returns a file of the task. Blocks: for a thread."""
        return self.maker.get(self.order(task, part))

    def close(self) -> None:
        """Removes all files."""
        if self._directory is not None:
            self._directory.cleanup()

    def _variant(self, task: Task, part: str) -> int:
        """The outputs of one start differ from each other, as those of the service do."""
        variant = int(part) if part.isdecimal() else 0
        if task.kind.count(task.body) > 1:
            variant += int(task.id[-6:], 16)
        return variant

    @staticmethod
    def _seconds(task: Task) -> float:
        if task.kind.seconds is not None:
            return min(task.kind.seconds(task.body), LONGEST_RESULT)
        return min(STAND_IN_SECONDS if task.length is None else task.length, LONGEST_RESULT)

    def _source(self, task: Task, url: str) -> tuple[Path, str] | None:
        with self.lock:
            found = self.service.store.find(url, task.created.calendar)
            if found is not None:
                return found.path, found.digest
            if not (self.service.store.is_own(url) and "/results/" in url):
                return None
            earlier = self.service.result_task(result_id(url), self.clock.now())
        if earlier is None or earlier is task:
            return None
        made = self.make_result(earlier, result_part(url))
        return made.path, made.etag

    def _view(self, task: Task, now: Moment) -> TaskView:
        return TaskView(
            task.id,
            task.kind.name,
            task.word(now),
            task.created.calendar,
            task.begun.calendar + task.duration / task.speed,
            task.body,
            frozenset(task.marks),
        )


@attrs.define(slots=True)
class _Settled:
    _engine: Engine

    def __enter__(self) -> Service:
        self._engine.lock.acquire()
        self._engine.service.settle(self._engine.clock.now())
        return self._engine.service

    def __exit__(self, *_: object) -> None:
        self._engine.lock.release()
