"""Runs many jobs with limited concurrency, yields outcomes as they complete, and is resumable.

A batch starts jobs only while it is iterated: leaving the loop, or closing or dropping the
iterator, stops new starts. Running tasks continue at the service. With a journal, running the
same batch again skips jobs that are done and continues the others.
"""

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sized,
)
from contextlib import suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Protocol, TypeVar

from anyio import to_thread
from attrs import evolve, frozen

from a2e_async._core.batch.duplicates import DuplicateStore
from a2e_async._core.batch.manifest import FILE_NAME, Manifest
from a2e_async._core.files.name_template import NameTemplate
from a2e_async._core.files.open_file import held_files
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.kind import PreparedJob, check_pollable
from a2e_async._core.tasks.task import (
    ResultNaming,
    Task,
    save_good_outputs,
    save_outputs,
)
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    InvalidInput,
    JournalError,
    NotFound,
    TaskFailed,
    TaskGone,
    TransferError,
)
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.journal.recorder import JournalRecorder
    from a2e_async._core.submission.budget import Reservation
    from a2e_async._core.submission.quotes import FetchPrice

R = TypeVar("R", bound=Record)

logger = logging.getLogger("a2e_async.batch")

# Each of these would hit every further job as well, so it stops new starts. The batch raises it
# once the running jobs, and those that an earlier run has started, have ended.
FATAL_ERRORS: Final = (
    AuthenticationError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    JournalError,
)

OUT_OF_COINS: Final = (BudgetExceeded, InsufficientCredits)
"""Fatal errors that do not concern jobs which an earlier run has started: these cost no more."""

INPUT_GONE: Final = (NotFound, TransferError)
"""Errors of a job whose input, the output of another task, cannot be renewed any more."""

MAX_LIMIT: Final = 10_000
"""Maximum number of unfinished tasks of one batch."""

READ_AHEAD: Final = 200
"""How many jobs' entries are read at a time before a batch with a budget starts a job."""


PlanStep = Literal["start", "find", "wait", "save", "done", "failed"]


@frozen(kw_only=True)
class Plan:
    """What a run would do with a job, according to a dry run.

    ``step`` is "start"; "find": search for a start whose response was lost; "wait" for a task
    that was started; "save" the files of a finished task; "done"; or "failed": nothing is left
    to do, and it is not started again. ``coins`` is the price of the start: None if the service
    quotes none, 0 if nothing is started. ``about``: the price may change with the duration of
    a file that is not uploaded yet, or is ``assumed``: that of jobs that differ only in texts and
    media. ``paid`` are the coins that earlier runs paid for the job. ``uploads`` counts its local
    files that no earlier job has.
    """

    step: PlanStep
    coins: int | None = 0
    about: bool = False
    assumed: bool = False
    paid: int = 0
    uploads: int = 0


@frozen(kw_only=True)
class Outcome(Generic[R]):
    """The outcome of one job: its record, or the error that it ended with.

    ``paths`` are its files, if the batch saved them; with `TaskFailed` the good outputs of the
    failed task, which ``error.record`` has. ``task`` is None if it was never started.
    ``earlier``: an earlier run of the batch has completed the job; then ``record`` is None, and
    ``await outcome.task`` requests it for as long as the service keeps it. Only a dry run sets
    ``plan``; ``error`` then tells why the job could not be started: `BudgetExceeded` if the
    budget has no room left for it. ``manifest_error``: why the manifest has no line of the saved
    files; a later run adds it.
    """

    job: PreparedJob[R]
    task: Task[R] | None = None
    record: R | None = None
    error: Exception | None = None
    paths: tuple[Path, ...] = ()
    earlier: bool = False
    plan: Plan | None = None
    manifest_error: OSError | None = None

    @property
    def ok(self) -> bool:
        """Whether the job succeeded (and its files are saved, if the batch saves files)."""
        return self.error is None

    def unwrap(self) -> R:
        """Return the record, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.plan is not None:
            raise InvalidInput("A dry run starts nothing, so this outcome has no record.")
        if self.record is None:
            raise InvalidInput(
                "An earlier run has completed this job. Its files are in outcome.paths; get its "
                "record with `await outcome.task`."
            )
        return self.record


@frozen(kw_only=True)
class BatchServices:
    """The functions of the client that a batch uses."""

    resolve_job: "Callable[[PreparedJob[Any]], PreparedJob[Any]]"
    """Return a job with the kind that the client knows. Raises `InvalidInput`."""
    start_job: "Callable[[PreparedJob[Any]], Any]"
    input_digest: "Callable[[PreparedJob[Any]], Any]"
    input_and_file_digests: "Callable[[PreparedJob[Any]], Any]"
    """Return the digest of a job's inputs, and those of its local files."""
    changed_inputs: "Callable[[PreparedJob[Any], Entry], Any]"
    """Return the names of the inputs that differ from those of an entry."""
    fetch_price: "FetchPrice"
    attach_entry: "Callable[[PreparedJob[Any], Any], Task[Any]]"
    recorder: "JournalRecorder | None"


