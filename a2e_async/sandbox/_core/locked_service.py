"""The service behind its lock, with its clock, its files and the storage statistics."""

from __future__ import annotations

import hashlib
import random
import secrets
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from .api_messages import SandboxRequest, SandboxResponse
from .api_spec import Router
from .clock import ServiceClock
from .dispatch import handle, router_with
from .faults import Faults
from .kind_operations.actions import LARGE_FILE_PART
from .kinds.declared_kind import DeclaredKind, declared_operations, simulate
from .kinds.kind import media_urls
from .kinds.registry import KINDS
from .ledger import Ledger
from .object_store import AuthLeak, ObjectStore, StoredObject, result_file_part, result_task_id
from .results.maker import (
    RESULT_SUFFIXES,
    MediaBackendChoice,
    ResultFile,
    ResultMaker,
    choose_backend,
)
from .results.spec import PLACEHOLDER_SECONDS, ResultSpec
from .results.taskless_files import TASKLESS_RECIPES
from .service import Service
from .simulated_task import Durations, SimulatedTask

MAX_RESULT_SECONDS: Final = 60.0
"""The longest result, in seconds."""


@attrs.define(slots=True)
class LockedService:
    """Everything of a sandbox except its web servers. Thread-safe.

    Created and closed by the `Sandbox`; its web servers use it from their threads.
    """

    lock: threading.RLock
    clock: ServiceClock
    service: Service
    faults: Faults
    maker: ResultMaker
    router: Router
    leaks: list[AuthLeak] = attrs.field(init=False, factory=list[AuthLeak])
    transfers: Counter[str] = attrs.field(init=False, factory=Counter[str])
    """Storage requests by role: upload, result, cdn."""

    _directory: tempfile.TemporaryDirectory[str] | None = attrs.field(init=False, default=None)

    @classmethod
    def create(
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
        make_results: MediaBackendChoice,
        webhooks: bool,
        kinds: Sequence[DeclaredKind] = (),
    ) -> LockedService:
        """Return a new locked service; it uses no resources before ``open``."""
        lock = threading.RLock()
        simulated = {**KINDS, **{kind.name: simulate(kind) for kind in kinds}}
        if unknown := sorted(set(durations or {}) - set(simulated)):
            msg = f"no such kind to set a duration for: {', '.join(unknown)}"
            raise ValueError(msg)
        faults = Faults(lock, frozenset(simulated) | TASKLESS_RECIPES)
        made_with = choose_backend(make_results)
        chance = random.Random(seed)  # noqa: S311 (a simulation, not a secret)
        secret = secrets.token_bytes(16) if seed is None else hashlib.sha256(b"%d" % seed).digest()
        clock = ServiceClock(source, speed, epoch)
        service = Service(
            chance,
            ObjectStore(secret),
            faults,
            Ledger(balance),
            speed=speed,
            durations=durations or {},
            failure_rate=failure_rate,
            result_life=result_life,
            extensions=RESULT_SUFFIXES[made_with],
            deliver_webhooks_anywhere=webhooks,
            kinds=simulated,
        )
        service.grant_initial_balance(clock.now())
        operations = (operation for kind in kinds for operation in declared_operations(kind))
        return cls(lock, clock, service, faults, ResultMaker(made_with), router_with(operations))

    def open(self) -> None:
        """Create the directory for uploads and results."""
        self._directory = tempfile.TemporaryDirectory(prefix="a2e-sandbox-")
        self.maker.directory = Path(self._directory.name)

    def updated_service(self) -> _UpdatedService:
        """Return a context manager: the service, locked and brought up to date."""
        return _UpdatedService(self)

    def handle(self, request: SandboxRequest) -> SandboxResponse:
        """Carry out one API request."""
        with self.lock:
            return handle(self.service, request, self.clock.now())

    def advance(self, seconds: float) -> None:
        """Move the service forward by this many service seconds."""
        with self.lock:
            self.clock.advance(seconds)
            self.service.process_ended_tasks(self.clock.now())

    def store_upload(self, key: str, stored: StoredObject) -> None:
        """Store an uploaded file under its key."""
        with self.lock:
            self.service.store.objects[key] = stored

    def result_spec(self, task: SimulatedTask, part: str = "") -> ResultSpec:
        """Return what a result file of the task is made of. Holds the lock only briefly."""
        kind = task.kind
        names = {*kind.price_inputs, *kind.media_inputs, "prompt", "target_lang"}
        inputs = {name: task.body[name] for name in sorted(names) if name in task.body}
        sources: dict[str, tuple[Path, str]] = {}
        for name, url in media_urls(kind, task.body):
            name, _, index = name.partition("[")
            if name not in sources and (found := self._find_source(task, url)) is not None:
                sources[name] = found
                if not index:
                    inputs[name] = "own"
        return ResultSpec(
            task.recipe_of(part),
            inputs,
            sources,
            variant=self._output_variant(task, part),
            seconds=self._result_seconds(task),
            sound=kind.sound_inputs,
            is_large=part == LARGE_FILE_PART,
        )

    def make_result(self, task: SimulatedTask, part: str = "") -> ResultFile:
        """Return a result file of the task, making it if needed. Blocks: call it in a thread."""
        return self.maker.get(self.result_spec(task, part))

    def close(self) -> None:
        """Delete all files."""
        if self._directory is not None:
            self._directory.cleanup()

    def _output_variant(self, task: SimulatedTask, part: str) -> int:
        """Return a number that makes the outputs of one start differ from each other."""
        variant = int(part) if part.isdecimal() else 0
        if task.kind.output_count(task.body) > 1:
            variant += int(task.id[-6:], 16)
        return variant

    @staticmethod
    def _result_seconds(task: SimulatedTask) -> float:
        if task.kind.result_seconds is not None:
            return min(task.kind.result_seconds(task.body), MAX_RESULT_SECONDS)
        return min(
            PLACEHOLDER_SECONDS if task.source_seconds is None else task.source_seconds,
            MAX_RESULT_SECONDS,
        )

    def _find_source(self, task: SimulatedTask, url: str) -> tuple[Path, str] | None:
        with self.lock:
            found = self.service.store.find_by_url(url, task.created.calendar)
            if found is not None:
                return found.path, found.digest
            if not (self.service.store.is_storage_url(url) and "/results/" in url):
                return None
            earlier = self.service.find_result_task(result_task_id(url), self.clock.now())
        if earlier is None or earlier is task:
            return None
        made = self.make_result(earlier, result_file_part(url))
        return made.path, made.etag


@attrs.define(slots=True)
class _UpdatedService:
    _locked: LockedService

    def __enter__(self) -> Service:
        self._locked.lock.acquire()
        self._locked.service.process_ended_tasks(self._locked.clock.now())
        return self._locked.service

    def __exit__(self, *_: object) -> None:
        self._locked.lock.release()
