"""Many jobs: bounded, as they are completed, resumable.

A batch starts only while it is iterated: leaving the loop, closing or dropping the iterator stops
spending. What runs by then goes on at the service; with a journal the same batch, run again, skips
what is done and continues what is open.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sized,
)
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Protocol, TypeVar

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
from a2e_async.tasks.journal import Entry, State
from a2e_async.tasks.kind import Job, check_watchable
from a2e_async.tasks.seen import Seen
from a2e_async.tasks.task import Task, save_outputs

if TYPE_CHECKING:
    from a2e_async.tasks.book import Book
    from a2e_async.tasks.budget import Held
    from a2e_async.tasks.quotes import AskPrice

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

READ_AHEAD: Final = 200
"""Jobs whose entries are read at a time before a batch with a budget starts anything."""


Step = Literal["start", "find", "wait", "save", "done", "failed"]


@frozen(kw_only=True)
class Plan:
    """What a run would do with a job next, as a dry run sees it.

    ``step``: "start" it; "find" a start whose answer was lost, before anything else; "wait" for
    a task that was started; "save" the files of one that is finished; nothing, for it is
    "done", or "failed" and not to be started anew. ``coins`` is what a start would cost, None
    where the service tells no price, and 0 where none is due; ``about`` says that the length
    of a file which it has not seen may change that. ``paid`` is what earlier runs paid for it.
    ``uploads`` counts local files that no job before it has.
    """

    step: Step
    coins: int | None = 0
    about: bool = False
    paid: int = 0
    uploads: int = 0


@frozen(kw_only=True)
class Outcome(Generic[R]):
    """What became of one job: its record, or the error that it ended with.

    ``paths`` are its files, where the batch saved them. ``task`` is None when it was never
    started. ``earlier``: an earlier run of the batch has done it; then ``record`` is None, and
    ``await outcome.task`` asks the service for it as long as it is kept there. ``plan`` is given
    by a dry run alone, which starts and waits for nothing; ``error`` then says why the job could
    not be started, `BudgetExceeded` if it would not fit any more.
    """

    job: Job[R]
    task: Task[R] | None = None
    record: R | None = None
    error: Exception | None = None
    paths: tuple[Path, ...] = ()
    earlier: bool = False
    plan: Plan | None = None

    @property
    def ok(self) -> bool:
        """Whether the job is done (and saved, where the batch saves)."""
        return self.error is None

    def unwrap(self) -> R:
        """Return the record, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.plan is not None:
            raise InvalidInput("This is the outcome of a dry run: nothing was started.")
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
    look: "Callable[[Job[Any]], Any]"
    """Returns the digest, and those of the local files."""
    price: "AskPrice"
    attach: "Callable[[Job[Any], Any], Task[Any]]"
    book: "Book | None"