def validate_batch_options(limit: Any, retry_failed: Any, dry_run: Any = False) -> None:
    """Raise `InvalidInput` for options out of range."""
    for name, value, low, high in (
        ("limit", limit, 1, MAX_LIMIT),
        ("retry_failed", retry_failed, 0, 10),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInput(f"{name} must be an integer from {low} to {high}.", field=name)
    if not isinstance(dry_run, bool):
        raise InvalidInput("dry_run must be True or False.", field="dry_run")


class JobProcessor(Protocol):
    """Processes the jobs of a batch one by one; closed when the batch ends."""

    fatal_errors: ClassVar[tuple[type[Exception], ...]]
    """Errors of a single job that end the batch."""

    @property
    def services(self) -> BatchServices:
        """The client's functions that it uses."""
        ...

    @property
    def reservation(self) -> "Reservation":
        """A reservation in the budgets that count its jobs."""
        ...

    def process(self, job: PreparedJob[R]) -> Coroutine[Any, Any, Outcome[R]]:
        """Process a job and return its outcome; never raises."""
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


async def run_batch(
    processor: JobProcessor,
    jobs: "Iterable[PreparedJob[R]] | AsyncIterable[PreparedJob[R]]",
    *,
    limit: int,
) -> AsyncGenerator[Outcome[R]]:
    """Yield the outcome of every job as it is completed; see `A2E.batch`."""
    source, duplicates = _JobSource(jobs), DuplicateStore()
    running: set[asyncio.Task[Outcome[R]]] = set()
    next_job: asyncio.Task[PreparedJob[R] | None] | None = None
    fatal: Exception | None = None
    # Whether further jobs are read. After a fatal error only started ones are processed.
    reads_on = True
    try:
        if processor.reservation.budgets and isinstance(jobs, Sized) and isinstance(jobs, Iterable):
            await _precount_paid_jobs(processor, jobs)
        while True:
            # Read a job only when it can be started: the source may be large, or not ready yet.
            wanted = reads_on and not source.exhausted and len(running) < limit
            if wanted and next_job is None:
                next_job = asyncio.create_task(source.next_job())
            waiting: set[asyncio.Task[Any]] = {*running, *({next_job} if next_job else ())}
            if not waiting:
                break
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if next_job is not None and next_job in done:
                job = next_job.result()
                next_job = None
                if job is not None:
                    work = await _work_on(
                        processor, job, duplicates, only_if_started=fatal is not None
                    )
                    if work is not None:
                        running.add(asyncio.create_task(work))
            for ended in [task for task in done if task in running]:
                running.discard(ended)
                outcome = ended.result()
                if isinstance(outcome.error, processor.fatal_errors) and not _is_temporary(
                    outcome.error
                ):
                    fatal = fatal or outcome.error
                    # A source without a length may take forever to produce its next job.
                    reads_on = (
                        reads_on
                        and isinstance(outcome.error, OUT_OF_COINS)
                        and isinstance(jobs, Sized)
                        and processor.services.recorder is not None
                    )
                yield outcome
            if not reads_on and next_job is not None:
                # Do not wait for a source that may take forever to produce its next job.
                next_job.cancel()
                await asyncio.gather(next_job, return_exceptions=True)
                next_job = None
        if fatal is not None:
            raise fatal
    finally:
        remaining = [*running, *([next_job] if next_job else [])]
        for task in remaining:
            task.cancel()
        if remaining:
            await asyncio.wait(remaining)
        duplicates.close()
        processor.close()
        await source.aclose()


async def _work_on(
    processor: JobProcessor,
    job: PreparedJob[R],
    duplicates: DuplicateStore,
    *,
    only_if_started: bool,
) -> Coroutine[Any, Any, Outcome[R]] | None:
    """Return the work on a job, which gets a key and the kind that the client knows.

    None if an earlier run has not started it, and ``only_if_started``. Raises `InvalidInput` for
    anything but a job; that ends the batch.
    """
    _check_job(job)
    try:
        known = processor.services.resolve_job(job)
        keyed = await _with_generated_key(processor.services, known, duplicates)
    except A2EError as error:  # without its key, a later run would pay for the job again
        return None if only_if_started else _refused(job, error)
    if only_if_started and not await _is_started(processor.services, keyed):
        return None
    return processor.process(keyed)


async def _refused(job: PreparedJob[R], error: A2EError) -> Outcome[R]:
    return Outcome(job=job, error=error)


def _check_job(job: Any) -> None:
    if not isinstance(job, PreparedJob):
        raise InvalidInput(f"A batch takes jobs, such as a2e.dubbing.job(…), not {job!r:.60}.")


def _resolved_jobs(
    services: BatchServices, jobs: Iterable[PreparedJob[Any]]
) -> Iterator[PreparedJob[Any]]:
    """Yield the jobs whose kind the client knows."""
    for job in jobs:
        if isinstance(job, PreparedJob):
            with suppress(InvalidInput):
                yield services.resolve_job(job)


async def _precount_paid_jobs(processor: JobProcessor, jobs: Iterable[PreparedJob[Any]]) -> None:
    """Count what earlier runs paid for these jobs, before the first of them is started.

    Otherwise an early job could be started with coins that a later job has already cost.
    """
    if processor.services.recorder is None:
        return
    duplicates, remaining = DuplicateStore(), iter(jobs)
    try:
        while chunk := list(islice(remaining, READ_AHEAD)):
            keyed: list[PreparedJob[Any]] = []
            for job in _resolved_jobs(processor.services, chunk):
                with suppress(*INPUT_GONE):
                    keyed.append(await _with_generated_key(processor.services, job, duplicates))
            await asyncio.gather(*(_precount_job(processor, job) for job in keyed))
    finally:
        duplicates.close()


async def _precount_job(processor: JobProcessor, job: PreparedJob[Any]) -> None:
    services = processor.services
    if job.key is None or services.recorder is None:
        return
    for failures in count():
        entry = await services.recorder.journal.get(job_for_try(job, failures).key or "")
        if entry is None or entry.state is State.RESERVED:
            return
        try:
            if (entry.kind, entry.digest) != (job.kind.name, await services.input_digest(job)):
                return  # the key has other inputs: starting the job will raise `KeyConflict`
        except InvalidInput:
            return
        except INPUT_GONE:
            pass  # it may well be this job's: better to count too much
        processor.reservation.precount(entry.key, entry.cost, entry.ref)
        if not entry.failed:
            return


async def _is_started(services: BatchServices, job: PreparedJob[Any]) -> bool:
    """Return whether an earlier run has started a job, so that continuing it costs nothing."""
    if services.recorder is None or job.key is None:
        return False
    try:
        entry = await services.recorder.journal.get(job.key)
    except JournalError:
        return False  # the error that ends the batch is known already
    return entry is not None and entry.state > State.RESERVED


def _is_temporary(error: Exception) -> bool:
    """Return whether later jobs may succeed in spite of this error."""
    return isinstance(error, BudgetExceeded) and error.pending


async def _with_generated_key(
    services: BatchServices, job: PreparedJob[R], duplicates: DuplicateStore
) -> PreparedJob[R]:
    """Return the job with a key that is the same in every run of the batch."""
    if job.key is not None or services.recorder is None:
        return job
    try:
        digest: str = await services.input_digest(job)
    except InvalidInput:
        return job  # starting it raises the same error
    return job_with_key(job, f"batch:{digest[:32]}:{duplicates.count_occurrence(digest)}")


def job_with_key(job: PreparedJob[R], key: str) -> PreparedJob[R]:
    """Return a copy of the job with another key."""
    inputs: TaskInput = evolve(job.input, key=key)
    return evolve(job, input=inputs)


def job_for_try(job: PreparedJob[R], failures: int) -> PreparedJob[R]:
    """Return the job with the key of its start after so many failures."""
    return job if not failures or job.key is None else job_with_key(job, f"{job.key}~{failures}")


def retry_number(outcome: Outcome[Any]) -> int:
    """Return after how many failures the task of an outcome was started."""
    job_key, key = outcome.job.key, outcome.task.key if outcome.task is not None else None
    if job_key is None or key is None:
        return 0
    number = key.removeprefix(f"{job_key}~")
    return int(number) if number != key and number.isdecimal() else 0


@frozen(kw_only=True)
class JobRunner:
    """Starts jobs, waits for their tasks and saves their files."""

    services: BatchServices
    retry_failed: int
    download_to: Path | None
    reservation: "Reservation"
    name: NameTemplate | None = None
    manifest: Manifest | None = None
    """That of ``download_to``."""
    fatal_errors: ClassVar[tuple[type[Exception], ...]] = FATAL_ERRORS

    async def process(self, job: PreparedJob[R]) -> Outcome[R]:
        """Run a job and return its outcome; start failed tasks again up to ``retry_failed`` times.

        Each of these starts is charged again. Those of earlier runs are followed however often
        this run may start it.
        """
        failures = 0
        with held_files(job.input.open_files()):  # for all of its starts
            while True:
                outcome = await _run_job(self, job, job_for_try(job, failures))
                if not isinstance(outcome.error, TaskFailed):
                    return outcome
                failures += 1
                if failures > self.retry_failed and not await self._is_paid(job, failures):
                    return outcome

    async def _is_paid(self, job: PreparedJob[R], failures: int) -> bool:
        """Return whether an earlier run has started the job again after so many failures."""
        recorder, key = self.services.recorder, job_for_try(job, failures).key
        if recorder is None or key is None:
            return False
        with suppress(JournalError):  # the failure of the job is known, and says more
            entry = await recorder.journal.get(key)
            return entry is not None and entry.state is not State.RESERVED
        return False

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


async def _run_job(runner: JobRunner, job: PreparedJob[R], keyed_job: PreparedJob[R]) -> Outcome[R]:
    services, download_to = runner.services, runner.download_to
    task: Task[R] | None = None
    record: R | None = None
    elsewhere: Entry | None = None
    naming: ResultNaming | None = None
    try:
        check_pollable(keyed_job.kind)  # do not pay for a task that cannot be polled
        naming = ResultNaming(runner.name, job.key) if runner.name is not None else None
        entry = await _successful_entry(runner, keyed_job)
        if entry is not None:
            is_here, exists = await _where_saved(runner, entry)
            if is_here:
                return await _earlier_outcome(runner, job, keyed_job, entry, is_here=True)
            elsewhere = entry if exists else None
        started: Task[R] = await services.start_job(keyed_job)
        task = started
        record = await started.wait()
        seconds = None if entry is not None else started.elapsed
        paths: list[Path] = []
        unlisted: OSError | None = None
        if download_to is not None and record.outputs:
            paths = await save_outputs(record, download_to, naming)
            unlisted = await _record_in_manifest(
                runner, job, started.ref, paths, coins=started.coins, seconds=seconds
            )
    except TaskFailed as failed:
        return await _failed_outcome(runner, job, keyed_job, failed, task, naming)
    except (NotFound, TaskGone, TransferError) as error:
        if elsewhere is not None:  # the service no longer has what is saved in another directory
            return await _earlier_outcome(runner, job, keyed_job, elsewhere, is_here=False)
        return Outcome(job=job, task=task, record=record, error=error)
    except Exception as error:
        return Outcome(job=job, task=task, record=record, error=error)
    return Outcome(job=job, task=task, record=record, paths=tuple(paths), manifest_error=unlisted)


async def _failed_outcome(
    runner: JobRunner,
    job: PreparedJob[R],
    keyed_job: PreparedJob[R],
    failed: TaskFailed,
    task: Task[R] | None,
    naming: ResultNaming | None,
) -> Outcome[R]:
    """Save the good outputs of a failed task, unless an earlier run has; return its outcome."""
    recorder, download_to = runner.services.recorder, runner.download_to
    if task is None or download_to is None or not failed.record.outputs:
        return Outcome(job=job, task=task, error=failed)
    entry: Entry | None = None
    if recorder is not None and keyed_job.key is not None:
        with suppress(JournalError):  # at worst they are saved again
            entry = await recorder.journal.get(keyed_job.key)
    saved: list[Path] = []
    if entry is not None and (await _where_saved(runner, entry))[0]:
        saved = [Path(path) for path in entry.paths.values()]
        if not saved:  # the user has acknowledged them
            return Outcome(job=job, task=task, error=failed)
    error, paths = await save_good_outputs(task, failed, download_to, naming, saved=saved)
    unlisted: OSError | None = None
    if paths:
        unlisted = await _record_in_manifest(
            runner, job, task.ref, paths, coins=task.coins, seconds=None
        )
    return Outcome(job=job, task=task, error=error, paths=tuple(paths), manifest_error=unlisted)


async def _successful_entry(runner: JobRunner, keyed_job: PreparedJob[R]) -> Entry | None:
    """Return the journal's entry of a job that an earlier run has completed."""
    services = runner.services
    if services.recorder is None or keyed_job.key is None:
        return None
    entry = await services.recorder.journal.get(keyed_job.key)
    if entry is None or entry.kind != keyed_job.kind.name or not entry.succeeded:
        return None
    if entry.digest != await services.input_digest(keyed_job):
        return None  # the key has other inputs: starting the job raises `KeyConflict`
    return entry


async def _earlier_outcome(
    runner: JobRunner,
    job: PreparedJob[R],
    keyed_job: PreparedJob[R],
    entry: Entry,
    *,
    is_here: bool,
) -> Outcome[R]:
    """Return the outcome of a job that is done and saved."""
    runner.reservation.count_existing(entry.key, entry.cost, entry.ref)
    paths = tuple(Path(path) for path in entry.paths.values())
    unlisted: OSError | None = None
    if is_here and paths:
        # The run that saved them may have ended before it wrote their line.
        unlisted = await _record_in_manifest(
            runner, job, entry.ref, paths, coins=entry.coins, seconds=None
        )
    task = runner.services.attach_entry(keyed_job, entry)
    return Outcome(job=job, task=task, paths=paths, earlier=True, manifest_error=unlisted)


async def _record_in_manifest(
    runner: JobRunner,
    job: PreparedJob[Any],
    ref: str | None,
    paths: Iterable[Path],
    *,
    coins: int | None,
    seconds: float | None,
) -> OSError | None:
    """Add the line of a task to the manifest, if there is one; return why it cannot be added."""
    if runner.manifest is None or ref is None:
        return None
    record = partial(
        runner.manifest.record,
        key=job.key,
        kind=job.kind.name,
        ref=ref,
        paths=tuple(paths),
        coins=coins,
        seconds=seconds,
    )
    try:
        await to_thread.run_sync(record)
    except OSError as error:  # the results themselves are saved
        logger.warning("%s could not be written: %s", FILE_NAME, error.strerror or error)
        return error
    return None


async def _where_saved(runner: JobRunner, entry: Entry) -> tuple[bool, bool]:
    """Return whether nothing is left to do, and whether all files exist at all, in any place."""
    return await to_thread.run_sync(where_saved, entry, runner.download_to, runner.manifest)


def where_saved(
    entry: Entry, download_to: Path | None, manifest: Manifest | None
) -> tuple[bool, bool]:
    """Return whether an ended task's files are complete in ``download_to``, and anywhere.

    Blocks. Without a directory nothing is left to do.
    """
    if download_to is None:
        return True, True
    if entry.state is not State.SAVED:
        return False, False
    paths = [Path(path) for path in entry.paths.values()]
    directory = download_to.resolve()
    here = all(path.parent.resolve() == directory for path in paths)
    known = manifest if here and manifest is not None else Manifest(download_to)
    exists = known.is_intact(entry.ref if here else None, paths)
    return here and exists, exists


class _JobSource(Generic[R]):
    """The jobs of any iterable, one at a time; reads a job only when it can be started.

    Created for one batch; only the batch reads it.
    """

    def __init__(self, jobs: "Iterable[PreparedJob[R]] | AsyncIterable[PreparedJob[R]]") -> None:
        self.exhausted = False
        self._async_iterator: AsyncIterator[PreparedJob[R]] | None = None
        if isinstance(jobs, AsyncIterable):
            self._async_iterator = aiter(jobs)
        elif isinstance(jobs, Iterable):
            self._iterator = iter(jobs)
        else:
            raise InvalidInput("jobs must be an iterable or async iterable of jobs.", field="jobs")

    async def next_job(self) -> PreparedJob[R] | None:
        """Return the next job, None at the end."""
        try:
            if self._async_iterator is not None:
                return await anext(self._async_iterator)
            return next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            self.exhausted = True
            return None

    async def aclose(self) -> None:
        """Close the iterable if it is an async generator."""
        close = getattr(self._async_iterator, "aclose", None)
        if close is not None:
            await close()
