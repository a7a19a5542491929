"""One stream of server-sent events for all jobs of a user.

Nothing is polled for a stream: what `A2E.follow_all` reports of this client's tasks is passed on,
and what other processes write into the journal. Only while a page shows a task that another
process follows, this client waits for it, too; waits of one task share their polls.

A stream has no queue. Each job has one current state, with the number of its last change; a reader
has the number up to which it has read. So a slow reader costs no memory and skips what is outdated,
and a reader that returns with the number of its last event gets what has changed since.
"""

import asyncio
import json
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from attrs import define, field

from a2e_async._core.journal.keys import is_call_key
from a2e_async._core.journal.protocol import Entry, Journal, entry_pages
from a2e_async.client import A2E
from a2e_async.errors import A2EError, ConfigurationError, InvalidInput, JournalError
from a2e_async.models import Record, Status

if TYPE_CHECKING:
    from a2e_async._core.submission.follower import TaskCallback
    from a2e_async._core.tasks.task import Task

logger: Final = logging.getLogger("a2e_async.web")

SSE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until its buffer is full
}
"""The headers of a response with server-sent events."""

RECONNECT_DELAY: Final = 2.0
"""Seconds after which a browser that lost its stream connects again."""

LOAD_RETRY_DELAY: Final = 5.0
"""Seconds after which the journal is read again if that failed."""

_HEARTBEAT: Final = b": \n\n"
_FINAL: Final = (Status.SUCCEEDED, Status.FAILED)
_NOT_BEGUN: Final = ("starting", "withdrawn")


def caller_of_key(key: str) -> str:
    """Return the part of a key before its first colon: the caller, in ``f"{caller}:{id}"``."""
    caller, colon, _ = key.partition(":")
    return caller if colon else ""


@define(eq=False)
class _Job:
    """The current state of one job, as pages see it. Owned and changed by its `JobStates`."""

    key: str
    caller: str
    state: dict[str, Any]
    number: int = 0
    """The number of its last change."""
    text: str = ""
    """Its state as JSON, made once for all readers."""
    ref: str | None = None
    is_local: bool = False
    """This client follows the task, and reports its changes."""

    @property
    def final(self) -> bool:
        return self.state["status"] in _FINAL


@define(eq=False)
class _Caller:
    """The jobs of one caller and the readers of them. Owned by the `BaseProgressStream`."""

    jobs: OrderedDict[str, _Job] = field(factory=OrderedDict[str, _Job], init=False)
    """In the order of their last change."""
    readers: set[asyncio.Event] = field(factory=set[asyncio.Event], init=False)
    """Set when something has changed."""
    waits: dict[str, asyncio.Task[None]] = field(factory=dict[str, asyncio.Task[None]], init=False)
    """Waits for tasks that another process follows, by key."""


class ProgressOptions(TypedDict, total=False):
    """The options of a progress stream."""

    download_to: str | os.PathLike[str] | None
    on_end: "TaskCallback | None"
    on_update: "TaskCallback | None"
    caller_of: Callable[[str], str]
    meta: Sequence[str]
    heartbeat: float
    max_jobs: int


