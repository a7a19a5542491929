"""Many jobs: bounded, as they are completed, resumable.

A batch starts only while it is iterated: leaving the loop, closing or dropping the iterator stops
spending. What runs by then goes on at the service; with a journal the same batch, run again, skips
what is done and continues what is open.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from attrs import evolve, frozen

from a2e_async.errors import (
    AuthenticationError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    InvalidInput,
    JournalError,
    TaskFailed,
)
from a2e_async.inputs import TaskInput
from a2e_async.models import Record
from a2e_async.tasks.journal import State
from a2e_async.tasks.kind import Job
from a2e_async.tasks.task import Task, save_outputs

if TYPE_CHECKING:
    from a2e_async.tasks.book import Book

R = TypeVar("R", bound=Record)

# Each of these would meet every further start: no more are made, and the batch ends with it.
STOPPING: Final = (
    AuthenticationError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    JournalError,
)

MOST: Final = 10_000
"""Unfinished tasks of one batch at most."""


@frozen(kw_only=True)
class Outcome(Generic[R]):
    """What became of one job: its record, or the error that it ended with.

    ``paths`` are its files, where the batch saved them. ``task`` is None when it was never
    started. ``earlier``: an earlier run of the batch has done it; then ``record`` is None, and
    ``await outcome.task`` asks the service for it as long as it is kept there.
    """

    job: Job[R]
    task: Task[R] | None = None
    record: R | None = None
    error: Exception | None = None
    paths: tuple[Path, ...] = ()
    earlier: bool = False

    @property
    def ok(self) -> bool:
        """Whether the job is done (and saved, where the batch saves)."""
        return self.error is None

    def unwrap(self) -> R:
        """Return the record, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.record is None:
            raise InvalidInput(
                "An earlier run has done this job; its files are outcome.paths, its record is "
                "`await outcome.task`."
            )
        return self.record


@frozen(kw_only=True)
class Desk:
    """What a batch works with: how a start is made, and how its inputs are digested."""

    start: "Callable[[Job[Any]], Any]"
    digest: "Callable[[Job[Any]], Any]"
    attach: "Callable[[Job[Any], Any], Task[Any]]"
    book: "Book | None"
    count: "Callable[[int | None], None]"
    """Told what a job cost that an earlier run has done."""