def check_batch(limit: Any, retry_failed: Any, dry_run: Any = False) -> None:
    """Raise `InvalidInput` for figures that cannot be."""
    for name, value, low, high in (
        ("limit", limit, 1, MOST),
        ("retry_failed", retry_failed, 0, 10),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInput(f"{name} must be a whole number from {low} to {high}.", field=name)
    if not isinstance(dry_run, bool):
        raise InvalidInput("dry_run must be True or False.", field="dry_run")


class Worker(Protocol):
    """Does what is to be done with each job; closed when the batch ends."""

    stopping: ClassVar[tuple[type[Exception], ...]]
    """Errors of one job which end the batch."""

    @property
    def desk(self) -> Desk:
        """What it works with."""
        ...

    @property
    def held(self) -> "Held":
        """The budgets that its jobs count for."""
        ...

    async def one(self, job: Job[R]) -> Outcome[R]:
        """Return what became of a job; raise nothing."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


async def run_batch(
    worker: Worker, jobs: "Iterable[Job[R]] | AsyncIterable[Job[R]]", *, limit: int
) -> AsyncGenerator[Outcome[R]]:
    """Yield the outcome of every job as it is completed; see `A2E.batch`."""
    source, seen = _Source(jobs), Seen()
    running: set[asyncio.Task[Outcome[R]]] = set()
    pulling: asyncio.Task[Job[R] | None] | None = None
    stopped: Exception | None = None
    try:
        if worker.held.budgets and isinstance(jobs, Sized) and isinstance(jobs, Iterable):
            await _count_known(worker, jobs)
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
                    work = worker.one(await _keyed(worker.desk, job, seen))
                    running.add(asyncio.create_task(work))
            for ended in [task for task in done if task in running]:
                running.discard(ended)
                outcome = ended.result()
                if isinstance(outcome.error, worker.stopping) and not _passes(outcome.error):
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
        seen.close()
        worker.close()
        await source.aclose()


async def _count_known(worker: Worker, jobs: Iterable[Job[Any]]) -> None:
    """Count what earlier runs paid for these jobs, before the first of them is started.

    Else a job without a task would be started on coins that one after it has cost already.
    """
    if worker.desk.book is None:
        return
    seen, left = Seen(), iter(jobs)
    try:
        while part := list(islice(left, READ_AHEAD)):
            keyed = [await _keyed(worker.desk, job, seen) for job in part if isinstance(job, Job)]
            await asyncio.gather(*(_count_job(worker, job) for job in keyed))
    finally:
        seen.close()


async def _count_job(worker: Worker, job: Job[Any]) -> None:
    desk = worker.desk
    if job.key is None or desk.book is None:
        return
    for tries in count():
        entry = await desk.book.journal.get(again(job, tries).key or "")
        if entry is None or entry.state is State.RESERVED:
            return
        try:
            if (entry.kind, entry.digest) != (job.kind.name, await desk.digest(job)):
                return  # another start's: the job will be refused
        except InvalidInput:
            return
        worker.held.known(entry.key, entry.cost, entry.ref)
        if entry.succeeded is not False:
            return


def _passes(error: Exception) -> bool:
    """Return whether what stopped one job may let the next ones through."""
    return isinstance(error, BudgetExceeded) and error.pending


async def _keyed(desk: Desk, job: Job[R], seen: Seen) -> Job[R]:
    """Give a job without a key the one that the same job has in every run of the batch."""
    if not isinstance(job, Job):
        raise InvalidInput(f"A batch takes jobs, such as a2e.dubbing.job(…), not {job!r:.60}.")
    if job.key is not None or desk.book is None:
        return job
    try:
        digest: str = await desk.digest(job)
    except InvalidInput:
        return job  # which is told where it is started
    return with_key(job, f"batch:{digest[:32]}:{seen.count(digest)}")


def with_key(job: Job[R], key: str) -> Job[R]:
    """Return the job under another key."""
    inputs: TaskInput = evolve(job.input, key=key)
    return evolve(job, input=inputs)  # type: ignore[misc]  # mypy knows no own __init__ here


def again(job: Job[R], tries: int) -> Job[R]:
    """Return the job as it is started after so many failures."""
    return job if not tries or job.key is None else with_key(job, f"{job.key}~{tries}")


@frozen(kw_only=True)
class Runner:
    """Starts jobs, waits for their tasks and saves their files."""

    desk: Desk
    retry_failed: int
    download_to: Path | None
    held: "Held"
    stopping: ClassVar[tuple[type[Exception], ...]] = STOPPING

    async def one(self, job: Job[R]) -> Outcome[R]:
        """Return what became of a job; failed tasks are started anew as often as is allowed."""
        tries = 0
        while True:
            outcome = await _try(self, job, again(job, tries))
            if not isinstance(outcome.error, TaskFailed) or tries >= self.retry_failed:
                return outcome
            tries += 1

    def close(self) -> None:
        """Hold nothing."""


async def _try(worker: Runner, job: Job[R], current: Job[R]) -> Outcome[R]:
    desk, download_to = worker.desk, worker.download_to
    task: Task[R] | None = None
    record: R | None = None
    try:
        check_watchable(current.kind)  # what cannot be waited for must not be paid here
        if (earlier := await _earlier(worker, job, current)) is not None:
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


async def _earlier(worker: Runner, job: Job[R], current: Job[R]) -> Outcome[R] | None:
    """Return the outcome of a job that is done and saved; its files must still be there."""
    desk = worker.desk
    if desk.book is None or current.key is None:
        return None
    entry = await desk.book.journal.get(current.key)
    if entry is None or entry.kind != current.kind.name or not entry.succeeded:
        return None
    if entry.digest != await desk.digest(current):
        return None  # other inputs under the same key: the start tells
    if not nothing_left(entry, worker.download_to):
        return None
    worker.held.stands(entry.key, entry.cost, entry.ref)
    paths = tuple(Path(path) for path in entry.paths.values())
    return Outcome(job=job, task=desk.attach(current, entry), paths=paths, earlier=True)


def nothing_left(entry: Entry, download_to: Path | None) -> bool:
    """Whether a task that succeeded is done: saved, where that is wanted, and its files there."""
    if download_to is None:
        return True
    return entry.state is State.SAVED and all(Path(path).is_file() for path in entry.paths.values())


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