class BaseProgressStream:
    """Follows all tasks of a client, and streams their progress to web pages.

    The subclasses for web frameworks say how to use it. Created by the app; used on the event loop
    of the client only.
    """

    def __init__(
        self,
        a2e: A2E,
        *,
        download_to: str | os.PathLike[str] | None = None,
        on_end: "TaskCallback | None" = None,
        on_update: "TaskCallback | None" = None,
        caller_of: Callable[[str], str] = caller_of_key,
        meta: Sequence[str] = (),
        heartbeat: float = 15.0,
        max_jobs: int = 10_000,
    ) -> None:
        if isinstance(meta, str):
            raise InvalidInput("meta takes a list of names, such as ['name'].", field="meta")
        if not heartbeat > 0 or max_jobs < 1:
            raise InvalidInput("heartbeat and max_jobs must be greater than 0.")
        if download_to is None and on_end is None:
            raise InvalidInput(
                f"{type(self).__name__} needs download_to, on_end, or both: without them the "
                "results would be acknowledged and lost."
            )
        self._a2e = a2e
        self._download_to = download_to
        self._on_end = on_end
        self._on_update = on_update
        self._caller_of = caller_of
        self._meta = tuple(meta)
        self._heartbeat = heartbeat
        self._max_jobs = max_jobs
        self._run_id = secrets.token_hex(4)
        """Distinguishes the event ids of this run from those of an earlier or another process."""
        self._number = 0
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        """All jobs by key, the oldest first."""
        self._callers: dict[str, _Caller] = {}
        self._loading: asyncio.Task[None] | None = None
        self._loaded = False
        self._closed = False
        self._stop_listening: Callable[[], None] | None = None

    def __repr__(self) -> str:
        readers = sum(len(caller.readers) for caller in self._callers.values())
        return f"<{type(self).__name__} {len(self._jobs)} jobs, {readers} readers>"

    async def __aenter__(self) -> Self:
        """Begin: read the journal and follow all tasks."""
        journal = self._journal()
        self._a2e.follow_all(
            download_to=self._download_to, on_end=self._task_ended, on_update=self._task_changed
        )
        self._loading = _spawn(self._load(journal))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all streams. The client is closed by its own block, and stops following then."""
        self.close()
        tasks = [] if self._loading is None else [self._loading]
        tasks += [task for caller in self._callers.values() for task in caller.waits.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """End all streams now, so that a server that stops need not wait for them.

        Browsers connect again after 2 s, to the next process. Tasks are still followed.
        """
        self._closed = True
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        for caller in self._callers.values():
            _wake(caller)

    async def events(
        self, headers: Mapping[str, str], *, caller: str = ""
    ) -> AsyncGenerator[bytes]:
        """Yield server-sent events: the state of each job of a caller, then each change.

        ``headers`` are those of the request: a browser that connects again sends the id of its last
        event in them, and gets only what has changed since. Without ``caller``, the jobs whose keys
        name no caller. Never pass a name that the user can choose.

        The ``data`` of a message is the state of one job in JSON: ``id`` (its key without the
        caller), ``kind``, ``status`` (starting, withdrawn, queued, running, missing, succeeded,
        failed), ``progress`` (0-1 or null), ``error`` (why it failed, or null), ``files`` (how many
        are ready), ``created_at`` (seconds since 1970) and ``meta``. An event named ``ready``
        follows when all jobs are sent.
        """
        if self._caller_of is caller_of_key and ":" in caller:
            raise InvalidInput("caller must have no colon: it ends the caller in a key.")
        yield f"retry: {RECONNECT_DELAY * 1000:.0f}\n\n".encode()
        position = self._position(headers.get("last-event-id") or headers.get("Last-Event-ID"))
        own, changed = self._callers.setdefault(caller, _Caller()), asyncio.Event()
        refreshed = ready = False
        own.readers.add(changed)
        try:
            while not self._closed:
                changed.clear()
                loaded = self._loaded  # before the jobs are read: they are all of them then
                # Their current texts are kept, as a later change has a higher number.
                unread = takewhile(
                    lambda job: job.number > position,  # noqa: B023  # used in this turn only
                    reversed(own.jobs.values()),
                )
                for number, text in [(job.number, job.text) for job in unread][::-1]:
                    yield f"id: {self._run_id}.{number}\ndata: {text}\n\n".encode()
                    position = number
                if not refreshed:
                    refreshed = True
                    await self._refresh(own)
                elif loaded and not ready:
                    ready = True
                    yield b"event: ready\ndata: {}\n\n"
                else:
                    try:
                        async with asyncio.timeout(self._heartbeat):
                            await changed.wait()
                    except TimeoutError:
                        yield _HEARTBEAT
                        await self._refresh(own, starts_only=True)
        finally:
            own.readers.discard(changed)
            if not own.readers:
                for wait in own.waits.values():
                    wait.cancel()
                own.waits.clear()  # the next reader begins new ones
                self._forget_if_unused(caller)

    async def files(self, id: str, *, caller: str = "") -> list[Path]:
        """Return the paths of a job's saved files, in order; none before it is finished.

        ``id`` is that of the stream's messages; none are returned for the id of another caller's
        job. Raises `JournalError`.
        """
        for key in [f"{caller}:{id}", id] if caller else [id]:  # `caller_of` may find it elsewhere
            entry = await self._journal().get(key)
            if entry is not None and self._caller_of(key) == caller and self._id(key) == id:
                return [Path(path) for path in entry.paths.values()]
        return []

    # -- where states come from -------------------------------------------------------------

    async def _load(self, journal: Journal) -> None:
        """Read all jobs of the journal, and listen to what other processes change."""
        while not self._closed:
            try:
                if self._stop_listening is None:
                    self._stop_listening = journal.watch_all(self._entry_changed)
                async for entries in entry_pages(journal):
                    for entry in entries:
                        self._entry_changed(entry)
                break
            except JournalError as error:
                logger.warning("the journal is read again in %.0f s: %s", LOAD_RETRY_DELAY, error)
                await asyncio.sleep(LOAD_RETRY_DELAY)
        self._loaded = True
        for caller in self._callers.values():
            _wake(caller)

    async def _refresh(self, caller: _Caller, *, starts_only: bool = False) -> None:
        """Read what nothing reports.

        That the program itself has saved or acknowledged a job, and that the start of another
        process was refused, which leaves no entry. It may be started again with the same key.
        """
        journal = self._journal()
        for job in [job for job in caller.jobs.values() if not job.final]:
            is_start = job.state["status"] == "starting"
            if starts_only and not is_start:
                continue
            with suppress(JournalError):  # the state that is known is sent
                entry = await journal.get(job.key)
                if entry is not None:
                    self._entry_changed(entry)
                elif is_start and self._jobs.get(job.key) is job:
                    self._set(job.key, {**job.state, "status": "withdrawn"})
        for job in list(caller.jobs.values()):
            self._wait_if_elsewhere(caller, job)

    def _entry_changed(self, entry: Entry) -> None:
        if entry.own_key or is_call_key(entry.key):
            return
        job = self._jobs.get(entry.key)
        state = self._entry_state(entry)
        if job is not None and self._loaded:
            state["created_at"] = job.state["created_at"]  # it was seen before its entry was read
        has_begun = job is not None and job.state["status"] not in (*_FINAL, *_NOT_BEGUN)
        if job is not None and has_begun and state["status"] not in _FINAL:
            # The journal knows neither running nor progress.
            state |= {"status": job.state["status"], "progress": job.state["progress"]}
        if job is None or not job.final:
            job = self._set(entry.key, state)
        job.ref = entry.ref
        caller = self._callers[job.caller]
        if caller.readers:
            self._wait_if_elsewhere(caller, job)

    async def _task_changed(self, task: "Task[Any]") -> None:
        if task.key is not None and task.record is not None:
            job = self._set(task.key, self._task_state(task, task.record))
            job.ref, job.is_local = task.ref, True
        if self._on_update is not None:
            await self._on_update(task)

    async def _task_ended(self, task: "Task[Any]") -> None:
        if self._on_end is not None:
            await self._on_end(task)
        if task.key is not None and task.record is not None:
            self._set(task.key, self._task_state(task, task.record))

    def _wait_if_elsewhere(self, caller: _Caller, job: _Job) -> None:
        """Wait for a task that another process follows, while a page shows it."""
        if job.ref and not job.final and not job.is_local and job.key not in caller.waits:
            caller.waits[job.key] = wait = _spawn(self._wait_for(job.key, job.ref))
            wait.add_done_callback(partial(_forget_wait, caller, job.key))

    async def _wait_for(self, key: str, ref: str) -> None:
        try:
            async for record in self._a2e.attach(ref).updates():
                job = self._jobs.get(key)
                if job is None or job.final or job.is_local:
                    return
                if not record.done:  # its end is in the journal once its files are saved
                    progress = {"status": record.status, "progress": record.progress}
                    self._set(key, {**job.state, **progress})
        except A2EError as error:
            logger.debug("no progress of %s: %s", ref, error)

    # -- states -----------------------------------------------------------------------------

    def _entry_state(self, entry: Entry) -> dict[str, Any]:
        if not entry.open:
            status: str = Status.FAILED if entry.failed else Status.SUCCEEDED
        elif entry.missing:
            status = "missing"
        else:
            status = Status.QUEUED if entry.ids else "starting"
        return {
            "id": self._id(entry.key),
            "kind": entry.kind,
            "status": status,
            "progress": None,
            "error": entry.failure,
            "files": len(entry.paths),
            "created_at": entry.created_at,
            "meta": self._shown_meta(entry.meta),
        }

    def _task_state(self, task: "Task[Any]", record: Record) -> dict[str, Any]:
        assert task.key is not None  # noqa: S101  # the callers have checked it
        known = self._jobs.get(task.key)
        failure = record.failure if record.status is Status.FAILED else None
        return {
            "id": self._id(task.key),
            "kind": task.kind.name,
            "status": record.status,
            "progress": record.progress,
            "error": None if failure is None else failure.message,
            "files": len(record.outputs) if task.done else 0,
            "created_at": time.time() if known is None else known.state["created_at"],
            "meta": self._shown_meta(task.meta),
        }

    def _set(self, key: str, state: dict[str, Any]) -> _Job:
        """Store the state of a job, and wake its readers if it has changed."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(key, self._caller_of(key), {})
            if len(self._jobs) > self._max_jobs:
                _, oldest = self._jobs.popitem(last=False)
                del self._callers[oldest.caller].jobs[oldest.key]
                self._forget_if_unused(oldest.caller)
        elif job.state == state:
            return job
        self._number += 1
        job.state, job.number, job.text = state, self._number, json.dumps(state)
        caller = self._callers.setdefault(job.caller, _Caller())
        caller.jobs[key] = job
        caller.jobs.move_to_end(key)
        _wake(caller)
        return job

    def _forget_if_unused(self, name: str) -> None:
        caller = self._callers[name]
        if not caller.jobs and not caller.readers:
            del self._callers[name]

    def _id(self, key: str) -> str:
        caller = self._caller_of(key)
        return key.removeprefix(f"{caller}:") if caller else key

    def _shown_meta(self, meta: Mapping[str, Any] | None) -> dict[str, Any]:
        return {name: meta[name] for name in self._meta if meta is not None and name in meta}

    def _position(self, last_event_id: str | None) -> int:
        """Return the number up to which a reader has read; 0 if this run did not send its id."""
        run, _, number = (last_event_id or "").partition(".")
        if run != self._run_id or not number.isdecimal() or len(number) > 18:
            return 0
        return int(number) if int(number) <= self._number else 0

    def _journal(self) -> Journal:
        if self._a2e.journal is None:
            raise ConfigurationError(
                "A progress stream needs a journal: create the client with A2E(journal='jobs.db')."
            )
        return self._a2e.journal


def _forget_wait(caller: _Caller, key: str, wait: "asyncio.Task[None]") -> None:
    if caller.waits.get(key) is wait:
        del caller.waits[key]


def _wake(caller: _Caller) -> None:
    for changed in caller.readers:
        changed.set()


def _spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    # An empty context: a copy of the caller's would keep its values (a request, a session) alive.
    return asyncio.get_running_loop().create_task(work, context=Context())