def check_batch(limit: Any, retry_failed: Any) -> None:
    """Raise `InvalidInput` for figures that cannot be."""
    for name, value, low, high in (
        ("limit", limit, 1, MOST),
        ("retry_failed", retry_failed, 0, 10),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInput(f"{name} must be a whole number from {low} to {high}.", field=name)


async def run_batch(
    desk: Desk,
    jobs: "Iterable[Job[R]] | AsyncIterable[Job[R]]",
    *,
    limit: int,
    retry_failed: int,
    download_to: Path | None,
) -> AsyncGenerator[Outcome[R]]:
    """Yield the outcome of every job as it is completed; see `A2E.batch`."""
    source = _Source(jobs)
    running: set[asyncio.Task[Outcome[R]]] = set()
    pulling: asyncio.Task[Job[R] | None] | None = None
    keys: Counter[int] = Counter()
    stopped: Exception | None = None
    try:
        while True:
            wanted = stopped is None and not source.ended and len(running) < limit
            if wanted and pulling is None:
                pulling = asyncio.create_task(source.pull())
            waiting: set[asyncio.Task[Any]] = {*running, *({pulling} if pulling else ())}
            if not waiting:
                break
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if pulling is not None and pulling in done:
                job = pulling.result()
                pulling = None
                if job is not None:
                    work = _one(desk, await _keyed(desk, job, keys), retry_failed, download_to)
                    running.add(asyncio.create_task(work))
            for ended in [task for task in done if task in running]:
                running.discard(ended)
                outcome = ended.result()
                if isinstance(outcome.error, STOPPING):
                    stopped = stopped or outcome.error
                yield outcome
            if stopped is not None and pulling is not None:
                # A source that waits for its next job must not keep the batch from ending.
                pulling.cancel()
                await asyncio.gather(pulling, return_exceptions=True)
                pulling = None
        if stopped is not None:
            raise stopped
    finally:
        left = [*running, *([pulling] if pulling else [])]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await source.aclose()


async def _keyed(desk: Desk, job: Job[R], keys: Counter[int]) -> Job[R]:
    """Give a job without a key the one that the same job has in every run of the batch."""
    if not isinstance(job, Job):
        raise InvalidInput(f"A batch takes jobs, such as a2e.dubbing.job(…), not {job!r:.60}.")
    if job.key is not None or desk.book is None:
        return job
    try:
        digest: str = await desk.digest(job)
    except InvalidInput:
        return job  # which is told where it is started
    short = int(digest[:16], 16)  # a million of them must fit into memory
    keys[short] += 1
    return _with_key(job, f"batch:{digest[:32]}:{keys[short]}")


def _with_key(job: Job[R], key: str) -> Job[R]:
    inputs: TaskInput = evolve(job.input, key=key)
    return evolve(job, input=inputs)


async def _one(desk: Desk, job: Job[R], retry_failed: int, download_to: Path | None) -> Outcome[R]:
    """Return what became of a job; failed tasks are started anew as often as is allowed."""
    tries = 0
    while True:
        current = job if not tries or job.key is None else _with_key(job, f"{job.key}~{tries}")
        outcome = await _try(desk, job, current, download_to)
        if not isinstance(outcome.error, TaskFailed) or tries >= retry_failed:
            return outcome
        tries += 1


async def _try(desk: Desk, job: Job[R], current: Job[R], download_to: Path | None) -> Outcome[R]:
    task: Task[R] | None = None
    record: R | None = None
    try:
        if (earlier := await _earlier(desk, job, current, download_to)) is not None:
            return earlier
        started: Task[R] = await desk.start(current)
        task = started
        record = await started.wait()
        paths: list[Path] = []
        if download_to is not None and record.outputs:
            paths = await save_outputs(record, download_to)
    except Exception as error:
        return Outcome(job=job, task=task, record=record, error=error)
    return Outcome(job=job, task=task, record=record, paths=tuple(paths))


async def _earlier(
    desk: Desk, job: Job[R], current: Job[R], download_to: Path | None
) -> Outcome[R] | None:
    """Return the outcome of a job that is done and saved; its files must still be there."""
    if desk.book is None or current.key is None:
        return None
    entry = await desk.book.journal.get(current.key)
    if entry is None or entry.kind != current.kind.name or not entry.succeeded:
        return None
    if entry.digest != await desk.digest(current):
        return None  # other inputs under the same key: the start tells
    paths = tuple(Path(path) for path in entry.paths.values())
    if download_to is not None and (entry.state is not State.SAVED or not _all_there(paths)):
        return None
    desk.count(entry.coins)
    return Outcome(job=job, task=desk.attach(current, entry), paths=paths, earlier=True)


def _all_there(paths: tuple[Path, ...]) -> bool:
    return all(path.is_file() for path in paths)


class _Source(Generic[R]):
    """The jobs, one at a time, from any iterable; none is asked for before it can be started."""

    def __init__(self, jobs: "Iterable[Job[R]] | AsyncIterable[Job[R]]") -> None:
        self.ended = False
        self._async: AsyncIterator[Job[R]] | None = None
        if isinstance(jobs, AsyncIterable):
            self._async = aiter(jobs)
        elif isinstance(jobs, Iterable):
            self._sync = iter(jobs)
        else:
            raise InvalidInput("jobs must be an iterable of jobs.", field="jobs")

    async def pull(self) -> Job[R] | None:
        """Return the next job, None at the end."""
        try:
            if self._async is not None:
                return await anext(self._async)
            return next(self._sync)
        except (StopIteration, StopAsyncIteration):
            self.ended = True
            return None

    async def aclose(self) -> None:
        """Close a generator that was given."""
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()
